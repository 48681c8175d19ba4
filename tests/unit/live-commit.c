/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/fault.h"
#include "tests/unit/live-fixture.h"

#include <sys/stat.h>

static struct digest base;

/* ---- what it is ---- */

static bool is_child(const struct digest *id, const struct digest *parent)
{
	struct layer *layer = NULL;
	bool is;

	must(layer_peek(store, id, &layer, &err), "layer_peek");
	is = layer->has_parent && digest_equal(&layer->parent, parent);
	layer_unref(layer);
	return is;
}

static bool attr_is(const struct digest *id, const char *key, const char *want)
{
	struct attrs attrs;
	const char *got;
	bool is;

	must(attrs_load(store, id, &attrs, &err), "attrs_load");
	got = attrs_get(&attrs, key);
	is = got && strcmp(got, want) == 0;
	attrs_fini(&attrs);
	return is;
}

static void test_nothing_written(void)
{
	struct lively v = lively_new("idle", &base, 0, 0);

	lively_seal(&v);
	is_int(lively_commit(&v), 0, "nothing was written");
	ok(!digest_equal(&result.id, &base), "it is another layer");
	ok(is_child(&result.id, &base), "a child");
	ok(lively_is(&v, &result.id), "that reads as its parent");
	is_int(result.total.read_bytes, 0, "nothing was read");
	is_int(result.total.frames_touched, 0, "nothing differs");
	ok(attr_is(&result.id, "lamina.live", "idle"), "it says where it comes from");
	lively_close(&v);
}

static void test_written(void)
{
	struct lively v = lively_new("vm", &base, 0, 0);
	struct digest first;

	lively_write(&v, 0, 3, 9000);		/* new */
	lively_write(&v, 0, 511, 9001);		/* the last and first of frames */
	lively_write(&v, 0, 512, 9002);
	lively_write(&v, 0, 12, 102);		/* as it was */
	lively_write(&v, 0, 13, 0);		/* zeros that are data */
	lively_write(&v, 0, 1999, 9003);	/* the last */
	lively_zero(&v, 0, 15, 3);
	lively_zero(&v, 0, 1500, 40);		/* zero already */
	lively_seal(&v);
	is_int(lively_commit(&v), 0, "what was written is committed");
	ok(lively_is(&v, &result.id), "and reads as it was written");
	ok(is_child(&result.id, &base), "a child of what it stood on");
	is_int(result.total.read_bytes, 6 * PAGE_SIZE, "what was written was read, nothing else");
	is_int(result.total.fresh, 4, "new pages were stored");
	is_int(result.total.frames_touched, 3, "three frames differ");
	is_int(result.nimages, 1, "counts are of its images");
	first = result.id;
	lively_write(&v, 0, 4, 9100);
	lively_zero(&v, 0, 3, 1);
	lively_seal(&v);
	is_int(lively_commit(&v), 0, "the next generation");
	ok(lively_is(&v, &result.id), "has what was written since");
	ok(is_child(&result.id, &first), "and is a child of the first");
	is_int(result.total.read_bytes, PAGE_SIZE, "of which nothing was read again");
	lively_close(&v);
}

/* Later ones hide earlier ones, page by page. */
static void test_several(void)
{
	struct lively v = lively_new("several", &base, 0, 0);

	for (unsigned k = 0; k < 8; k++)
		lively_write(&v, 0, 600 + k, 9200 + k);
	lively_seal(&v);
	lively_zero(&v, 0, 602, 4);
	lively_write(&v, 0, 607, 9300);
	lively_zero(&v, 0, 10, 1);
	lively_seal(&v);
	lively_write(&v, 0, 603, 9400);
	lively_write(&v, 0, 10, 9401);
	lively_write(&v, 0, 1700, 9402);
	lively_seal(&v);
	lively_seal(&v);			/* nothing in between */
	is_int(lively_commit(&v), 0, "several that were sealed");
	ok(lively_is(&v, &result.id), "the last word on each page counts");
	is_int(result.total.read_bytes, (3 + 1 + 1 + 1 + 1) * PAGE_SIZE, "each page is read once");
	lively_close(&v);
}

