/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * session: one guest being paged.
 *
 * Its *owner* is the thread that holds `lock`: only the owner reads the
 * userfaultfd, changes page states, and issues COPY, ZEROPAGE, POISON and
 * WAKE.  The memfile is read without it, and what was read is checked against the
 * state again before it is installed.
 *
 * The userfaultfd is watched one-shot.  `armed` says that the loop will tell of it;
 * an owner that goes on reading messages by itself leaves it unarmed.  Whoever
 * gets the event while somebody else is the owner leaves a note (`told`) that the
 * owner finds when it leaves: see session_leave().
 *
 * A session is reference-counted: the table, each queued job and every thread
 * that is at it hold one.
 */
#ifndef LAMINA_PAGER_SESSION_H
#define LAMINA_PAGER_SESSION_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "src/pager/fill.h"
#include "src/pager/keep.h"
#include "src/pager/loop.h"
#include "src/pager/setup.h"
#include "src/pager/source.h"
#include "src/pager/state.h"
#include "src/pager/want.h"
#include "src/pager/window.h"

struct complete;
struct replay;
struct touch;

/* What all sessions of a worker share; borrowed. */
struct session_env {
	struct loop *loop;
	struct keep_link *link;		/* NULL in tests: nothing is kept */
	const char *runtime_dir;
	uint32_t patience_ms;		/* of an unreadable page, before policy */
};

enum session_fd { SESSION_LISTEN, SESSION_CONN, SESSION_UFFD, SESSION_PIDFD, SESSION_NFDS };

struct session {
	/* Constant. */
	const struct session_env *env;
	uint32_t bag;
	struct setup setup;
	struct state *state;
	_Atomic unsigned refs;
	_Atomic bool told;

	pthread_mutex_t lock;
	/* All below under lock. */
	int fd[SESSION_NFDS];		/* -1: none */
	bool armed;
	bool fresh;			/* taken up, and not yet brought up to date */
	bool ended;			/* descriptors are closed, memory given back */
	struct source *source;		/* as long as it serves, or is read */
	unsigned away;			/* threads of the loop that read it */
	unsigned ahead;			/* of these, with what nobody waits for */
	unsigned lent;			/* others that do, session_lend() */
	int hold[SETUP_HOLDS_MAX];
	uint64_t anonymous;		/* a bit for each region, see session_is_anonymous() */
	pid_t pid;			/* the hypervisor's; 0 before it connected */
	uint64_t conn_ns;		/* when it connected */
	bool hung_up;			/* yet its memory lives */
	bool stopped;			/* the stop policy has been applied */
	bool unreadable;		/* what was last read of the memfile could not be */
	bool blocked;			/* somebody has made the userfaultfd blocking */
	uint64_t probe;			/* hung up: the page that is asked for next, */
	uint64_t probed;		/* and how many before it were not registered */
	uint64_t fault_ns;		/* when the last fault was read */
	uint64_t flush_ns;		/* when the recording was written */
	struct wants wants;		/* pages asked for and not yet installed */
	struct window window;
	struct fill fill;
	struct replay *replay;
	struct touch *touch;
	struct complete *complete;	/* while it graduates */
	uint64_t remember_ns;		/* graduated: when that was to be written last */
	struct loop_job work;		/* background */
	struct loop_job rescue;		/* urgent: pages that wait for a thread to read them */
};

/*
 * A new one, waiting: its memfile opened, its holds locked, its state made,
 * its socket listening, all of it kept.  Takes what is in `setup` on success.
 * -ENOENT and others with a sentence.
 */
int session_new(const struct session_env *env, uint32_t bag, struct setup *setup,
		struct session **ret, struct err *err);
/*
 * One that was kept: its descriptors are those of `msg` (taken on success).  It
 * is not yet watched: session_start().
 */
int session_adopt(const struct session_env *env, const struct keep_msg *msg,
		  struct session **ret, struct err *err);
/* Begins to watch what there is to watch. */
int session_start(struct session *s, struct err *err);

struct session *session_ref(struct session *s);
void session_unref(struct session *s);

/* Becomes the owner; waits for it. */
void session_enter(struct session *s);
/* The same, unless somebody else is the owner. */
bool session_try_enter(struct session *s);
/*
 * After an event of the userfaultfd: true: the caller is the owner, and it is
 * unarmed; false: the owner has been told.
 */
bool session_enter_told(struct session *s);
/* Arms the userfaultfd again, if it is not armed. */
void session_arm(struct session *s);
void session_leave(struct session *s);

/*
 * Leaves, armed, to read s->source, which stays open until session_back().
 * Other threads may own the session meanwhile; it may have ended afterwards.
 */
struct source *session_away(struct session *s);
void session_back(struct session *s);

/*
 * The owner: s->source is read by a thread that is none of the loop's, and stays open until
 * session_return(), also the owner's.
 */
struct source *session_lend(struct session *s);
void session_return(struct session *s);

/* Background work is to be done by whoever has time; a page that waits, by anybody, now. */
void session_work_later(struct session *s);
void session_rescue(struct session *s);

/*
 * The end, by the owner: nothing is watched any more, descriptors are closed,
 * the page bytes given back; the phase and the reason (NULL: what stands there) stay.
 * Not twice.
 */
void session_end(struct session *s, enum state_phase phase, const char *reason);

/* Whether it serves a guest (serving or completing). */
bool session_serves(const struct session *s);

/* The region of a page. */
static inline const struct region *session_region(const struct session *s, uint64_t page)
{
	return regions_of(s->state->head->regions, s->state->head->nregions, page);
}

/*
 * Whether a region is private anonymous memory of 4 KiB pages: zeros cost nothing there,
 * the kernel maps one page for all of them.  Elsewhere they are memory.
 */
static inline bool session_is_anonymous(const struct session *s, const struct region *r)
{
	return s->anonymous >> (r - s->state->head->regions) & 1;
}
/* Finds it out, once there are regions and a userfaultfd. */
void session_look_at_regions(struct session *s);

/* Keeps a descriptor of the session beyond this worker. */
int session_keep(struct session *s, enum keep_role role, int fd);
/* Watches a descriptor that is in s->fd for the first time. */
int session_watch(struct session *s, enum session_fd which, uint32_t events);
/* The same for its next event. */
void session_rewatch(struct session *s, enum session_fd which, uint32_t events);
/* Stops watching and closes one; -1 is left. */
void session_close_fd(struct session *s, enum session_fd which);

/* The owner: whether the guest's memory still exists (a probe that changes nothing). */
bool session_guest_lives(struct session *s);

/* Tags of the loop: what is ready, and whose. */
static inline uint64_t session_tag(const struct session *s, enum session_fd which)
{
	return (uint64_t)which << 56 | s->bag;
}

static inline enum session_fd session_tag_fd(uint64_t tag)
{
	return (enum session_fd)(tag >> 56);
}

static inline uint32_t session_tag_bag(uint64_t tag)
{
	return (uint32_t)tag;
}

#endif
