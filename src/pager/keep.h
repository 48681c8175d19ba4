/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * keep: the descriptors that must outlive a worker, in bags, and the words in
 * which keeper and worker (or an old keeper and the new one that takes over)
 * speak of them.
 *
 * A bag is a session's: its state (state.h), its sockets, its userfaultfd, its
 * guest's pidfd, its holds.  Bag KEEP_BAG_PAGER is the pager's own: the API's
 * listening socket and its tally (tally.h).  The keeper knows roles and nothing of what they mean.
 *
 * The link is a SOCK_SEQPACKET pair.  A message is a header of fixed size, a
 * list of roles, and the descriptors in the same order, at most KEEP_FDS_MAX.
 * PUT, DROP and STOP are answered by OK or by NO with an errno; a worker waits for
 * the answer before it relies on what it put.
 */
#ifndef LAMINA_PAGER_KEEP_H
#define LAMINA_PAGER_KEEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/base/err.h"

#define KEEP_BAG_PAGER 0
#define KEEP_FDS_MAX 64		/* a bag, and a message; the kernel takes 253 */
#define KEEP_BAGS_MAX 65536
#define KEEP_TEXT_MAX 128	/* with its NUL */
#define KEEP_VERSION 1		/* of these words */

enum keep_role {
	KEEP_NONE,		/* that of no descriptor */
	KEEP_API,		/* listening: HTTP */
	KEEP_STATE,
	KEEP_LISTEN,		/* listening: the handoff */
	KEEP_CONN,		/* the hypervisor's end of life */
	KEEP_UFFD,
	KEEP_PIDFD,
	KEEP_HOLD,		/* as many as there are: each open file with its flock */
	KEEP_TALLY,
	KEEP_LINK,		/* an end of a link, of SPARE and HEIR; in no bag */
	KEEP_NROLES
};

enum keep_word {
	KEEP_PUT = 1,	/* worker: adds descriptors to a bag; a role that is there is
			   replaced (KEEP_HOLD adds) */
	KEEP_DROP,	/* worker: forgets a bag, but for what has the role in arg (NONE: all);
			   one word, so that a worker killed at it leaves all or that */
	KEEP_STOP,	/* worker: stop this bag's guest, by the stop command or, when
			   there is none, by the stop signal to its pidfd; arg: the
			   guest's pid; text: the session's id */
	KEEP_BAG,	/* keeper: a bag, at the start */
	KEEP_READY,	/* keeper: that was all */
	KEEP_QUIT,	/* keeper: end; sessions stay with me */
	KEEP_OK,
	KEEP_NO,	/* arg: errno */
	KEEP_TAKE,	/* a new keeper to an old one: give me all; arg: KEEP_VERSION */
	KEEP_YES,	/* it: all understood, you may go (the old one says OK and goes) */
	KEEP_SERVING,	/* worker: all bags are taken up; no answer */
	KEEP_SPARE,	/* keeper, before the bags and whenever it has changed: a socket to
			   a process that is ready to be the next keeper */
	KEEP_HEIR,	/* worker, to that process: be it.  LINK, and the worker's PIDFD */
	KEEP_ACCEPT,	/* worker: accept a connection of this bag's LISTEN and keep it as its
			   CONN; the OK brings it (to the worker it would be lost in a kill) */
	KEEP_END,	/* worker: the last session has ended, and the pager is to end with it;
			   no answer */
	KEEP_NWORDS
};

struct keep_msg {
	enum keep_word word;
	uint32_t bag;
	int64_t arg;
	char text[KEEP_TEXT_MAX];
	unsigned n;			/* descriptors */
	uint8_t role[KEEP_FDS_MAX];
	int fd[KEEP_FDS_MAX];
};

/*
 * One message.  Sending borrows the descriptors; receiving makes new ones, all
 * close-on-exec, which are the caller's.  Receiving returns 1, 0 at the other's
 * end, -errno (-EBADMSG for what is no message; nothing is left open then).
 * Sending to nobody is -EPIPE.  Both wait as long as the socket's timeouts say: -EAGAIN
 * when they have passed.
 */
int keep_send(int link, const struct keep_msg *msg);
int keep_recv(int link, struct keep_msg *ret);
/* A message of a word and a number alone. */
int keep_say(int link, enum keep_word word, int64_t arg);
/* Closes the descriptors of a message that was received. */
void keep_msg_close(struct keep_msg *msg);
/* A pair of connected links, close-on-exec. */
int keep_pair(int ret[2]);
/* The most that a send or receive on `link` waits from now on; 0: for ever. */
int keep_timeout(int link, unsigned ms);

