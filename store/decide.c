/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Decisions, as the packs and the index keep them.
 *
 * Writing one appends a record, syncs the pack and publishes the row in one
 * transaction, like a commit of nothing else.  On a full disk the reserve is
 * given back first, so that what frees space can always be said.
 */
#include "store/decide.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/append.h"
#include "store/attrs.h"
#include "store/base/fmt.h"
#include "store/base/vec.h"
#include "store/lease.h"
#include "store/live-row.h"
#include "store/store.h"
#include "store/traces.h"

#define PREFIX_MIN 4u		/* hex digits that may name a layer */
#define NAMES_SHOWN 5
#define SHORT_LEN 12		/* digits of a layer's name in sentences */

static bool is_hex(const char *text, size_t len)
{
	return strspn(text, "0123456789abcdefABCDEF") >= len;
}

bool decide_tag_name_ok(const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len > TAG_NAME_MAX || name[0] == '.')
		return false;
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)name[i]) && !strchr("._-", name[i]))
			return false;
	return len != 2 * DIGEST_LEN || !is_hex(name, len);
}

/* ---- writing ---- */

struct decisions {
	struct index_decision *v;
	size_t n;
	size_t cap;
};

static int publish(struct append *a, const struct decisions *list, struct err *err)
{
	struct index *ix = a->store->index;
	int rc = index_begin(ix, err);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < list->n && rc == 0; i++)
		rc = index_decision_put(ix, &list->v[i], err);
	if (rc == 0)
		rc = append_publish(a, err);
	if (rc == 0)
		return index_commit(ix, err);
	index_abort(ix);
	return rc;
}

static int write_once(struct store *store, struct decisions *list, struct err *err)
{
	struct append a;
	int rc = append_begin(store, 0, &a, err);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < list->n && rc == 0; i++)
		rc = decide_append(&a, &list->v[i], err);
	if (rc == 0)
		rc = append_sync(&a, err);
	if (rc == 0)
		rc = publish(&a, list, err);
	if (rc < 0) {
		append_abort(&a);
		return rc;
	}
	append_end(&a);
	index_checkpoint(store->index);
	return 0;
}

int decide_write(struct store *store, struct index_decision *v, size_t n, struct err *err)
{
	struct decisions list = {.v = v, .n = n};
	int rc = write_once(store, &list, err);

	if (rc != -ENOSPC)
		return rc;
	store_reserve_release(store);
	rc = write_once(store, &list, err);
	store_reserve_make(store);
	return rc;
}

/* ---- layers that exist ---- */

struct removal {
	uint64_t seq;		/* of the layer's row */
	int removed;
};

static int look_removed(void *ctx, const struct index_decision *d)
{
	struct removal *r = ctx;

	r->removed = d->has_value && d->seq > r->seq;
	return 0;
}

int decide_removed(struct store *store, const struct digest *id, uint64_t seq)
{
	struct removal r = {.seq = seq};
	struct index_decision what = {.kind = DECISION_REMOVE, .key = id->b, .key_len = DIGEST_LEN};
	int rc = index_decision_get(store->index, &what, look_removed, &r, NULL);

	if (rc == -ENOENT)
		return 0;
	return rc < 0 ? rc : r.removed;
}

static int look_seq(void *ctx, const struct index_layer *layer)
{
	*(uint64_t *)ctx = layer->seq;
	return 0;
}

int decide_exists(struct store *store, const struct digest *id, struct err *err)
{
	char hex[DIGEST_HEX_LEN];
	uint64_t seq;
	int rc = index_layer_get(store->index, id, look_seq, &seq, err);

	if (rc < 0)
		return rc;
	rc = decide_removed(store, id, seq);
	if (rc > 0)
		return err_set(err, -ENOENT, "layer %s was removed",
			       fmt_hex(hex, id->b, DIGEST_LEN));
	return rc < 0 ? err_sys(err, rc, "cannot look whether the layer was removed") : 0;
}

struct layer_walk {
	struct store *store;
	int (*fn)(void *ctx, const struct index_layer *l);
	void *ctx;
	struct err *err;
};

