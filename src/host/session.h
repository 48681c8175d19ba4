/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * session: a guest's session at its pager (lamina-pager-api(7)).  Errors as http.h; -EBUSY: the
 * pager has one of that id; -EREMOTEIO: it refuses, with its sentence; -EPROTO: it is no pager.
 */
#ifndef LAMINA_HOST_SESSION_H
#define LAMINA_HOST_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "store/base/err.h"

#define SESSION_ID_MAX 64u	/* characters: more the pager refuses */

struct session_new {
	const char *pager;	/* its socket */
	const char *id;
	const char *memfile;
	const char *trace;	/* or NULL */
	const char *record;	/* or NULL */
	const char *hold;	/* or NULL: a file to keep locked */
	const char *listen;	/* or NULL: where the pager likes */
	const int64_t *peer_uid;	/* or NULL: who may hand over besides root and the pager */
	bool (*stopped)(void);	/* or NULL */
};
/* *ret is where the hypervisor is to connect; to be freed. */
int session_make(const struct session_new *what, char **ret, struct err *err);

struct session_seen {
	uint64_t faults;
	uint64_t pages;		/* installed with the memfile's bytes */
	uint64_t bytes;		/* read from the memfile */
};
int session_look(const char *pager, const char *id, struct session_seen *ret, struct err *err);

/* Also if it serves a guest that lives. */
int session_close(const char *pager, const char *id, struct err *err);

#endif
