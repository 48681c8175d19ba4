/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/traces.h"

#include "store/base/fmt.h"
#include "tests/fault.h"
#include "tests/unit/gc-fixture.h"

#define SIZE (SERIES_PAGES * PAGE_SIZE)

static struct err err;
static char hex[4][13];		/* the beginning of each layer's id */

static const struct digest *id_of(size_t i)
{
	fmt_hex(hex[i], s.layer[i].id.b, 6);
	return &s.layer[i].id;
}

/* One page, so that traces can be told apart. */
static struct trace trace_of(uint64_t page)
{
	struct trace t;

	trace_init(&t, PAGE_SIZE, SIZE);
	if (trace_add(&t, page, 1) < 0)
		bail("cannot add a page");
	return t;
}

static int put(size_t layer, const char *name, uint64_t page)
{
	struct trace t = trace_of(page);
	int rc = traces_put(s.store, id_of(layer), name, &t, 0, &err);

	trace_fini(&t);
	return rc;
}

static void must_put(size_t layer, const char *name, uint64_t page)
{
	series_must(put(layer, name, page), &err, "traces_put");
}

/* The page of that trace, or -errno. */
static int page_of(size_t layer, const char *name)
{
	struct trace t = {0};
	int rc = traces_get(s.store, id_of(layer), name, &t, &err);

	if (rc == 0)
		rc = t.n == 1 ? (int)t.v[0].first : -EINVAL;
	trace_fini(&t);
	return rc;
}

static int list_one(void *ctx, const struct traces_item *item)
{
	char *list = ctx;
	size_t at = strlen(list);

	for (size_t i = 0; i < s.n; i++)
		if (digest_equal(&s.layer[i].id, &item->layer))
			(void)sprintf(list + at, "%zu:%s ", i, item->name);
	return strcmp(item->name, "stop") == 0 ? 7 : 0;
}

static const char *list(const struct digest *id)
{
	static char text[1024];

	text[0] = '\0';
	if (traces_each(s.store, id, list_one, text, &err) < 0)
		return err.text;
	return text;
}

static void test_names(void)
{
	char name[TRACES_NAME_MAX + 2];

	ok(traces_name_ok("a") && traces_name_ok("vm1.2_X-y"), "names");
	ok(!traces_name_ok(""), "nothing is none");
	ok(!traces_name_ok(".x") && !traces_name_ok(".."), "nor what begins with a dot");
	ok(!traces_name_ok("a/b") && !traces_name_ok("a b"), "nor what has other letters");
	memset(name, 'a', sizeof(name));
	name[TRACES_NAME_MAX] = '\0';
	ok(traces_name_ok(name), "64 letters are");
	name[TRACES_NAME_MAX] = 'a';
	name[TRACES_NAME_MAX + 1] = '\0';
	ok(!traces_name_ok(name), "65 are not");
	ok(traces_key_ok("0123456789abcdef0123456789abcdefx", 33), "a key is an id and a name");
	ok(!traces_key_ok("0123456789abcdef0123456789abcdefx", 32), "not an id alone");
	ok(!traces_key_ok("0123456789abcdef0123456789abcdefx\0y", 35), "nor a name with a NUL");
}

static void test_put(void)
{
	struct buf text = {0};
	uint64_t len;

	is_str(list(NULL), "", "no traces at first");
	is_int(page_of(0, "web"), -ENOENT, "none is found");
	is_err(-ENOENT, &err, -ENOENT, "layer %s has no trace 'web'", hex[0]);
	is_int(put(0, "web", 5), 0, "one is kept");
	is_int(page_of(0, "web"), 5, "as it was");
	is_int(put(0, "db", 6), 0, "another");
	is_int(put(1, "web", 7), 0, "and one of another layer");
	is_int(page_of(0, "web"), 5, "do not disturb it");
	is_str(list(&s.layer[0].id), "0:db 0:web ", "a layer's by name");
	is_str(list(&s.layer[1].id), "1:web ", "are its own");
	is_int(put(0, "web", 8), 0, "one in the place of the first");
	is_int(page_of(0, "web"), 8, "replaces it");
	is_int(traces_text(s.store, id_of(0), "web", &text, &err), 0, "its text");
	is_int(traces_size(s.store, id_of(0), "web", &len, &err), 0, "and its length");
	is_int(len, text.len, "agree");
	buf_u8(&text, '\0');
	is_str((char *)text.data, "lamina-trace 1 page-size 4096 size 2457600\n8 1\nend 1\n",
	       "with what was given");
	buf_fini(&text);
	is_int(put(0, "stop", 9), 0, "a callback's answer");
	is_int(traces_each(s.store, id_of(0), list_one, (char[64]){""}, &err), 7, "ends the walk");
	is_int(traces_remove(s.store, id_of(0), "stop", 0, &err), 0, "one can be removed");
	is_err(traces_remove(s.store, id_of(0), "stop", 0, &err), &err, -ENOENT,
	       "layer %s has no trace 'stop'", hex[0]);
	is_str(list(&s.layer[0].id), "0:db 0:web ", "and is gone");
	ok(s.store->lock_fd < 0, "the lock is given back each time");
}

