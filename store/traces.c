/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/traces.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "store/base/fmt.h"
#include "store/base/vec.h"
#include "store/decide.h"
#include "store/index.h"
#include "store/layer.h"
#include "store/store.h"

#define SHORT_BYTES 6		/* of a layer's id, in sentences */
#define SHORT_LEN (2 * SHORT_BYTES + 1)

_Static_assert(TRACES_KEY_MAX <= TAG_NAME_MAX, "the index takes the keys");
_Static_assert(TRACES_TEXT_MAX <= TRACE_TEXT_MAX, "what is kept can be parsed");
_Static_assert(TRACES_TEXT_MAX < RECORD_LEN_MAX / 2, "and fits into a record");

/* ---- names and keys ---- */

static bool name_ok(const char *name, size_t len)
{
	if (len == 0 || len > TRACES_NAME_MAX || name[0] == '.')
		return false;
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)name[i]) && (!name[i] || !strchr("._-", name[i])))
			return false;
	return true;
}

bool traces_name_ok(const char *name)
{
	return name_ok(name, strnlen(name, TRACES_NAME_MAX + 1));
}

bool traces_key_ok(const void *key, size_t len)
{
	return len > DIGEST_LEN && name_ok((const char *)key + DIGEST_LEN, len - DIGEST_LEN);
}

static const char *short_id(char out[SHORT_LEN], const struct digest *id)
{
	return fmt_hex(out, id->b, SHORT_BYTES);
}

static int make_key(const struct digest *id, const char *name, struct traces_key *ret,
		    struct err *err)
{
	size_t len = strlen(name);

	if (!traces_name_ok(name))
		return err_set(err, -EINVAL, "'%s' is not a good name for a trace: letters, digits "
			       "and ._- (not first a dot), at most %u", name, TRACES_NAME_MAX);
	memcpy(ret->b, id->b, DIGEST_LEN);
	memcpy(ret->b + DIGEST_LEN, name, len);
	ret->len = (uint32_t)(DIGEST_LEN + len);
	return 0;
}

static struct index_decision decision_of(const struct traces_key *key)
{
	return (struct index_decision){
		.kind = DECISION_TRACE, .key = key->b, .key_len = key->len,
	};
}

/* ---- reading ---- */

static int no_such(const struct digest *id, const char *name, struct err *err)
{
	char layer[SHORT_LEN];

	return err_set(err, -ENOENT, "layer %s has no trace '%s'", short_id(layer, id), name);
}

static int get(struct store *store, const struct digest *id, const char *name,
	       int (*fn)(void *ctx, const struct index_decision *d), void *ctx, struct err *err)
{
	struct traces_key key;
	struct index_decision what;
	int rc = -ENOENT;

	if (traces_name_ok(name) && make_key(id, name, &key, err) == 0) {
		what = decision_of(&key);
		rc = index_decision_get(store->index, &what, fn, ctx, err);
	}
	return rc == -ENOENT ? no_such(id, name, err) : rc;
}

static int look_size(void *ctx, const struct index_decision *d)
{
	if (!d->has_value)
		return -ENOENT;
	*(uint64_t *)ctx = d->value_len;
	return 0;
}

int traces_size(struct store *store, const struct digest *id, const char *name, uint64_t *ret,
		struct err *err)
{
	return get(store, id, name, look_size, ret, err);
}

static int copy_text(void *ctx, const struct index_decision *d)
{
	struct buf *out = ctx;

	if (!d->has_value)
		return -ENOENT;
	buf_bytes(out, d->value, d->value_len);
	return buf_error(out);
}

int traces_text(struct store *store, const struct digest *id, const char *name, struct buf *out,
		struct err *err)
{
	int rc = get(store, id, name, copy_text, out, err);

	return rc == -ENOMEM ? err_set(err, rc, "out of memory") : rc;
}

struct parsing {
	struct trace trace;
	struct err *err;
};

static int parse_row(void *ctx, const struct index_decision *d)
{
	struct parsing *p = ctx;
	int rc;

	if (!d->has_value)
		return -ENOENT;
	rc = trace_parse(d->value, d->value_len, &p->trace, p->err);
	return rc == -EMEDIUMTYPE ? -EBADMSG : rc;
}

int traces_get(struct store *store, const struct digest *id, const char *name, struct trace *ret,
	       struct err *err)
{
	struct parsing p = {.err = err};
	char layer[SHORT_LEN];
	int rc = get(store, id, name, parse_row, &p, err);

	if (rc == 0)
		*ret = p.trace;
	if (rc < 0 && rc != -ENOENT)
		return err_wrap(err, rc, "trace '%s' of layer %s", name, short_id(layer, id));
	return rc;
}

struct walk {
	int (*fn)(void *ctx, const struct traces_item *item);
	void *ctx;
};

