/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * control: the controller.  Looks at the pagers of a host, decides by the rules,
 * and has sessions graduated.
 *
 * The thread that calls these has SIGHUP, SIGTERM and SIGINT blocked: they are
 * taken from a signalfd.
 */
#ifndef LAMINA_GRADUATE_CONTROL_H
#define LAMINA_GRADUATE_CONTROL_H

#include <stdbool.h>

#include "src/graduate/board.h"
#include "src/graduate/memory.h"
#include "src/graduate/settings.h"
#include "src/graduate/watch.h"
#include "src/graduate/work.h"

#define CONTROL_ASK_MS 2000	/* that a pager may take to answer a question */

struct control {
	const char *config;		/* as settings_load() takes it */
	const char *runtime_dir;	/* wins over the settings; or NULL */
	struct settings settings;
	struct board *board;		/* borrowed */
	struct memory memory;
	struct work *work;
	struct watch pagers;		/* what was said of which */
	struct watch others;
	int signals;			/* a signalfd */
	uint64_t next_ns;		/* when to look again */
	uint64_t began_ns;		/* control_once() did; 0: it is not that */
	unsigned failures;		/* completions */
	uint64_t silent;		/* pagers, at the last scan */
	bool more;			/* somebody waits for another to end */
	bool stop;
};

/* `settings` are taken over.  After an error there is nothing to free. */
int control_init(struct control *c, struct settings *settings, struct board *board,
		 struct err *err);
/* Cancels what runs. */
void control_fini(struct control *c);

/* Until a signal says that it is to end. */
void control_run(struct control *c);

/*
 * Graduates all that are to be graduated by now, max_concurrent at a time, each
 * tried once; returns when the last has ended: then `failures` and `silent` tell what
 * was not done.  -errno: it could not look at the pagers; -EINTR: a signal ended it.
 */
int control_once(struct control *c, struct err *err);

/* The rules' limits, for one scan after the other. */
struct rules_limits control_limits(const struct settings *settings);

#endif
