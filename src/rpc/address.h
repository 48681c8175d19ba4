/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * address: where a server is that is reached over one of several kinds of sockets, as
 * people write it:
 *
 *	unix:PATH		a unix socket
 *	tcp:HOST:PORT		TCP; HOST is a name, an IPv4 address, or an IPv6 one in brackets
 *	vsock:CID:PORT		vsock; to listen, CID is "any"
 *	hybrid:PATH:PORT	Firecracker's vsock, from the host's side: the unix socket
 *				PATH of the device, where "CONNECT PORT\n" is said and "OK N\n"
 *				answered, before the connection is the guest's
 *				(Firecracker, docs/vsock.md, "host-initiated connections")
 */
#ifndef LAMINA_RPC_ADDRESS_H
#define LAMINA_RPC_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "store/base/err.h"

#define ADDRESS_CID_ANY UINT32_MAX
#define ADDRESS_CID_HOST 2

enum address_kind {
	ADDRESS_UNIX,
	ADDRESS_TCP,
	ADDRESS_VSOCK,
	ADDRESS_HYBRID,
};

struct address {
	enum address_kind kind;
	char path[108];		/* unix, hybrid */
	char host[256];		/* tcp, without brackets */
	uint32_t cid;		/* vsock */
	uint32_t port;		/* all but unix; never 0 but to listen */
};

/* -EINVAL with a sentence that says what is wrong with `text`. */
int address_parse(const char *text, struct address *ret, struct err *err);

/*
 * A connected descriptor, blocking and close-on-exec; the caller's to close.  Waits at most
 * `timeout_ms` in all, the words of a hybrid one included, and asks `stopped` (or NULL) ten times a
 * second: -ECANCELED.  -ECONNREFUSED also where the guest has nobody at a hybrid one's port;
 * -ETIMEDOUT, -EBADMSG (what answers is no such device), -ENOENT, ...
 */
int address_connect(const struct address *address, int timeout_ms, bool (*stopped)(void),
		    struct err *err);

/*
 * A listening descriptor.  A unix socket that nobody listens at any more is replaced (-EADDRINUSE: one
 * that somebody does) and has `mode`.  Not for hybrid: -EINVAL.
 */
int address_listen(const struct address *address, unsigned mode, struct err *err);

#endif