static int walk_layer(void *ctx, const struct index_layer *l)
{
	struct layer_walk *w = ctx;
	int rc = decide_removed(w->store, &l->id, l->seq);

	if (rc < 0)
		return err_sys(w->err, rc, "cannot look whether a layer was removed");
	return rc ? 0 : w->fn(w->ctx, l);
}

int decide_layer_each(struct store *store, int (*fn)(void *ctx, const struct index_layer *l),
		      void *ctx, struct err *err)
{
	struct layer_walk w = {store, fn, ctx, err};

	return index_layer_each(store->index, walk_layer, &w, err);
}

/* ---- attributes ---- */

static int write_attrs(struct store *store, const struct digest *id, const struct attrs *attrs,
		       struct err *err)
{
	struct index_decision d = {
		.kind = DECISION_ATTRS, .key = id->b, .key_len = DIGEST_LEN, .has_value = true,
	};
	struct buf value = {0};
	int rc;

	attrs_encode(attrs, &value);
	d.value = value.data;
	d.value_len = (uint32_t)value.len;
	rc = buf_error(&value) < 0 ? err_set(err, -ENOMEM, "out of memory") :
				     decide_write(store, &d, 1, err);
	buf_fini(&value);
	return rc;
}

int decide_attrs(struct store *store, const struct digest *id, const struct attrs *attrs,
		 uint64_t wait_ms, struct err *err)
{
	bool taken;
	int rc = store_lock_too(store, "attributes", wait_ms, &taken, err);

	if (rc < 0)
		return rc;
	rc = decide_exists(store, id, err);
	if (rc == 0)
		rc = write_attrs(store, id, attrs, err);
	store_unlock_too(store, taken);
	return rc;
}

/* ---- tags ---- */

static int bad_name(const char *name, struct err *err)
{
	return err_set(err, -EINVAL, "'%s' is not a good name for a tag: letters, digits and ._- "
		       "(not first a dot), at most %u, and not a layer's name", name, TAG_NAME_MAX);
}

static int write_tag(struct store *store, const char *name, const struct digest *id,
		     struct err *err)
{
	struct index_decision d = {
		.kind = DECISION_TAG, .key = name, .key_len = (uint32_t)strlen(name),
		.has_value = id != NULL, .value = id ? id->b : NULL,
		.value_len = id ? DIGEST_LEN : 0,
	};

	return decide_write(store, &d, 1, err);
}

int decide_tag(struct store *store, const char *name, const struct digest *id, uint64_t wait_ms,
	       struct err *err)
{
	bool taken;
	int rc;

	if (!decide_tag_name_ok(name))
		return bad_name(name, err);
	rc = store_lock_too(store, "tag", wait_ms, &taken, err);
	if (rc < 0)
		return rc;
	rc = decide_exists(store, id, err);
	if (rc == 0)
		rc = write_tag(store, name, id, err);
	store_unlock_too(store, taken);
	return rc;
}

int decide_untag(struct store *store, const char *name, uint64_t wait_ms, struct err *err)
{
	struct digest id;
	bool taken;
	int rc = store_lock_too(store, "untag", wait_ms, &taken, err);

	if (rc < 0)
		return rc;
	rc = decide_tag_find(store, name, &id, err);
	if (rc == 0)
		rc = write_tag(store, name, NULL, err);
	store_unlock_too(store, taken);
	return rc;
}

static int look_tag(void *ctx, const struct index_decision *d)
{
	if (!d->has_value)
		return -ENOENT;
	if (d->value_len != DIGEST_LEN)
		return -EBADMSG;
	memcpy(((struct digest *)ctx)->b, d->value, DIGEST_LEN);
	return 0;
}

int decide_tag_find(struct store *store, const char *name, struct digest *ret, struct err *err)
{
	struct index_decision what = {
		.kind = DECISION_TAG, .key = name, .key_len = (uint32_t)strlen(name),
	};
	struct digest id;
	int rc = -ENOENT;

	if (decide_tag_name_ok(name))
		rc = index_decision_get(store->index, &what, look_tag, &id, err);
	if (rc == -ENOENT)
		return err_set(err, rc, "there is no tag '%s'", name);
	if (rc == 0)
		*ret = id;
	return rc;
}

struct tag_walk {
	int (*fn)(void *ctx, const char *name, const struct digest *id);
	void *ctx;
};

