/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sandbox: what a worker gives up for good before it hears of any session, so
 * that somebody who takes it over through a hostile client or guest gets as
 * little as possible.  Three layers, each as far as the kernel has it:
 *
 * - no_new_privs.
 * - a list of allowed system calls.  Not on it, among others: execve, ptrace,
 *   process_vm_*, pidfd_getfd, fork and clone of anything but a thread,
 *   mount and namespaces, bpf, io_uring, kill of other processes, userfaultfd
 *   (they are handed over, not made).  Sockets are AF_UNIX only.  Of ioctl, those
 *   of a userfaultfd and a few harmless ones.
 * - Landlock (up to ABI 7).  Files are read everywhere, as far as the user may.
 *   Regular files are made and written below `runtime_dir` and `record_dirs` only,
 *   sockets are made anywhere, because a session's may lie in a jailer's chroot.
 *   No signal and no abstract socket reaches outside, nothing is executed, no
 *   directory, link, fifo or device is made, no TCP.
 *
 * What is left open: a socket anywhere means that names can be removed anywhere
 * (a dead socket's, to bind again; Landlock cannot tell a socket's name from a
 * file's), as far as the user may.  chmod, chown and flock are not Landlock's.
 * Connecting to the sockets of others by their path is not either, before ABI 9.
 * Devices can be opened for reading; of their ioctls there is only the size of a
 * disk.  Descriptors that were open before, or come over a socket, keep what they
 * could.  The user that the pager runs as, and the unit's ProtectSystem= and
 * ReadWritePaths=, are what bounds these.
 */
#ifndef LAMINA_PAGER_SANDBOX_H
#define LAMINA_PAGER_SANDBOX_H

#include "store/base/err.h"

struct sandbox {
	const char *runtime_dir;
	const char *record_dirs;	/* separated by colons; "/": everywhere */
};

enum sandbox_layer {
	SANDBOX_PRIVS = 1,
	SANDBOX_CALLS = 2,
	SANDBOX_LANDLOCK = 4,
};

/*
 * For this process, which has one thread, and all threads it will have.  Returns
 * the layers that are in force now; a layer that this kernel (or a build with a
 * sanitizer, which has needs of its own) does not have is missing without an
 * error.  -errno when one could not be put in force that should have been.
 */
int sandbox_enter(const struct sandbox *sandbox, struct err *err);

#endif
