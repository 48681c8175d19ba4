/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/layer.h"

#include <sys/file.h>
#include <sys/syscall.h>

#include "store/base/fmt.h"
#include "store/lease.h"
#include "tests/fault.h"
#include "tests/unit/fixture.h"

static struct err err;

static int find_digest(void *ctx, uint64_t fid, struct digest *ret)
{
	if (fid != *(uint64_t *)ctx)
		return -ENOENT;
	for (int i = 0; i < DIGEST_LEN; i++)
		ret->b[i] = (uint8_t)i;
	return 0;
}

static const char *merkle(const struct layer *layer)
{
	static char hex[DIGEST_HEX_LEN];
	uint64_t fid = 9;
	struct digest d;
	int rc = layer_merkle(layer, find_digest, &fid, &d);

	return rc < 0 ? strerror(-rc) : fmt_hex(hex, d.b, DIGEST_LEN);
}

static struct layer *sample(struct fixture *f)
{
	struct layer *layer = fixture_layer(f);
	struct runs *frames = fixture_image(layer, "memfile", 5 << 20);

	runs_add(frames, 0, 1);
	runs_add(frames, 9, 1);
	runs_add(frames, 0, 1);
	return layer;
}

/* Computed elsewhere, from the words of digest.h. */
static void test_merkle(void)
{
	struct fixture f = {0};
	struct layer *layer = sample(&f);
	struct runs *frames;

	is_str(merkle(layer), "0266b0f7d7d59bb9916b88aaa6fc0023aeb05c8ce6a33846872dfa21f80cf124",
	       "one image");
	layer->created = 1;
	layer->seq = 99;
	is_str(merkle(layer), "0266b0f7d7d59bb9916b88aaa6fc0023aeb05c8ce6a33846872dfa21f80cf124",
	       "when it was made does not matter");
	layer->has_parent = true;
	for (int i = 0; i < DIGEST_LEN; i++)
		layer->parent.b[i] = (uint8_t)i;
	runs_add(fixture_image(layer, "rootfs", 1), 0, 1);
	is_str(merkle(layer), "220b47519e53aa00cf7e4e7cfaee799abf00fa9235bf84b80edcb08f908aa843",
	       "a parent and two images");
	layer_unref(layer);

	layer = fixture_layer(&f);
	runs_add(fixture_image(layer, "memfile", UINT64_C(8) << 30), 0, 4096);
	is_str(merkle(layer), "4b6372559bce5548637f76c972eb4b01e9ed2a81a0537008fcde777980ffd143",
	       "8 GiB of zeros");
	frames = &layer->image[0].frames;
	runs_reset(frames);
	runs_add(frames, 9, 1);
	runs_add(frames, 0, 4095);
	ok(strcmp(merkle(layer),
		  "4b6372559bce5548637f76c972eb4b01e9ed2a81a0537008fcde777980ffd143"),
	   "and of something else");
	runs_reset(frames);
	runs_add(frames, 7, 1);
	is_str(merkle(layer), strerror(ENOENT), "a frame nobody knows");
	layer_unref(layer);
}

static int decode(const struct buf *b, struct layer **ret)
{
	struct rd rd;

	rd_init(&rd, b->data, b->len);
	return layer_decode(&rd, 5, ret);
}

static void test_round_trip(void)
{
	struct fixture f = {0};
	struct layer *layer = sample(&f), *back;
	struct buf out = {0};

	layer->id.b[0] = 0xaa;
	layer->has_parent = true;
	layer->parent.b[31] = 0xbb;
	runs_add(fixture_image(layer, "rootfs", 4096), 0, 1);
	fixture_image(layer, "state", 0);
	layer_encode(layer, &out);
	is_int(decode(&out, &back), 0, "decode");
	ok(digest_equal(&back->id, &layer->id) && digest_equal(&back->parent, &layer->parent) &&
	   back->has_parent && back->algo == layer->algo, "names");
	ok(back->created == layer->created && back->seq == 5, "time and sequence number");
	is_int(back->nimages, 3, "images");
	is_int(back->image[0].nframes, 3, "frames of the first");
	ok(runs_equal(&back->image[0].frames, &layer->image[0].frames), "the same ones");
	ok(layer_image(back, "rootfs") == &back->image[1], "by name");
	is_int(layer_image(back, "state")->nframes, 0, "an empty image has no frame");
	ok(layer_image(back, "disk") == NULL, "no such image");
	layer_unref(layer_ref(back));
	layer_unref(back);
	layer_unref(layer);
	layer_unref(NULL);
	buf_fini(&out);
}

