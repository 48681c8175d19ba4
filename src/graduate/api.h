/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * api: GET /health, /version, /metrics and /decisions, over HTTP on a unix socket.
 */
#ifndef LAMINA_GRADUATE_API_H
#define LAMINA_GRADUATE_API_H

#include "src/graduate/board.h"
#include "store/base/err.h"

struct api;

/*
 * Listens at `path`, in place of a socket there that nobody listens on.  -EBUSY:
 * somebody does; -EEXIST: it is no socket.
 */
int api_new(const char *path, struct board *board, struct api **ret, struct err *err);

/* Serves, on a thread of its own. */
int api_start(struct api *api, struct err *err);

/* Stops serving and removes the socket. */
void api_free(struct api *api);

#endif