static int walk_tag(void *ctx, const struct index_decision *d)
{
	struct tag_walk *w = ctx;
	char name[TAG_NAME_MAX + 1];
	struct digest id;

	if (!d->has_value || d->value_len != DIGEST_LEN || d->key_len > TAG_NAME_MAX)
		return 0;
	memcpy(name, d->key, d->key_len);
	name[d->key_len] = '\0';
	memcpy(id.b, d->value, DIGEST_LEN);
	return w->fn(w->ctx, name, &id);
}

int decide_tag_each(struct store *store,
		    int (*fn)(void *ctx, const char *name, const struct digest *id), void *ctx,
		    struct err *err)
{
	struct tag_walk w = {fn, ctx};

	return index_decision_each(store->index, DECISION_TAG, walk_tag, &w, err);
}

/* ---- removal ---- */

struct tags_of {
	const struct digest *id;
	VEC(char *) names;
};

static int collect_tag(void *ctx, const char *name, const struct digest *id)
{
	struct tags_of *t = ctx;
	char *copy;

	if (!digest_equal(id, t->id))
		return 0;
	copy = strdup(name);
	if (!copy || vec_push(&t->names, copy) < 0) {
		free(copy);
		return -ENOMEM;
	}
	return 0;
}

static void tags_fini(struct tags_of *t)
{
	for (size_t i = 0; i < t->names.n; i++)
		free(t->names.v[i]);
	vec_fini(&t->names);
}

static int refuse_tags(const struct digest *id, const struct tags_of *t, struct err *err)
{
	char list[(TAG_NAME_MAX + 4) * NAMES_SHOWN + 32] = "", hex[DIGEST_HEX_LEN];
	size_t len = 0, shown = t->names.n < NAMES_SHOWN ? t->names.n : NAMES_SHOWN;

	for (size_t i = 0; i < shown; i++)
		len += (size_t)snprintf(list + len, sizeof(list) - len, "%s'%s'", i ? ", " : "",
					t->names.v[i]);
	if (t->names.n > shown)
		(void)snprintf(list + len, sizeof(list) - len, " and %zu more",
			       t->names.n - shown);
	return err_set(err, -EBUSY, "layer %.*s has the tag%s %s", SHORT_LEN,
		       fmt_hex(hex, id->b, DIGEST_LEN), t->names.n > 1 ? "s" : "", list);
}

static int refuse_leases(struct store *store, const struct digest *id, struct err *err)
{
	char list[NAMES_SHOWN * 12 + 32] = "", hex[DIGEST_HEX_LEN];
	int pids[NAMES_SHOWN], n = lease_holders(store, id, pids, NAMES_SHOWN);
	size_t len = 0;

	for (int i = 0; i < n && i < NAMES_SHOWN; i++)
		len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%d", i ? ", " : "",
					pids[i]);
	if (n > NAMES_SHOWN)
		(void)snprintf(list + len, sizeof(list) - len, " and %d more", n - NAMES_SHOWN);
	return err_set(err, -EBUSY, "layer %.*s is being read by %s%s", SHORT_LEN,
		       fmt_hex(hex, id->b, DIGEST_LEN),
		       n <= 0 ? "somebody" : n == 1 ? "pid " : "pids ", list);
}

/* What was written to a live image is nothing without the layer. */
static int check_live(struct store *store, const struct digest *id, struct err *err)
{
	char list[(TAG_NAME_MAX + 4) * 4 + 32], hex[DIGEST_HEX_LEN];
	int n = live_row_on(store, id, list, sizeof(list), err);

	if (n <= 0)
		return n;
	return err_set(err, -EBUSY, "layer %.*s has the live image%s %s on it: commit or remove "
		       "%s first", SHORT_LEN, fmt_hex(hex, id->b, DIGEST_LEN), n > 1 ? "s" : "",
		       list, n > 1 ? "them" : "it");
}

static int check_removable(struct store *store, const struct digest *id, const struct tags_of *t,
			   struct err *err)
{
	int held;

	if (t->names.n)
		return refuse_tags(id, t, err);
	held = lease_held(store, id);
	if (held < 0)
		return err_sys(err, held, "cannot look at the leases of store '%s'", store->path);
	return held ? refuse_leases(store, id, err) : 0;
}

