/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The seed of the records' checksums (record.h), where nothing says any more
 * which store this is.  Each record gives the seed by which it is right, and
 * that of one that is damaged is anything.  So two in a row must agree.  They
 * are met from the beginning of a pack by their lengths and never searched for:
 * what a guest has made to look like records is not on that way.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/base/io.h"
#include "store/recover-private.h"
#include "store/record.h"
#include "store/store.h"

#define NAME_LEN 32
#define LOOK_MAX 64			/* records of a pack */

struct look {
	int fd;
	uint64_t off;			/* of the next record */
	unsigned n;			/* have been met */
	uint32_t seed;			/* of the last one */
};

/* The next record of the way: 1, 0 if there is none, or -ENOMEM. */
static int next_seed(struct look *l, uint32_t *ret)
{
	uint8_t header[RECORD_HEADER_LEN], *payload;
	struct record r;
	int rc;

	if (io_pread_all(l->fd, header, sizeof(header), l->off) < 0 ||
	    record_decode(header, &r) < 0)
		return 0;
	payload = malloc(r.len ? r.len : 1);
	if (!payload)
		return -ENOMEM;
	rc = io_pread_all(l->fd, payload, r.len, l->off + sizeof(header));
	if (rc == 0)
		*ret = record_seed_of(header, payload);
	free(payload);
	l->off += sizeof(header) + (uint64_t)r.len;
	return rc == 0;
}

/* 1 if two agree, else 0; a pack may have but one. */
static int agree(struct look *l)
{
	uint32_t seed;
	int rc;

	while (l->n < LOOK_MAX && (rc = next_seed(l, &seed)) != 0) {
		if (rc < 0)
			return rc;
		if (l->n++ && seed == l->seed)
			return 1;
		l->seed = seed;
	}
	return 0;
}

static int look_into(struct recover *r, uint32_t pack, struct look *ret)
{
	char name[NAME_LEN];
	int rc;

	*ret = (struct look){.off = PACK_HEADER_LEN};
	(void)snprintf(name, sizeof(name), "%08x.pack", pack);
	ret->fd = openat(r->store->packs_fd, name, O_RDONLY | O_CLOEXEC);
	if (ret->fd < 0)
		return 0;
	rc = agree(ret);
	close(ret->fd);
	return rc < 0 ? err_set(r->err, rc, "out of memory") : rc;
}

int recover_seed_find(struct recover *r, const uint32_t *packs, size_t n, uint32_t *ret)
{
	struct look l;
	int rc = 0, found = 0;

	for (size_t i = 0; i < n && rc == 0; i++) {
		rc = look_into(r, packs[i], &l);
		if (rc == 1 || (rc == 0 && l.n == 1 && !found)) {
			*ret = l.seed;
			found = 1;
		}
	}
	return rc < 0 ? rc : found;
}
