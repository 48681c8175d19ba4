/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * args: the command line of lamina-graduator.
 */
#ifndef LAMINA_GRADUATE_ARGS_H
#define LAMINA_GRADUATE_ARGS_H

#include <stdbool.h>

#include "store/base/err.h"

enum args_action { ARGS_RUN, ARGS_ONCE, ARGS_DRY_RUN, ARGS_HELP, ARGS_VERSION };

struct args {
	enum args_action action;
	bool foreground;
	bool json;
	const char *config;		/* NULL: not given */
	const char *runtime_dir;	/* NULL: not given */
};

/* -EINVAL: wrong usage. */
int args_parse(struct args *ret, int argc, char **argv, struct err *err);

/* The text of --help. */
const char *args_help(void);

#endif
