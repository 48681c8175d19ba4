/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The worker's end of the link.  A thread reads what the keeper says, so that
 * QUIT and the keeper's death are seen at once.  One request is under way at
 * a time: `pending`, whose answer the thread stores.
 *
 * The link has copies of all descriptors that the keeper has.  What is put goes
 * into that table when its OK is read, by the thread: so whenever the thread
 * sees the keeper's end, the table is what the keeper had agreed to, and
 * `pending`, if it has no answer yet, is what the keeper may or may not have
 * done.  A new keeper gets the table, then `pending` again.  Nothing is lost or
 * done twice, but for a STOP, which is harmless twice.
 *
 * The next keeper is the spare, a process that the keeper had made; it becomes
 * one by HEIR and first of all sends a new spare.  If it dies too, what it sent is read
 * before its end is seen: so a chain of killed keepers ends only with one that was
 * killed before it could send its spare.  Then `ended` is set: the worker serves on,
 * but alone.  Also while the process ends after QUIT: the keeper does not go
 * before its worker is gone.
 *
 * Locks: `turn` (one request), then `lock` (all fields under it).  Hooks are
 * called with neither.
 */
#include "src/pager/keep.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HANDOVER_MS 5000	/* the most that a new keeper may keep us waiting */

struct keep_link {
	struct keep_hooks hooks;
	pthread_t thread;
	pthread_mutex_t turn;
	pthread_mutex_t lock;
	pthread_cond_t answered;
	/* All below under lock; fd is changed by the thread alone. */
	int fd;
	int spare;			/* -1: none */
	struct keep_table copies;
	struct keep_msg *pending;	/* NULL: none, or answered */
	int answer;
	int accepted;			/* what an ACCEPT's answer brought */
	bool serving;			/* the keeper has been told so */
	bool ended;
	bool closing;
};

/* ---- copies ---- */

/* A message with descriptors of its own. */
static int copy_msg(const struct keep_msg *msg, struct keep_msg *ret)
{
	struct keep_msg copy = *msg;
	int rc;

	copy.n = 0;
	for (unsigned i = 0; i < msg->n; i++) {
		int fd = fcntl(msg->fd[i], F_DUPFD_CLOEXEC, 3);

		if (fd < 0) {
			rc = -errno;
			keep_msg_close(&copy);
			return rc;
		}
		copy.fd[copy.n++] = fd;
	}
	*ret = copy;
	return 0;
}

/* ---- what comes ---- */

static void set_spare(struct keep_link *link, struct keep_msg *msg)
{
	if (msg->n != 1 || msg->role[0] != KEEP_LINK) {
		keep_msg_close(msg);
		return;
	}
	if (link->spare >= 0)
		close(link->spare);
	link->spare = msg->fd[0];
}

/* What was accepted goes into the bag of copies, and a copy of it to who asked. */
static int agree_accepted(struct keep_link *link, struct keep_msg *asked, struct keep_msg *answer)
{
	int rc;

	if (answer->n != 1 || answer->role[0] != KEEP_CONN)
		return -EBADMSG;
	link->accepted = fcntl(answer->fd[0], F_DUPFD_CLOEXEC, 3);
	if (link->accepted < 0)
		return -errno;
	*asked = *answer;
	asked->word = KEEP_PUT;
	answer->n = 0;
	rc = keep_table_put(&link->copies, asked);
	if (rc < 0)
		close(link->accepted);
	return rc;
}

/* The keeper did what was asked: so do the copies. */
static int agree(struct keep_link *link, struct keep_msg *msg, struct keep_msg *answer)
{
	if (msg->word == KEEP_DROP)
		return keep_table_drop(&link->copies, msg->bag, (enum keep_role)msg->arg);
	if (msg->word == KEEP_ACCEPT)
		return agree_accepted(link, msg, answer);
	if (msg->word != KEEP_PUT)
		return 0;
	return keep_table_put(&link->copies, msg);
}

static void take_answer(struct keep_link *link, struct keep_msg *msg)
{
	struct keep_msg *pending = link->pending;

	if (!pending)
		return;
	link->pending = NULL;
	if (msg->word == KEEP_OK)
		link->answer = agree(link, pending, msg);
	else
		link->answer = msg->arg > 0 && msg->arg < 4096 ? -(int)msg->arg : -EBADMSG;
	if (link->answer < 0)
		keep_msg_close(pending);
	pthread_cond_signal(&link->answered);
}

