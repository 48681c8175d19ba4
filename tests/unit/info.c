/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/info.h"
#include "store/attrs.h"
#include "store/base/fmt.h"
#include "store/live-row.h"
#include "tests/fault.h"
#include "tests/unit/fixture.h"

static struct err err;

static void decide(struct fixture *f, enum decision_kind kind, const void *key, size_t key_len,
		   const void *value, size_t len)
{
	struct index_decision d = {.kind = kind, .key = key, .key_len = (uint32_t)key_len,
				   .seq = ++f->seq, .pack = 1, .opack = 1, .has_value = true,
				   .value = value, .value_len = (uint32_t)len};

	fixture_must(index_begin(f->store->index, &err), &err, "begin");
	fixture_must(index_decision_put(f->store->index, &d, &err), &err, "put");
	fixture_must(index_commit(f->store->index, &err), &err, "commit");
}

static void decorate(struct fixture *f, const struct layer *layer)
{
	struct digest other = {{1}};
	struct live_row live = {.name = "guest", .has_base = true, .base = layer->id, .first = 1,
				.nimages = 1, .image = {"memfile"}};
	struct index_decision row;
	struct attrs a = {0};
	struct buf out = {0};

	(void)live_row_decision(&live, &out, &row);
	decide(f, DECISION_LIVE, "guest", 5, out.data, out.len);
	live.base = other;
	(void)live_row_decision(&live, &out, &row);
	decide(f, DECISION_LIVE, "other", 5, out.data, out.len);
	buf_reset(&out);

	decide(f, DECISION_TAG, "golden", 6, layer->id.b, DIGEST_LEN);
	decide(f, DECISION_TAG, "another", 7, other.b, DIGEST_LEN);
	decide(f, DECISION_TAG, "also", 4, layer->id.b, DIGEST_LEN);
	attrs_set(&a, "source", "vm \xe2\x82\xac \"x\"");
	attrs_set(&a, "lamina.fresh", "3");
	attrs_set(&a, "lamina.pages", "12");
	attrs_encode(&a, &out);
	decide(f, DECISION_ATTRS, layer->id.b, DIGEST_LEN, out.data, out.len);
	attrs_fini(&a);
	buf_fini(&out);
}

static struct layer *make_layer(struct fixture *f, const struct layer *parent)
{
	uint64_t first = fixture_seg(f, 2, 4);
	struct layer *layer = fixture_layer(f);
	struct runs map = {0}, *frames;

	runs_add(&map, first, 8);
	runs_add(&map, 0, FRAME_PAGES - 8);
	layer->has_parent = parent;
	if (parent)
		layer->parent = parent->id;
	frames = fixture_image(layer, "disk2", 10000);
	runs_add(frames, 0, 1);
	frames = fixture_image(layer, "memfile", 3 * FRAME_SIZE);
	runs_add(frames, 0, 2);
	runs_add(frames, fixture_frame(f, &map), 1);
	frames = fixture_image(layer, "rootfs", 0);
	fixture_publish_layer(f, layer);
	runs_fini(&map);
	return layer;
}

static char *dump(struct fixture *f, const struct layer *layer)
{
	json_t *o = NULL;
	char *text;

	is_int(info_layer(f->store, layer, &o, &err), 0, "info");
	text = json_dumps(o, JSON_SORT_KEYS | JSON_COMPACT);
	json_decref(o);
	return text;
}

static void test_layer(struct fixture *f)
{
	struct layer *parent = make_layer(f, NULL), *layer = make_layer(f, parent);
	char id[DIGEST_HEX_LEN], parent_id[DIGEST_HEX_LEN], want[2048], *got;
	static const char images[] =
		"[{\"data_bytes\":0,\"frames\":1,\"kind\":\"other\",\"name\":\"disk2\","
		"\"size\":10000},"
		"{\"data_bytes\":32768,\"frames\":3,\"kind\":\"memfile\",\"name\":\"memfile\","
		"\"size\":6291456},"
		"{\"data_bytes\":0,\"frames\":0,\"kind\":\"rootfs\",\"name\":\"rootfs\","
		"\"size\":0}]";

	decorate(f, layer);
	fmt_hex(id, layer->id.b, DIGEST_LEN);
	fmt_hex(parent_id, parent->id.b, DIGEST_LEN);
	(void)snprintf(want, sizeof(want),
		       "{\"attributes\":{\"lamina.new\":\"3\",\"lamina.pages\":\"12\","
		       "\"source\":\"vm \xe2\x82\xac \\\"x\\\"\"},"
		       "\"created\":\"2026-11-21T09:28:59Z\",\"images\":%s,\"layer\":\"%s\","
		       "\"live\":[\"guest\"],\"parent\":\"%s\",\"tags\":[\"also\",\"golden\"]}",
		       images, id, parent_id);
	got = dump(f, layer);
	is_str(got, want, "everything that is known");
	free(got);
	(void)snprintf(want, sizeof(want),
		       "{\"attributes\":{},\"created\":\"2026-11-21T09:28:59Z\",\"images\":%s,"
		       "\"layer\":\"%s\",\"live\":[],\"parent\":null,\"tags\":[]}", images,
		       parent_id);
	got = dump(f, parent);
	is_str(got, want, "no parent, tags, attributes");
	free(got);
	layer_unref(layer);
	layer_unref(parent);
}

static void test_failures(struct fixture *f)
{
	struct layer *layer = make_layer(f, NULL);
	json_t *o = NULL;
	char id[13];

	fmt_hex(id, layer->id.b, 6);
	decide(f, DECISION_ATTRS, layer->id.b, DIGEST_LEN, "?", 1);
	is_err(info_layer(f->store, layer, &o, &err), &err, -EBADMSG,
	       "the attributes of layer %s are damaged", id);
	runs_reset(&layer->image[1].frames);
	runs_add(&layer->image[1].frames, 999, 3);
	is_err(info_layer(f->store, layer, &o, &err), &err, -EBADMSG,
	       "layer %s image 'memfile': there is no frame 999", id);
	ok(!o, "the output is untouched");
	layer_unref(layer);
}

static void test_no_memory(struct fixture *f)
{
	struct layer *layer = make_layer(f, NULL);
	int rc = -ENOMEM, n = 0;
	json_t *o;

	decorate(f, layer);
	for (unsigned long i = 1; rc == -ENOMEM; i++, n++) {
		fault_arm(FAULT_MALLOC, i, ENOMEM);
		rc = info_layer(f->store, layer, &o, &err);
		fault_disarm();
	}
	is_int(rc, 0, "whichever allocation fails, it says so");
	ok(n > 3, "%d of them were tried", n);
	json_decref(o);
	layer_unref(layer);
}

static void test_time(void)
{
	char text[32];

	info_time(text, 0);
	is_str(text, "1970-01-01T00:00:00Z", "the epoch");
	info_time(text, 1795253339);
	is_str(text, "2026-11-21T09:28:59Z", "some day");
	info_time(text, -1);
	is_str(text, "1969-12-31T23:59:59Z", "before the epoch");
	info_time(text, INT64_MAX);
	is_str(text, "?", "no year has that many digits");
}

int main(void)
{
	struct fixture f;

	test_time();
	fixture_open(&f, "store", NULL);
	test_layer(&f);
	test_failures(&f);
	test_no_memory(&f);
	fixture_close(&f);
	return tap_done();
}
