/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Commands are one line each.  An answer is a JSON object, of several lines where the monitor has
 * pretty=on: it ends where its braces do.  What was received and is not yet a whole object stays
 * in `buf` between two calls, so that an answer which comes too late is found by the next call,
 * and skipped there by its id.
 */
#include "src/host/qmp.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/rpc/address.h"
#include "src/rpc/http.h"
#include "store/base/clock.h"
#include "store/base/fmt.h"

#define ASK_STOPPED_MS 50
#define CONNECT_SLICE_MS 50
#define FIRST_BUF 16384
#define MAX_WHAT 80
#define MAX_BLANKS 16		/* QEMU has two: the end of a line */
#define UNDO_MS 2000

/* How far an object was looked at: all bytes once. */
struct scan {
	size_t at;
	unsigned depth;		/* of braces */
	bool text;		/* in a string */
	bool escaped;		/* behind its backslash */
};

struct qmp {
	const struct hyper_target *to;
	int fd;
	struct ucred peer;
	json_int_t id;		/* of the last command */
	bool undoing;		/* to->stopped is not asked */
	char version[64];
	char *buf;
	size_t len, size;
	struct scan scan;	/* of what is in buf */
	size_t blanks;		/* that may come before the next object */
};

int qmp_timeout_ms(const struct qmp *q)
{
	if (q->undoing)
		return UNDO_MS;
	return q->to->timeout_ms > 0 ? q->to->timeout_ms : QMP_TIMEOUT_MS;
}

static uint64_t deadline(const struct qmp *q)
{
	return clock_ms() + (uint64_t)qmp_timeout_ms(q);
}

static bool stopped(const struct qmp *q)
{
	return !q->undoing && q->to->stopped && q->to->stopped();
}

/* `what` was waited for, so long. */
struct wait {
	const char *what;
	int ms;
};

static int fail(const struct qmp *q, int rc, const struct wait *wait, struct err *err)
{
	const char *name = q->to->socket;
	char time[FMT_SIZE_LEN];

	switch (rc) {
	case -ECANCELED:
		return err_set(err, rc, "stopped while QEMU at '%s' was asked for %s", name,
			       wait->what);
	case -ETIMEDOUT:
		return err_set(err, rc, "QEMU at '%s' has not answered %s within %s", name,
			       wait->what, fmt_duration(time, wait->ms / 1e3));
	case -ECONNRESET:
	case -EPIPE:
		return err_set(err, -ECONNRESET, "QEMU at '%s' ended the connection", name);
	case -EPROTO:
		return err_set(err, rc, "what answers at '%s' is not QEMU: it does not speak QMP, "
			       "which was expected there", name);
	default:
		return err_sys(err, rc, "cannot speak to QEMU at '%s'", name);
	}
}

int qmp_rest(const struct qmp *q, int ms, int fd, short events)
{
	uint64_t end = clock_ms() + (uint64_t)ms;
	struct pollfd p = {.fd = fd, .events = events};

	for (;;) {
		uint64_t now = clock_ms(), left = end > now ? end - now : 0;
		int got;

		if (stopped(q))
			return -ECANCELED;
		got = poll(&p, 1, left > ASK_STOPPED_MS ? ASK_STOPPED_MS : (int)left);
		if (got > 0)
			return 1;
		if (got < 0 && errno != EINTR)
			return -errno;
		if (left == 0)
			return 0;
	}
}

static int await(const struct qmp *q, short events, uint64_t end)
{
	uint64_t now = clock_ms();
	int rc = qmp_rest(q, end > now ? (int)(end - now) : 0, q->fd, events);

	return rc == 0 ? -ETIMEDOUT : rc;
}

/* ---- objects ---- */

static int grow(struct qmp *q)
{
	size_t size = q->size ? q->size * 2 : FIRST_BUF;
	char *buf;

	if (q->len < q->size)
		return 0;
	if (q->len >= QMP_MAX_OBJECT)
		return -EPROTO;
	buf = realloc(q->buf, size);
	if (!buf)
		return -ENOMEM;
	q->buf = buf;
	q->size = size;
	return 0;
}

static int receive(struct qmp *q, uint64_t end)
{
	ssize_t got;
	int rc = grow(q);

	while (rc >= 0) {
		got = recv(q->fd, q->buf + q->len, q->size - q->len, MSG_DONTWAIT);
		if (got == 0)
			return -ECONNRESET;
		if (got > 0) {
			q->len += (size_t)got;
			return 0;
		}
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
		rc = await(q, POLLIN, end);
	}
	return rc;
}

static void drop(struct qmp *q, size_t len)
{
	q->len -= len;
	if (q->len)
		memmove(q->buf, q->buf + len, q->len);
	q->scan = (struct scan){0};
}

static void skip_blanks(struct qmp *q)
{
	size_t n = 0;

	while (n < q->len && n < q->blanks && memchr(" \t\r\n", q->buf[n], 4))
		n++;
	q->blanks -= n;
	drop(q, n);
}

