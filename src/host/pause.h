/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pause: the pipeline that makes a layer of a guest that runs:
 *
 *	freeze, collapse, reclaim, drain	each if it is asked for; what fails is told
 *	pause, snapshot, sync, seal		what fails ends it
 *	resume, resumed				always, but for a guest that is to be left paused
 *	commit					beside the guest, which has gone on: what is sealed
 *						does not change; before it, if it is to be left
 *
 * What the agent and the hypervisor can do is asked anew each time.  Whatever happens after the
 * pause was asked for, the guest is told to go on, but if it was paused when we came, where it
 * stays so; whatever
 * happens after a freeze, what is frozen is thawed.  Being told to stop ends the steps, not
 * these two; but these are waited for no longer when we are told so once more after `waits`.
 *
 * One at a time in a process; one thread.
 */
#ifndef LAMINA_HOST_PAUSE_H
#define LAMINA_HOST_PAUSE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "src/host/hyper.h"
#include "src/host/pause-settings.h"
#include "store/base/err.h"

#define PAUSE_FILES_MS 10000		/* for opening the files of the live image */
#define PAUSE_UNDO_MS 30000		/* for each try at letting the guest go on */
#define PAUSE_UNDO_TRIES 3		/* 1 for who was told to stop */
#define PAUSE_UNDO_QUIET_MS 1000	/* of which nothing is said */

enum pause_id {
	PAUSE_FREEZE,
	PAUSE_COLLAPSE,
	PAUSE_RECLAIM,
	PAUSE_DRAIN,
	PAUSE_PAUSE,
	PAUSE_SNAPSHOT,
	PAUSE_SYNC,		/* what was written is with the daemon of the mount */
	PAUSE_SEAL,		/* from here on the guest may write */
	PAUSE_RESUME,
	PAUSE_RESUMED,		/* the agent is told: it thaws and sets the clock */
	PAUSE_COMMIT,
	PAUSE_NSTEPS
};

enum pause_outcome {
	PAUSE_SKIPPED,		/* not asked for, or not come to */
	PAUSE_PLANNED,		/* of a dry run: it would be done */
	PAUSE_DONE,
	PAUSE_FAILED,
	PAUSE_UNSUPPORTED,	/* the agent or the hypervisor has it not */
	PAUSE_TIMEOUT,
	PAUSE_KILLED,		/* a part of it was, at its cap */
};

struct pause_plan {
	const struct pause_settings *settings;
	const char *hypervisor;		/* hyper_open() */
	const char *socket;
	const char *chroot;		/* or NULL */
	const char *agent;		/* address.h; NULL: none */
	const char *token_file;		/* or NULL */
	const char *dir;		/* MOUNT/live/LIVE */
	bool full;			/* hyper.h; asked for */
	bool dry_run;			/* looks and asks, and does nothing */
	bool unfinished;		/* one before was killed: hyper.h */
	bool left_paused;		/* and paused it: if it still is, it goes on first */

	/*
	 * Whether the memory file holds what the last snapshot or load of the hypervisor, process
	 * `pid` (0: not known), left: 1; 0, with why not: all of memory is written then; or
	 * -errno.  Asked right before the pause; from then on that is taken to be no longer so.
	 * NULL: it does not.
	 */
	int (*is_based)(void *ctx, pid_t pid, struct err *why);
	/* The layer is to be what the live image is now. */
	int (*seal)(void *ctx, struct err *err);
	/*
	 * Makes that layer.  `frozen`: what is to be the attribute of that name, or NULL.  *ret
	 * describes it, and is not looked into.
	 */
	int (*commit)(void *ctx, const char *frozen, json_t **ret, struct err *err);
	void (*begins)(void *ctx, enum pause_id id);	/* or NULL; a step does */
	unsigned (*stopped)(void);	/* or NULL: how often we were told to; asked often */
	/* or NULL: `id`, which may not be left out, is awaited, for `ms` more */
	void (*waits)(void *ctx, enum pause_id id, int ms);
	void *ctx;
};

struct pause_step {
	enum pause_outcome outcome;
	double seconds;
	json_t *detail;		/* or NULL: the agent's answer, ... */
	char error[512];	/* "": none; also why it was skipped, if not for lack of a wish */
};

enum pause_state {
	PAUSE_STATE_RUNNING,
	PAUSE_STATE_PAUSED,
	PAUSE_STATE_UNKNOWN,	/* it was told to go on, and nobody says that it does */
	PAUSE_STATE_ENDED,	/* its hypervisor has */
};

struct pause_report {
	struct pause_step step[PAUSE_NSTEPS];
	enum pause_state state;	/* how the guest was left */
	bool was_paused;	/* when we came */
	double paused_seconds;	/* from asking for the pause until it went on */
	double seconds;
	json_t *frozen;		/* array: what is frozen in the snapshot */
	json_t *commit;		/* what the callback gave, or NULL */
	json_t *warnings;	/* array of sentences */
	const char *advice;	/* the one of them, if any, that is the same each time */
};

extern const char *const pause_names[PAUSE_NSTEPS];
const char *pause_outcome_name(enum pause_outcome outcome);
const char *pause_state_name(enum pause_state state);

/*
 * `ret` is filled in any case, for pause_report_fini().  The error is that of the first step
 * that ended it: -ECANCELED: we were told to stop; -ETIMEDOUT; and if all went well, or we were
 * told to stop, that of the resume, with the guest not running.
 */
int pause_run(const struct pause_plan *plan, struct pause_report *ret, struct err *err);
void pause_report_fini(struct pause_report *report);
/* "web.slice db.slice", to be freed: names have no blanks.  NULL: out of memory. */
char *pause_report_frozen(const struct pause_report *report);
/* An array of {step, result, seconds, error, detail}; NULL: out of memory. */
json_t *pause_report_steps(const struct pause_report *report);

/*
 * Lets a guest go on that was left paused, and tells its agent (if there is one).  Its steps
 * `resume` and `resumed` are filled in.
 */
int pause_go_on(const struct pause_plan *plan, struct pause_report *ret, struct err *err);

#endif
