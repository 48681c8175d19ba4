/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* guest-socket: that two resumes do not have hypervisors begin at one socket. */
#ifndef LAMINA_CLI_GUEST_SOCKET_H
#define LAMINA_CLI_GUEST_SOCKET_H

#include "src/host/guest.h"

struct cli;

struct guest_socket {
	struct guest_socket_at at;
	int hold;		/* -1: none */
};

/*
 * Until guest_socket_drop() nobody else resumes a guest at `path`, which need not be there yet.
 * -EBUSY: somebody does.  `name` is the guest's.
 */
int guest_socket_hold(struct cli *cli, const char *name, const char *path,
		      struct guest_socket *ret);
void guest_socket_drop(struct cli *cli, struct guest_socket *held);

#endif
