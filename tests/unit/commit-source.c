/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a commit is given by a program that knows what changed: pages from a source, one more
 * decision for the same transaction, and a lock that is held already.
 */
#include "tests/fault.h"
#include "tests/unit/commits.h"

/* ---- a source ---- */

/* Content `first` + i of pages `page` + i, and zeros in page `zero`. */
struct some {
	struct input_source source;
	uint64_t page;
	unsigned n;
	uint32_t first;
	uint64_t zero;
	uint64_t reads;			/* frames that were asked for */
	int error;
};

static uint64_t some_next(void *ctx, uint64_t page)
{
	const struct some *s = ctx;
	uint64_t first = page <= s->zero ? s->zero : UINT64_MAX;

	if (page < s->page)
		page = s->page;
	return page < s->page + s->n && page < first ? page : first;
}

static int some_read(void *ctx, uint64_t frame, uint8_t *buf, uint8_t *kind, struct err *e)
{
	struct some *s = ctx;
	int n = 0;

	__atomic_add_fetch(&s->reads, 1, __ATOMIC_RELAXED);
	if (s->error)
		return err_set(e, s->error, "the source is dry");
	for (uint64_t i = 0; i < FRAME_PAGES; i++) {
		uint64_t page = frame * FRAME_PAGES + i;

		if (page == s->zero)
			kind[i] = INPUT_PAGE_ZERO;
		if (page < s->page || page >= s->page + s->n)
			continue;
		kind[i] = INPUT_PAGE_DATA;
		series_page(s->first + (uint32_t)(page - s->page), buf + i * PAGE_SIZE);
		n++;
	}
	return n;
}

static int commit_some(struct some *s, uint64_t size, const struct digest *parent)
{
	struct commit_image image = {.name = "memfile", .source = &s->source};
	struct commit_opts opts = opts_of(&image, 1);

	s->source = (struct input_source){.size = size, .next = some_next, .read = some_read,
					  .ctx = s};
	opts.parent = parent;
	return commit_run(store, &opts, &result, &err);
}

static void test_child(void)
{
	const char *base = make_file("base", 3000 * PAGE_SIZE, 510, 1000, 10);
	struct digest parent = commit_full(base, NULL);
	struct some s = {.page = 2000, .n = 2, .first = 8000, .zero = 511};

	is_int(commit_some(&s, 3000 * PAGE_SIZE, &parent), 0, "a source is committed");
	is_int(s.reads, 2, "only frames of which it says something are read");
	is_int(result.total.read_bytes, 2 * PAGE_SIZE, "two pages were read");
	is_int(result.total.frames_touched, 2, "two frames differ");
	put_page(base, 511, 0);
	put_page(base, 2000, 8000);
	put_page(base, 2001, 8001);
	ok(same_as(&result.id, "memfile", base), "the rest is the parent's");
	is_int(commit_mode(base, INPUT_FULL, &parent), 0, "the same from a file");
	ok(result.existed, "is the same layer");
}

static void test_without_parent(void)
{
	const char *want = make_file("want", 2500 * PAGE_SIZE + 5, 100, 8100, 3);
	struct digest other = commit_full(make_file("o", PAGE_SIZE, 0, 1, 1), NULL);
	struct commit_image image = {.name = "rootfs"};
	struct commit_opts opts = opts_of(&image, 1);
	struct some s = {.page = 100, .n = 3, .first = 8100, .zero = 7};

	is_int(commit_some(&s, 2500 * PAGE_SIZE + 5, NULL), 0, "a source without a parent");
	ok(same_as(&result.id, "memfile", want), "is zeros elsewhere");
	image.source = &s.source;
	opts.parent = &other;
	is_int(commit_run(store, &opts, &result, &err), 0, "and so it is with one that lacks it");
	ok(same_as(&result.id, "rootfs", want), "that image");
	ok(same_as(&result.id, "memfile", tap_path("o")), "and the other is inherited");
}

/* A source of another size than the parent. */
static void sized(uint64_t was, uint64_t is)
{
	const char *base = make_file("base", was, 0, 3000, 700), *want;
	struct digest parent = commit_full(base, NULL);
	unsigned left = (unsigned)((is < was ? is : was) + PAGE_SIZE - 1) / PAGE_SIZE;
	struct some s = {.page = 2, .n = is > 3 * PAGE_SIZE, .first = 4000, .zero = UINT64_MAX};

	want = make_file("want", left * (uint64_t)PAGE_SIZE, 0, 3000, left < 700 ? left : 700);
	/* First to where the parent ended, so that what is behind is zeros. */
	if (truncate(want, (off_t)(is < was ? is : was)) < 0)
		bail("truncate");
	if (s.n)
		put_page(want, 2, 4000);
	if (truncate(want, (off_t)is) < 0)
		bail("truncate");
	must(commit_some(&s, is, &parent), "commit");
	ok(same_as(&result.id, "memfile", want), "%llu bytes become %llu",
	   (unsigned long long)was, (unsigned long long)is);
}

static void test_sizes(void)
{
	sized(1200 * PAGE_SIZE, 2000 * PAGE_SIZE);
	sized(1200 * PAGE_SIZE, 600 * PAGE_SIZE);
	sized(1200 * PAGE_SIZE + 100, 1200 * PAGE_SIZE + 200);
	sized(1200 * PAGE_SIZE, 600 * PAGE_SIZE + 17);
	sized(1200 * PAGE_SIZE, FRAME_SIZE);
	sized(1200 * PAGE_SIZE, 0);
	sized(0, 1200 * PAGE_SIZE);
}