static void scan_text(struct scan *s, char c)
{
	if (s->escaped)
		s->escaped = false;
	else if (c == '\\')
		s->escaped = true;
	else if (c == '"')
		s->text = false;
}

/* Whether `c` is the end of the object. */
static bool scan_byte(struct scan *s, char c)
{
	if (s->text)
		scan_text(s, c);
	else if (c == '"')
		s->text = true;
	else if (c == '{')
		s->depth++;
	else if (c == '}')
		return --s->depth == 0;
	return false;
}

/* Its length; 0: it is not yet there; -EPROTO: what is there begins no object. */
static ssize_t find_object(struct qmp *q)
{
	if (q->scan.at == 0)
		skip_blanks(q);
	if (q->len && q->buf[0] != '{')
		return -EPROTO;
	while (q->scan.at < q->len)
		if (scan_byte(&q->scan, q->buf[q->scan.at++]))
			return (ssize_t)q->scan.at;
	return 0;
}

/* The next message; it is taken out of the buffer. */
static int next_message(struct qmp *q, uint64_t end, json_t **ret)
{
	ssize_t len = find_object(q);
	json_t *json;
	int rc;

	while (len == 0) {
		rc = receive(q, end);
		if (rc < 0)
			return rc;
		len = find_object(q);
	}
	if (len < 0)
		return (int)len;
	json = json_loadb(q->buf, (size_t)len, 0, NULL);
	drop(q, (size_t)len);
	q->blanks = MAX_BLANKS;
	*ret = json;
	return json ? 0 : -EPROTO;
}

