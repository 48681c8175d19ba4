/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/live-row.h"

#include "store/append.h"
#include "store/base/fmt.h"
#include "store/decide.h"
#include "store/index-private.h"
#include "store/store.h"
#include "tests/fault.h"
#include "tests/tap.h"

static struct err err;
static struct store *store;
static const struct digest base = {.b = {0xab, 0xcd, 0x11}};

static void setup(void)
{
	struct store_params params;

	store_params_default(&params);
	if (store_init(tap_path("s"), &params, &err) < 0 ||
	    store_open(tap_path("s"), NULL, &store, &err) < 0)
		bail("no store: %s", err.text);
	if (store_lock(store, "test", 0, &err) < 0)
		bail("no lock: %s", err.text);
}

static struct live_row row_of(const char *name, bool has_base)
{
	struct live_row row = {.first = 3, .created = 1700000000, .nimages = 2,
			       .has_base = has_base, .image = {"memfile", "rootfs"}};

	(void)snprintf(row.name, sizeof(row.name), "%s", name);
	if (has_base)
		row.base = base;
	return row;
}

static bool same(const struct live_row *a, const struct live_row *b)
{
	bool same = strcmp(a->name, b->name) == 0 && a->has_base == b->has_base &&
		    digest_equal(&a->base, &b->base) && a->first == b->first &&
		    a->created == b->created && a->nimages == b->nimages;

	for (unsigned i = 0; same && i < a->nimages; i++)
		same = strcmp(a->image[i], b->image[i]) == 0;
	return same;
}

/* ---- bytes ---- */

static void test_names(void)
{
	ok(live_row_name_ok("web-1.2_X"), "a live image is named as a tag is");
	ok(!live_row_name_ok("") && !live_row_name_ok(".new") && !live_row_name_ok("a/b"),
	   "not by nothing, what begins with a dot, a path");
}

static void test_round(void)
{
	struct live_row full = {.first = UINT64_MAX, .created = -1, .nimages = IMAGES_MAX};
	struct live_row row = row_of("web", true), got;
	struct buf value = {0};
	struct index_decision d;

	is_int(live_row_decision(&row, &value, &d), 0, "a row becomes a decision");
	ok(d.kind == DECISION_LIVE && d.key_len == 3 && memcmp(d.key, "web", 3) == 0 &&
	   d.has_value, "of its kind, under its name");
	is_int(d.value_len, 1 + 32 + 8 + 8 + 1 + 8 + 7, "of the length that is documented");
	is_int(live_row_decode(&d, &got), 0, "and back");
	ok(same(&row, &got), "it is the same");
	row = row_of("alone", false);
	is_int(live_row_decision(&row, &value, &d), 0, "one without a layer");
	is_int(live_row_decode(&d, &got), 0, "comes back");
	ok(same(&row, &got) && !got.has_base, "too");
	memset(full.name, 'n', TAG_NAME_MAX);
	for (unsigned i = 0; i < IMAGES_MAX; i++) {
		memset(full.image[i], 'i', IMAGE_NAME_MAX);
		full.image[i][0] = (char)('0' + i / 10);
		full.image[i][1] = (char)('0' + i % 10);
	}
	is_int(live_row_decision(&full, &value, &d), 0, "the largest there can be");
	is_int(live_row_decode(&d, &got), 0, "fits");
	ok(same(&full, &got), "and is the same");
	buf_fini(&value);
}

/* Changes one byte of a good value. */
static int decode_with(size_t at, uint8_t byte, const char *name)
{
	struct live_row row = row_of("web", true), got = {.nimages = 77};
	struct buf value = {0};
	struct index_decision d;
	int rc = live_row_decision(&row, &value, &d);

	if (rc < 0)
		bail("out of memory");
	value.data[at] = byte;
	if (name) {
		d.key = name;
		d.key_len = (uint32_t)strlen(name);
	}
	rc = live_row_decode(&d, &got);
	if (rc < 0 && got.nimages != 77)
		ok(false, "what is refused leaves the output alone");
	buf_fini(&value);
	return rc;
}

