/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* workload: what a guest does between two pauses that are measured. */
#ifndef LAMINA_CLI_WORKLOAD_H
#define LAMINA_CLI_WORKLOAD_H

#include <stdbool.h>

#include "store/base/err.h"

struct workload {
	const char *name;
	const char *what;	/* for people */
	unsigned wait_ms;	/* the guest is left alone so long */
	const char *inside;	/* a shell's command in the guest, or NULL */
	unsigned pauses;	/* that are measured, one at once after the other */
	bool own;		/* the user's command, on the host */
};

/* All of them; ends with one without a name. */
extern const struct workload workload_all[];

/* NULL: there is none. */
const struct workload *workload_find(const char *name);

struct workload_means {
	const char *run;	/* a shell's command that runs %s in the guest, or NULL */
	const char *command;	/* the user's own, or NULL */
	const char *guest;	/* its name: $LAMINA_GUEST of both */
	bool (*stopped)(void);	/* or NULL */
};

/* Why it cannot be run with these means; NULL: it can. */
const char *workload_lacks(const struct workload *workload, const struct workload_means *means);

/* Does it, once.  -EREMOTEIO: a command failed; -ECANCELED. */
int workload_run(const struct workload *workload, const struct workload_means *means,
		 struct err *err);

#endif