static int walk_row(void *ctx, const struct index_decision *d)
{
	struct walk *w = ctx;
	struct traces_item item = {.text = d->value, .len = d->value_len};

	if (!d->has_value || !traces_key_ok(d->key, d->key_len))
		return 0;
	memcpy(&item.layer, d->key, DIGEST_LEN);
	memcpy(item.name, (const char *)d->key + DIGEST_LEN, d->key_len - DIGEST_LEN);
	return w->fn(w->ctx, &item);
}

int traces_each(struct store *store, const struct digest *id,
		int (*fn)(void *ctx, const struct traces_item *item), void *ctx, struct err *err)
{
	struct walk w = {fn, ctx};
	struct index_decision what = {.kind = DECISION_TRACE};

	if (!id)
		return index_decision_each(store->index, DECISION_TRACE, walk_row, &w, err);
	what.key = id->b;
	what.key_len = DIGEST_LEN;
	return index_decision_under(store->index, &what, walk_row, &w, err);
}

static int add_key(void *ctx, const struct traces_item *item)
{
	struct traces_keys *keys = ctx;
	struct traces_key key;

	if (make_key(&item->layer, item->name, &key, NULL) < 0)
		return -EBADMSG;
	return vec_push(keys, key);
}

int traces_keys(struct store *store, const struct digest *id, struct traces_keys *ret,
		struct err *err)
{
	int rc = traces_each(store, id, add_key, ret, err);

	return rc == -ENOMEM ? err_set(err, rc, "out of memory") : rc;
}

/* ---- writing ---- */

/* Whether it is a trace of this layer's memfile. */
static int check_size(const struct layer *layer, const struct trace *trace, struct err *err)
{
	const struct image *memfile = layer_image(layer, "memfile");
	char id[SHORT_LEN];

	if (!memfile)
		return err_set(err, -EINVAL, "layer %s has no memfile", short_id(id, &layer->id));
	if (memfile->size != trace->size)
		return err_set(err, -EINVAL, "the trace is of a memfile of %" PRIu64
			       " bytes, but that of layer %s has %" PRIu64, trace->size,
			       short_id(id, &layer->id), memfile->size);
	return 0;
}

/* Whether there is room for one more name. */
static int check_room(struct store *store, const struct digest *id, const char *name,
		      struct err *err)
{
	struct traces_keys keys = {0};
	char layer[SHORT_LEN];
	uint64_t len;
	int rc = traces_size(store, id, name, &len, err);

	if (rc != -ENOENT)
		return rc;
	rc = traces_keys(store, id, &keys, err);
	if (rc == 0 && keys.n >= TRACES_MAX)
		rc = err_set(err, -EDQUOT, "layer %s has %u traces, more are not kept",
			     short_id(layer, id), TRACES_MAX);
	vec_fini(&keys);
	return rc;
}

static int check(struct store *store, const struct digest *id, const char *name,
		 const struct trace *trace, struct err *err)
{
	struct layer *layer;
	int rc = layer_peek(store, id, &layer, err);

	if (rc < 0)
		return rc;
	rc = check_size(layer, trace, err);
	layer_unref(layer);
	return rc < 0 ? rc : check_room(store, id, name, err);
}

/* A text, or NULL to remove it. */
static int write_text(struct store *store, const struct traces_key *key, const struct buf *text,
		      struct err *err)
{
	struct index_decision d = decision_of(key);

	if (text) {
		d.has_value = true;
		d.value = text->data;
		d.value_len = (uint32_t)text->len;
	}
	return decide_write(store, &d, 1, err);
}

static int format(const struct trace *trace, struct buf *out, struct err *err)
{
	if (trace_format(trace, out) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	if (out->len > TRACES_TEXT_MAX)
		return err_set(err, -EFBIG, "the trace has %zu bytes: more than %u are not kept",
			       out->len, TRACES_TEXT_MAX);
	return 0;
}

int traces_put(struct store *store, const struct digest *id, const char *name,
	       const struct trace *trace, uint64_t wait_ms, struct err *err)
{
	struct buf text = {0};
	struct traces_key key;
	bool taken = false;
	int rc = make_key(id, name, &key, err);

	if (rc == 0)
		rc = format(trace, &text, err);
	if (rc == 0)
		rc = store_lock_too(store, "trace", wait_ms, &taken, err);
	if (rc < 0) {
		buf_fini(&text);
		return rc;
	}
	rc = check(store, id, name, trace, err);
	if (rc == 0)
		rc = write_text(store, &key, &text, err);
	store_unlock_too(store, taken);
	buf_fini(&text);
	return rc;
}

int traces_remove(struct store *store, const struct digest *id, const char *name,
		  uint64_t wait_ms, struct err *err)
{
	struct traces_key key;
	uint64_t len;
	bool taken;
	int rc = make_key(id, name, &key, err);

	if (rc == 0)
		rc = store_lock_too(store, "trace", wait_ms, &taken, err);
	if (rc < 0)
		return rc;
	rc = decide_exists(store, id, err);
	if (rc == 0)
		rc = traces_size(store, id, name, &len, err);
	if (rc == 0)
		rc = write_text(store, &key, NULL, err);
	store_unlock_too(store, taken);
	return rc;
}
