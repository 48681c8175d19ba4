/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * provision: makes a guest's file system one whose snapshots stay small.
 *
 * What it wants there is a table of files (provision-files.c).  What it has written, and with
 * which content, is in the guest's etc/lamina/provision.json, so that a file that somebody else
 * has changed is not taken for ours.  Each run makes the guest what its options say: what an
 * earlier run wrote and this one does not want goes.
 *
 * No symbolic link leads out of the root.  One thread.
 */
#ifndef LAMINA_HOST_PROVISION_H
#define LAMINA_HOST_PROVISION_H

#include <stdbool.h>
#include <stddef.h>

#include "store/base/err.h"

#define PROVISION_LISTEN "vsock:any:1052"
#define PROVISION_FILES 9	/* that it knows of */
#define PROVISION_NOTES 8	/* others are not told */
#define PROVISION_NOTE_LEN 512

struct provision_opts {
	const char *root;	/* a directory, or an image of ext2, ext3 or ext4 (for root only) */
	const char *agent;	/* lamina-agent's program, on this host; NULL: no agent */
	const char *listen;	/* its address; NULL: PROVISION_LISTEN */
	const char *token;	/* the file of its token, on this host; NULL: none */
	const char *journal;	/* "none", or the size of a persistent one: "8M" */
	bool init_on_free;	/* on the kernel's command line, where the guest has GRUB */
	bool revert;		/* take away all that is ours instead */
	bool force;		/* also replace, or take away, what somebody else has changed */
	bool look;		/* change nothing */
};

enum provision_action {
	PROVISION_SAME,
	PROVISION_CREATE,
	PROVISION_CHANGE,
	PROVISION_REMOVE,
	PROVISION_CONFLICT,	/* somebody else's, or changed by somebody else: left */
	PROVISION_FAILED,	/* at most one: provision_run()'s sentence says why */
	PROVISION_SKIPPED,	/* would have been created, changed or removed */
};

struct provision_step {
	const char *path;	/* below the root, without a slash in front; static */
	enum provision_action action;
};

struct provision_result {
	struct provision_step step[PROVISION_FILES];
	size_t n;
	size_t conflicts;
	size_t changes;		/* created, changed or removed, or would be */
	char note[PROVISION_NOTES][PROVISION_NOTE_LEN];	/* sentences for the administrator */
	size_t nnotes;
	bool done;		/* nothing is left to do but conflicts: all is on disk */
};

/* "create" */
const char *provision_action_name(enum provision_action action);

/* -EINVAL: an option is wrong, whatever the root is.  Nothing is looked at. */
int provision_check(const struct provision_opts *opts, struct err *err);

/*
 * Makes the steps and, unless `look`, takes them.  With a conflict nothing is written: -EEXIST;
 * but what is reverted is, and a conflict is only counted.  `ret` is set as far as it got:
 * what was written before an error is ours, and reverted or completed by the next run.
 *
 * -EINVAL: as provision_check(); -ENOEXEC: the agent's program; -EMEDIUMTYPE: no token, no root of
 * a system, or an image that is not understood; -EBADMSG: the image or the manifest is damaged;
 * -EBUSY: the image is in use, or another one provisions; -EPERM: images are for root.
 */
int provision_run(const struct provision_opts *opts, struct provision_result *ret,
		  struct err *err);

#endif