/* ---- the keeper's table of bags ---- */

struct keep_bag {
	uint32_t id;
	unsigned n;
	uint8_t role[KEEP_FDS_MAX];
	int fd[KEEP_FDS_MAX];
};

struct keep_table {
	struct keep_bag *v;		/* by ascending id */
	size_t n;
	size_t cap;
};

/* Takes the descriptors of `msg` (PUT or BAG); -errno leaves them to the caller. */
int keep_table_put(struct keep_table *t, const struct keep_msg *msg);
/* Room for one more bag: the next put does not fail for want of memory. */
int keep_table_reserve(struct keep_table *t);
/* Closes a bag's descriptors, but for those of role `but`; -ENOENT. */
int keep_table_drop(struct keep_table *t, uint32_t bag, enum keep_role but);
/* Borrowed until the table changes. */
const struct keep_bag *keep_table_find(const struct keep_table *t, uint32_t bag);
/* The descriptor of a role, the first one of KEEP_HOLD; -ENOENT. */
int keep_bag_fd(const struct keep_bag *bag, enum keep_role role);
void keep_table_fini(struct keep_table *t);
/* "1 session", "2 sessions": bags but the pager's own.  Returns `out`. */
#define KEEP_COUNT_LEN 32
char *keep_count(const struct keep_table *t, char out[KEEP_COUNT_LEN]);
/* All bags as KEEP_BAG, then KEEP_READY. */
int keep_table_send(const struct keep_table *t, int link);
/* The other end of it: until KEEP_READY.  0, or -errno; bags that came stay in the table. */
int keep_table_recv(struct keep_table *t, int link);

/* ---- the worker's side ---- */

struct keep_link;

/*
 * `on_bag` is called from within keep_link_new(), once for each bag that was
 * kept, KEEP_BAG_PAGER first; it takes the descriptors, also when it fails.
 * The other two are called on the link's own thread, which holds no lock; they may
 * not call keep_link_free().
 *
 * `on_quit`: the keeper wants the worker gone and keeps the sessions.  Touch no
 * userfaultfd any more and end the process with exit status 0: its end is the
 * answer, and what is not gone after KEEP_QUIT_MS is killed.
 *
 * `on_end`: the keeper died and no other one could be started.  The worker can
 * serve on, but nothing keeps its sessions; every keep_ask() is -ENOTCONN from now on.
 * (A keeper that died and was replaced is nobody's business: the link does it.)
 */
#define KEEP_QUIT_MS 2000

struct keep_hooks {
	void *ctx;
	int (*on_bag)(void *ctx, struct keep_msg *bag);
	void (*on_quit)(void *ctx);
	void (*on_end)(void *ctx);
};

/*
 * Takes `fd` on success.  The link has copies of all descriptors that are kept
 * (they close with keep_drop(), or when a role is replaced), and a thread.
 */
int keep_link_new(int fd, const struct keep_hooks *hooks, struct keep_link **ret, struct err *err);
void keep_link_free(struct keep_link *link);

/* Any thread, but not that of the hooks, and not with a lock that a hook takes. */

/* Sends and waits for the answer; the answer's errno.  Borrows descriptors. */
int keep_ask(struct keep_link *link, const struct keep_msg *msg);
/* The next connection of the bag's LISTEN, kept: a descriptor.  -EAGAIN: there is none. */
int keep_accept(struct keep_link *link, uint32_t bag);
/* One role of a bag. */
int keep_put(struct keep_link *link, uint32_t bag, enum keep_role role, int fd);
/* A bag, but for what has the role `but` (NONE: all of it). */
int keep_drop(struct keep_link *link, uint32_t bag, enum keep_role but);
/*
 * Stops the guest of a bag.  0: a signal was sent or a command started; -ESRCH: it
 * is gone; -EOPNOTSUPP: neither a stop command nor a pidfd in the bag; -EPERM.
 */
int keep_stop(struct keep_link *link, uint32_t bag, const char *id, int64_t pid);
/* Once, after keep_link_new(): all bags are taken up, requests are answered. */
int keep_serving(struct keep_link *link);
/* Asks for the end of all.  It may be asked again: a keeper that dies forgets it. */
int keep_end(struct keep_link *link);

#endif
