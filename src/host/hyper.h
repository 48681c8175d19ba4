/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hyper: one vtable over hypervisors.
 *
 *	struct hyper_target to = {.socket = "/run/fc/web.sock"};
 *
 *	hyper_open("firecracker", &to, &h, &err);
 *	h->ops->pause(h, &err);  h->ops->snapshot(h, &what, &saved, &err);  h->ops->resume(h, &err);
 *	hyper_close(h);
 *
 * Every call blocks, at most `to.timeout_ms` (0: 30 s; a snapshot and a load: without end where
 * nothing else is said) and asks `to.stopped` at least ten times a second: -ECANCELED.  One thread.
 * What is asked of the hypervisor is asked anew each time: a resumed guest inherits its balloon.
 *
 * Errors, each with a sentence that names the hypervisor and its socket:
 *
 *   ENOENT, ECONNREFUSED   there is no such socket; nobody listens
 *   ETIMEDOUT, ECONNRESET  no answer in time, which the sentence tells; it ended
 *   ENOTSUP                it cannot do that; the sentence says what it lacks
 *   EPROTO                 what answers is not this hypervisor: nothing of ours is damaged
 *   EREMOTEIO              it refused: its own words are in the sentence
 */
#ifndef LAMINA_HOST_HYPER_H
#define LAMINA_HOST_HYPER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "store/base/err.h"

enum hyper_state {
	HYPER_NEW,		/* started, no guest in it yet: waits for a load */
	HYPER_RUNNING,
	HYPER_PAUSED,
	HYPER_OTHER,		/* shut down, being migrated, ... */
};

struct hyper_target {
	const char *socket;	/* Firecracker's API, QEMU's QMP */
	const char *chroot;	/* its jail, or NULL: paths that it is told lose this prefix */
	int timeout_ms;
	bool (*stopped)(void);	/* or NULL */
	/* Who saved its guest before was killed: what that left set in the hypervisor is undone. */
	bool unfinished;
};

struct hyper_facts {
	char version[64];
	enum hyper_state state;
	bool balloon;		/* there is one */
	bool hinting;		/* and free page hinting can be started by the host */
	bool dirty;		/* dirty pages are tracked: a diff is a diff */
	uint64_t memory;	/* bytes that its memory has in a snapshot; 0: not known */
	bool fills;		/* a memory file that is empty gets all of it */
	bool opens;		/* it opens the files of a snapshot: they are to be in its jail */
	pid_t pid;		/* of the hypervisor (the socket's peer); 0: not known */
	uid_t uid;		/* whom it ran as when it began to listen; (uid_t)-1: not known */
};

/*
 * Where a snapshot goes.  Both files exist; that of memory has the guest's size (a live image's
 * has; Firecracker merges a diff only then), or none where facts say `fills`.  After success all
 * of guest memory is in `memfile`, as far as it differs from what was there, and neither file is
 * synced yet.
 */
struct hyper_snapshot {
	const char *memfile;
	const char *state;
	/*
	 * The memory file need not hold what the last snapshot or load left.  Firecracker: a full
	 * snapshot also where a diff could be had; QEMU: all of private memory is read, also where
	 * it is the mapped file's still.
	 */
	bool full;
};

struct hyper_saved {
	uint64_t memory;	/* bytes written to memfile; of a diff: of its data */
	uint64_t state;		/* bytes */
	bool diff;		/* only what changed was written, QEMU: or read */
};

/* What a guest begins as. */
struct hyper_load {
	const char *memfile;
	const char *state;
	const char *uffd;	/* the session's socket: paged; NULL: from the file */
	bool track_dirty;	/* Firecracker: so that the next snapshot is a diff */
	bool run;		/* let it run; else it stays paused */
};

struct hyper_drained {
	uint64_t pages;		/* given back, of 4 KiB; 0: it does not say */
	bool whole;		/* hinting had ended by itself */
};

struct hyper;

struct hyper_ops {
	const char *name;	/* "firecracker", "qemu" */
	int (*open)(const struct hyper_target *to, struct hyper **ret, struct err *err);
	void (*close)(struct hyper *h);
	int (*facts)(struct hyper *h, struct hyper_facts *ret, struct err *err);
	int (*pause)(struct hyper *h, struct err *err);		/* of a paused one: fine */
	int (*resume)(struct hyper *h, struct err *err);	/* of a running one: fine */
	/* Free page hinting, started, polled (from 5 up to 50 ms apart), stopped after `ms`. */
	int (*drain)(struct hyper *h, int ms, struct hyper_drained *ret, struct err *err);
	int (*snapshot)(struct hyper *h, const struct hyper_snapshot *what,
			struct hyper_saved *ret, struct err *err);
	int (*load)(struct hyper *h, const struct hyper_load *what, struct err *err);
};

struct hyper {
	const struct hyper_ops *ops;
	const struct hyper_target *to;	/* borrowed */
};

extern const struct hyper_ops fc_ops;
extern const struct hyper_ops qemu_ops;

/* -EINVAL: no hypervisor is called that. */
int hyper_open(const char *name, const struct hyper_target *to, struct hyper **ret,
	       struct err *err);
/* NULL is fine. */
void hyper_close(struct hyper *h);
/* Names of all, NULL-terminated. */
extern const char *const hyper_names[];

/* What a path is called in the hypervisor's jail: inside `to->chroot`, or as it is. */
int hyper_path(const struct hyper_target *to, const char *path, const char **ret,
	       struct err *err);

#endif