/* Written down by hand, so that the format stands still. */
static void test_golden(void)
{
	struct fixture f = {0};
	struct layer *layer = sample(&f);
	struct buf out = {0}, want = {0};

	layer->id.b[0] = 0xaa;
	layer->created = 0x0102;
	layer_encode(layer, &out);
	buf_u8(&want, DIGEST_BLAKE2B_256);
	buf_bytes(&want, layer->id.b, DIGEST_LEN);
	buf_u8(&want, 0);
	buf_bytes(&want, layer->parent.b, DIGEST_LEN);
	buf_bytes(&want, "\x02\x01\x00\x00\x00\x00\x00\x00", 8);
	buf_bytes(&want, "\x01\x07" "memfile" "\x00\x00\x50\x00\x00\x00\x00\x00", 17);
	buf_bytes(&want, "\x05\x03\x00\x03\x10\x00", 6);	/* far: 9 - 1 = 8 */
	is_int(out.len, want.len, "length");
	is_mem(out.data, want.data, want.len, "bytes");
	layer_unref(layer);
	buf_fini(&out);
	buf_fini(&want);
}

/* Decodes what `change` made of a good layer or its bytes. */
static int spoilt(void (*change)(struct layer *), void (*patch)(struct buf *))
{
	struct fixture f = {0};
	struct layer *layer = sample(&f), *back = NULL;
	struct buf out = {0};
	int rc;

	runs_add(fixture_image(layer, "rootfs", 4096), 0, 1);
	if (change)
		change(layer);
	layer_encode(layer, &out);
	if (patch)
		patch(&out);
	rc = decode(&out, &back);
	if (rc < 0 && back)
		rc = -EUCLEAN;
	layer_unref(back);
	layer_unref(layer);
	buf_fini(&out);
	return rc;
}

static void no_image(struct layer *l)
{
	for (unsigned i = 0; i < l->nimages; i++)
		runs_fini(&l->image[i].frames);
	l->nimages = 0;
}

static void same_name(struct layer *l)
{
	strcpy(l->image[1].name, "memfile");
}

static void out_of_order(struct layer *l)
{
	strcpy(l->image[1].name, "disk");
}

static void bad_name(struct layer *l)
{
	strcpy(l->image[1].name, "../rootfs");
}

static void no_name(struct layer *l)
{
	l->image[0].name[0] = '\0';
}

static void frame_missing(struct layer *l)
{
	l->image[0].size += 2 << 20;
}

static void frame_too_many(struct layer *l)
{
	l->image[0].size -= 2 << 20;
}

static unsigned excess;		/* bytes above the largest size */

static void too_large(struct layer *l)
{
	runs_reset(&l->image[0].frames);
	runs_add(&l->image[0].frames, 0, (IMAGE_SIZE_MAX >> FRAME_SHIFT) + excess);
	l->image[0].size = IMAGE_SIZE_MAX + excess;
}

static void stray_parent(struct layer *l)
{
	l->parent.b[3] = 1;
}

static void unknown_algo(struct layer *l)
{
	l->algo = 77;
}

static void parent_flag(struct buf *b)
{
	b->data[1 + DIGEST_LEN] = 2;
}

static void longer(struct buf *b)
{
	buf_u8(b, 0);
}

static void shorter(struct buf *b)
{
	b->len--;
}

static void nul_in_name(struct buf *b)
{
	uint8_t *name = memmem(b->data, b->len, "memfile", 7);

	name[3] = '\0';
}

