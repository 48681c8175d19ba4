/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * front: the sockets of the agent's server, and who may come by which.
 *
 *	vsock	one CID only: relay.h looks, as the server itself cannot
 *	TCP	whoever knows the token
 *	unix	whoever the mode of the socket lets in
 */
#ifndef LAMINA_AGENT_FRONT_H
#define LAMINA_AGENT_FRONT_H

#include "src/agent/args.h"
#include "src/agent/refusals.h"
#include "src/agent/token.h"
#include "src/rpc/httpd.h"

struct relay;

struct front {
	struct httpd *httpd;
	int fds[ARGS_MAX_LISTEN + 1];
	unsigned nfds;
	struct relay *relays[ARGS_MAX_LISTEN];
	unsigned nrelays;
	const struct args *args;
	struct token token;
	struct refusals by_tcp, by_vsock, by_relays;
};

/* After a failure, too, front_close() is to be called.  `args` is borrowed until then. */
int front_open(struct front *f, const struct args *args, const struct httpd_route *routes,
	       void *ctx, struct err *err);
void front_close(struct front *f);

/* The part of it that the kernel does not do when the process ends. */
void front_unlink(struct front *f);

/* Whether the caller may ask at all; if not, the call is answered.  On the loop's thread. */
bool front_admits(struct front *f, struct httpd_call *call);

/* Has the log tell of those who were refused and have no line in it. */
void front_tell_refused(struct front *f);

#endif
