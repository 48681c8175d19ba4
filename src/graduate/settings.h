/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * settings: [graduation] of lamina.conf(5).
 */
#ifndef LAMINA_GRADUATE_SETTINGS_H
#define LAMINA_GRADUATE_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "store/base/err.h"

#define SETTINGS_CONCURRENT_MAX 64	/* what a pager takes at a time */

struct settings {
	bool enabled;
	uint64_t min_session_age_ms;
	uint64_t max_concurrent;
	uint64_t max_active_sessions;	/* 0: none */
	uint64_t scan_interval_ms;
	uint64_t completion_timeout_ms;
	uint64_t failure_backoff_ms;
	uint64_t rate;			/* bytes a second; 0: any */
	uint64_t min_available;		/* bytes; 0: any */
	double max_pressure;		/* percent; 0: any */
	char *runtime_dir;
	char *metrics_socket;		/* NULL: runtime_dir/graduator.sock */
};

/* From the file that conf_open() takes.  -EINVAL with file, line and key. */
int settings_load(const char *path, struct settings *ret, struct err *err);
/* Where the API is; to be freed.  NULL: out of memory. */
char *settings_socket(const struct settings *s);
void settings_fini(struct settings *s);

#endif