static void handle(struct keep_link *link, struct keep_msg *msg)
{
	bool quit = false;

	pthread_mutex_lock(&link->lock);
	switch (msg->word) {
	case KEEP_OK:
	case KEEP_NO:
		take_answer(link, msg);
		break;
	case KEEP_SPARE:
		set_spare(link, msg);
		msg->n = 0;
		break;
	case KEEP_QUIT:
		quit = true;
		break;
	default:
		break;
	}
	pthread_mutex_unlock(&link->lock);
	keep_msg_close(msg);
	if (quit)
		link->hooks.on_quit(link->hooks.ctx);
}

/* ---- a new keeper ---- */

/* Gives one end of a new link to the spare, and itself; returns the other end. */
static int call_spare(struct keep_link *link)
{
	struct keep_msg heir = {.word = KEEP_HEIR, .n = 2, .role = {KEEP_LINK, KEEP_PIDFD}};
	int pair[2], rc;

	if (link->spare < 0)
		return -ENOENT;
	rc = keep_pair(pair);
	if (rc < 0)
		return rc;
	heir.fd[0] = pair[1];
	heir.fd[1] = (int)syscall(SYS_pidfd_open, getpid(), 0);
	rc = heir.fd[1] < 0 ? -errno : keep_timeout(pair[0], HANDOVER_MS);
	if (rc == 0)
		rc = keep_send(link->spare, &heir);
	keep_msg_close(&heir);
	close(link->spare);
	link->spare = -1;
	if (rc < 0) {
		close(pair[0]);
		return rc;
	}
	return pair[0];
}

/*
 * All that the old keeper had, and what it was asked last.  An error means that the new one
 * has died as well, which the thread will read.
 */
static void brief(struct keep_link *link)
{
	if (keep_table_send(&link->copies, link->fd) < 0)
		return;
	if (link->serving && keep_say(link->fd, KEEP_SERVING, 0) < 0)
		return;
	if (link->pending)
		(void)keep_send(link->fd, link->pending);
}

/* False: there is no keeper any more. */
static bool replace_keeper(struct keep_link *link)
{
	bool closing;
	int fd;

	pthread_mutex_lock(&link->lock);
	closing = link->closing;
	fd = closing ? -ECANCELED : call_spare(link);
	if (fd >= 0) {
		close(link->fd);
		link->fd = fd;
		brief(link);
		(void)keep_timeout(fd, 0);
	} else {
		link->ended = true;
		pthread_cond_signal(&link->answered);
	}
	pthread_mutex_unlock(&link->lock);
	if (fd < 0 && !closing)
		link->hooks.on_end(link->hooks.ctx);
	return fd >= 0;
}

/* link->fd is changed on this thread only. */
static void *read_link(void *arg)
{
	struct keep_link *link = arg;
	struct keep_msg msg;

	do {
		while (keep_recv(link->fd, &msg) > 0)
			handle(link, &msg);
	} while (replace_keeper(link));
	return NULL;
}

/* ---- the beginning ---- */

static int take_bag(struct keep_link *link, struct keep_msg *msg)
{
	struct keep_msg copy;
	int rc = copy_msg(msg, &copy);

	if (rc == 0) {
		rc = keep_table_put(&link->copies, &copy);
		if (rc < 0)
			keep_msg_close(&copy);
	}
	if (rc < 0) {
		keep_msg_close(msg);
		return rc;
	}
	return link->hooks.on_bag(link->hooks.ctx, msg);
}

/*
 * Up to READY, or to the keeper's end: what came until then is all there is, and the
 * thread finds the end again.
 */
static int take_bags(struct keep_link *link, struct err *err)
{
	struct keep_msg msg;
	int rc;

	for (;;) {
		rc = keep_recv(link->fd, &msg);
		if (rc < 0)
			return err_sys(err, rc, "cannot hear the keeper");
		if (rc == 0 || msg.word == KEEP_READY)
			return 0;
		if (msg.word == KEEP_BAG) {
			rc = take_bag(link, &msg);
			if (rc < 0)
				return err_sys(err, rc, "cannot take up session %u", msg.bag);
		} else if (msg.word == KEEP_SPARE) {
			set_spare(link, &msg);
		} else {
			keep_msg_close(&msg);
			return err_set(err, -EBADMSG, "the keeper said %d before it was ready",
				       (int)msg.word);
		}
	}
}

static void destroy(struct keep_link *link)
{
	keep_table_fini(&link->copies);
	if (link->spare >= 0)
		close(link->spare);
	pthread_cond_destroy(&link->answered);
	pthread_mutex_destroy(&link->lock);
	pthread_mutex_destroy(&link->turn);
	free(link);
}

