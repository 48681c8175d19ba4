/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* args: the command line of lamina-agent. */
#ifndef LAMINA_AGENT_ARGS_H
#define LAMINA_AGENT_ARGS_H

#include "src/agent/logs.h"
#include "src/rpc/address.h"

#define ARGS_MAX_LISTEN 8
#define ARGS_PORT 1052		/* vsock's, where none is given */

enum args_action { ARGS_RUN, ARGS_HELP, ARGS_VERSION };

struct args {
	enum args_action action;
	struct address listen[ARGS_MAX_LISTEN];
	unsigned nlisten;
	uint32_t peer;		/* the CID of those who may come by vsock */
	const char *token_file;
	const char *cgroup_root;
	const char *kmsg;	/* NULL: none */
	enum logs_level level;
	unsigned thaw_after_s;
};

/* Strings are borrowed from argv.  -EINVAL. */
int args_parse(struct args *a, int argc, char **argv, struct err *err);

const char *args_help(void);

#endif