/* A part of what is sealed may be committed, the rest later. */
static void test_upto(void)
{
	struct lively v = lively_new("parts", &base, 0, 0), early;
	struct live_commit_opts opts;
	struct live_taken taken;

	lively_write(&v, 0, 20, 9500);
	lively_seal(&v);
	early = v;
	(void)snprintf(early.want[0], PATH_MAX, "%s", make_file("early", 2000 * PAGE_SIZE, 10, 100,
								50));
	put_page(early.want[0], 20, 9500);
	lively_write(&v, 0, 20, 9501);
	lively_seal(&v);
	opts = lively_opts(&early);
	is_int(live_commit(store, &opts, &result, &taken, &err), 0, "the first of two");
	ok(lively_is(&early, &result.id), "has nothing of the second");
	is_int(taken.row.first, 1, "what it took is told: from which delta on");
	ok(digest_equal(&taken.row.base, &base), "and upon which layer");
	is_str(taken.row.image[0], "memfile", "which images");
	is_int(taken.size[0], 2000 * PAGE_SIZE, "and how long they are");
	is_err(live_commit(store, &opts, &result, NULL, &err), &err, -EALREADY,
	       "live image 'parts': what was sealed below 2 is in a layer already");
	is_int(lively_commit(&v), 0, "the second");
	ok(lively_is(&v, &result.id), "has both");
	lively_close(&v);
}

/* ---- sizes, and images that the layer lacks ---- */

static void resized(uint64_t size, const char *what)
{
	struct lively v = lively_new(what, &base, 0, 0);

	lively_write(&v, 0, 1, 9600);
	lively_write(&v, 0, 1400, 9601);
	lively_resize(&v, 0, size);
	if (size > 3 * PAGE_SIZE)
		lively_write(&v, 0, (size - 1) / PAGE_SIZE, 9602);
	lively_seal(&v);
	is_int(lively_commit(&v), 0, "%s", what);
	ok(lively_is(&v, &result.id), "it has %llu bytes", (unsigned long long)size);
	lively_resize(&v, 0, 2100 * PAGE_SIZE);
	lively_seal(&v);
	is_int(lively_commit(&v), 0, "%s, grown again", what);
	ok(lively_is(&v, &result.id), "what was cut off is zero");
	lively_close(&v);
}

/* Cut in one delta, grown in the next, committed at once. */
static void test_cut_and_grown(void)
{
	struct lively v = lively_new("cut-and-grown", &base, 0, 0);

	lively_write(&v, 0, 1400, 9700);
	lively_seal(&v);
	lively_resize(&v, 0, 12 * PAGE_SIZE);
	lively_seal(&v);
	lively_resize(&v, 0, 1990 * PAGE_SIZE + 3);
	lively_write(&v, 0, 1989, 9701);
	lively_seal(&v);
	is_int(lively_commit(&v), 0, "cut, then grown");
	ok(lively_is(&v, &result.id), "nothing of what was cut off comes back");
	lively_close(&v);
}

static void test_sizes(void)
{
	resized(3000 * PAGE_SIZE, "grown");
	resized(3000 * PAGE_SIZE + 17, "grown-by-odd-bytes");
	resized(1300 * PAGE_SIZE, "shrunk");
	resized(20 * PAGE_SIZE, "shrunk-into-data");
	resized(20 * PAGE_SIZE + 1000, "shrunk-into-a-page");
	resized(FRAME_SIZE, "shrunk-to-a-frame");
	resized(0, "shrunk-to-nothing");
	test_cut_and_grown();
}

static void test_new_image(void)
{
	struct lively v = lively_new("disk", &base, 0, 1100 * PAGE_SIZE);

	lively_write(&v, ROOTFS, 1099, 9800);
	lively_write(&v, ROOTFS, 0, 101);	/* known from memfile */
	lively_write(&v, MEMFILE, 7, 9801);
	lively_seal(&v);
	is_int(lively_commit(&v), 0, "an image that the layer lacks");
	ok(lively_is(&v, &result.id), "begins as zeros");
	is_int(result.nimages, 2, "both were committed");
	is_int(result.image[MEMFILE].read_bytes, PAGE_SIZE, "counts are in the row's order");
	is_int(result.image[ROOTFS].read_bytes, 2 * PAGE_SIZE, "for each");
	is_int(result.image[ROOTFS].fresh, 1, "and pages are looked for in the store");
	lively_close(&v);
}

