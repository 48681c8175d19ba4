/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guest: what is known of a guest that runs, under one name: RUNDIR/guests/NAME.json.
 *
 * A record is a JSON object.  Those who write it keep members that they do not know.  What is
 * read is checked: a regular file of root's or ours that nobody else may write, at most
 * GUEST_RECORD_MAX bytes, whose known members are of their type and length, or null; a member that
 * is not there is null too.  From any thread.
 *
 *	name			the file's
 *	hypervisor, socket	"firecracker" or "qemu"; its API or QMP
 *	chroot			its jail
 *	agent, agent_token_file	address.h
 *	live, mount		MOUNT/live/LIVE has its images
 *	layer			the id of what it began as, or was last committed as
 *	session, pager		the session's id; that pager's socket
 *	backend			"uffd" or "file"
 *	pid, pid_start		of the hypervisor; when it began, of proc.h
 *	command, cwd, log	what resume started, where, and the file of its output
 *	no_trace		it was resumed without a trace
 *	created			seconds since 1970
 *	pausing			true: one who pauses it, or was killed at that, has not let it go
 *				on; false: the same of one who found it paused
 *	memory			guest-memory.h: whether a diff of its memory can be relied on
 */
#ifndef LAMINA_HOST_GUEST_H
#define LAMINA_HOST_GUEST_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "store/base/err.h"

/*
 * A live image's name, but not first a dash: commands take it as an operand.  A session's is
 * shorter.
 */
#define GUEST_NAME_MAX 128u
#define GUEST_NAME_RULE	"it has letters, digits, '.', '_' and '-', does not begin with '.' or " \
			"'-', has at most 128 characters, and is not 64 hexadecimal digits"
#define GUEST_RECORD_MAX (64u << 10)	/* bytes */
#define GUEST_SOCKET_MAX 108u		/* bytes of a socket's path, with its NUL */
#define GUEST_LOCK_MS 5000		/* that a writer waits for another */

bool guest_name_ok(const char *name);

/*
 * `rundir` is [pager] runtime_dir.  -ENOENT: there is no such guest; -EBADMSG: what is there is no
 * record, or not one to be believed; -EPERM: their directory is another one's; -EINVAL: that is no
 * name.
 */
int guest_load(const char *rundir, const char *name, json_t **ret, struct err *err);

/* A member's text; NULL: it is null or not there. */
const char *guest_text(const json_t *record, const char *member);
/* Its pid if that process lives and is no later one of that number, else 0. */
int guest_pid(const json_t *record);

/*
 * All of them by name, until `fn` returns non-zero: that.  One that cannot be read has record
 * NULL, and `code` and `why` of guest_load().
 */
struct guest_seen {
	const char *name;
	json_t *record;		/* borrowed */
	int code;
	const struct err *why;
};
int guest_each(const char *rundir, int (*fn)(void *ctx, const struct guest_seen *seen), void *ctx,
	       struct err *err);

/*
 * Writes, under the directory's lock and as a whole.  `members` are borrowed; they are set in
 * what is there, where one that is null is set to null.
 */
enum guest_write {
	GUEST_CREATE,		/* -EEXIST: there is one */
	GUEST_UPDATE,		/* -ENOENT: there is none */
	GUEST_REPLACE,		/* what was there goes, whatever it was */
};
int guest_write(const char *rundir, const char *name, const json_t *members, enum guest_write how,
		struct err *err);
int guest_remove(const char *rundir, const char *name, struct err *err);

/*
 * So that one works on a guest at a time: a descriptor, whose close (or our end) lets go.
 * -EBUSY: somebody else does; the sentence has its pid and its `what` ("lamina pause").  There
 * need be no record.
 */
int guest_hold(const char *rundir, const char *name, const char *what, struct err *err);
/* Lets go; where there is no record the lock's file goes, too.  `fd` < 0 is fine. */
void guest_drop(const char *rundir, const char *name, int fd);

/*
 * The same for what may be several guests'; zeroed it is nothing.  On an error nothing is held.
 */
struct guest_held {
	int fd;
	char lock[200];		/* its file's name, without ".lock"; ""; with a dot: no guest's */
};
static inline bool guest_is_held(const struct guest_held *held)
{
	return *held->lock;
}
/* Its file goes, too; nothing is fine. */
void guest_let_go(const char *rundir, struct guest_held *held);

/* A hypervisor's process. */
int guest_hold_process(const char *rundir, pid_t pid, const char *what, struct guest_held *ret,
		       struct err *err);
/* A live image, which several guests may be told to begin on. */
struct guest_live_at {
	dev_t dev;		/* of the store's directory */
	ino_t ino;
	const char *name;
};
int guest_hold_live(const char *rundir, const struct guest_live_at *live, const char *what,
		    struct guest_held *ret, struct err *err);
/* Where a hypervisor listens, whatever path leads there. */
struct guest_socket_at {
	dev_t dev;		/* of its directory */
	ino_t ino;
	char name[GUEST_SOCKET_MAX];	/* in that */
};
int guest_hold_socket(const char *rundir, const struct guest_socket_at *at, const char *what,
		      struct guest_held *ret, struct err *err);

#endif