static ssize_t send_some(const struct qmp *q, const char *data, size_t len, int fd)
{
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {{0}};
	struct iovec io = {(void *)data, len};
	struct msghdr msg = {.msg_iov = &io, .msg_iovlen = 1};
	struct cmsghdr *head;

	if (fd >= 0) {
		msg.msg_control = control.space;
		msg.msg_controllen = sizeof(control.space);
		head = CMSG_FIRSTHDR(&msg);
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(head), &fd, sizeof(int));
	}
	return sendmsg(q->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* The descriptor goes with the first byte. */
static int send_all(const struct qmp *q, const char *data, size_t len, int fd)
{
	uint64_t end = deadline(q);

	while (len) {
		ssize_t sent = send_some(q, data, len, fd);
		int rc = 0;

		if (sent < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (sent < 0)
			rc = await(q, POLLOUT, end);
		if (rc < 0)
			return rc;
		if (sent > 0) {
			data += sent;
			len -= (size_t)sent;
			fd = -1;
		}
	}
	return 0;
}

/* ---- commands ---- */

static int send_command(struct qmp *q, const char *command, json_t *args, int fd)
{
	json_t *all = json_pack("{s:s, s:I, s:o*}", "execute", command, "id", ++q->id, "arguments",
				args);
	char *text = all ? json_dumps(all, JSON_COMPACT) : NULL;
	size_t len = text ? strlen(text) : 0;
	int rc = -ENOMEM;

	if (text) {
		text[len] = '\n';	/* instead of the NUL */
		rc = send_all(q, text, len + 1, fd);
	}
	free(text);
	json_decref(all);
	return rc;
}

/* An error without an id is ours, too: one command at a time, and it was not understood. */
static bool is_ours(const struct qmp *q, const json_t *message)
{
	const json_t *id = json_object_get(message, "id");

	return id ? json_integer_value(id) == q->id : json_object_get(message, "error") != NULL;
}

static int refused(const struct qmp *q, const char *command, const json_t *error, struct err *err)
{
	const char *kind = json_string_value(json_object_get(error, "class"));
	const char *text = json_string_value(json_object_get(error, "desc"));

	if (kind && !strcmp(kind, "CommandNotFound"))
		return err_set(err, -ENOTSUP, "QEMU %s at '%s' has no command '%s'", q->version,
			       q->to->socket, command);
	return err_set(err, -EREMOTEIO, "QEMU at '%s' refused '%s': %.300s", q->to->socket, command,
		       text ? text : "it does not say why");
}

static int next_answer(struct qmp *q, json_t **ret)
{
	uint64_t end = deadline(q);
	json_t *message;
	int rc;

	for (;;) {
		rc = next_message(q, end, &message);
		if (rc < 0)
			return rc;
		if (!json_object_get(message, "event") && is_ours(q, message))
			break;
		json_decref(message);
		/* Events without end are no answer. */
		if (stopped(q))
			return -ECANCELED;
		if (clock_ms() >= end)
			return -ETIMEDOUT;
	}
	*ret = message;
	return 0;
}

static int take_answer(const struct qmp *q, const char *command, json_t *message, json_t **ret,
		       struct err *err)
{
	json_t *value = json_object_get(message, "return");
	json_t *error = json_object_get(message, "error");
	int rc = 0;

	if (error)
		rc = refused(q, command, error, err);
	else if (!value)
		rc = qmp_strange(q, command, err);
	else if (ret)
		*ret = json_incref(value);
	json_decref(message);
	return rc;
}

static int ask(struct qmp *q, const char *command, json_t *args, int fd, json_t **ret,
	       struct err *err)
{
	int rc = send_command(q, command, args, fd);
	char what[MAX_WHAT];
	json_t *message;

	if (rc >= 0)
		rc = next_answer(q, &message);
	if (rc >= 0)
		return take_answer(q, command, message, ret, err);
	(void)snprintf(what, sizeof(what), "'%s'", command);
	return fail(q, rc, &(struct wait){what, qmp_timeout_ms(q)}, err);
}

int qmp_ask(struct qmp *q, const char *command, json_t *args, json_t **ret, struct err *err)
{
	return ask(q, command, args, -1, ret, err);
}

int qmp_ask_fd(struct qmp *q, const char *command, json_t *args, int fd, json_t **ret,
	       struct err *err)
{
	return ask(q, command, args, fd, ret, err);
}

int qmp_strange(const struct qmp *q, const char *command, struct err *err)
{
	return err_set(err, -EPROTO, "what answers at '%s' is not QEMU: its answer to '%s' makes "
		       "no sense", q->to->socket, command);
}

void qmp_undo(struct qmp *q, const char *command, json_t *args)
{
	q->undoing = true;
	(void)ask(q, command, args, -1, NULL, NULL);
	q->undoing = false;
}

/* ---- the connection ---- */

static int greeting_ms(const struct qmp *q)
{
	return qmp_timeout_ms(q) < QMP_GREETING_MS ? qmp_timeout_ms(q) : QMP_GREETING_MS;
}

/* A client that is served keeps others waiting: first for the greeting, then in the backlog. */
static int not_greeted(const struct qmp *q, int rc, struct err *err)
{
	const struct wait wait = {"its greeting", greeting_ms(q)};
	char time[FMT_SIZE_LEN];

	if (rc != -ETIMEDOUT)
		return fail(q, rc, &wait, err);
	return err_set(err, rc, "'%s' has sent no greeting of QMP within %s: QEMU serves one "
		       "client at a time, and another may hold it; or it hangs, or is no QEMU",
		       q->to->socket, fmt_duration(time, wait.ms / 1e3));
}

/* In turns, because `stopped` is not asked while the backlog is full. */
static int make_connection(struct qmp *q, uint64_t end, struct err *err)
{
	struct http_target to = {.socket = q->to->socket, .timeout_ms = CONNECT_SLICE_MS};

	for (;;) {
		q->fd = http_connect(&to, err);
		if (q->fd >= 0)
			return 0;
		if (q->fd != -ETIMEDOUT)
			return q->fd;
		if (clock_ms() >= end)
			return not_greeted(q, -ETIMEDOUT, err);
		if (stopped(q))
			return not_greeted(q, -ECANCELED, err);
	}
}

static void learn_peer(struct qmp *q)
{
	q->peer = (struct ucred){.uid = (uid_t)-1};
	(void)address_peer(q->fd, &q->peer);
}

static int read_version(struct qmp *q, json_t *greeting)
{
	int major, minor, micro;

	if (json_unpack(greeting, "{s:{s:{s:{s:i, s:i, s:i}}}}", "QMP", "version", "qemu", "major",
			&major, "minor", &minor, "micro", &micro) < 0)
		return -EPROTO;
	(void)snprintf(q->version, sizeof(q->version), "%d.%d.%d", major, minor, micro);
	return 0;
}

static int be_greeted(struct qmp *q, uint64_t end, struct err *err)
{
	json_t *greeting;
	int rc = next_message(q, end, &greeting);

	if (rc < 0)
		return not_greeted(q, rc, err);
	rc = read_version(q, greeting);
	json_decref(greeting);
	if (rc < 0)
		return not_greeted(q, rc, err);
	return qmp_ask(q, "qmp_capabilities", NULL, NULL, err);
}

static int begin(struct qmp *q, struct err *err)
{
	uint64_t end = clock_ms() + (uint64_t)greeting_ms(q);
	int rc = make_connection(q, end, err);

	if (rc < 0)
		return rc;
	learn_peer(q);
	return be_greeted(q, end, err);
}

int qmp_open(const struct hyper_target *to, struct qmp **ret, struct err *err)
{
	struct qmp *q = calloc(1, sizeof(*q));
	int rc;

	if (!q)
		return err_sys(err, -ENOMEM, "cannot speak to QEMU at '%s'", to->socket);
	q->to = to;
	q->fd = -1;
	rc = begin(q, err);
	if (rc < 0)
		qmp_close(q);
	else
		*ret = q;
	return rc;
}

void qmp_close(struct qmp *q)
{
	if (!q)
		return;
	if (q->fd >= 0)
		(void)close(q->fd);
	free(q->buf);
	free(q);
}

const char *qmp_name(const struct qmp *q)
{
	return q->to->socket;
}

const char *qmp_version(const struct qmp *q)
{
	return q->version;
}

pid_t qmp_pid(const struct qmp *q)
{
	return q->peer.pid;
}

uid_t qmp_uid(const struct qmp *q)
{
	return q->peer.uid;
}