static void test_refusals(void)
{
	struct trace t = trace_of(1);
	struct digest none = {{0x99}};

	t.size = SIZE - 1;
	is_err(traces_put(s.store, id_of(0), "web", &t, 0, &err), &err, -EINVAL,
	       "the trace is of a memfile of 2457599 bytes, but that of layer %s has 2457600",
	       hex[0]);
	t.size = SIZE;
	is_err(traces_put(s.store, id_of(0), "../web", &t, 0, &err), &err, -EINVAL,
	       "'../web' is not a good name for a trace: letters, digits and ._- (not first a "
	       "dot), at most 64");
	is_int(traces_put(s.store, &none, "web", &t, 0, &err), -ENOENT, "no such layer");
	is_int(traces_remove(s.store, &none, "web", 0, &err), -ENOENT, "to remove from, either");
	is_err(traces_remove(s.store, id_of(0), "a/b", 0, &err), &err, -EINVAL,
	       "'a/b' is not a good name for a trace: letters, digits and ._- (not first a dot), "
	       "at most 64");
	is_int(page_of(0, "web"), 8, "what was there is untouched");
	trace_fini(&t);
}

static void test_no_memfile(void)
{
	struct commit_image image = {.name = "rootfs", .path = s.input[1]};
	struct commit_opts opts = {.images = &image, .nimages = 1, .threads = 1};
	struct commit_result r;
	struct trace t = trace_of(1);
	char id[13];

	series_must(commit_run(s.store, &opts, &r, &err), &err, "commit");
	is_err(traces_put(s.store, &r.id, "web", &t, 0, &err), &err, -EINVAL,
	       "layer %s has no memfile", fmt_hex(id, r.id.b, 6));
	series_must(decide_remove(s.store, &r.id, false, 0, &err), &err, "remove");
	trace_fini(&t);
}

static void test_limits(void)
{
	struct trace t;
	char name[16];

	for (unsigned i = 0; i < TRACES_MAX; i++) {
		(void)snprintf(name, sizeof(name), "n%u", i);
		must_put(2, name, i);
	}
	is_err(put(2, "more", 1), &err, -EDQUOT, "layer %s has 16 traces, more are not kept",
	       hex[2]);
	is_int(put(2, "n3", 99), 0, "but one that is there can be replaced");
	for (unsigned i = 0; i < TRACES_MAX; i++) {
		(void)snprintf(name, sizeof(name), "n%u", i);
		series_must(traces_remove(s.store, id_of(2), name, 0, &err), &err, "remove");
	}
	trace_init(&t, PAGE_SIZE, TRACE_SIZE_MAX);
	for (uint64_t i = 0; i < TRACES_TEXT_MAX / 14 + 1; i++)
		if (trace_add(&t, TRACE_SIZE_MAX / PAGE_SIZE - 1 - 2 * i, 1) < 0)
			bail("cannot add a page");
	ok(traces_put(s.store, id_of(2), "long", &t, 0, &err) == -EFBIG &&
	   strstr(err.text, "more than 16777216 are not kept"), "one too long is refused");
	trace_fini(&t);
}

/* A row that nobody wrote so: what is found in it is told as damage. */
static void test_damaged(void)
{
	uint8_t key[DIGEST_LEN + 1];
	struct index_decision d = {.kind = DECISION_TRACE, .key = key, .key_len = sizeof(key),
				   .seq = 1, .pack = 1, .opack = 1, .has_value = true,
				   .value = "nothing", .value_len = 7};

	memcpy(key, id_of(3)->b, DIGEST_LEN);
	key[DIGEST_LEN] = 'x';
	series_must(index_begin(s.store->index, &err), &err, "begin");
	series_must(index_decision_put(s.store->index, &d, &err), &err, "put");
	is_int(page_of(3, "x"), -EBADMSG, "a text that is no trace");
	is_err(-EBADMSG, &err, -EBADMSG, "trace 'x' of layer %s: it is no trace", hex[3]);
	index_abort(s.store->index);
}

static void test_no_memory(void)
{
	struct trace one = trace_of(1), t = {0};
	struct buf text = {0};

	fault_arm_from(FAULT_MALLOC, 1, ENOMEM);
	is_err(traces_text(s.store, id_of(0), "web", &text, &err), &err, -ENOMEM, "out of memory");
	is_int(traces_get(s.store, id_of(0), "web", &t, &err), -ENOMEM, "nor to parse");
	is_err(traces_put(s.store, id_of(0), "web", &one, 0, &err), &err, -ENOMEM, "out of memory");
	fault_disarm();
	is_int(page_of(0, "web"), 8, "what was there is untouched");
	trace_fini(&one);
	buf_fini(&text);
}

