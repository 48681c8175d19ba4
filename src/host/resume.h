/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * resume: a guest from a layer: its session at the pager, its hypervisor, started or told, and
 * its agent, told that it was resumed.  After a failure all that was begun is undone: the session
 * is closed, what was started is killed; a hypervisor that ran before is left as it is.  The log
 * stays where the sentence names it.
 *
 * The session is made first, but where it is not known yet who is to hand over the memory: in a
 * jail (`chroot`), and of a hypervisor that runs, it is whom the hypervisor's socket is served by.
 *
 * One at a time in a process; one thread.
 */
#ifndef LAMINA_HOST_RESUME_H
#define LAMINA_HOST_RESUME_H

#include <stdbool.h>
#include <sys/types.h>

#include "src/host/session.h"
#include "store/base/err.h"

#define RESUME_ANSWER_MS 1000	/* each try to reach the agent */

struct resume_plan {
	const char *name;		/* also the session's id */
	const char *hypervisor;		/* hyper_open() */
	const char *socket;
	const char *chroot;		/* or NULL */
	char *const *argv;		/* what starts it; NULL: it runs */
	const char *log;		/* of that */
	const char *memfile;		/* the layer's */
	const char *state;
	const char *pager;		/* its socket; NULL: memory is the file's */
	struct session_new session;	/* but for pager, id and memfile */
	const char *agent;		/* address.h; NULL: nobody is told */
	const char *token_file;		/* or NULL */
	int wait_ms;			/* for the hypervisor's socket, then for the agent */
	bool (*stopped)(void);		/* or NULL */
	void (*begins)(const char *what);	/* or NULL; "session", "start", "load", "agent" */
	/* Right before the load: of `pid`, as the socket's peer; 0: not known.  Or NULL. */
	int (*loads)(void *ctx, pid_t pid, struct err *err);
	void *ctx;
};

struct resume_report {
	pid_t pid;			/* of the hypervisor; 0: not known */
	pid_t child;			/* what we started; 0: nothing */
	bool logged;			/* what it prints is in the log */
	bool log_told;			/* which the sentence of a failure names */
	char *session_socket;		/* NULL: none */
	double start_seconds;		/* until its socket answered */
	double load_seconds;		/* of the load call */
	double answer_seconds;		/* from the load until the agent did; < 0: never */
	char agent_error[512];		/* why it did not, or was not told */
	bool told;			/* the agent was */
	bool seen;			/* `session` was asked for after the answer */
	struct session_seen session;
};

/*
 * `ret` is the caller's, for resume_report_fini(), in any case.  An agent that does not answer is
 * no failure.  Sockets that a hypervisor has left at `socket`, and as the device of a hybrid
 * `agent`, are removed.  -EBUSY: one listens there, or one that ran before what we started does
 * instead of it; -ECANCELED: we were told to stop; -ECHILD: what we started has ended; -ETIMEDOUT;
 * others as hyper.h and session.h.
 */
int resume_run(const struct resume_plan *plan, struct resume_report *ret, struct err *err);
/* Undoes what resume_run() did. */
void resume_undo(const struct resume_plan *plan, const struct resume_report *report);
void resume_report_fini(struct resume_report *report);

#endif
