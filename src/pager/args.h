/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * args: what lamina-pager was asked for, from the command line, [pager] of
 * lamina.conf(5) and the defaults, in that order.
 */
#ifndef LAMINA_PAGER_ARGS_H
#define LAMINA_PAGER_ARGS_H

#include <stdbool.h>
#include <sys/types.h>

#include "store/base/err.h"

#define ARGS_THREADS_MAX 1024

struct conf;

enum args_action { ARGS_RUN, ARGS_HELP, ARGS_VERSION };

struct args {
	enum args_action action;
	bool foreground;
	bool takeover;
	const char *runtime_dir;	/* as given, like all texts here */
	const char *socket;		/* NULL: RUNTIME/pager.sock */
	mode_t socket_mode;
	const char *user;		/* or NULL */
	unsigned threads;		/* 0: as many as are good */
	int stop_signal;
	const char *stop_command;	/* or NULL */
	const char *record_dirs;
	struct conf *conf;		/* owns some of the texts; or NULL */
};

/*
 * -EINVAL: wrong usage.  Others: lamina.conf could not be read.  `ret` can be
 * given to args_fini() either way.
 */
int args_parse(struct args *ret, int argc, char **argv, struct err *err);
void args_fini(struct args *args);

/* The text of --help. */
const char *args_help(void);

#endif
