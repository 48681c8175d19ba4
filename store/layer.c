/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/layer.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/base/fmt.h"
#include "store/decide.h"
#include "store/index.h"
#include "store/lease.h"
#include "store/store.h"

#define IMAGE_TAG "lamina image 1\n"
#define LAYER_TAG "lamina layer 1\n"
#define SHORT_LEN 13			/* twelve hex digits and a NUL */

static char *short_id(char out[SHORT_LEN], const struct digest *id)
{
	return fmt_hex(out, id->b, 6);
}

bool layer_image_name_ok(const char *name)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789._-";
	size_t len = strspn(name, letters);

	/* The mount has files of these names beside the images. */
	if (strcmp(name, "info.json") == 0 || strcmp(name, "traces") == 0)
		return false;
	return len > 0 && len <= IMAGE_NAME_MAX && name[len] == '\0' && name[0] != '.';
}

enum image_kind layer_image_kind(const char *name)
{
	if (strcmp(name, "memfile") == 0)
		return IMAGE_MEMFILE;
	return strcmp(name, "rootfs") == 0 ? IMAGE_ROOTFS : IMAGE_OTHER;
}

const struct image *layer_image(const struct layer *layer, const char *name)
{
	for (unsigned i = 0; i < layer->nimages; i++)
		if (strcmp(layer->image[i].name, name) == 0)
			return &layer->image[i];
	return NULL;
}

struct layer *layer_ref(struct layer *layer)
{
	__atomic_add_fetch(&layer->refs, 1, __ATOMIC_RELAXED);
	return layer;
}