static void test_cut(void)
{
	struct live_row row = row_of("web", true), got;
	struct buf value = {0};
	struct index_decision d;
	unsigned taken = 0;

	if (live_row_decision(&row, &value, &d) < 0)
		bail("out of memory");
	while (d.value_len-- > 0)
		taken += live_row_decode(&d, &got) != -EBADMSG;
	is_int(taken, 0, "no shorter value is one");
	d.value_len = (uint32_t)value.len;
	buf_u8(&value, 0);
	d.value = value.data;
	d.value_len++;
	is_int(live_row_decode(&d, &got), -EBADMSG, "nor a longer one");
	buf_fini(&value);
}

static void test_bad_values(void)
{
	struct live_row got;
	struct index_decision d = {.kind = DECISION_LIVE, .key = "web", .key_len = 3};

	is_int(decode_with(0, 1, NULL), 0, "nothing is wrong with this one");
	is_int(decode_with(0, 2, NULL), -EBADMSG, "a flag that is neither 0 nor 1");
	is_int(decode_with(0, 0, NULL), -EBADMSG, "a layer's id where there is none");
	is_int(decode_with(33, 0, NULL), -EBADMSG, "the sequence number 0");
	is_int(decode_with(49, 0, NULL), -EBADMSG, "no image");
	is_int(decode_with(49, 1, NULL), -EBADMSG, "fewer images than there are");
	is_int(decode_with(49, 3, NULL), -EBADMSG, "more");
	is_int(decode_with(49, 255, NULL), -EBADMSG, "many more");
	is_int(decode_with(50, 0, NULL), -EBADMSG, "an image without a name");
	is_int(decode_with(50, 200, NULL), -EBADMSG, "with a long one");
	is_int(decode_with(51, '.', NULL), -EBADMSG, "with a hidden one");
	is_int(decode_with(51, '/', NULL), -EBADMSG, "with a path");
	is_int(decode_with(52, 0, NULL), -EBADMSG, "with a NUL in it");
	is_int(decode_with(51, 'z', NULL), -EBADMSG, "images that are not sorted");
	is_int(decode_with(0, 1, "../x"), -EBADMSG, "a name that is a path");
	is_int(decode_with(0, 1, ""), -EBADMSG, "no name");
	is_int(live_row_decode(&d, &got), -EBADMSG, "one that was removed is no row");
	d.kind = DECISION_TAG;
	is_int(live_row_decode(&d, &got), -EBADMSG, "nor is a tag");
}

/* As packs keep it. */
static int through_record(const struct index_decision *d)
{
	struct index_decision got;
	struct buf record = {0};
	struct rd rd;
	int rc;

	decide_encode(d, &record);
	rd_init(&rd, record.data, record.len);
	rc = decide_decode(&rd, 7, &got);
	buf_fini(&record);
	return rc;
}

static void test_record(void)
{
	struct live_row row = row_of("web", true);
	struct index_decision d, gone = {.kind = DECISION_LIVE, .key = "web", .key_len = 3};
	struct buf value = {0};

	if (live_row_decision(&row, &value, &d) < 0)
		bail("out of memory");
	is_int(through_record(&d), 0, "a record of a pack holds a row");
	is_int(through_record(&gone), 0, "or that there is none any more");
	value.data[0] = 9;
	is_int(through_record(&d), -EBADMSG, "a damaged one is refused");
	gone.key = "..";
	gone.key_len = 2;
	is_int(through_record(&gone), -EBADMSG, "and a name that is none");
	buf_fini(&value);
}

/* ---- the index ---- */

static int list_name(void *ctx, const struct live_row *row)
{
	strcat(ctx, row->name);
	strcat(ctx, " ");
	return strcmp(row->name, "stop") == 0 ? 5 : 0;
}

