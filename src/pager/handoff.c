/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The message is looked at (MSG_PEEK gives the descriptors too) and put into the
 * keeper's bag before it is taken off the socket: a worker that is killed in between
 * leaves it to its successor.
 *
 * From the phase `serving` on a worker that takes the session over finds its
 * regions in the state.  So the order is: bag, the socket's name, state, phase,
 * message.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "src/pager/handoff.h"
#include "src/pager/replay.h"
#include "src/pager/session.h"
#include "src/pager/touch.h"
#include "src/pager/uffd.h"
#include "src/pager/unixsock.h"
#include "src/rpc/address.h"
#include "store/base/log.h"

#define FDS_MAX 8		/* more than the one that is wanted, to see that they are more */

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77		/* Linux 6.5 */
#endif

static void fail(struct session *s, const char *why)
{
	log_warn("%s: handoff: %s", s->setup.id, why);
	session_end(s, STATE_FAILED, why);
}

static bool may_hand_over(const struct session *s, uid_t uid)
{
	return uid == 0 || uid == geteuid() || (int64_t)uid == s->setup.peer_uid;
}

static int peer_pidfd(int fd, pid_t pid)
{
	int pidfd = -1;
	socklen_t len = sizeof(pidfd);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &len) == 0)
		return pidfd;
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

static void keep_pidfd(struct session *s)
{
	if (s->fd[SESSION_PIDFD] >= 0)
		return;
	s->fd[SESSION_PIDFD] = peer_pidfd(s->fd[SESSION_CONN], s->pid);
	if (s->fd[SESSION_PIDFD] >= 0)
		(void)session_keep(s, KEEP_PIDFD, s->fd[SESSION_PIDFD]);
}

/* Also by a worker that took over what its predecessor had accepted and not looked at. */
static bool check_peer(struct session *s)
{
	struct ucred who = {.uid = (uid_t)-1};
	int fd = s->fd[SESSION_CONN];

	if (address_peer(fd, &who) == 0 && may_hand_over(s, who.uid)) {
		s->pid = who.pid;
		keep_pidfd(s);
		return true;
	}
	log_warn("%s: a process of user %d may not hand over", s->setup.id, (int)who.uid);
	(void)shutdown(fd, SHUT_RDWR);		/* the keeper has it open, too */
	session_close_fd(s, SESSION_CONN);
	session_rewatch(s, SESSION_LISTEN, EPOLLIN);
	return false;
}

static int accept_one(struct session *s)
{
	int fd;

	if (s->env->link)
		return keep_accept(s->env->link, s->bag);
	fd = accept4(s->fd[SESSION_LISTEN], NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

void handoff_accept(struct session *s)
{
	int fd;

	if (s->ended || s->fd[SESSION_LISTEN] < 0 || s->fd[SESSION_CONN] >= 0)
		return;
	fd = accept_one(s);
	if (fd < 0) {
		session_rewatch(s, SESSION_LISTEN, EPOLLIN);
		return;
	}
	s->fd[SESSION_CONN] = fd;
	s->conn_ns = loop_now_ns();
	if (!check_peer(s))
		return;
	(void)session_watch(s, SESSION_CONN, EPOLLIN | EPOLLRDHUP);
	loop_tick_in(s->env->loop, s->setup.handoff_timeout_ms);
}

/* ---- the message ---- */

struct message {
	char *text;		/* REGIONS_TEXT_MAX + 1 */
	ssize_t len;
	int fd[FDS_MAX];
	unsigned n;
	bool cut;
};

static void close_fds(struct message *m)
{
	for (unsigned i = 0; i < m->n; i++)
		(void)close(m->fd[i]);
	m->n = 0;
}

static void take_fds(struct msghdr *h, struct message *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (m->n < FDS_MAX)
				m->fd[m->n++] = fd;
			else
				(void)close(fd);
		}
	}
	m->cut = h->msg_flags & MSG_CTRUNC;
}

/* -EAGAIN: not yet. */
static int look(int fd, int flags, struct message *m)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control;
	struct iovec io = {m->text, REGIONS_TEXT_MAX + 1};
	struct msghdr h = {
		.msg_iov = &io, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};

	do
		m->len = recvmsg(fd, &h, flags | MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	while (m->len < 0 && errno == EINTR);
	if (m->len < 0)
		return -errno;
	take_fds(&h, m);
	return 0;
}

static int check(const struct message *m, struct err *err)
{
	if (m->len == 0)
		return err_set(err, -EINVAL, "the hypervisor hung up and sent nothing");
	if (m->len > REGIONS_TEXT_MAX)
		return err_set(err, -EINVAL, "a message of more than %d bytes", REGIONS_TEXT_MAX);
	if (m->n != 1 || m->cut)
		return err_set(err, -EINVAL, "%s descriptor came with the message",
			       m->n ? "more than one" : "no");
	return uffd_check(m->fd[0], err);
}

