/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * metrics: what pauses came to, as a file for the textfile collector of Prometheus's
 * node_exporter.  Each call adds to what the file says; it is replaced as a whole, with mode 0644,
 * under a lock on its directory.
 *
 *	lamina_pause_step_seconds{step,success}		histogram
 *	lamina_pauses_total{success}			counter: also of what failed before a step
 *	lamina_collapse_chunks_total{result}		counter
 *	lamina_snapshot_diff_bytes{image}		histogram
 *	lamina_snapshot_diff_ratio{image}		histogram, of the image's size
 */
#ifndef LAMINA_HOST_METRICS_H
#define LAMINA_HOST_METRICS_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "src/host/pause.h"
#include "store/base/err.h"

#define METRICS_FILE_MAX (1u << 20)	/* bytes */
#define METRICS_LOCK_MS 5000

struct metrics_image {
	const char *name;	/* a live image's image: no quotes, no backslashes */
	uint64_t size;
	uint64_t diff;		/* bytes */
};

struct metrics_pause {
	const struct pause_report *report;	/* of one that did not come to a step: zeros */
	bool success;
	const struct metrics_image *images;
	size_t nimages;
};

/*
 * Adds a pause.  -EBADMSG: what is there is not such a file; -EBUSY: somebody else has the lock.
 * After a failure the file is as it was.
 */
int metrics_add(const char *path, const struct metrics_pause *pause, struct err *err);

#endif
