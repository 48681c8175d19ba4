/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The current pack is the one with the highest number, unless it is sealed or
 * full.  Behind its published end there may be what a killed or failed writer
 * left, and above next_pack whole packs of that kind.
 *
 * Before any of that is cut, a transaction is written and synced.  A writer
 * that was killed within index_commit(), or whose WAL could not be synced, may
 * have left a complete transaction in the WAL that nobody sees now; if nothing
 * were written over it, a power cut would bring it to light, with layers that
 * point into what had been cut.
 *
 * Counters are taken in memory and published together with the rows that use
 * them: what an aborted append took is taken again, which is fine because
 * nobody has seen it.
 */
#include "store/append.h"

#include <string.h>

#include "store/older.h"
#include "store/store.h"

#define MIN_ROOM (64u << 10)	/* a pack with less left is not worth opening */

/* ---- leftovers ---- */

static int last_pack(struct store *store, struct index_pack *ret, struct err *err)
{
	struct err why;
	int rc = index_pack_last(store->index, ret, &why);

	if (rc == -ENOENT) {
		*ret = (struct index_pack){0};
		return 0;
	}
	return rc < 0 ? err_set(err, rc, "%s", why.text) : 0;
}

static int get_next_pack(struct store *store, uint32_t *ret, struct err *err)
{
	uint64_t next;
	int rc = index_meta_get_u64(store->index, "next_pack", &next, err);

	if (rc < 0)
		return rc;
	if (next == 0 || next > UINT32_MAX)
		return err_set(err, -EBADMSG, "the index is damaged: the next pack has number %llu",
			       (unsigned long long)next);
	*ret = (uint32_t)next;
	return 0;
}

struct strays {
	struct store *store;
	uint32_t next_pack;
	bool found;
};

static int find_stray(void *ctx, uint32_t pack)
{
	struct strays *s = ctx;

	s->found |= pack >= s->next_pack;
	return 0;
}

static int unlink_stray(void *ctx, uint32_t pack)
{
	struct strays *s = ctx;

	return pack >= s->next_pack ? packs_unlink(s->store->packs, pack, NULL) : 0;
}

static int write_over(struct store *store, struct err *err)
{
	uint64_t n = 0;
	int rc = index_begin(store->index, err);

	if (rc < 0)
		return rc;
	rc = index_meta_get_u64(store->index, "tidied", &n, NULL);
	if (rc == 0 || rc == -ENOENT)
		rc = index_meta_set_u64(store->index, "tidied", n + 1, err);
	else
		(void)err_sys(err, rc, "cannot read the index of store '%s'", store->path);
	if (rc == 0)
		return index_commit(store->index, err);
	index_abort(store->index);
	return rc;
}

static int settle(struct store *store, struct err *err)
{
	int rc = write_over(store, err);

	if (rc == -ENOSPC) {
		store_reserve_release(store);
		rc = write_over(store, err);
		store_reserve_make(store);
	}
	return rc;
}

static bool has_tail(struct store *store, const struct index_pack *last)
{
	uint64_t len, alloc;

	return last->number && packs_size(store->packs, last->number, &len, &alloc) == 0 &&
	       len > last->end;
}

static int cut_tail(struct store *store, const struct index_pack *last, struct err *err)
{
	struct pack_writer w;
	int rc = pack_append_at(store->packs, last->number, last->end, &w, err);

	if (rc == 0)
		pack_close(&w);
	return rc;
}

int append_tidy(struct store *store, struct err *err)
{
	struct strays strays = {.store = store};
	struct index_pack last;
	bool tail;
	int rc = last_pack(store, &last, err);

	if (rc == 0)
		rc = get_next_pack(store, &strays.next_pack, err);
	if (rc == 0)
		rc = older_check_owner(store, err);
	if (rc < 0)
		return rc;
	rc = packs_each(store->packs, find_stray, &strays);
	if (rc < 0)
		return err_sys(err, rc, "cannot list the packs of '%s'", store->path);
	tail = has_tail(store, &last);
	if (!tail && !strays.found)
		return 0;
	rc = older_check(store, &last, strays.next_pack, err);
	if (rc == 0)
		rc = settle(store, err);
	if (rc < 0)
		return rc;
	(void)packs_each(store->packs, unlink_stray, &strays);
	/* A pack that cannot be cut cannot be appended to either: see open_current(). */
	if (tail)
		(void)cut_tail(store, &last, NULL);
	return 0;
}

/* ---- an append ---- */

static struct append_pack *current(struct append *a)
{
	return &a->packs.v[a->packs.n - 1];
}

static int push_pack(struct append *a, uint64_t start, uint32_t next_ord, struct err *err)
{
	struct append_pack p = {
		.start = start, .row = {.number = a->w.number, .next_ord = next_ord},
	};

	if (vec_push(&a->packs, p) == 0) {
		a->next_ord = next_ord;
		return 0;
	}
	pack_abort(&a->w, start);
	return err_set(err, -ENOMEM, "out of memory");
}

static int new_pack(struct append *a, struct err *err)
{
	int rc;

	if (a->next_pack == UINT32_MAX)
		return err_set(err, -EFBIG, "store '%s' has no more pack numbers", a->store->path);
	rc = pack_create(a->store->packs, a->next_pack, &a->w, err);
	if (rc < 0)
		return rc;
	a->next_pack++;
	return push_pack(a, 0, 0, err);
}

