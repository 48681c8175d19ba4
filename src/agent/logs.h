/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * logs: what the agent has to say, in a ring in its memory.
 *
 * Nothing goes to standard output: under a supervisor that is written to a journal, which dirties
 * memory and disk of the guest.  Warnings and errors go to the kernel's log, too.  From any
 * thread.
 */
#ifndef LAMINA_AGENT_LOGS_H
#define LAMINA_AGENT_LOGS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/base/err.h"

#define LOGS_LINES 512		/* that the ring keeps */
#define LOGS_TEXT 400		/* bytes of one, with its NUL; longer ones are cut */

enum logs_level { LOGS_DEBUG, LOGS_INFO, LOGS_WARNING, LOGS_ERROR };

/* "debug", "info", "warning", "error".  -EINVAL. */
int logs_parse_level(const char *word, enum logs_level *ret);

/*
 * Lines below `level` are not kept.  `kernel` is written to as /dev/kmsg is, or NULL; -errno:
 * it cannot be, and the ring is all there is.
 */
int logs_init(enum logs_level level, const char *kernel);
void logs_fini(void);

void logs_add(enum logs_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* fn(arg) after each line, by the thread that added it; NULL: no longer. */
void logs_on_added(void (*fn)(void *arg), void *arg);

struct logs_line {
	uint64_t seq;		/* from 1 on, without gaps */
	double time;		/* seconds since 1970 */
	enum logs_level level;
	char text[LOGS_TEXT];
};

/*
 * The first line behind `seq` that is still there; *ret_lost is how many between them are not.
 * A `seq` that is yet to come is of an agent before this one: everything is behind it.  False:
 * there is none.
 */
bool logs_next(uint64_t seq, struct logs_line *ret, uint64_t *ret_lost);

/* The number of the newest line; 0: there is none yet. */
uint64_t logs_last(void);

/* {"seq":N,"time":F,"level":"info","text":"..."}; NULL: no memory. */
json_t *logs_json(const struct logs_line *line);

#endif
