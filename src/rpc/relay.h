/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * relay: connections of a listening socket, passed on to a unix socket.  It is how an httpd is
 * reached over vsock: libevent's evhttp exits at the address of such a peer.
 *
 * A thread of its own accepts, connects, and passes bytes both ways; the end of what one
 * side sends is passed on, too.  Without connections it sleeps.
 */
#ifndef LAMINA_RPC_RELAY_H
#define LAMINA_RPC_RELAY_H

#include <stdint.h>

#include "store/base/err.h"

struct relay;

struct relay_config {
	int listen_fd;		/* made non-blocking; stays the caller's */
	const char *path;	/* of the unix socket; "@NAME" is an abstract one */
	uint32_t cid;		/* whose connections are passed on, if they come by vsock */
	unsigned max_conns;	/* at a time; more wait in the backlog */
	void (*refused)(uint32_t cid, void *ctx);	/* of another CID; or NULL */
	void *ctx;
};

/* -ENAMETOOLONG, -EINVAL, -ENOMEM, ... */
int relay_new(const struct relay_config *config, struct relay **ret, struct err *err);

/* Ends its connections and its thread.  NULL is fine. */
void relay_free(struct relay *r);

#endif