static void test_without_base(void)
{
	struct lively v = lively_new("empty", NULL, 700 * PAGE_SIZE, 0);

	lively_write(&v, 0, 699, 9900);
	lively_seal(&v);
	is_int(lively_commit(&v), 0, "one that stands on nothing");
	ok(lively_is(&v, &result.id), "is zeros where nothing was written");
	lively_write(&v, 0, 0, 9901);
	lively_seal(&v);
	is_int(lively_commit(&v), 0, "and stands on its layer then");
	ok(lively_is(&v, &result.id), "with both");
	is_int(result.total.read_bytes, PAGE_SIZE, "one of which was read");
	lively_close(&v);
}

/* ---- what is said with it ---- */

static void test_words(void)
{
	struct lively v = lively_new("words", &base, 0, 0);
	struct live_commit_opts opts;
	struct attrs attrs = {0};
	struct live_row was = lively_row(&v);
	struct digest id, tagged;
	uint64_t before;

	lively_write(&v, 0, 5, 10000);
	lively_seal(&v);
	before = pack_bytes();
	must(attrs_set(&attrs, "who", "me"), "attrs_set");
	must(attrs_set(&attrs, "lamina.live", "somebody else"), "attrs_set");
	opts = lively_opts(&v);
	opts.attrs = &attrs;
	opts.tag = "live";
	opts.dry_run = true;
	is_int(live_commit(store, &opts, &result, NULL, &err), 0, "a dry run");
	id = result.id;
	ok(lively_stands(&v, &was), "moves nothing");
	is_int(pack_bytes(), before, "and writes nothing");
	opts.dry_run = false;
	is_int(live_commit(store, &opts, &result, NULL, &err), 0,
	       "a commit with a tag and attributes");
	ok(digest_equal(&result.id, &id), "the name is what the dry run said");
	ok(lively_is(&v, &id), "it is there");
	must(decide_tag_find(store, "live", &tagged, &err), "decide_tag_find");
	ok(digest_equal(&tagged, &id), "the tag points at it");
	ok(attr_is(&id, "who", "me"), "the attributes are kept");
	ok(attr_is(&id, "lamina.live", "words"), "what we say ourselves counts");
	attrs_fini(&attrs);
	lively_close(&v);
}

/* Two that were written alike. */
static void test_existed(void)
{
	struct lively a = lively_new("one", &base, 0, 0), b = lively_new("other", &base, 0, 0);
	struct digest id;

	lively_write(&a, 0, 6, 10100);
	lively_write(&b, 0, 6, 10100);
	lively_seal(&a);
	lively_seal(&b);
	must(lively_commit(&a), "commit");
	id = result.id;
	is_int(lively_commit(&b), 0, "a layer that is there already");
	ok(result.existed && digest_equal(&result.id, &id), "is found");
	ok(lively_is(&b, &id), "and the second stands on it, too");
	ok(lively_is(&a, &id), "as the first does");
	lively_close(&a);
	lively_close(&b);
}

static void test_lock(void)
{
	struct lively v = lively_new("locked", &base, 0, 0);

	lively_seal(&v);
	must(store_lock(store, "test", 0, &err), "store_lock");
	is_int(lively_commit(&v), -EBUSY, "who has the lock has to let go of it first");
	ok(store->lock_fd >= 0, "and has it still");
	store_unlock(store);
	is_int(lively_commit(&v), 0, "who has not");
	ok(store->lock_fd < 0, "has not afterwards");
	is_int(lively_commit(&v), -EALREADY, "after a failure");
	ok(store->lock_fd < 0, "neither");
	lively_close(&v);
}

/* ---- refusals and damage ---- */

