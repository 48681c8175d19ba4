/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "fuse/stats.h"

#include <string.h>
#include <unistd.h>

#include "store/base/clock.h"
#include "store/store.h"

static const char *const request_names[STATS_REQUESTS] = {
	[STATS_LOOKUP] = "lookup",
	[STATS_FORGET] = "forget",
	[STATS_GETATTR] = "getattr",
	[STATS_READLINK] = "readlink",
	[STATS_OPEN] = "open",
	[STATS_READ] = "read",
	[STATS_LSEEK] = "lseek",
	[STATS_RELEASE] = "release",
	[STATS_OPENDIR] = "opendir",
	[STATS_READDIR] = "readdir",
	[STATS_STATFS] = "statfs",
	[STATS_WRITE] = "write",
	[STATS_FSYNC] = "fsync",
	[STATS_FALLOCATE] = "fallocate",
	[STATS_SETATTR] = "setattr",
	[STATS_IOCTL] = "ioctl",
	[STATS_REFUSED] = "refused",
};

void stats_init(struct stats *stats)
{
	memset(stats, 0, sizeof(*stats));
	stats->start = clock_s();
}

void stats_add(struct stats *stats, enum stats_counter counter, int64_t n)
{
	__atomic_add_fetch(&stats->counter[counter], (uint64_t)n, __ATOMIC_RELAXED);
}

uint64_t stats_get(const struct stats *stats, enum stats_counter counter)
{
	return __atomic_load_n(&stats->counter[counter], __ATOMIC_RELAXED);
}

static json_t *requests_json(const struct stats *stats)
{
	json_t *obj = json_object();

	for (int i = 0; i < STATS_REQUESTS; i++)
		json_object_set_new(obj, request_names[i],
				    json_integer((json_int_t)stats_get(stats, i)));
	return obj;
}

static json_t *cache_json(struct cache *cache)
{
	struct cache_stats s = {0};

	cache_stats(cache, &s);
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}",
			 "hits", (json_int_t)s.hits,
			 "misses", (json_int_t)s.misses,
			 "waits", (json_int_t)s.waits,
			 "evictions", (json_int_t)s.evictions,
			 "entries", (json_int_t)s.entries,
			 "bytes", (json_int_t)s.cost);
}

json_t *stats_json(const struct stats *stats, const struct store *store)
{
	return json_pack("{s:s, s:i, s:s, s:f, s:I, s:I, s:I, s:I, s:o, "
			 "s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}",
			 "version", PACKAGE_VERSION,
			 "pid", (int)getpid(),
			 "store", store->path,
			 "uptime_seconds", clock_s() - stats->start,
			 "open_files", (json_int_t)stats_get(stats, STATS_OPEN_FILES),
			 "leases", (json_int_t)stats_get(stats, STATS_LEASES),
			 "live", (json_int_t)stats_get(stats, STATS_LIVE),
			 "layers_known", (json_int_t)stats_get(stats, STATS_NODES),
			 "requests", requests_json(stats),
			 "bytes_read", (json_int_t)stats_get(stats, STATS_BYTES_READ),
			 "read_errors", (json_int_t)stats_get(stats, STATS_READ_ERRORS),
			 "bytes_written", (json_int_t)stats_get(stats, STATS_BYTES_WRITTEN),
			 "write_errors", (json_int_t)stats_get(stats, STATS_WRITE_ERRORS),
			 "damaged_reads", (json_int_t)stats_get(stats, STATS_DAMAGED),
			 "errors", (json_int_t)stats_get(stats, STATS_ERRORS),
			 "invalidations", (json_int_t)stats_get(stats, STATS_INVALIDATIONS),
			 "chunk_cache", cache_json(store->chunks),
			 "frame_cache", cache_json(store->frames));
}