void layer_unref(struct layer *layer)
{
	if (!layer || __atomic_sub_fetch(&layer->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	for (unsigned i = 0; i < layer->nimages; i++)
		runs_fini(&layer->image[i].frames);
	free(layer);
}

static int decode_name(struct rd *rd, struct image *im)
{
	size_t len = rd_u8(rd);
	const void *bytes = rd_bytes(rd, len);

	if (!bytes || len > IMAGE_NAME_MAX)
		return -EBADMSG;
	memcpy(im->name, bytes, len);
	im->name[len] = '\0';
	return strlen(im->name) == len && layer_image_name_ok(im->name) ? 0 : -EBADMSG;
}

static int decode_image(struct rd *rd, struct image *im)
{
	int rc = decode_name(rd, im);
	struct rd map;
	size_t len;
	const void *bytes;

	if (rc < 0)
		return rc;
	im->size = rd_u64(rd);
	len = rd_varint(rd);
	bytes = rd_bytes(rd, len);
	if (!bytes || im->size > IMAGE_SIZE_MAX)
		return -EBADMSG;
	im->nframes = (im->size + FRAME_SIZE - 1) >> FRAME_SHIFT;
	rd_init(&map, bytes, len);
	rc = runs_decode(&im->frames, &map, im->nframes, len);
	return rc == 0 && !rd_done(&map) ? -EBADMSG : rc;
}

static int decode_images(struct rd *rd, struct layer *layer)
{
	unsigned n = rd_u8(rd);
	int rc = n >= 1 && n <= IMAGES_MAX ? 0 : -EBADMSG;

	for (unsigned i = 0; i < n && rc == 0; i++) {
		struct image *im = &layer->image[i];

		layer->nimages = i + 1;
		rc = decode_image(rd, im);
		if (rc == 0 && i && strcmp(im[-1].name, im->name) >= 0)
			rc = -EBADMSG;
	}
	return rc;
}

static int decode_parent(struct rd *rd, struct layer *layer)
{
	unsigned has = rd_u8(rd);
	const void *parent = rd_bytes(rd, DIGEST_LEN);

	if (!parent || has > 1)
		return -EBADMSG;
	memcpy(layer->parent.b, parent, DIGEST_LEN);
	layer->has_parent = has;
	return has || digest_is_zero(&layer->parent) ? 0 : -EBADMSG;
}

static int decode_manifest(struct rd *rd, struct layer *layer)
{
	const void *id;
	int rc;

	layer->algo = rd_u8(rd);
	id = rd_bytes(rd, DIGEST_LEN);
	if (!id || !digest_name(layer->algo))
		return -EBADMSG;
	memcpy(layer->id.b, id, DIGEST_LEN);
	rc = decode_parent(rd, layer);
	if (rc < 0)
		return rc;
	layer->created = (int64_t)rd_u64(rd);
	rc = decode_images(rd, layer);
	return rc == 0 && !rd_done(rd) ? -EBADMSG : rc;
}

int layer_decode(struct rd *rd, uint64_t seq, struct layer **ret)
{
	struct layer *layer = calloc(1, sizeof(*layer));
	int rc;

	if (!layer)
		return -ENOMEM;
	layer->refs = 1;
	layer->seq = seq;
	rc = decode_manifest(rd, layer);
	if (rc < 0) {
		layer_unref(layer);
		return rc;
	}
	*ret = layer;
	return 0;
}

static void encode_image(const struct image *im, struct buf *out)
{
	struct buf map = {0};

	buf_u8(out, (uint8_t)strlen(im->name));
	buf_bytes(out, im->name, strlen(im->name));
	buf_u64(out, im->size);
	runs_encode(&im->frames, &map);
	buf_varint(out, map.len);
	buf_bytes(out, map.data, map.len);
	if (buf_error(&map) < 0)
		out->error = buf_error(&map);
	buf_fini(&map);
}

void layer_encode(const struct layer *layer, struct buf *out)
{
	buf_u8(out, (uint8_t)layer->algo);
	buf_bytes(out, layer->id.b, DIGEST_LEN);
	buf_u8(out, layer->has_parent);
	buf_bytes(out, layer->parent.b, DIGEST_LEN);
	buf_u64(out, (uint64_t)layer->created);
	buf_u8(out, (uint8_t)layer->nimages);
	for (unsigned i = 0; i < layer->nimages; i++)
		encode_image(&layer->image[i], out);
}

/* Where a frame's digest comes from. */
struct source {
	int (*find)(void *ctx, uint64_t fid, struct digest *ret);
	void *ctx;
};

/* A sparse image is mostly frames of zeros: many at once. */
static void hash_zeros(struct digest_ctx *ctx, uint64_t nframes)
{
	static const struct digest zeros[1024];

	while (nframes) {
		uint64_t n = nframes < 1024 ? nframes : 1024;

		digest_update(ctx, zeros, n * sizeof(zeros[0]));
		nframes -= n;
	}
}

static int hash_run(struct digest_ctx *ctx, const struct run *run, const struct source *from)
{
	struct digest d;

	if (run->addr == 0)
		hash_zeros(ctx, run->len);
	for (uint64_t i = 0; run->addr && i < run->len; i++) {
		int rc = from->find(from->ctx, run->addr + i, &d);

		if (rc < 0)
			return rc;
		digest_update(ctx, d.b, DIGEST_LEN);
	}
	return 0;
}

static void hash_u8(struct digest_ctx *ctx, unsigned v)
{
	uint8_t byte = (uint8_t)v;

	digest_update(ctx, &byte, 1);
}

static void hash_u64(struct digest_ctx *ctx, uint64_t v)
{
	for (int i = 0; i < 8; i++, v >>= 8)
		hash_u8(ctx, v & 0xff);
}

static int image_digest(int algo, const struct image *im, const struct source *from,
			struct digest *ret)
{
	struct digest_ctx *ctx;
	int rc = digest_begin(algo, &ctx);

	if (rc < 0)
		return rc;
	digest_update(ctx, IMAGE_TAG, sizeof(IMAGE_TAG) - 1);
	hash_u8(ctx, (unsigned)strlen(im->name));
	digest_update(ctx, im->name, strlen(im->name));
	hash_u64(ctx, im->size);
	for (size_t i = 0; i < im->frames.n && rc == 0; i++)
		rc = hash_run(ctx, &im->frames.v[i], from);
	digest_end(ctx, ret);
	return rc;
}

static int hash_images(struct digest_ctx *ctx, const struct layer *layer,
		       const struct source *from)
{
	struct digest d;
	int rc = 0;

	for (unsigned i = 0; i < layer->nimages && rc == 0; i++) {
		rc = image_digest(layer->algo, &layer->image[i], from, &d);
		if (rc == 0)
			digest_update(ctx, d.b, DIGEST_LEN);
	}
	return rc;
}

int layer_merkle(const struct layer *layer,
		 int (*find)(void *ctx, uint64_t fid, struct digest *ret), void *ctx,
		 struct digest *ret)
{
	static const struct digest none;
	const struct source from = {.find = find, .ctx = ctx};
	struct digest_ctx *root;
	struct digest d;
	int rc = digest_begin(layer->algo, &root);

	if (rc < 0)
		return rc;
	digest_update(root, LAYER_TAG, sizeof(LAYER_TAG) - 1);
	hash_u8(root, (unsigned)layer->algo);
	hash_u8(root, layer->has_parent);
	digest_update(root, layer->has_parent ? layer->parent.b : none.b, DIGEST_LEN);
	hash_u8(root, layer->nimages);
	rc = hash_images(root, layer, &from);
	digest_end(root, &d);
	if (rc == 0)
		*ret = d;
	return rc;
}

/* Remembers which frame it was that could not be found. */
struct lookup {
	struct index *index;
	uint64_t fid;
};

static int find_in_index(void *ctx, uint64_t fid, struct digest *ret)
{
	struct lookup *l = ctx;

	l->fid = fid;
	return index_frame_digest(l->index, fid, ret);
}

int layer_root(struct store *store, const struct layer *layer, struct digest *ret, struct err *err)
{
	struct lookup l = {.index = store->index};
	char id[SHORT_LEN];
	int rc = layer_merkle(layer, find_in_index, &l, ret);

	if (rc == -ENOENT)
		return err_set(err, -EBADMSG, "layer %s: its frame %llu is not in the index",
			       short_id(id, &layer->id), (unsigned long long)l.fid);
	if (rc < 0)
		return err_sys(err, rc, "layer %s: cannot look up its frame %llu",
			       short_id(id, &layer->id), (unsigned long long)l.fid);
	return 0;
}

struct loading {
	const struct digest *id;
	struct layer *layer;
	struct err *err;
};

static int from_row(void *ctx, const struct index_layer *row)
{
	struct loading *l = ctx;
	struct layer *layer = NULL;
	char name[SHORT_LEN];
	struct rd rd;
	int rc;

	rd_init(&rd, row->manifest, row->manifest_len);
	rc = layer_decode(&rd, row->seq, &layer);
	if (rc == 0 && !digest_equal(&layer->id, l->id))
		rc = -EBADMSG;
	if (rc < 0) {
		layer_unref(layer);
		return err_set(l->err, rc, "the manifest of layer %s %s",
			       short_id(name, l->id),
			       rc == -ENOMEM ? "does not fit into memory" : "is damaged");
	}
	l->layer = layer;
	return 0;
}

/* Removed or not. */
static int get_row(struct store *store, const struct digest *id, struct layer **ret,
		   struct err *err)
{
	struct loading l = {.id = id, .err = err};
	char name[SHORT_LEN];
	int rc = index_layer_get(store->index, id, from_row, &l, err);

	if (rc == -ENOENT)
		return err_set(err, rc, "there is no layer %s", short_id(name, id));
	if (rc == 0)
		*ret = l.layer;
	return rc;
}

static int check_not_removed(struct store *store, const struct layer *layer, struct err *err)
{
	char id[SHORT_LEN];
	int rc = decide_removed(store, &layer->id, layer->seq);

	if (rc > 0)
		return err_set(err, -ENOENT, "layer %s was removed", short_id(id, &layer->id));
	if (rc < 0)
		return err_sys(err, rc, "layer %s: cannot tell whether it was removed",
			       short_id(id, &layer->id));
	return 0;
}

static int check_readable(struct store *store, const struct layer *layer, struct err *err)
{
	int rc = check_not_removed(store, layer, err), held;
	char id[SHORT_LEN];

	if (rc != -ENOENT)
		return rc;
	held = lease_file_held(store, &layer->id);
	if (held < 0)
		return err_sys(err, held, "layer %s was removed: cannot look for its readers",
			       short_id(id, &layer->id));
	return held ? 0 : rc;
}

/* The row, if `check` lets it pass. */
static int peek(struct store *store, const struct digest *id,
		int (*check)(struct store *store, const struct layer *layer, struct err *err),
		struct layer **ret, struct err *err)
{
	struct layer *layer = NULL;
	int rc = get_row(store, id, &layer, err);

	if (rc < 0)
		return rc;
	rc = check(store, layer, err);
	if (rc < 0)
		layer_unref(layer);
	else
		*ret = layer;
	return rc;
}

int layer_peek(struct store *store, const struct digest *id, struct layer **ret, struct err *err)
{
	return peek(store, id, check_not_removed, ret, err);
}

int layer_peek_held(struct store *store, const struct digest *id, struct layer **ret,
		    struct err *err)
{
	return peek(store, id, check_readable, ret, err);
}

static int check_root(struct store *store, const struct layer *layer, struct err *err)
{
	struct digest root;
	char id[SHORT_LEN];
	int rc = layer_root(store, layer, &root, err);

	if (rc == 0 && !digest_equal(&root, &layer->id))
		rc = err_set(err, -EBADMSG, "layer %s: its frames do not add up to its name",
			     short_id(id, &layer->id));
	return rc;
}

static int check_all(struct store *store, const struct layer *layer, struct err *err)
{
	int rc = check_not_removed(store, layer, err);

	return rc < 0 ? rc : check_root(store, layer, err);
}

int layer_open(struct store *store, const struct digest *id, struct layer **ret, struct err *err)
{
	return peek(store, id, check_all, ret, err);
}

/*
 * Others' leases are looked for before there is one of our own.  gc may come
 * between the two and forget the layer, so the row is read again behind it: one
 * that is there then stays as long as the lease, removed or not.
 */
int layer_hold(struct store *store, const struct digest *id, int *ret_lease,
	       struct layer **ret, struct err *err)
{
	struct layer *layer;
	int rc = layer_peek_held(store, id, &layer, err), lease;

	if (rc < 0)
		return rc;
	layer_unref(layer);
	lease = lease_take(store, id, err);
	if (lease < 0)
		return lease;
	rc = peek(store, id, check_root, ret, err);
	if (rc < 0)
		close(lease);
	else
		*ret_lease = lease;
	return rc;
}