static int open_current(struct append *a, unsigned flags, struct err *err)
{
	struct index_pack last;
	int rc = last_pack(a->store, &last, err);

	if (rc < 0)
		return rc;
	if ((flags & APPEND_NEW_PACK) || last.number == 0 || last.sealed ||
	    last.end + MIN_ROOM > PACK_SIZE_MAX)
		return new_pack(a, err);
	rc = pack_append_at(a->store->packs, last.number, last.end, &a->w, err);
	/* Damage in one pack is no reason to write to none. */
	if (rc == -EBADMSG || rc == -ENOENT || rc == -EPROTONOSUPPORT)
		return new_pack(a, err);
	return rc < 0 ? rc : push_pack(a, last.end, last.next_ord, err);
}

static int get_counters(struct append *a, struct err *err)
{
	struct index *ix = a->store->index;
	int rc = index_meta_get_u64(ix, "next_fid", &a->next_fid, err);

	if (rc == 0)
		rc = index_meta_get_u64(ix, "next_seq", &a->next_seq, err);
	return rc < 0 ? rc : get_next_pack(a->store, &a->next_pack, err);
}

int append_begin(struct store *store, unsigned flags, struct append *ret, struct err *err)
{
	struct append a = {.store = store, .w = {.fd = -1}};
	int rc = append_tidy(store, err);

	if (rc == 0)
		rc = get_counters(&a, err);
	if (rc == 0)
		rc = open_current(&a, flags, err);
	if (rc < 0) {
		vec_fini(&a.packs);
		return rc;
	}
	*ret = a;
	return 0;
}

int append_roll_if(struct append *a, uint64_t bytes, struct err *err)
{
	int rc;

	if (a->w.end + bytes <= PACK_SIZE_MAX || a->w.end == PACK_HEADER_LEN)
		return 0;
	rc = append_sync(a, err);
	if (rc < 0)
		return rc;
	pack_close(&a->w);
	return new_pack(a, err);
}

int append_put(struct append *a, const struct record *r, const void *payload, uint64_t *ret_off,
	       struct err *err)
{
	int rc = pack_put(&a->w, r, payload, ret_off, err);

	if (rc == 0)
		a->bytes += RECORD_HEADER_LEN + r->len;
	return rc;
}

int append_put_raw(struct append *a, const void *bytes, size_t len, uint64_t *ret_off,
		   struct err *err)
{
	int rc = pack_put_raw(&a->w, bytes, len, ret_off, err);

	if (rc == 0)
		a->bytes += len;
	return rc;
}

int append_record(struct append *a, const struct record *r, const void *payload,
		  uint32_t *ret_pack, struct err *err)
{
	int rc = append_roll_if(a, RECORD_HEADER_LEN + (uint64_t)r->len, err);

	if (rc == 0)
		rc = append_put(a, r, payload, NULL, err);
	if (rc == 0)
		*ret_pack = a->w.number;
	return rc;
}

uint64_t append_paddr(struct append *a, uint32_t npages)
{
	uint64_t paddr = (uint64_t)a->w.number << 32 | a->next_ord;

	a->next_ord += npages;
	return paddr;
}

uint64_t append_fid(struct append *a)
{
	return a->next_fid++;
}

uint64_t append_seq(struct append *a)
{
	return a->next_seq++;
}

int append_sync(struct append *a, struct err *err)
{
	int rc = pack_sync(&a->w, err);

	if (rc < 0)
		return rc;
	current(a)->row.end = a->w.end;
	current(a)->row.next_ord = a->next_ord;
	return 0;
}

static int publish_counters(struct append *a, struct err *err)
{
	struct index *ix = a->store->index;
	int rc = index_meta_set_u64(ix, "next_fid", a->next_fid, err);

	if (rc == 0)
		rc = index_meta_set_u64(ix, "next_seq", a->next_seq, err);
	if (rc == 0)
		rc = index_meta_set_u64(ix, "next_pack", a->next_pack, err);
	return rc;
}

int append_publish(struct append *a, struct err *err)
{
	int rc = publish_counters(a, err);

	for (size_t i = 0; i < a->packs.n && rc == 0; i++)
		rc = index_pack_put(a->store->index, &a->packs.v[i].row, err);
	a->publishing = true;
	return rc;
}

static void fini(struct append *a)
{
	pack_close(&a->w);
	vec_fini(&a->packs);
}

void append_end(struct append *a)
{
	fini(a);
}

/* Nobody knows what the disk holds behind a failed fsync. */
static void seal(struct append *a)
{
	struct index_pack row;

	if (current(a)->start == 0)
		return;
	if (index_pack_get(a->store->index, a->w.number, &row, NULL) < 0 ||
	    index_begin(a->store->index, NULL) < 0)
		return;
	row.sealed = true;
	if (index_pack_put(a->store->index, &row, NULL) == 0)
		(void)index_commit(a->store->index, NULL);
	index_abort(a->store->index);
}

/* A pack that was rolled over: it is closed already. */
static void cut_back(struct append *a, const struct append_pack *p)
{
	if (p->start == 0)
		(void)packs_unlink(a->store->packs, p->row.number, NULL);
	else
		(void)cut_tail(a->store, &(struct index_pack){.number = p->row.number,
							       .end = p->start}, NULL);
}

static void cut_all(struct append *a)
{
	size_t closed = a->w.buf ? a->packs.n - 1 : a->packs.n;

	pack_abort(&a->w, current(a)->start);
	for (size_t i = 0; i < closed; i++)
		cut_back(a, &a->packs.v[i]);
}

void append_abort(struct append *a)
{
	if (a->packs.n == 0)
		return;
	if (a->w.failed)
		seal(a);
	if (!a->publishing)
		cut_all(a);
	fini(a);
	if (a->publishing)
		(void)append_tidy(a->store, NULL);
}
