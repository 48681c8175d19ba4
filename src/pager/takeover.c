/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who has the sessions, when one of the two dies:
 *
 *	before YES	the old keeper: it sees the end of the connection and goes on
 *	between YES and OK
 *			the new one only if the old one is dead, which its pidfd tells;
 *			else the old one, which has closed the connection
 *	after OK	the new one
 *
 * So after YES the new keeper waits for as long as it takes: to give up on a
 * slow answer could leave the sessions with nobody.
 */
#include "src/pager/takeover.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "src/pager/state.h"
#include "src/pager/unixsock.h"
#include "src/rpc/address.h"

#define SOCKET_MODE 0600
#define REFUSED_TRIES 20	/* while a keeper's successor gets ready */
#define REFUSED_PAUSE_MS 10
#define DYING_MS 1000

static void name_socket(char out[PATH_MAX], const char *runtime_dir)
{
	(void)snprintf(out, PATH_MAX, "%s/keeper.sock", runtime_dir);
}

/* ---- the new keeper ---- */

static void pause_ms(long ms)
{
	struct timespec ts = {.tv_nsec = ms * 1000000};

	(void)nanosleep(&ts, NULL);
}

/* A keeper that has just been killed leaves its socket until its successor listens. */
static int call_keeper(const char *runtime_dir)
{
	char path[PATH_MAX];
	int fd = -ECONNREFUSED;

	name_socket(path, runtime_dir);
	for (int i = 0; i < REFUSED_TRIES && fd == -ECONNREFUSED; i++) {
		if (i > 0)
			pause_ms(REFUSED_PAUSE_MS);
		fd = unixsock_connect(path, SOCK_SEQPACKET);
	}
	return fd == -ECONNREFUSED ? -ENOENT : fd;
}

int takeover_probe(const char *runtime_dir, struct err *err)
{
	int fd = call_keeper(runtime_dir);

	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return err_sys(err, fd, "cannot reach the pager of '%s'", runtime_dir);
	close(fd);
	return 1;
}

static int pidfd_of_peer(int conn)
{
	struct ucred peer;
	int fd, rc = address_peer(conn, &peer);

	if (rc < 0)
		return rc;
	fd = (int)syscall(SYS_pidfd_open, peer.pid, 0);
	return fd < 0 ? -errno : fd;
}

static int check_state(const struct keep_bag *bag, struct err *err)
{
	int fd = keep_bag_fd(bag, KEEP_STATE), rc;
	struct state *state;

	if (fd < 0)
		return 0;
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return err_sys(err, -errno, "cannot copy a descriptor");
	rc = state_adopt(fd, &state, err);
	if (rc < 0) {
		close(fd);
		return err_wrap(err, rc, "session %u", bag->id);
	}
	state_close(state);
	return 0;
}

static int check_all(const struct keep_table *table, struct err *err)
{
	int rc = 0;

	if (keep_bag_fd(keep_table_find(table, KEEP_BAG_PAGER), KEEP_API) < 0)
		return err_set(err, -EBADMSG, "the other pager gave no API socket");
	for (size_t i = 0; i < table->n && rc == 0; i++)
		rc = check_state(&table->v[i], err);
	return rc;
}

static int ask_for_all(int conn, struct keep_table *table, struct err *err)
{
	int rc = keep_timeout(conn, TAKEOVER_SILENCE_MS);

	if (rc == 0)
		rc = keep_say(conn, KEEP_TAKE, KEEP_VERSION);
	if (rc == 0 || rc == -EPIPE)	/* it may have said NO already */
		rc = keep_table_recv(table, conn);
	if (rc == -EBUSY)
		return err_set(err, rc, "the other pager is being taken over already");
	if (rc == -EPROTONOSUPPORT)
		return err_set(err, rc, "the other pager's protocol is not version %d",
			       KEEP_VERSION);
	if (rc == -EAGAIN)
		return err_set(err, -ETIMEDOUT, "the other pager does not answer");
	return rc < 0 ? err_sys(err, rc, "the other pager does not hand over") : 0;
}

static bool is_dead(int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	return pidfd >= 0 && poll(&p, 1, DYING_MS) == 1;
}

/* Says YES, and waits until it counts. */
static int settle(int conn, int pidfd, struct err *err)
{
	struct keep_msg msg;
	int rc;

	(void)keep_timeout(conn, 0);
	rc = keep_say(conn, KEEP_YES, KEEP_VERSION);
	if (rc == 0)
		rc = keep_recv(conn, &msg);
	if (rc == 1) {
		keep_msg_close(&msg);
		if (msg.word == KEEP_OK)
			return 0;
	}
	if (rc != 1 && is_dead(pidfd))
		return 0;
	return err_set(err, -ECANCELED, "the other pager goes on after all");
}

static int take(int conn, int pidfd, struct keep_table *table, struct err *err)
{
	int rc = ask_for_all(conn, table, err);

	if (rc < 0)
		return rc;
	rc = check_all(table, err);
	if (rc < 0) {
		(void)keep_say(conn, KEEP_NO, -rc);
		return rc;
	}
	return settle(conn, pidfd, err);
}

int takeover_take(const char *runtime_dir, struct keep_table *ret, struct err *err)
{
	struct keep_table table = {0};
	int conn = call_keeper(runtime_dir), pidfd, rc;

	if (conn == -ENOENT)
		return err_set(err, conn, "no pager serves '%s'", runtime_dir);
	if (conn < 0)
		return err_sys(err, conn, "cannot reach the pager of '%s'", runtime_dir);
	pidfd = pidfd_of_peer(conn);
	rc = take(conn, pidfd, &table, err);
	if (rc == 0)
		*ret = table;
	else
		keep_table_fini(&table);	/* before the other one goes on */
	close(conn);
	if (pidfd >= 0)
		close(pidfd);
	return rc;
}

/* ---- the old one ---- */

int takeover_listen(const char *runtime_dir, struct err *err)
{
	char path[PATH_MAX];

	name_socket(path, runtime_dir);
	return unixsock_replace(path, SOCK_SEQPACKET | SOCK_NONBLOCK, SOCKET_MODE, err);
}

void takeover_unlink(const char *runtime_dir)
{
	char path[PATH_MAX];

	name_socket(path, runtime_dir);
	(void)unlink(path);
}

static int check_peer(int conn, struct err *err)
{
	struct ucred peer;
	int rc = address_peer(conn, &peer);

	if (rc < 0)
		return err_sys(err, rc, "cannot see who wants to take over");
	if (peer.uid != 0 && peer.uid != geteuid())
		return err_set(err, -EPERM, "user %u may not take over", (unsigned)peer.uid);
	return 0;
}

int takeover_accept(int listening, struct err *err)
{
	int conn = accept4(listening, NULL, NULL, SOCK_CLOEXEC), rc;

	if (conn < 0)
		return err_sys(err, -errno, "cannot accept who wants to take over");
	rc = check_peer(conn, err);
	if (rc < 0) {
		(void)keep_say(conn, KEEP_NO, -rc);
		close(conn);
		return rc;
	}
	return conn;
}

int takeover_check(const struct keep_msg *msg, struct err *err)
{
	if (msg->word != KEEP_TAKE)
		return err_set(err, -EBADMSG, "who wants to take over said %d first",
			       (int)msg->word);
	if (msg->arg != KEEP_VERSION)
		return err_set(err, -EPROTONOSUPPORT, "who wants to take over speaks version %lld",
			       (long long)msg->arg);
	return 0;
}
