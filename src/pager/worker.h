/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * worker: the process that does everything: the API, handoffs, faults.  It
 * comes and goes; the keeper (keeper.h) starts it and has what it needs.
 */
#ifndef LAMINA_PAGER_WORKER_H
#define LAMINA_PAGER_WORKER_H

struct worker_args {
	int link;			/* for keep_link_new() (keep.h); its own */
	const char *runtime_dir;	/* absolute; there, and writable */
	unsigned threads;		/* that serve faults; 0: as many as are good */
};

/*
 * Runs in a process of its own, forked by the keeper: one thread; no descriptor
 * but 0, 1, 2 and the link; signals as a new program has them, but SIGPIPE ignored;
 * the sandbox (sandbox.h) is in force; the log is set up.  Takes up all sessions, says
 * keep_serving(), and serves until on_quit.  Returns the process's exit status, 0 after
 * on_quit; the caller ends the process with _exit().
 */
int worker_main(const struct worker_args *args);

#endif
