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
#include <sys/socket.h>

#include "store/base/err.h"

#define ADDRESS_CID_ANY UINT32_MAX
#define ADDRESS_CID_HOST 2
#define ADDRESS_TEXT_SIZE 320	/* of what address_format() writes */

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

/* unix:PATH.  -ENAMETOOLONG; -EINVAL: it is empty. */
int address_unix(const char *path, struct address *ret, struct err *err);

/* As it is parsed. */
void address_format(const struct address *address, char ret[ADDRESS_TEXT_SIZE]);

/*
 * A connected descriptor, blocking and close-on-exec; the caller's to close.  Waits at most
 * `timeout_ms` in all (< 0: for ever), the words of a hybrid one included but not the resolver's
 * for a name, and asks `stopped` (or NULL) ten times a second: -ECANCELED.  -ECONNREFUSED also
 * where the guest has nobody at a hybrid one's port; -ETIMEDOUT, -EBADMSG (what answers is no such
 * device), -ENOENT, -EHOSTUNREACH, -EINVAL (port 0, CID any), ...
 */
int address_connect(const struct address *address, int timeout_ms, bool (*stopped)(void),
		    struct err *err);

/*
 * A listening descriptor.  A unix socket that nobody listens at any more is replaced
 * (-EADDRINUSE: one that somebody does, who does not notice that it was asked; -EEXIST: it is
 * no socket) and has `mode`.  TCP's host is an IP address, no name.  Not for hybrid: -EINVAL.
 */
int address_listen(const struct address *address, unsigned mode, struct err *err);

/* Who is at the other end of a connection by a unix socket.  -errno leaves *ret. */
int address_peer(int fd, struct ucred *ret);

/*
 * Removes the unix socket `path` if nobody is bound to it any more: 0, also if there is none.
 * -EADDRINUSE: somebody is, who does not notice; -EEXIST: it is no socket; -ENAMETOOLONG.
 */
int address_clear(const char *path, struct err *err);

#endif
