/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stats: what the daemon did, for MNT/.stats.  Any thread.
 */
#ifndef LAMINA_FUSE_STATS_H
#define LAMINA_FUSE_STATS_H

#include <jansson.h>
#include <stdint.h>

struct store;

enum stats_counter {
	STATS_LOOKUP,		/* requests, by kind */
	STATS_FORGET,
	STATS_GETATTR,
	STATS_READLINK,
	STATS_OPEN,
	STATS_READ,
	STATS_LSEEK,
	STATS_RELEASE,
	STATS_OPENDIR,
	STATS_READDIR,
	STATS_STATFS,
	STATS_WRITE,
	STATS_FSYNC,
	STATS_FALLOCATE,
	STATS_SETATTR,
	STATS_IOCTL,
	STATS_REFUSED,		/* what would have changed something */
	STATS_REQUESTS,		/* how many of those above there are */

	STATS_BYTES_READ = STATS_REQUESTS,
	STATS_READ_ERRORS,
	STATS_BYTES_WRITTEN,
	STATS_WRITE_ERRORS,	/* of writes, syncs and others that change a live image */
	STATS_DAMAGED,		/* reads that met damage */
	STATS_ERRORS,		/* other operations that failed unexpectedly */
	STATS_INVALIDATIONS,	/* names that the kernel was told to forget */
	STATS_OPEN_FILES,	/* now */
	STATS_LEASES,		/* now: layers with an open file */
	STATS_LIVE,		/* now: live images with an open file */
	STATS_NODES,		/* now: layers that the kernel remembers */
	STATS_COUNTERS
};

struct stats {
	uint64_t counter[STATS_COUNTERS];	/* atomic */
	double start;		/* clock_s()'s */
};

void stats_init(struct stats *stats);
void stats_add(struct stats *stats, enum stats_counter counter, int64_t n);
uint64_t stats_get(const struct stats *stats, enum stats_counter counter);

/* All of it, sizes in bytes.  NULL: out of memory. */
json_t *stats_json(const struct stats *stats, const struct store *store);

#endif