static void test_refused(void)
{
	struct lively v = lively_new("refused", &base, 0, 0);
	struct live_commit_opts opts = lively_opts(&v);
	struct commit_result r = {.nimages = 77};

	is_err(live_commit(store, &opts, &r, NULL, &err), &err, -EALREADY,
	       "live image 'refused': what was sealed below 1 is in a layer already");
	opts.upto = 2;
	is_err(live_commit(store, &opts, &r, NULL, &err), &err, -EINVAL,
	       "live image 'refused' is not sealed below 2");
	opts.name = "nobody";
	is_int(live_commit(store, &opts, &r, NULL, &err), -ENOENT, "no such live image");
	ok(strstr(err.text, "'nobody'"), "it is named");
	opts.name = "../refused";
	is_int(live_commit(store, &opts, &r, NULL, &err), -ENOENT,
	       "nor is there one of a bad name");
	is_int(r.nimages, 77, "the output is untouched");
	lively_close(&v);
}

static void path_of(const struct lively *v, uint64_t seq, const char *file, char path[PATH_MAX])
{
	(void)snprintf(path, PATH_MAX, "%s/live/%s/%llu%s", store->path, v->name,
		       (unsigned long long)seq, file);
}

static void move(const char *from, const char *to)
{
	if (rename(from, to) < 0)
		bail("cannot rename '%s'", from);
}

static void flip(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	uint8_t byte;

	if (fd < 0 || pread(fd, &byte, 1, 30) != 1)
		bail("cannot read '%s'", path);
	byte ^= 1;
	if (pwrite(fd, &byte, 1, 30) != 1)
		bail("cannot write '%s'", path);
	close(fd);
}

/* It fails with the sentence, and all is as before. */
static void broken(struct lively *v, const char *what, const char *sentence)
{
	struct live_row was = lively_row(v);
	uint64_t before = pack_bytes();
	unsigned n = layers();

	is_int(lively_commit(v), -EBADMSG, "%s", what);
	if (!ok(strstr(err.text, sentence), "it says so"))
		tap_diag("'%s'", err.text);
	ok(lively_stands(v, &was) && layers() == n && pack_bytes() == before,
	   "nothing has changed");
}

static void test_damage(void)
{
	struct lively v = lively_new("hurt", &base, 0, 9 * PAGE_SIZE);
	char path[PATH_MAX], away[PATH_MAX];

	lively_write(&v, 0, 6, 10200);
	lively_seal(&v);
	lively_write(&v, ROOTFS, 6, 10201);
	lively_seal(&v);
	path_of(&v, 1, "", path);
	path_of(&v, 1, "-away", away);
	move(path, away);
	broken(&v, "a sequence number is missing", "live image 'hurt': its delta 1 is missing");
	move(away, path);
	path_of(&v, 2, "/rootfs", path);
	path_of(&v, 2, "/away", away);
	move(path, away);
	broken(&v, "a delta is missing", "live image 'hurt': ");
	move(away, path);
	flip(path);
	broken(&v, "a delta is damaged", "live image 'hurt': ");
	flip(path);
	is_int(lively_commit(&v), 0, "all is well again");
	ok(lively_is(&v, &result.id), "and nothing was lost");
	lively_close(&v);
}

static void test_layer_gone(void)
{
	struct digest parent = commit_full(make_file("gone", 9 * PAGE_SIZE, 0, 1, 2), NULL);
	struct lively v = lively_new("orphan", &parent, 0, 0);

	lively_seal(&v);
	must(store_lock(store, "test", 0, &err), "store_lock");
	{
		struct index_decision d = {.kind = DECISION_REMOVE, .key = parent.b,
					   .key_len = DIGEST_LEN, .has_value = true};

		must(decide_write(store, &d, 1, &err), "decide_write");
	}
	store_unlock(store);
	is_int(lively_commit(&v), -ENOENT, "the layer that it stands on was removed");
	ok(strstr(err.text, "cannot commit upon this parent: "), "it says so");
	lively_close(&v);
}

/* ---- a full disk, and faults ---- */

static uint64_t reserve(void)
{
	char path[PATH_MAX];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/reserve", store->path);
	return stat(path, &st) < 0 ? 0 : (uint64_t)st.st_blocks;
}

