/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * setup: what POST /sessions asks for, from JSON and back to JSON.  The JSON
 * is kept in the session's state, so that a new worker reads it again; every
 * default is filled in before, so that it means the same to a newer version.
 */
#ifndef LAMINA_PAGER_SETUP_H
#define LAMINA_PAGER_SETUP_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "src/pager/window.h"
#include "store/base/err.h"

#define SETUP_HOLDS_MAX 16
#define SETUP_ID_MAX 64		/* letters, digits, '.', '_', '-'; not first a '.' */

enum setup_on_error { SETUP_WAIT, SETUP_POISON, SETUP_STOP };

struct setup {
	char *id;
	char *memfile;		/* absolute paths, all of them */
	char *socket;		/* RUNTIME/ID.sock unless asked for */
	char *trace;		/* replayed; or NULL */
	char *record;		/* written; or NULL */
	enum window_mode prefetch;
	uint64_t prefetch_len;	/* adaptive: the largest, always WINDOW_MAX */
	enum setup_on_error on_error;
	bool detachable;
	char *hold[SETUP_HOLDS_MAX];
	unsigned nholds;
	int64_t peer_uid;	/* who may hand over besides root and ourselves; -1: nobody */
	uint32_t handoff_timeout_ms;	/* from connecting to the message; 10 s */
};

/*
 * `runtime_dir` fills in the socket.  Unknown and mistyped fields are refused
 * by name: -EINVAL with a sentence (valid UTF-8, however odd the name).  With
 * "record" and without "prefetch" the window is off: a page that was fetched
 * ahead is not seen when it is touched.
 */
int setup_from_json(const json_t *json, const char *runtime_dir, struct setup *ret,
		    struct err *err);
/* A new reference, or NULL: -ENOMEM. */
json_t *setup_to_json(const struct setup *setup);
void setup_fini(struct setup *setup);

/* Whether a session may be called that; such a name is good for a file, too. */
bool setup_id_is_good(const char *id);

const char *setup_on_error_name(enum setup_on_error on_error);

#endif
