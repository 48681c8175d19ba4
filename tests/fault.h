/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fault: makes the n-th call of a kind fail, kill or stop the process, or stop short.
 *
 * A test program lists tests/fault.c among its sources and $(FAULT_LINK) in
 * its _LDFLAGS; the linker's --wrap then sends our own calls through here.
 * The product has no hook.  Calls of shared libraries (SQLite's, in truth)
 * are seen too, because the program's symbols come before libc's: they have
 * kinds of their own, FAULT_LIB_*, so that our own keep their numbers.
 *
 * From a shell: LAMINA_FAULT=KIND:N[+]:ACTION tests/lamina-fault ...
 *	KIND	malloc pread pwrite write fsync ftruncate rename unlink open
 *		mkdir fallocate sendmsg lib-fsync lib-pwrite lib-ftruncate lib-unlink,
 *		or `change`: every call, ours or a library's, that changes what is
 *		on disk (all but malloc, pread, open, sendmsg)
 *	N	the first is 1; N+ means this one and all that follow
 *	ACTION	an errno name (EIO ENOSPC ENOMEM EINTR EDQUOT EROFS EMFILE EACCES);
 *		kill (SIGKILL before the call), killed (SIGKILL after it);
 *		stop (SIGSTOP before it: it is made when the process goes on);
 *		short (half of the bytes), torn (half of the bytes, then SIGKILL)
 * LAMINA_FAULT_COUNT=FILE appends "KIND COUNT" lines at exit, for loops.
 * Only the process in which it was armed is hurt, not the children it forks,
 * unless LAMINA_FAULT_CHILDREN is set.
 */
#ifndef LAMINA_TESTS_FAULT_H
#define LAMINA_TESTS_FAULT_H

#include <stdbool.h>

enum fault_kind {
	FAULT_MALLOC,		/* malloc calloc realloc reallocarray strdup strndup
				   aligned_alloc posix_memalign */
	FAULT_PREAD,		/* pread preadv */
	FAULT_PWRITE,		/* pwrite pwritev */
	FAULT_WRITE,		/* write writev */
	FAULT_FSYNC,		/* fsync fdatasync syncfs */
	FAULT_FTRUNCATE,
	FAULT_RENAME,		/* rename renameat renameat2 */
	FAULT_UNLINK,		/* unlink unlinkat rmdir */
	FAULT_OPEN,		/* open openat */
	FAULT_MKDIR,		/* mkdir mkdirat */
	FAULT_FALLOCATE,
	FAULT_SENDMSG,		/* a command to QEMU is one */
	FAULT_LIB_FSYNC,	/* fsync fdatasync */
	FAULT_LIB_PWRITE,
	FAULT_LIB_FTRUNCATE,
	FAULT_LIB_UNLINK,
	FAULT_CHANGE,		/* all that change the disk, in one count */
	FAULT_NKINDS
};

/* Instead of an errno. */
enum { FAULT_KILL = -1, FAULT_KILL_AFTER = -2, FAULT_SHORT = -3, FAULT_TORN = -4, FAULT_STOP = -5 };

/* From now on, the n-th (from 1) call of `kind` fails with errno `error`. */
void fault_arm(enum fault_kind kind, unsigned long n, int error);
/* The n-th and all that follow. */
void fault_arm_from(enum fault_kind kind, unsigned long n, int error);
void fault_disarm(void);

/* Calls of `kind` since the last arm or reset. */
unsigned long fault_count(enum fault_kind kind);
void fault_reset(void);
/* Whether an armed fault has struck since it was armed. */
bool fault_struck(void);

#endif