static void test_full_disk(void)
{
	struct lively v = lively_new("full", &base, 0, 0);
	struct live_row was = lively_row(&v);
	unsigned n = layers();

	for (unsigned i = 0; i < 300; i++)
		lively_write(&v, 0, 300 + i, 11000 + i);
	lively_seal(&v);
	fault_arm_from(FAULT_PWRITE, 1, ENOSPC);
	is_int(lively_commit(&v), -ENOSPC, "a disk that is full");
	fault_disarm();
	ok(lively_stands(&v, &was) && layers() == n, "changes nothing");
	must(lively_commit(&v), "commit");
	ok(lively_is(&v, &result.id), "what was sealed waited");
	lively_close(&v);
}

/* Full once, at each place; the second time there is room. */
static void test_reserve(void)
{
	struct lively v = lively_new("reserve", &base, 0, 0);
	unsigned long n = 1, good = 0;
	bool struck = true;

	for (; struck; n++) {
		lively_write(&v, 0, n, 11400 + (uint32_t)n);
		lively_seal(&v);
		fault_arm(FAULT_PWRITE, n, ENOSPC);
		good += lively_commit(&v) == 0 && lively_is(&v, &result.id);
		struck = fault_struck();
		fault_disarm();
	}
	ok(n > 3 && good == n - 1, "a disk that is full but for the reserve is enough");
	ok(reserve() > 0, "the reserve is there again");
	lively_close(&v);
}

static const struct {
	enum fault_kind kind;
	int error;
	const char *what;
} faults[] = {
	{FAULT_PREAD, EIO, "a read fails"},
	{FAULT_PREAD, FAULT_SHORT, "a read is short"},
	{FAULT_PWRITE, EIO, "a write fails"},
	{FAULT_FSYNC, EIO, "a sync fails"},
	{FAULT_OPEN, EMFILE, "there are no descriptors"},
	{FAULT_MALLOC, ENOMEM, "there is no memory"},
	{FAULT_LIB_PWRITE, ENOSPC, "the index's disk is full"},
};

/* Both or none: NULL, or what is wrong. */
static const char *judge(struct lively *v, int rc, const struct live_row *was)
{
	struct live_row row = lively_row(v);

	if (rc < 0 && !*err.text)
		return "there is no sentence";
	if (row.first == v->seq)
		return lively_is(v, &row.base) ? NULL : "the layer is another";
	if (rc == 0)
		return "the row has not moved";
	if (!lively_stands(v, was))
		return "the row is nowhere";
	return lively_commit(v) == 0 && lively_is(v, &result.id) ? NULL : err.text;
}

/* Each try is a generation of its own. */
static void test_faults(void)
{
	struct lively v = lively_new("faults", &base, 0, 9 * PAGE_SIZE);
	const char *wrong = NULL;
	uint32_t content = 20000;

	for (size_t k = 0; k < sizeof(faults) / sizeof(faults[0]); k++) {
		unsigned long n = 1, tried = 0;
		bool struck = true;

		for (; struck && !wrong; n += 1 + n / 5) {
			struct live_row was = lively_row(&v);
			int rc;

			lively_write(&v, 0, n % 2000, content++);
			lively_seal(&v);
			lively_write(&v, ROOTFS, n % 9, content++);
			lively_seal(&v);
			memset(&err, 0, sizeof(err));
			fault_arm(faults[k].kind, n, faults[k].error);
			rc = lively_commit(&v);
			struck = fault_struck();
			fault_disarm();
			wrong = judge(&v, rc, &was);
			tried += struck;
		}
		if (!ok(!wrong && tried, "%s: at %lu places", faults[k].what, tried))
			tap_diag("call %lu: %s", n, wrong ? wrong : "there was none");
	}
	lively_close(&v);
}

int main(void)
{
	must(digest_init(), "digest_init");
	store = make_store("store");
	base = commit_full(make_file("base", 2000 * PAGE_SIZE, 10, 100, 50), NULL);
	test_nothing_written();
	test_written();
	test_several();
	test_upto();
	test_sizes();
	test_new_image();
	test_without_base();
	test_words();
	test_existed();
	test_lock();
	test_refused();
	test_damage();
	test_layer_gone();
	test_full_disk();
	test_reserve();
	test_faults();
	store_close(store);
	return tap_done();
}
