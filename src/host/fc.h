/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fc: Firecracker (`fc_ops` of hyper.h) by its HTTP API, from 1.1 on.
 *
 * What its versions differ in; the version is asked, not assumed:
 *
 *   1.9    a diff snapshot is merged into a memory file that is there (since 1.6: before, the
 *          file was emptied), and what one held that failed is in the next (1.7 loses it): an
 *          older one gets full snapshots
 *   1.13   `track_dirty_pages` of a load, until then `enable_diff_snapshots`
 *   1.14   free page hinting; 1.14.0 and 1.14.1 write a diff of memory in several slots to wrong
 *          places (#5705): those get full snapshots
 *
 * A diff holds what was written since the last snapshot or load, so the memory file must hold what
 * that one left.  Of a booted guest it holds what was written since: over anything but zeros the
 * first snapshot must be full.
 *
 * It does one thing at a time and goes on with it when the caller hangs up: after a snapshot that
 * was cancelled, the next call waits until it has been written.  Where a load fails it ends.
 */
#ifndef LAMINA_HOST_FC_H
#define LAMINA_HOST_FC_H

#include <jansson.h>

#include "src/host/hyper.h"

struct fc_version {
	int major;
	int minor;
	int patch;	/* 0 where it is not said */
};

/* "1.13.0", "v1.14.2-dev".  -EBADMSG. */
int fc_parse_version(const char *text, struct fc_version *ret);
bool fc_since(const struct fc_version *version, int major, int minor);

/* Answers of its API, as far as they matter.  -EBADMSG: they are not Firecracker's. */
int fc_parse_instance(const json_t *json, struct hyper_facts *ret);
/* The guest's memory: of GET /vm/config. */
struct fc_memory {
	uint64_t size;		/* bytes, with what can be plugged in */
	bool tracked;		/* dirty pages are */
	bool slots;		/* KVM may have it in several: more than 3 GiB, or pluggable */
};
int fc_parse_memory(const json_t *json, struct fc_memory *ret);
/* Whether a diff can be had that, merged into the memory file, makes it right. */
bool fc_can_diff(const struct fc_version *version, const struct fc_memory *memory);
/* Whether free page hinting has ended: of GET /balloon/hinting/status.  1, 0. */
int fc_parse_hinting(const json_t *json);

#endif