static void test_dry_source(void)
{
	struct digest parent = commit_full(make_file("base", 3000 * PAGE_SIZE, 0, 1, 1), NULL);
	struct some s = {.page = 0, .n = 1, .zero = UINT64_MAX, .error = -EIO};
	uint64_t before = pack_bytes();

	is_err(commit_some(&s, PAGE_SIZE, &parent), &err, -EIO, "the source is dry");
	is_int(pack_bytes(), before, "nothing was stored");
	is_err(commit_some(&s, IMAGE_SIZE_MAX + 1, &parent), &err, -EFBIG,
	       "image 'memfile': 281474976710657 bytes are more than an image can have");
}

/* ---- one more decision ---- */

/* A tag, as if there were no opts.tag. */
struct more {
	struct digest id;
	unsigned asked;
	int error;
};

static int more_decision(void *ctx, const struct digest *id, struct index_decision *ret,
			 struct err *e)
{
	struct more *m = ctx;

	m->asked++;
	m->id = *id;
	if (m->error)
		return err_set(e, m->error, "it cannot be decided");
	*ret = (struct index_decision){.kind = DECISION_TAG, .key = "also", .key_len = 4,
				       .has_value = true, .value = m->id.b,
				       .value_len = DIGEST_LEN};
	return 0;
}

static struct more more;
static const struct commit_also also = {.decision = more_decision, .ctx = &more};

static int commit_also(const char *path, bool dry_run)
{
	struct commit_image image = {.name = "memfile", .path = path};
	struct commit_opts opts = opts_of(&image, 1);

	more.asked = 0;
	opts.also = &also;
	opts.tag = "beside";
	opts.dry_run = dry_run;
	return commit_run(store, &opts, &result, &err);
}

/* Where a tag is, or zeros. */
static struct digest tag_at(const char *name)
{
	struct digest id = {{0}};

	(void)decide_tag_find(store, name, &id, NULL);
	return id;
}

static bool both_at(const struct digest *id)
{
	struct digest a = tag_at("also"), b = tag_at("beside");

	return digest_equal(&a, id) && digest_equal(&b, id);
}

static void test_also(void)
{
	const struct digest none = {{0}};
	struct digest first;

	is_int(commit_also(make_file("one", 9 * PAGE_SIZE, 1, 5000, 1), true), 0, "a dry run");
	is_int(more.asked, 0, "asks for no decision");
	ok(both_at(&none), "and decides nothing");
	is_int(commit_also(tap_path("one"), false), 0, "a commit with one more decision");
	is_int(more.asked, 1, "asks for it once");
	first = result.id;
	ok(digest_equal(&more.id, &first), "with the layer's name");
	ok(both_at(&first), "it is there with the layer");
	must(commit_also(make_file("two", 9 * PAGE_SIZE, 1, 5001, 1), false), "commit");
	ok(both_at(&result.id), "another commit moves it");
	is_int(commit_also(tap_path("one"), true), 0, "a dry run of a layer that is there");
	ok(result.existed && more.asked == 0 && !both_at(&first), "decides nothing either");
	is_int(commit_also(tap_path("one"), false), 0, "a layer that is there");
	ok(result.existed && more.asked == 1, "asks for the decision");
	ok(both_at(&first), "and it counts");
	store_close(store);
	must(store_open(tap_path("store"), NULL, &store, &err), "store_open");
	ok(both_at(&first), "for ever");
}

static void test_also_fails(void)
{
	struct digest first = tag_at("also");
	uint64_t before = pack_bytes();
	unsigned n = layers();

	more.error = -ENOMEM;
	is_err(commit_also(make_file("three", 9 * PAGE_SIZE, 1, 5002, 1), false), &err, -ENOMEM,
	       "it cannot be decided");
	ok(both_at(&first), "then nothing else is");
	is_int(layers(), n, "there is no new layer");
	is_int(pack_bytes(), before, "the packs are as they were");
	is_err(commit_also(tap_path("two"), false), &err, -ENOMEM, "it cannot be decided");
	more.error = 0;
	fault_arm(FAULT_FSYNC, 1, EIO);
	is_int(commit_also(tap_path("three"), false), -EIO, "the disk fails behind the decision");
	fault_disarm();
	is_int(more.asked, 1, "which was made");
	ok(tag_at("also").b[0] == first.b[0] && layers() == n, "it does not count");
	is_int(commit_also(tap_path("three"), false), 0, "until it works");
	ok(both_at(&result.id) && layers() == n + 1, "then all of it does");
}

/* ---- the lock ---- */

static void test_lock(void)
{
	const char *path = make_file("locked", 9 * PAGE_SIZE, 1, 6000, 1);

	must(store_lock(store, "test", 0, &err), "store_lock");
	is_int(commit_also(path, false), 0, "who has the lock may commit");
	ok(store->lock_fd >= 0, "and has it afterwards");
	is_int(commit_also(path, false), 0, "once more, of the same");
	ok(result.existed && store->lock_fd >= 0, "it has it still");
	is_int(commit_mode(tap_tmpdir(), INPUT_FULL, NULL), -EISDIR, "after a failure");
	ok(store->lock_fd >= 0, "too");
	store_unlock(store);
	must(commit_mode(path, INPUT_FULL, NULL), "commit");
	ok(store->lock_fd < 0, "who does not have it does not have it afterwards");
}

int main(void)
{
	must(digest_init(), "digest_init");
	store = make_store("store");
	test_child();
	test_without_parent();
	test_sizes();
	test_dry_source();
	test_also();
	test_also_fails();
	test_lock();
	store_close(store);
	return tap_done();
}
