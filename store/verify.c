/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A run has five parts: the index by itself, the packs against the index, the
 * layers against both, live images, and (deep) contents against digests.
 *
 * No lock is held and no snapshot: a gc or commit may go on beside it.  Packs
 * are read up to the end that was published when they were looked at, and
 * again from there if a later look finds more.  A fault is believed only when
 * the index, asked again at the end, still says what it said before.  What hurts
 * whom is found out last, and only if there is anything to find out.
 */
#include "store/verify.h"

#include <stdlib.h>
#include <string.h>

#include "store/base/clock.h"
#include "store/decide.h"
#include "store/index.h"
#include "store/layer.h"
#include "store/mark.h"
#include "store/older.h"
#include "store/store.h"
#include "store/verify-private.h"

/* ---- helpers ---- */

bool verify_bit(const struct verify_bits *b, uint64_t i)
{
	return i >> 3 < b->len && b->v[i >> 3] >> (i & 7) & 1;
}

int verify_bit_set(struct verify *v, struct verify_bits *b, uint64_t i)
{
	size_t want = (size_t)(i >> 3) + 1, len = b->len;
	uint8_t *bits;

	if (want > len) {
		while (len < want)
			len = len ? len * 2 : 1024;
		bits = realloc(b->v, len);
		if (!bits)
			return err_set(v->err, -ENOMEM, "out of memory");
		memset(bits + b->len, 0, len - b->len);
		b->v = bits;
		b->len = len;
	}
	b->v[i >> 3] |= (uint8_t)(1u << (i & 7));
	return 0;
}

static int get_seq(void *ctx, const struct index_layer *l)
{
	*(uint64_t *)ctx = l->seq;
	return 0;
}

int verify_layer_exists(struct verify *v, const struct digest *id)
{
	uint64_t seq;
	int rc = index_layer_get(v->store->index, id, get_seq, &seq, v->err);

	if (rc == -ENOENT)
		return 0;
	if (rc < 0)
		return rc;
	rc = decide_removed(v->store, id, seq);
	if (rc < 0)
		return err_set(v->err, rc, "cannot tell whether a layer was removed");
	return !rc;
}

struct ids {
	struct verify *v;
	VEC(struct digest) list;
};

static int add_id(void *ctx, const struct index_layer *l)
{
	struct ids *ids = ctx;

	return vec_push(&ids->list, l->id) < 0 ? err_set(ids->v->err, -ENOMEM, "out of memory") : 0;
}

struct loading {
	struct layer **ret;
	struct err *err;
};

static int decode(void *ctx, const struct index_layer *l)
{
	struct loading *to = ctx;
	struct rd rd;
	int rc;

	rd_init(&rd, l->manifest, l->manifest_len);
	rc = layer_decode(&rd, l->seq, to->ret);
	return rc == -ENOMEM ? err_set(to->err, rc, "out of memory") : rc;
}

static int note_bad_manifest(struct verify *v, const struct digest *id)
{
	struct verify_item fault = {.what = "layer", .about = VERIFY_LAYER};

	for (size_t i = 0; i < v->faults.n; i++)
		if (v->faults.v[i].about == VERIFY_LAYER &&
		    digest_equal(&v->faults.v[i].layers.v[0], id))
			return 0;
	if (vec_push(&fault.layers, *id) < 0)
		return err_set(v->err, -ENOMEM, "out of memory");
	return verify_faults_add(v, fault, "its manifest in the index is damaged");
}

/* 1, 0 (gone meanwhile, or damaged) or -errno. */
static int load(struct verify *v, const struct digest *id, struct layer **ret)
{
	struct loading to = {ret, v->err};
	int rc = index_layer_get(v->store->index, id, decode, &to, v->err);

	if (rc == -EBADMSG)
		return note_bad_manifest(v, id);
	if (rc == -ENOENT)
		return 0;
	return rc < 0 ? rc : 1;
}

int verify_each_layer(struct verify *v, int (*fn)(void *ctx, const struct layer *layer), void *ctx)
{
	struct ids ids = {.v = v};
	struct layer *layer;
	int rc = decide_layer_each(v->store, add_id, &ids, v->err);

	for (size_t i = 0; i < ids.list.n && rc >= 0; i++) {
		rc = load(v, &ids.list.v[i], &layer);
		if (rc <= 0)
			continue;
		rc = fn(ctx, layer);
		layer_unref(layer);
	}
	vec_fini(&ids.list);
	return rc < 0 ? rc : 0;
}

/* ---- the parts ---- */

static void index_fault(void *ctx, const char *text)
{
	struct verify *v = ctx;
	struct verify_item fault = {.what = "index", .about = VERIFY_OTHER};

	(void)verify_faults_add(v, fault, "%s", text);
}

/* An index that was put back from a copy is whole, but not what it was. */
static int check_age(struct verify *v)
{
	struct err why = {{0}};
	int rc = older_check_note(v->store, &why);

	if (rc != -EBADMSG)
		return rc < 0 ? err_set(v->err, rc, "%s", why.text) : 0;
	index_fault(v, why.text);
	return 0;
}

static int run_parts(struct verify *v)
{
	int rc = check_age(v);

	if (rc == 0)
		rc = index_verify(v->store->index, index_fault, v, v->err);
	if (rc == 0)
		rc = verify_packs(v);
	if (rc == 0)
		rc = verify_layers(v);
	if (rc == 0)
		rc = verify_live(v);
	if (rc == 0 && v->opts->deep)
		rc = verify_deep(v);
	if (rc == 0)
		rc = verify_faults_confirm(v);
	if (rc == 0)
		rc = verify_faults_attribute(v);
	return rc;
}

static int init(struct verify *v)
{
	if (pthread_mutex_init(&v->lock, NULL) != 0)
		return err_set(v->err, -ENOMEM, "out of memory");
	return mark_new(v->store, &v->mark) < 0 ? err_set(v->err, -ENOMEM, "out of memory") : 0;
}

static void fini(struct verify *v)
{
	verify_faults_free(v);
	vec_fini(&v->packs);
	vec_fini(&v->frames);
	free(v->frames_listed.v);
	free(v->frames_seen.v);
	free(v->seqs_seen.v);
	mark_free(v->mark);
	pthread_mutex_destroy(&v->lock);
}

int verify_run(struct store *store, const struct verify_opts *opts, struct verify_result *ret,
	       struct err *err)
{
	struct err own;
	struct verify v = {.store = store, .opts = opts, .err = err ? err : &own};
	double start = clock_s();
	int rc = init(&v);

	if (rc == 0)
		rc = run_parts(&v);
	/* A damaged index stops the walk that meets it; that is a finding, too. */
	if (rc == -EBADMSG && v.faults.n)
		rc = 0;
	if (rc == 0)
		rc = verify_faults_count(&v);
	if (rc == 0) {
		verify_faults_tell(&v);
		v.res.faults = v.faults.n;
		v.res.pages = mark_pages(v.mark);
		v.res.seconds = clock_s() - start;
		*ret = v.res;
	}
	fini(&v);
	return rc;
}
