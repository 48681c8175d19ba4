/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/live-row.h"

#include <stdio.h>
#include <string.h>

#include "store/base/rd.h"
#include "store/decide.h"
#include "store/layer.h"
#include "store/store.h"

#define NAMES_SHOWN 3

_Static_assert(2 + DIGEST_LEN + 16 + IMAGES_MAX * (IMAGE_NAME_MAX + 1) <= META_MAX,
	       "a row fits into a decision");

bool live_row_name_ok(const char *name)
{
	return decide_tag_name_ok(name);
}

/* ---- bytes ---- */

int live_row_decision(const struct live_row *row, struct buf *value, struct index_decision *ret)
{
	static const struct digest none;

	buf_reset(value);
	buf_u8(value, row->has_base);
	buf_bytes(value, row->has_base ? row->base.b : none.b, DIGEST_LEN);
	buf_u64(value, row->first);
	buf_u64(value, (uint64_t)row->created);
	buf_u8(value, (uint8_t)row->nimages);
	for (unsigned i = 0; i < row->nimages; i++) {
		buf_u8(value, (uint8_t)strlen(row->image[i]));
		buf_bytes(value, row->image[i], strlen(row->image[i]));
	}
	if (buf_error(value) < 0)
		return -ENOMEM;
	*ret = (struct index_decision){
		.kind = DECISION_LIVE, .key = row->name, .key_len = (uint32_t)strlen(row->name),
		.has_value = true, .value = value->data, .value_len = (uint32_t)value->len,
	};
	return 0;
}

static bool decode_name(const struct index_decision *d, struct live_row *row)
{
	if (d->key_len > TAG_NAME_MAX)
		return false;
	memcpy(row->name, d->key, d->key_len);
	row->name[d->key_len] = '\0';
	return strlen(row->name) == d->key_len && live_row_name_ok(row->name);
}

static bool decode_image(struct rd *rd, char name[IMAGE_NAME_MAX + 1])
{
	size_t len = rd_u8(rd);
	const void *text = rd_bytes(rd, len);

	if (!text || len > IMAGE_NAME_MAX)
		return false;
	memcpy(name, text, len);
	name[len] = '\0';
	return strlen(name) == len && layer_image_name_ok(name);
}

static bool decode_images(struct rd *rd, struct live_row *row)
{
	row->nimages = rd_u8(rd);
	if (row->nimages == 0 || row->nimages > IMAGES_MAX)
		return false;
	for (unsigned i = 0; i < row->nimages; i++) {
		if (!decode_image(rd, row->image[i]))
			return false;
		if (i && strcmp(row->image[i - 1], row->image[i]) >= 0)
			return false;
	}
	return rd_done(rd);
}

int live_row_decode(const struct index_decision *d, struct live_row *ret)
{
	struct live_row row = {.nimages = 0};
	const void *base;
	uint8_t has_base;
	struct rd rd;

	if (d->kind != DECISION_LIVE || !d->has_value || !decode_name(d, &row))
		return -EBADMSG;
	rd_init(&rd, d->value, d->value_len);
	has_base = rd_u8(&rd);
	base = rd_bytes(&rd, DIGEST_LEN);
	row.first = rd_u64(&rd);
	row.created = (int64_t)rd_u64(&rd);
	if (!decode_images(&rd, &row))
		return -EBADMSG;
	memcpy(row.base.b, base, DIGEST_LEN);
	row.has_base = has_base;
	if (has_base > 1 || row.first == 0 || (!has_base && !digest_is_zero(&row.base)))
		return -EBADMSG;
	*ret = row;
	return 0;
}

/* ---- reading ---- */

struct look {
	struct live_row *ret;
	bool there;
};

static int look(void *ctx, const struct index_decision *d)
{
	struct look *l = ctx;

	l->there = d->has_value;
	return l->there ? live_row_decode(d, l->ret) : 0;
}

int live_row_get(struct store *store, const char *name, struct live_row *ret, struct err *err)
{
	struct index_decision what = {
		.kind = DECISION_LIVE, .key = name, .key_len = (uint32_t)strlen(name),
	};
	struct look l = {.ret = ret};
	struct err why = {{0}};
	int rc = 0;

	if (live_row_name_ok(name))
		rc = index_decision_get(store->index, &what, look, &l, &why);
	if (rc == -ENOENT || (rc == 0 && !l.there))
		return err_set(err, -ENOENT, "there is no live image '%s'", name);
	if (rc < 0)
		return err_set(err, rc, "live image '%s': %s", name,
			       why.text[0] ? why.text : "what is known of it is damaged");
	return 0;
}

static int look_value(void *ctx, const struct index_decision *d)
{
	(void)ctx;
	return d->has_value;
}

int live_row_said(struct store *store, const char *name, struct err *err)
{
	struct index_decision what = {
		.kind = DECISION_LIVE, .key = name, .key_len = (uint32_t)strlen(name),
	};

	if (!live_row_name_ok(name))
		return err_set(err, -ENOENT, "nothing was decided");
	return index_decision_get(store->index, &what, look_value, NULL, err);
}

struct walk {
	int (*fn)(void *ctx, const struct live_row *row);
	void *ctx;
	struct err *err;
};

static int walk_row(void *ctx, const struct index_decision *d)
{
	struct walk *w = ctx;
	struct live_row row;

	if (!d->has_value)
		return 0;
	if (live_row_decode(d, &row) < 0)
		return err_set(w->err, -EBADMSG, "live image '%.*s': what is known of it is "
			       "damaged", (int)d->key_len, (const char *)d->key);
	return w->fn(w->ctx, &row);
}

int live_row_each(struct store *store, int (*fn)(void *ctx, const struct live_row *row), void *ctx,
		  struct err *err)
{
	struct walk w = {fn, ctx, err};

	return index_decision_each(store->index, DECISION_LIVE, walk_row, &w, err);
}

struct on {
	const struct digest *id;
	char *list;
	size_t size;
	size_t len;
	int n;
};

static void list_name(struct on *on, const char *name)
{
	size_t room = on->size - on->len;
	int len = snprintf(on->list + on->len, room, "%s'%s'", on->len ? ", " : "", name);

	on->len += (size_t)len < room ? (size_t)len : room - 1;
}

static int add_on(void *ctx, const struct live_row *row)
{
	struct on *on = ctx;

	if (!row->has_base || !digest_equal(&row->base, on->id))
		return 0;
	if (on->n++ < NAMES_SHOWN && on->size)
		list_name(on, row->name);
	return 0;
}

int live_row_on(struct store *store, const struct digest *id, char *list, size_t size,
		struct err *err)
{
	struct on on = {.id = id, .list = list, .size = size};
	int rc;

	if (size)
		list[0] = '\0';
	rc = live_row_each(store, add_on, &on, err);
	if (rc < 0)
		return rc;
	if (on.n > NAMES_SHOWN && size)
		(void)snprintf(list + on.len, size - on.len, " and %d more", on.n - NAMES_SHOWN);
	return on.n;
}

/* ---- writing ---- */

int live_row_put(struct store *store, const struct live_row *row, struct err *err)
{
	struct buf value = {0};
	struct index_decision d;
	int rc = live_row_decision(row, &value, &d);

	rc = rc < 0 ? err_set(err, rc, "out of memory") : decide_write(store, &d, 1, err);
	buf_fini(&value);
	return rc;
}

int live_row_delete(struct store *store, const char *name, struct err *err)
{
	struct index_decision d = {
		.kind = DECISION_LIVE, .key = name, .key_len = (uint32_t)strlen(name),
	};

	return decide_write(store, &d, 1, err);
}
