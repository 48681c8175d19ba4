/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * options: what lamina-fuse was asked for, from the command line, [mount] of
 * lamina.conf(5) and the defaults, in that order.
 */
#ifndef LAMINA_FUSE_OPTIONS_H
#define LAMINA_FUSE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "store/base/buf.h"
#include "store/base/err.h"

enum options_action { OPTIONS_MOUNT, OPTIONS_HELP, OPTIONS_VERSION };

struct options {
	enum options_action action;
	const char *store;	/* as given, like all texts here borrowed from argv */
	const char *mountpoint;
	const char *pidfile;	/* or NULL */
	bool foreground;
	bool debug;
	bool allow_other;
	bool clone_fd;
	bool read_only;		/* `ro`: the kernel refuses writers; we, seal and fold */
	bool sloppy;		/* unknown -o words are passed over */
	uid_t uid;		/* of all files */
	gid_t gid;
	mode_t mode;		/* of images */
	mode_t dir_mode;	/* follows from it */
	uint64_t cache;		/* bytes of decompressed chunks */
	unsigned threads;
	unsigned readahead_kb;
	struct buf kernel;	/* words that mount(2) understands: ",ro,nosuid"; NUL-terminated */
};

/*
 * -EINVAL: wrong usage.  Others: lamina.conf could not be read.  `ret` can be
 * given to options_fini() either way.
 */
int options_parse(struct options *ret, int argc, char **argv, struct err *err);
void options_fini(struct options *options);

/* The text of --help. */
const char *options_help(void);

#endif