int keep_link_new(int fd, const struct keep_hooks *hooks, struct keep_link **ret, struct err *err)
{
	struct keep_link *link = calloc(1, sizeof(*link));
	int rc;

	if (!link)
		return err_set(err, -ENOMEM, "out of memory");
	link->hooks = *hooks;
	link->fd = fd;
	link->spare = -1;
	pthread_mutex_init(&link->turn, NULL);
	pthread_mutex_init(&link->lock, NULL);
	pthread_cond_init(&link->answered, NULL);
	rc = take_bags(link, err);
	if (rc == 0) {
		rc = -pthread_create(&link->thread, NULL, read_link, link);
		if (rc < 0)
			(void)err_sys(err, rc, "cannot start a thread");
	}
	if (rc < 0) {
		destroy(link);
		return rc;
	}
	*ret = link;
	return 0;
}

void keep_link_free(struct keep_link *link)
{
	if (!link)
		return;
	pthread_mutex_lock(&link->lock);
	link->closing = true;
	(void)shutdown(link->fd, SHUT_RD);
	pthread_mutex_unlock(&link->lock);
	pthread_join(link->thread, NULL);
	close(link->fd);
	destroy(link);
}

/* ---- requests ---- */

/* -EPIPE is the thread's affair: it finds another keeper and sends again. */
static int send_request(struct keep_link *link, struct keep_msg *msg)
{
	int rc;

	if (link->ended)
		return -ENOTCONN;
	rc = keep_send(link->fd, msg);
	return rc == -EPIPE || rc == -ECONNRESET ? 0 : rc;
}

/* Takes the descriptors of `msg`. */
static int ask_locked(struct keep_link *link, struct keep_msg *msg)
{
	int rc = keep_table_reserve(&link->copies);

	if (rc == 0)
		rc = send_request(link, msg);
	if (rc < 0) {
		keep_msg_close(msg);
		return rc;
	}
	link->pending = msg;
	while (link->pending && !link->ended)
		pthread_cond_wait(&link->answered, &link->lock);
	if (link->pending) {
		link->pending = NULL;
		keep_msg_close(msg);
		return -ENOTCONN;
	}
	return link->answer;
}

int keep_ask(struct keep_link *link, const struct keep_msg *msg)
{
	struct keep_msg copy;
	int rc = copy_msg(msg, &copy);

	if (rc < 0)
		return rc;
	pthread_mutex_lock(&link->turn);
	pthread_mutex_lock(&link->lock);
	rc = ask_locked(link, &copy);
	if (rc == 0 && msg->word == KEEP_ACCEPT)
		rc = link->accepted;
	pthread_mutex_unlock(&link->lock);
	pthread_mutex_unlock(&link->turn);
	return rc;
}

int keep_accept(struct keep_link *link, uint32_t bag)
{
	struct keep_msg msg = {.word = KEEP_ACCEPT, .bag = bag};

	return keep_ask(link, &msg);
}

int keep_put(struct keep_link *link, uint32_t bag, enum keep_role role, int fd)
{
	struct keep_msg msg = {.word = KEEP_PUT, .bag = bag, .n = 1, .role = {(uint8_t)role},
			       .fd = {fd}};

	return keep_ask(link, &msg);
}

int keep_drop(struct keep_link *link, uint32_t bag, enum keep_role but)
{
	struct keep_msg msg = {.word = KEEP_DROP, .bag = bag, .arg = but};

	return keep_ask(link, &msg);
}

int keep_stop(struct keep_link *link, uint32_t bag, const char *id, int64_t pid)
{
	struct keep_msg msg = {.word = KEEP_STOP, .bag = bag, .arg = pid};

	if (strlen(id) >= sizeof(msg.text))
		return -EINVAL;
	memcpy(msg.text, id, strlen(id));
	return keep_ask(link, &msg);
}

int keep_end(struct keep_link *link)
{
	int rc;

	pthread_mutex_lock(&link->lock);
	rc = link->ended ? -ENOTCONN : keep_say(link->fd, KEEP_END, 0);
	pthread_mutex_unlock(&link->lock);
	return rc == -EPIPE || rc == -ECONNRESET ? 0 : rc;
}

int keep_serving(struct keep_link *link)
{
	int rc;

	pthread_mutex_lock(&link->lock);
	link->serving = true;
	rc = link->ended ? -ENOTCONN : keep_say(link->fd, KEEP_SERVING, 0);
	pthread_mutex_unlock(&link->lock);
	return rc == -EPIPE || rc == -ECONNRESET ? 0 : rc;
}