/* ---- what happens to them ---- */

static void test_recover(void)
{
	(void)recover();
	is_str(list(NULL)[0] ? "some" : "none", "some", "packs alone remember them");
	is_int(page_of(0, "web"), 8, "the last word counts");
	is_int(page_of(0, "db"), 6, "each");
	is_int(page_of(1, "web"), 7, "of each layer");
	is_int(page_of(0, "stop"), -ENOENT, "and a removal, too");
	is_str(list(&s.layer[2].id), "", "all of them");
	is_int(series_faults(&s), 0, "the store is sound");
}

static void test_repack(void)
{
	struct gc_opts all = {.repack = true, .ratio = 1.1};

	(void)gc_with(all);
	is_int(page_of(0, "web"), 8, "a repack carries them");
	is_int(series_faults(&s), 0, "to where they are found");
	(void)recover();
	is_int(page_of(0, "web"), 8, "and they can be recovered from there");
	is_int(page_of(0, "stop"), -ENOENT, "without those that were removed");
	is_int(page_of(1, "web"), 7, "of any layer");
}

static void recommit(size_t i)
{
	series_must(series_try_commit(&s, &s.layer[i], i ? &s.layer[i - 1] : NULL, NULL, &err),
		    &err, "commit");
	s.layer[i].removed = false;
}

/* The same layer may come back: its old traces do not. */
static void test_layer_goes(void)
{
	must_put(3, "last", 3);
	series_remove(&s, 3);
	is_str(list(&s.layer[3].id), "", "traces go with their layer");
	is_int(put(3, "last", 3), -ENOENT, "and none is kept of one that went");
	recommit(3);
	is_str(list(&s.layer[3].id), "", "committed again it has none");
	must_put(3, "last", 4);
	series_remove(&s, 3);
	(void)gc();
	(void)recover();
	recommit(3);
	is_str(list(&s.layer[3].id), "", "nor after gc and recover");
	(void)recover();
	is_str(list(&s.layer[3].id), "", "nor after another");
	is_int(page_of(0, "web"), 8, "others stay");
	is_int(series_faults(&s), 0, "the store is sound");
}

/*
 * The trace is in a pack that stays, the word that it is gone in one that goes:
 * carried on, also by an index that was recovered, it is still heard.
 */
static void test_word_is_carried(void)
{
	struct gc_opts dead = {.ratio = 1.1};	/* all packs without pages */

	series_new_pack(&s);
	series_commit(&s, 0, 30, NULL);
	must_put(2, "old", 3);
	series_new_pack(&s);
	series_remove(&s, 2);
	for (size_t i = 0; i < 2; i++) {
		series_new_pack(&s);
		(void)gc_with(dead);
		(void)recover();
	}
	recommit(2);
	is_str(list(&s.layer[2].id), "", "a layer that came back");
	(void)recover();
	is_str(list(&s.layer[2].id), "", "has none of its old traces");
	is_int(page_of(0, "web"), 8, "others stay");
	is_int(series_faults(&s), 0, "the store is sound");
}

/* Nothing of a trace is left once its layer and its packs went. */
static void test_nothing_left(void)
{
	uint8_t key[DIGEST_LEN + 3];
	struct index_decision what = {.kind = DECISION_TRACE, .key = key, .key_len = sizeof(key)};
	struct gc_opts all = {.repack = true, .ratio = 1.1};

	memcpy(key, id_of(1)->b, DIGEST_LEN);
	memcpy(key + DIGEST_LEN, "web", 3);
	is_int(index_decision_get(s.store->index, &what, count_decision, &(unsigned){0}, &err), 0,
	       "a trace has a row");
	series_remove(&s, 1);
	is_int(index_decision_get(s.store->index, &what, count_decision, &(unsigned){0}, &err), 0,
	       "its removal is remembered");
	for (size_t i = 0; i < 3; i++) {
		series_new_pack(&s);
		(void)gc_with(all);
	}
	is_int(index_decision_get(s.store->index, &what, count_decision, &(unsigned){0}, NULL),
	       -ENOENT, "until no pack is left that knows of it");
	(void)recover();
	is_str(list(&s.layer[1].id), "", "which is right");
	is_int(page_of(0, "web"), 8, "others stay");
}

int main(void)
{
	series_init(&s, "s", 5);
	for (size_t i = 0; i < 4; i++)
		series_commit(&s, i - 1, i ? 15 : 40, NULL);
	test_names();
	test_put();
	test_refusals();
	test_no_memfile();
	test_limits();
	test_damaged();
	test_no_memory();
	test_recover();
	test_repack();
	test_layer_goes();
	test_word_is_carried();
	test_nothing_left();
	store_close(s.store);
	return tap_done();
}