static void test_malformed(void)
{
	is_int(spoilt(NULL, NULL), 0, "a good one");
	is_int(spoilt(no_image, NULL), -EBADMSG, "no image");
	is_int(spoilt(same_name, NULL), -EBADMSG, "two images of one name");
	is_int(spoilt(out_of_order, NULL), -EBADMSG, "images out of order");
	is_int(spoilt(bad_name, NULL), -EBADMSG, "a name that leads elsewhere");
	is_int(spoilt(no_name, NULL), -EBADMSG, "no name");
	is_int(spoilt(frame_missing, NULL), -EBADMSG, "a frame is missing");
	is_int(spoilt(frame_too_many, NULL), -EBADMSG, "a frame too many");
	is_int(spoilt(too_large, NULL), 0, "as large as can be");
	excess = 1;
	is_int(spoilt(too_large, NULL), -EBADMSG, "a byte larger");
	is_int(spoilt(stray_parent, NULL), -EBADMSG, "a parent's name without a parent");
	is_int(spoilt(unknown_algo, NULL), -EBADMSG, "an unknown algorithm");
	is_int(spoilt(NULL, parent_flag), -EBADMSG, "neither with nor without a parent");
	is_int(spoilt(NULL, longer), -EBADMSG, "a byte too many");
	is_int(spoilt(NULL, shorter), -EBADMSG, "a byte too few");
	is_int(spoilt(NULL, nul_in_name), -EBADMSG, "a NUL in a name");
}

static void test_names(void)
{
	char name[66];

	memset(name, 'n', 65);
	name[65] = '\0';
	ok(!layer_image_name_ok(name), "65 letters are too many");
	name[64] = '\0';
	ok(layer_image_name_ok(name), "64 are not");
	ok(layer_image_name_ok("Data_disk-1.img"), "letters, digits, dot, dash, underline");
	ok(!layer_image_name_ok("") && !layer_image_name_ok(".hidden") &&
	   !layer_image_name_ok("a/b") && !layer_image_name_ok("a b") &&
	   !layer_image_name_ok("\xc3\xa4"), "others are refused");
	ok(!layer_image_name_ok("info.json") && !layer_image_name_ok("traces"),
	   "and what the mount shows beside images");
	is_int(layer_image_kind("memfile"), IMAGE_MEMFILE, "memfile");
	is_int(layer_image_kind("rootfs"), IMAGE_ROOTFS, "rootfs");
	is_int(layer_image_kind("state"), IMAGE_OTHER, "state");
	is_int(layer_image_kind("rootfs2"), IMAGE_OTHER, "another disk");
}

static struct layer *real(struct fixture *f, uint64_t fid)
{
	struct layer *layer = fixture_layer(f);

	runs_add(fixture_image(layer, "memfile", FRAME_SIZE), fid, 1);
	return layer;
}

static const char *short_name(const struct layer *layer)
{
	static char hex[13];

	return fmt_hex(hex, layer->id.b, 6);
}

static void remove_layer(struct fixture *f, const struct digest *id)
{
	struct index_decision d = {.kind = DECISION_REMOVE, .key = id->b, .key_len = DIGEST_LEN,
				   .seq = ++f->seq, .pack = 1, .opack = 1, .has_value = true,
				   .value = "", .value_len = 0};

	fixture_must(index_begin(f->store->index, &err), &err, "begin");
	fixture_must(index_decision_put(f->store->index, &d, &err), &err, "put");
	fixture_must(index_commit(f->store->index, &err), &err, "commit");
}

static void test_open(struct fixture *f, uint64_t fid)
{
	struct layer *layer = real(f, fid), *got = NULL;
	struct digest nobody = {{0xab, 0xcd}};

	fixture_publish_layer(f, layer);
	is_int(layer_open(f->store, &layer->id, &got, &err), 0, "open");
	ok(digest_equal(&got->id, &layer->id) && got->nimages == 1, "the layer");
	layer_unref(got);
	is_int(layer_peek(f->store, &layer->id, &got, &err), 0, "peek");
	layer_unref(got);
	is_err(layer_open(f->store, &nobody, &got, &err), &err, -ENOENT,
	       "there is no layer abcd00000000");
	/* Row, cached nothing: the layer and its runs. */
	for (unsigned long i = 1; i <= 2; i++) {
		fault_arm(FAULT_MALLOC, i, ENOMEM);
		is_err(layer_open(f->store, &layer->id, &got, &err), &err, -ENOMEM,
		       "the manifest of layer %s does not fit into memory", short_name(layer));
	}
	fault_disarm();
	remove_layer(f, &layer->id);
	is_err(layer_peek(f->store, &layer->id, &got, &err), &err, -ENOENT,
	       "layer %s was removed", short_name(layer));
	layer_unref(layer);
}

