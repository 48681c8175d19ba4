/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * aside: work that may hang in the kernel for ever, done by a child that can be left behind.
 *
 * Whoever touches a file of a mount whose daemon was stopped waits where no signal may reach
 * him, and a process with such a thread cannot end.  So a child does it, which has nothing of
 * ours open but what it is given, dies with us where it can, and is killed but not waited for when
 * it does not answer.
 */
#ifndef LAMINA_BASE_ASIDE_H
#define LAMINA_BASE_ASIDE_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct aside {
	pid_t pid;	/* the child; 0: none */
	int fd;		/* to it: SOCK_SEQPACKET, where descriptors can be sent, too */
};

/*
 * Runs fn(fd, arg) in a child, which then exits; what it has to say it sends to `fd`.  It keeps
 * the `nkeep` descriptors of `keep`, and no others.  Where there are other threads `fn` may not
 * take locks, those of malloc() among them.
 */
struct aside_work {
	void (*fn)(int fd, void *arg);
	void *arg;
	const int *keep;
	size_t nkeep;
};
int aside_begin(const struct aside_work *work, struct aside *ret);

/*
 * Waits for a message, `len` bytes exactly.  `end_ms` is clock_ms()'s; UINT64_MAX: for ever.
 * `stopped` (or NULL) is asked five times a second.  -ETIMEDOUT, -ECANCELED (it said so), -EPIPE:
 * the child has ended, or said something else.
 */
int aside_await(const struct aside *aside, void *message, size_t len, uint64_t end_ms,
		bool (*stopped)(void));

/* Waits likewise for any of several.  1: there is something; 0: it is end_ms; -ECANCELED, ... */
int aside_poll(struct pollfd *fds, size_t n, uint64_t end_ms, bool (*stopped)(void));

/*
 * After -EPIPE: how the child ended, for a sentence: "was killed by signal 9 (Killed)".  It is
 * waited for a moment only.
 */
#define ASIDE_FATE_LEN 80
const char *aside_fate(const struct aside *aside, char out[ASIDE_FATE_LEN]);

/* One that is none is fine. */
void aside_end(struct aside *aside);

#endif
