/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fc: Firecracker (`fc_ops` of hyper.h) by its HTTP API, from 1.1 on.
 *
 * What its versions differ in; the version is asked, not assumed:
 *
 *   1.7    a diff snapshot is merged into a memory file that is there (before, the file was
 *          emptied): an older one gets full snapshots
 *   1.13   `track_dirty_pages` of a load, until then `enable_diff_snapshots`
 *   1.14   free page hinting
 *
 * A diff holds what was written since the last snapshot or load, so the memory file must hold what
 * that one left.  Of a guest that was booted it holds what was written since: over anything but zeros
 * the first snapshot must be full.
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
};

/* "1.13.0", "v1.14.2-dev".  -EBADMSG. */
int fc_parse_version(const char *text, struct fc_version *ret);
bool fc_since(const struct fc_version *version, int major, int minor);

/* Answers of its API, as far as they matter.  -EBADMSG: they are not Firecracker's. */
int fc_parse_instance(const json_t *json, struct hyper_facts *ret);
/* The guest's memory in bytes, and whether dirty pages are tracked: of GET /vm/config. */
struct fc_memory {
	uint64_t size;
	bool tracked;
};
int fc_parse_memory(const json_t *json, struct fc_memory *ret);
/* Whether free page hinting has ended: of GET /balloon/hinting/status.  1, 0. */
int fc_parse_hinting(const json_t *json);

#endif
