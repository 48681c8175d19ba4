/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * touch: ways of coming for pages: in some order, from threads, from inside
 * the kernel, one at a time with a clock.
 */
#ifndef LAMINA_TESTS_PAGER_TOUCH_H
#define LAMINA_TESTS_PAGER_TOUCH_H

#include "tests/pager/mem.h"
#include "tests/pager/script.h"

/*
 * touch seq|reverse|random|stride N|trace FILE [off OFF] [len LEN] [count N] [seed S]
 *	[write] [threads K [shared]] [blind]
 * Each thread has units of its own; `shared`: all come for all of them.
 * `blind` compares nothing.
 */
void touch_command(struct mem *mem, struct words *w);
/*
 * syscall [into|outof|file] [off OFF] [len LEN] [count N] [seed S]: random pages by
 * read(2) from a pipe, write(2) to a pipe, pread(2) from the memfile; or all in turn.
 */
void touch_syscall(struct mem *mem, struct words *w);
/* latency N [seed S] [unit LEN] [off OFF] [data] [fifo]: one page of each LEN bytes; no zeros */
void touch_latency(struct mem *mem, struct words *w);
/* flood SECONDS THREADS: write and MADV_DONTNEED, nothing is compared from then on */
void touch_flood(struct mem *mem, struct words *w);

enum touch_call { TOUCH_INTO, TOUCH_OUTOF, TOUCH_FILE, TOUCH_NCALLS };
/* One such call on one page.  `pipes` are of the caller. */
void touch_by_kernel(struct mem *mem, struct mem_ref p, enum touch_call call,
		     const int pipes[2], uint64_t *rng);

#endif
