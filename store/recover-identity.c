/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which store is this, and which files are its packs?  The old index says so.
 * Where there is none that can be read the headers vote: every pack repeats the
 * store's uuid and parameters.  Where none of these can be read either it gets a
 * new uuid, by which the checksums of its records are right.  An index that no
 * pack agrees with was put here by mistake: to obey it would be to set all packs
 * aside.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "store/base/io.h"
#include "store/pack-header.h"
#include "store/pack.h"
#include "store/recover-private.h"
#include "store/store.h"

#define NAME_LEN 32

struct vote {
	uint8_t uuid[16];
	struct store_params params;
	size_t n;
};

struct election {
	struct recover *r;
	struct packs *packs;		/* of no store yet: for headers only */
	VEC(struct vote) votes;
	VEC(uint32_t) headless;		/* packs whose header cannot be read */
};

static int no_memory(struct recover *r)
{
	return err_set(r->err, -ENOMEM, "out of memory");
}

/* ---- headers ---- */

static int add_vote(struct election *e, const uint8_t uuid[16], const struct store_params *params)
{
	struct vote vote = {.params = *params, .n = 1};

	for (size_t i = 0; i < e->votes.n; i++)
		if (memcmp(e->votes.v[i].uuid, uuid, sizeof(vote.uuid)) == 0) {
			e->votes.v[i].n++;
			e->votes.v[i].params = *params;
			return 0;
		}
	memcpy(vote.uuid, uuid, sizeof(vote.uuid));
	return vec_push(&e->votes, vote) < 0 ? no_memory(e->r) : 0;
}

static int add_pack(void *ctx, uint32_t number)
{
	struct election *e = ctx;
	struct recover_pack pack = {.number = number, .end = PACK_HEADER_LEN};
	struct store_params params;
	uint64_t len, alloc;
	uint8_t uuid[16];
	int rc;

	recover_see_pack(e->r, number);
	/* Whoever was killed while making one has left nothing in it. */
	if (packs_size(e->packs, number, &len, &alloc) < 0 || len < PACK_HEADER_LEN)
		return 0;
	e->r->total += len;
	rc = packs_header(e->packs, number, uuid, &params, e->r->err);
	if (vec_push(&e->r->packs, pack) < 0)
		return no_memory(e->r);
	if (rc == 0)
		return add_vote(e, uuid, &params);
	if (rc != -EBADMSG && rc != -EIO)
		return rc;
	return vec_push(&e->headless, number) < 0 ? no_memory(e->r) : 0;
}

static int count_votes(struct election *e)
{
	static const uint8_t nobody[16];
	static const struct store_params none;
	struct err *err = e->r->err;
	int rc = packs_new(e->r->store->packs_fd, nobody, &none, 1, &e->packs);

	if (rc < 0)
		return no_memory(e->r);
	/* A callback has said why it failed; the listing itself says nothing. */
	(void)err_set(err, 0, "cannot list the packs of '%s'", e->r->store->path);
	rc = packs_each(e->packs, add_pack, e);
	packs_free(e->packs);
	return rc;
}

/* ---- the answer ---- */

static int new_identity(struct election *e)
{
	struct recover *r = e->r;
	uint32_t seed;
	int rc;

	store_params_default(&r->store->params);
	if (getrandom(r->store->uuid, sizeof(r->store->uuid), 0) != sizeof(r->store->uuid))
		return err_set(r->err, -EIO, "the kernel gives no random numbers");
	rc = recover_seed_find(r, e->headless.v, e->headless.n, &seed);
	if (rc > 0)
		record_seed_fit(seed, r->store->uuid);
	return rc < 0 ? rc : 0;
}

/* By the old index, unless all packs speak against it. */
static int obey(struct election *e)
{
	struct recover *r = e->r;
	bool found = e->votes.n == 0;

	for (size_t i = 0; i < e->votes.n; i++)
		found |= memcmp(e->votes.v[i].uuid, r->old.uuid, sizeof(r->old.uuid)) == 0;
	if (!found)
		return err_set(r->err, -EINVAL, "index.db and the packs of '%s' are of different "
			       "stores: if the packs are right, move index.db away",
			       r->store->path);
	memcpy(r->store->uuid, r->old.uuid, sizeof(r->old.uuid));
	r->store->params = r->old.params;
	return 0;
}

static int choose(struct election *e)
{
	struct recover *r = e->r;
	const struct vote *best = NULL;

	if (r->old.known)
		return obey(e);
	for (size_t i = 0; i < e->votes.n; i++)
		if (!best || e->votes.v[i].n > best->n)
			best = &e->votes.v[i];
	if (!best)
		return new_identity(e);
	memcpy(r->store->uuid, best->uuid, sizeof(best->uuid));
	r->store->params = best->params;
	return 0;
}

static int write_header(struct recover *r, uint32_t number)
{
	struct pack_header h = {.number = number, .params = r->store->params};
	uint8_t bytes[PACK_HEADER_LEN];
	char name[NAME_LEN];
	int fd, rc;

	memcpy(h.uuid, r->store->uuid, sizeof(h.uuid));
	pack_header_encode(&h, bytes);
	(void)snprintf(name, sizeof(name), "%08x.pack", number);
	fd = openat(r->store->packs_fd, name, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	rc = io_pwrite_all(fd, bytes, sizeof(bytes), 0);
	if (rc == 0)
		rc = io_fsync(fd);
	close(fd);
	return rc;
}

static int repair_headers(struct election *e)
{
	struct recover *r = e->r;

	for (size_t i = 0; i < e->headless.n; i++) {
		uint32_t number = e->headless.v[i];
		int rc = write_header(r, number);

		if (rc < 0)
			return err_sys(r->err, rc, "cannot repair the header of pack %08x", number);
		r->res.damaged++;
		recover_pack_of(r, number)->damaged = true;
		recover_note(r, "pack %08x: its header was damaged and has been written again",
			     number);
	}
	return 0;
}

int recover_identity_find(struct recover *r)
{
	struct election e = {.r = r};
	int rc = count_votes(&e);

	if (rc == 0)
		rc = choose(&e);
	if (rc == 0)
		rc = repair_headers(&e);
	vec_fini(&e.votes);
	vec_fini(&e.headless);
	return rc;
}

/* ---- packs of others ---- */

/* gc removes packs that no row names; under another name it is nobody's business. */
static int set_aside(struct recover *r, uint32_t number, const char *why)
{
	char from[NAME_LEN], to[NAME_LEN];

	(void)snprintf(from, sizeof(from), "%08x.pack", number);
	(void)snprintf(to, sizeof(to), "%08x.pack.foreign", number);
	if (renameat(r->store->packs_fd, from, r->store->packs_fd, to) < 0)
		return err_sys(r->err, -errno, "cannot rename '%s/packs/%s'", r->store->path, from);
	r->res.damaged++;
	recover_note(r, "%s: renamed to '%s'", why, to);
	return 0;
}

int recover_identity_check(struct recover *r)
{
	size_t kept = 0;

	for (size_t i = 0; i < r->packs.n; i++) {
		uint8_t bytes[PACK_HEADER_LEN];
		struct err err = {{0}};
		int rc = packs_read(r->store->packs, r->packs.v[i].number, 0, bytes, sizeof(bytes),
				    &err);

		if (rc == 0) {
			r->packs.v[kept++] = r->packs.v[i];
			continue;
		}
		rc = rc == -EBADMSG ? set_aside(r, r->packs.v[i].number, err.text) :
			err_set(r->err, rc, "%s", err.text);
		if (rc < 0)
			return rc;
	}
	r->packs.n = kept;
	return 0;
}