static void test_index(void)
{
	struct live_row row = row_of("web", true), got = {.nimages = 77};
	char names[256] = "";

	is_err(live_row_get(store, "web", &got, &err), &err, -ENOENT,
	       "there is no live image 'web'");
	is_err(live_row_get(store, "../web", &got, &err), &err, -ENOENT,
	       "there is no live image '../web'");
	is_int(got.nimages, 77, "the output is untouched");
	is_int(live_row_said(store, "web", &err), -ENOENT, "nothing was said of it");
	is_int(live_row_put(store, &row, &err), 0, "a row is put");
	is_int(live_row_get(store, "web", &got, &err), 0, "and is there");
	ok(same(&row, &got), "as it was");
	is_int(live_row_said(store, "web", &err), 1, "a row was said");
	row.first = 9;
	is_int(live_row_put(store, &row, &err), 0, "it is put again");
	is_int(live_row_get(store, "web", &got, &err), 0, "it is there");
	is_int(got.first, 9, "the last word counts");
	row = row_of("db", false);
	is_int(live_row_put(store, &row, &err), 0, "another");
	is_int(live_row_each(store, list_name, names, &err), 0, "all of them");
	is_str(names, "db web ", "by name");
	row = row_of("stop", false);
	is_int(live_row_put(store, &row, &err), 0, "a third");
	is_int(live_row_each(store, list_name, names, &err), 5, "a walk may be ended");
	is_int(live_row_delete(store, "stop", &err), 0, "one is removed");
	is_err(live_row_get(store, "stop", &got, &err), &err, -ENOENT,
	       "there is no live image 'stop'");
	is_int(live_row_said(store, "stop", &err), 0, "which is remembered");
	names[0] = '\0';
	is_int(live_row_each(store, list_name, names, &err), 0, "the others");
	is_str(names, "db web ", "are there");
}

static void test_on(void)
{
	static const char *const more[] = {"a", "b", "c"};
	struct digest none = {.b = {1}};
	struct live_row row;
	char list[600], tiny[8];

	is_int(live_row_on(store, &none, list, sizeof(list), &err), 0, "nothing is on that layer");
	is_str(list, "", "and nothing is said");
	is_int(live_row_on(store, &base, list, sizeof(list), &err), 1, "one is on this one");
	is_str(list, "'web'", "by its name");
	for (size_t i = 0; i < 3; i++) {
		row = row_of(more[i], true);
		if (live_row_put(store, &row, &err) < 0)
			bail("%s", err.text);
	}
	is_int(live_row_on(store, &base, list, sizeof(list), &err), 4, "four are");
	is_str(list, "'a', 'b', 'c' and 1 more", "three are named");
	is_int(live_row_on(store, &base, tiny, sizeof(tiny), &err), 4, "in little room");
	is_str(tiny, "'a', 'b", "as much as fits");
	is_int(live_row_on(store, &base, NULL, 0, &err), 4, "or none at all");
	memset(&none, 0, sizeof(none));
	is_int(live_row_on(store, &none, list, sizeof(list), &err), 0,
	       "one without a layer is on none");
}

static void test_damaged(void)
{
	struct index_decision d = {.kind = DECISION_LIVE, .key = "bad", .key_len = 3, .seq = 1,
				   .pack = 1, .opack = 1, .has_value = true, .value = "?",
				   .value_len = 1};
	struct live_row got;
	char names[256] = "";

	if (index_decision_put(store->index, &d, &err) < 0)
		bail("%s", err.text);
	is_err(live_row_get(store, "bad", &got, &err), &err, -EBADMSG,
	       "live image 'bad': what is known of it is damaged");
	is_err(live_row_each(store, list_name, names, &err), &err, -EBADMSG,
	       "live image 'bad': what is known of it is damaged");
	is_int(live_row_delete(store, "bad", &err), 0, "it can be removed");
	is_int(live_row_each(store, list_name, names, &err), 0, "then all is well");
}

static void test_memory(void)
{
	struct live_row row = row_of("memory", true), got;

	fault_arm(FAULT_MALLOC, 1, ENOMEM);
	err.text[0] = '\0';
	is_err(live_row_put(store, &row, &err), &err, -ENOMEM, "out of memory");
	fault_disarm();
	is_int(live_row_get(store, "memory", &got, &err), -ENOENT, "nothing was put");
}

int main(void)
{
	setup();
	test_names();
	test_round();
	test_cut();
	test_bad_values();
	test_record();
	test_index();
	test_on();
	test_damaged();
	test_memory();
	store_close(store);
	return tap_done();
}