static int write_removal(struct store *store, const struct digest *id, const struct tags_of *t,
			 const struct traces_keys *traces, struct err *err)
{
	struct decisions list = {0};
	struct index_decision d = {
		.kind = DECISION_REMOVE, .key = id->b, .key_len = DIGEST_LEN, .has_value = true,
	};
	int rc = vec_push(&list, d);

	for (size_t i = 0; i < t->names.n && rc == 0; i++) {
		d = (struct index_decision){
			.kind = DECISION_TAG, .key = t->names.v[i],
			.key_len = (uint32_t)strlen(t->names.v[i]),
		};
		rc = vec_push(&list, d);
	}
	for (size_t i = 0; i < traces->n && rc == 0; i++) {
		d = (struct index_decision){
			.kind = DECISION_TRACE, .key = traces->v[i].b,
			.key_len = traces->v[i].len,
		};
		rc = vec_push(&list, d);
	}
	rc = rc < 0 ? err_set(err, rc, "out of memory") :
		decide_write(store, list.v, list.n, err);
	vec_fini(&list);
	return rc;
}

static int remove_locked(struct store *store, const struct digest *id, bool force,
			 struct err *err)
{
	struct tags_of t = {.id = id};
	struct traces_keys traces = {0};
	int rc = decide_exists(store, id, err);

	if (rc == 0)
		rc = check_live(store, id, err);
	if (rc < 0)
		return rc;
	rc = decide_tag_each(store, collect_tag, &t, err);
	if (rc == -ENOMEM)
		rc = err_set(err, rc, "out of memory");
	if (rc == 0 && !force)
		rc = check_removable(store, id, &t, err);
	if (rc == 0)
		rc = traces_keys(store, id, &traces, err);
	if (rc == 0)
		rc = write_removal(store, id, &t, &traces, err);
	vec_fini(&traces);
	tags_fini(&t);
	return rc;
}

int decide_remove(struct store *store, const struct digest *id, bool force, uint64_t wait_ms,
		  struct err *err)
{
	bool taken;
	int rc = store_lock_too(store, "rm", wait_ms, &taken, err);

	if (rc < 0)
		return rc;
	rc = remove_locked(store, id, force, err);
	store_unlock_too(store, taken);
	return rc;
}

/* ---- names ---- */

struct matches {
	struct store *store;
	struct digest id;	/* the first */
	uint64_t n;
	struct err *err;
};

static int count_match(void *ctx, const struct digest *id)
{
	struct matches *m = ctx;
	int rc = decide_exists(m->store, id, m->err);

	if (rc == -ENOENT)
		return 0;
	if (rc < 0)
		return rc;
	if (m->n++ == 0)
		m->id = *id;
	return 0;
}

static int resolve_prefix(struct store *store, const char *name, struct digest *ret,
			  struct err *err)
{
	struct matches m = {.store = store, .err = err};
	int rc = index_layer_prefix(store->index, name, count_match, &m, err);

	if (rc < 0)
		return rc;
	if (m.n == 0)
		return err_set(err, -ENOENT, "there is no layer or tag '%s'", name);
	if (m.n > 1)
		return err_set(err, -ENOTUNIQ, "'%s' fits %llu layers: more digits are needed",
			       name, (unsigned long long)m.n);
	*ret = m.id;
	return 0;
}

int decide_resolve(struct store *store, const char *name, struct digest *ret, struct err *err)
{
	size_t len = strlen(name);
	struct digest id;
	int rc = decide_tag_find(store, name, &id, err);

	if (rc == 0)
		rc = decide_exists(store, &id, err);
	if (rc == 0)
		*ret = id;
	if (rc != -ENOENT)
		return rc;
	if (len > 2 * DIGEST_LEN || !is_hex(name, len) || len == 0)
		return err_set(err, -ENOENT, "there is no layer or tag '%s'", name);
	if (len < PREFIX_MIN)
		return err_set(err, -ENOENT,
			       "there is no tag '%s', and a layer's name needs %u digits", name,
			       PREFIX_MIN);
	return resolve_prefix(store, name, ret, err);
}
