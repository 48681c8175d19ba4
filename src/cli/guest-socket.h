/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* guest-socket: that two resumes do not have hypervisors begin at one socket. */
#ifndef LAMINA_CLI_GUEST_SOCKET_H
#define LAMINA_CLI_GUEST_SOCKET_H

struct cli;
struct guest_held;

/*
 * Until guest_let_go(ret) nobody else resumes a guest at `path`, which need not be there yet.
 * -EBUSY: somebody does.  `what` is what others are told.
 */
int guest_socket_hold(struct cli *cli, const char *path, const char *what, struct guest_held *ret);

#endif