/*
 * What the JSON says, held against the memory itself; where that is not registered yet,
 * or the kernel does not tell, it is believed.
 */
static int check_region(int fd, const struct region *r, unsigned i, struct err *err)
{
	uint64_t page_size;

	if (uffd_wake(fd, (struct uffd_range){r->addr, r->size}) == -EINVAL)
		return err_set(err, -EINVAL, "region %u: no process has the addresses from 0x%"
			       PRIx64 " to 0x%" PRIx64 " ('base_host_virt_addr', 'size')", i,
			       r->addr, r->addr + r->size);
	page_size = uffd_page_size(fd, r->addr);
	if (page_size && page_size != r->page_size)
		return err_set(err, -EINVAL, "region %u: 'page_size' is %" PRIu32
			       ", but its memory has pages of %" PRIu64 " bytes",
			       i, r->page_size, page_size);
	return 0;
}

static int parse(const struct session *s, const struct message *m, struct region *regions,
		 struct err *err)
{
	int n = regions_parse(m->text, (size_t)m->len, source_size(s->source), regions, err);
	int rc = n < 0 ? n : 0;

	for (int i = 0; i < n && rc == 0; i++)
		rc = check_region(m->fd[0], &regions[i], (unsigned)i, err);
	return rc < 0 ? rc : n;
}

static int begin(struct session *s, const struct message *m, struct err *err)
{
	struct region *regions = calloc(REGIONS_MAX, sizeof(*regions));
	int n, rc;

	if (!regions)
		return err_set(err, -ENOMEM, "out of memory");
	n = parse(s, m, regions, err);
	rc = n < 0 ? n : session_keep(s, KEEP_UFFD, m->fd[0]);
	if (n >= 0 && rc < 0)
		err_sys(err, rc, "the keeper does not take the userfaultfd");
	if (rc == 0) {
		(void)unlink(s->setup.socket);	/* a successor that serves leaves it alone */
		rc = state_begin(s->state, regions, (unsigned)n, source_size(s->source), err);
	}
	free(regions);
	return rc;
}

static void take_off(struct session *s, struct message *m)
{
	struct message again = {.text = m->text};

	if (look(s->fd[SESSION_CONN], 0, &again) == 0)
		close_fds(&again);
}

static void serve(struct session *s, struct message *m)
{
	struct state_head *head = s->state->head;
	struct err err;

	s->fd[SESSION_UFFD] = m->fd[0];
	m->n = 0;
	session_close_fd(s, SESSION_LISTEN);
	session_look_at_regions(s);
	touch_begin(s->touch, head->regions[0].page_size, head->memfile_size);
	if (replay_begin(s, &err) < 0)
		log_warn("%s: '%s': %s", s->setup.id, s->setup.trace, err.text);
	state_add(&head->count.workers, 1);
	session_rewatch(s, SESSION_CONN, EPOLLRDHUP);
	if (s->fd[SESSION_PIDFD] >= 0)
		(void)session_watch(s, SESSION_PIDFD, EPOLLIN);
	if (session_watch(s, SESSION_UFFD, EPOLLIN) < 0)
		fail(s, "the userfaultfd cannot be watched");
	else if (s->replay)
		session_work_later(s);
}

static void receive(struct session *s, struct message *m)
{
	struct err err;
	int rc = look(s->fd[SESSION_CONN], MSG_PEEK, m);

	if (rc == -EAGAIN) {
		session_rewatch(s, SESSION_CONN, EPOLLIN | EPOLLRDHUP);
		return;
	}
	rc = rc < 0 ? err_sys(&err, rc, "cannot read the message") : check(m, &err);
	if (rc == 0)
		rc = begin(s, m, &err);
	if (rc < 0) {
		fail(s, err.text);
		return;
	}
	take_off(s, m);
	serve(s, m);
}

void handoff_receive(struct session *s)
{
	struct message m = {.text = NULL};

	if (!check_peer(s))
		return;
	m.text = malloc(REGIONS_TEXT_MAX + 1);
	if (!m.text) {
		fail(s, "out of memory");
		return;
	}
	receive(s, &m);
	close_fds(&m);
	free(m.text);
}

unsigned handoff_age(struct session *s, uint64_t now_ns)
{
	uint64_t limit = (uint64_t)s->setup.handoff_timeout_ms * 1000000;

	if (s->ended || session_serves(s) || s->fd[SESSION_CONN] < 0)
		return 0;
	/* It may have connected after `now`. */
	if (now_ns < s->conn_ns + limit)
		return (unsigned)((s->conn_ns + limit - now_ns) / 1000000) + 1;
	fail(s, "the hypervisor connected and sent nothing");
	return 0;
}