/* ---- removed, and read ---- */

/* In the place of libc's: what happens just before a reader locks its lease. */
static void (*before_lease)(void);

int flock(int fd, int how)
{
	void (*fn)(void) = before_lease;

	if (how == LOCK_SH && fn) {
		before_lease = NULL;
		fn();
	}
	return (int)syscall(SYS_flock, fd, how);
}

static struct {
	struct fixture *f;
	const struct digest *id;
	int holder, gc;
} race;

static int take_lease(struct fixture *f, const struct digest *id)
{
	int fd = lease_take(f->store, id, &err);

	fixture_must(fd, &err, "lease_take");
	return fd;
}

/* What gc does with a removed layer once it has the lease for itself. */
static void forget_row(void)
{
	struct index *ix = race.f->store->index;

	fixture_must(index_begin(ix, &err), &err, "begin");
	fixture_must(index_layer_delete(ix, race.id, &err), &err, "delete");
	fixture_must(index_commit(ix, &err), &err, "commit");
	lease_remove(race.f->store, race.id, race.gc);
}

static void end_holder(void)
{
	close(race.holder);
}

static void run_gc(void)
{
	race.gc = lease_take_exclusive(race.f->store, race.id);
	fixture_must(race.gc, NULL, "lease_take_exclusive");
	forget_row();
}

static void end_holder_and_run_gc(void)
{
	end_holder();
	run_gc();
}

static struct layer *removed_layer(struct fixture *f, uint64_t fid)
{
	struct layer *layer = real(f, fid);

	fixture_publish_layer(f, layer);
	remove_layer(f, &layer->id);
	race.f = f;
	race.id = &layer->id;
	return layer;
}

static bool no_lease(struct fixture *f, const struct digest *id)
{
	return lease_held(f->store, id) == 0;
}

static void test_held(struct fixture *f, uint64_t fid)
{
	struct layer *layer = removed_layer(f, fid), *got = NULL;
	int lease = -1, holder;

	is_err(layer_peek_held(f->store, &layer->id, &got, &err), &err, -ENOENT,
	       "layer %s was removed", short_name(layer));
	is_err(layer_hold(f->store, &layer->id, &lease, &got, &err), &err, -ENOENT,
	       "layer %s was removed", short_name(layer));
	ok(!got && lease < 0 && no_lease(f, &layer->id), "a removed layer that nobody reads");
	holder = take_lease(f, &layer->id);
	is_err(layer_open(f->store, &layer->id, &got, &err), &err, -ENOENT,
	       "layer %s was removed", short_name(layer));
	is_int(layer_peek_held(f->store, &layer->id, &got, &err), 0,
	       "one that somebody reads is there for readers only");
	layer_unref(got);
	is_int(layer_hold(f->store, &layer->id, &lease, &got, &err), 0, "who may come in");
	ok(digest_equal(&got->id, &layer->id) && got->nimages == 1, "it is the layer");
	close(holder);
	is_int(lease_take_exclusive(f->store, &layer->id), -EBUSY,
	       "which stays for those who came when the others have gone");
	close(lease);
	layer_unref(got);
	is_err(layer_peek_held(f->store, &layer->id, &got, &err), &err, -ENOENT,
	       "layer %s was removed", short_name(layer));
	layer_unref(layer);
}

static void test_held_race(struct fixture *f, uint64_t fid)
{
	struct layer *layer = removed_layer(f, fid), *got = NULL;
	int lease = -1;

	race.holder = take_lease(f, &layer->id);
	before_lease = end_holder_and_run_gc;
	is_err(layer_hold(f->store, &layer->id, &lease, &got, &err), &err, -ENOENT,
	       "there is no layer %s", short_name(layer));
	ok(!got && lease < 0 && no_lease(f, &layer->id),
	   "gc between the look for a lease and our own: nothing is left");
	layer_unref(layer);

	layer = removed_layer(f, fid);
	race.gc = lease_take_exclusive(f->store, &layer->id);
	before_lease = forget_row;
	is_err(layer_hold(f->store, &layer->id, &lease, &got, &err), &err, -ENOENT,
	       "there is no layer %s", short_name(layer));
	ok(!got && lease < 0, "gc that has the lease already is no reader");
	layer_unref(layer);

	layer = removed_layer(f, fid);
	race.holder = take_lease(f, &layer->id);
	before_lease = end_holder;
	is_int(layer_hold(f->store, &layer->id, &lease, &got, &err), 0,
	       "the last reader goes as we come, and gc was not there: the layer");
	is_int(lease_take_exclusive(f->store, &layer->id), -EBUSY, "gc comes too late");
	close(lease);
	layer_unref(got);
	layer_unref(layer);

	layer = real(f, fid);
	fixture_publish_layer(f, layer);
	race.id = &layer->id;
	before_lease = run_gc;
	is_err(layer_hold(f->store, &layer->id, &lease, &got, &err), &err, -ENOENT,
	       "there is no layer %s", short_name(layer));
	layer_unref(layer);
}

static void test_held_errors(struct fixture *f, uint64_t fid)
{
	struct layer *layer = removed_layer(f, fid), *got = NULL;
	int lease = -1, holder = take_lease(f, &layer->id);

	fault_arm(FAULT_OPEN, 1, EACCES);
	is_err(layer_hold(f->store, &layer->id, &lease, &got, &err), &err, -EACCES,
	       "layer %s was removed: cannot look for its readers: Permission denied",
	       short_name(layer));
	fault_arm(FAULT_OPEN, 2, EMFILE);
	is_err(layer_hold(f->store, &layer->id, &lease, &got, &err), &err, -EMFILE,
	       "cannot take a lease on layer %s: Too many open files", short_name(layer));
	fault_disarm();
	ok(!got && lease < 0, "neither is anything");
	close(holder);
	ok(no_lease(f, &layer->id), "and no lease is left");
	layer_unref(layer);
}

/* Publishes a layer under a name that is not its root. */
static void publish_as(struct fixture *f, struct layer *layer, uint8_t first)
{
	struct index_layer row = {.seq = layer->seq, .pack = 1};
	struct buf manifest = {0};

	layer->id = (struct digest){{first}};
	layer_encode(layer, &manifest);
	row.id = layer->id;
	row.manifest = manifest.data;
	row.manifest_len = (uint32_t)manifest.len;
	fixture_must(index_begin(f->store->index, &err), &err, "begin");
	fixture_must(index_layer_put(f->store->index, &row, &err), &err, "put");
	/* And under yet another, whose manifest is not its own. */
	row.id.b[1] = 1;
	fixture_must(index_layer_put(f->store->index, &row, &err), &err, "put");
	fixture_must(index_commit(f->store->index, &err), &err, "commit");
	buf_fini(&manifest);
}

static void test_damaged(struct fixture *f, uint64_t fid)
{
	struct layer *layer = real(f, fid), *got = NULL;
	struct digest id;

	publish_as(f, layer, 0x11);
	is_err(layer_open(f->store, &layer->id, &got, &err), &err, -EBADMSG,
	       "layer 110000000000: its frames do not add up to its name");
	is_int(layer_peek(f->store, &layer->id, &got, &err), 0, "peek does not look");
	layer_unref(got);
	id = layer->id;
	id.b[1] = 1;
	is_err(layer_peek(f->store, &id, &got, &err), &err, -EBADMSG,
	       "the manifest of layer 110100000000 is damaged");
	layer_unref(layer);

	layer = real(f, 4711);
	publish_as(f, layer, 0x22);
	is_err(layer_open(f->store, &layer->id, &got, &err), &err, -EBADMSG,
	       "layer 220000000000: its frame 4711 is not in the index");
	layer_unref(layer);
}

int main(void)
{
	struct fixture f;
	struct runs map = {0};
	uint64_t first, fid;

	test_golden();
	test_round_trip();
	test_malformed();
	test_names();
	fixture_open(&f, "store", NULL);
	test_merkle();
	first = fixture_seg(&f, 1, 4);
	runs_add(&map, first, 4);
	runs_add(&map, 0, FRAME_PAGES - 4);
	fid = fixture_frame(&f, &map);
	runs_fini(&map);
	test_open(&f, fid);
	test_held(&f, fid);
	test_held_race(&f, fid);
	test_held_errors(&f, fid);
	test_damaged(&f, fid);
	fixture_close(&f);
	return tap_done();
}
