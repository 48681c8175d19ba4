/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/host/qemu-state.h"

#include <endian.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/host/errand.h"
#include "store/base/clock.h"
#include "store/base/fmt.h"
#include "store/base/io.h"

#define MAGIC 0x5145564du	/* "QEVM" */
#define VERSION 3u
#define CONFIGURATION 0x07	/* type of a section */
#define SUBSECTION 0x05
#define CAPABILITY "x-ignore-shared"
#define FD_NAME "lamina-state"
#define POLL_MS 20
#define COPY_MAX (4u << 20)

static int make_memfd(struct err *err)
{
	int fd = memfd_create("device-state", MFD_CLOEXEC);

	return fd >= 0 ? fd : err_sys(err, -errno, "no memory for a device state");
}

/* ---- the head of a stream ---- */

static unsigned char *put_32(unsigned char *p, uint32_t n)
{
	n = htobe32(n);
	memcpy(p, &n, sizeof(n));
	return p + sizeof(n);
}

static unsigned char *put_text(unsigned char *p, const char *text, size_t len)
{
	memcpy(p, text, len);
	return p + len;
}

static unsigned char *put_short(unsigned char *p, const char *text)
{
	size_t len = strlen(text);

	*p++ = (unsigned char)len;
	return put_text(p, text, len);
}

size_t qemu_state_head(const char *machine, unsigned char ret[QEMU_STATE_HEAD])
{
	unsigned char *p = put_32(put_32(ret, MAGIC), VERSION);
	size_t len = strnlen(machine, QEMU_STATE_MAX_MACHINE);

	*p++ = CONFIGURATION;
	p = put_text(put_32(p, (uint32_t)len), machine, len);
	*p++ = SUBSECTION;
	p = put_short(p, "configuration/capabilities");
	p = put_32(put_32(p, 1), 1);	/* the subsection's version; one capability */
	return (size_t)(put_short(p, CAPABILITY) - ret);
}

int qemu_state_sections(const unsigned char *head, size_t len)
{
	unsigned char want[8];

	(void)put_32(put_32(want, MAGIC), VERSION);
	if (len <= sizeof(want) || memcmp(head, want, sizeof(want)) != 0)
		return -EPROTO;
	return head[sizeof(want)] == CONFIGURATION ? 0 : (int)sizeof(want);
}

/* ---- settings of QEMU ---- */

static json_t *capability(bool on)
{
	return json_pack("{s:[{s:s, s:b}]}", "capabilities", "capability", CAPABILITY, "state", on);
}

static int set_capability(struct qmp *q, struct err *err)
{
	return qmp_ask(q, "migrate-set-capabilities", capability(true), NULL, err);
}

static bool is_on(const json_t *list)
{
	const char *name = NULL;
	const json_t *one;
	size_t i;

	json_array_foreach(list, i, one) {
		name = json_string_value(json_object_get(one, "capability"));
		if (name && !strcmp(name, CAPABILITY))
			return json_is_true(json_object_get(one, "state"));
	}
	return false;
}

/* 1: it was on before. */
static int ignore_memory(struct qmp *q, struct err *err)
{
	json_t *list;
	int rc = qmp_ask(q, "query-migrate-capabilities", NULL, &list, err);
	bool on;

	if (rc < 0)
		return rc;
	on = is_on(list);
	json_decref(list);
	rc = on ? 0 : set_capability(q, err);
	return rc < 0 ? rc : on;
}

/* A later live migration of this guest sends its memory as ever. */
void qemu_state_undo(struct qmp *q)
{
	qmp_undo(q, "migrate-set-capabilities", capability(false));
}

static void heed_memory(struct qmp *q, int was_on)
{
	if (was_on == 0)
		qemu_state_undo(q);
}

/* ---- migrations ---- */

enum {
	ON_ITS_WAY,
	COMPLETED,
};

static int judge(const json_t *info, struct err *err)
{
	const char *status = json_string_value(json_object_get(info, "status"));
	const char *why = json_string_value(json_object_get(info, "error-desc"));

	if (!status)
		return ON_ITS_WAY;
	if (!strcmp(status, "completed"))
		return COMPLETED;
	if (strcmp(status, "failed") != 0 && strcmp(status, "cancelled") != 0)
		return ON_ITS_WAY;
	return err_set(err, -EREMOTEIO, "QEMU's device state: %.300s", why ? why : status);
}

static int ask_progress(struct qmp *q, struct err *err)
{
	json_t *info;
	int rc = qmp_ask(q, "query-migrate", NULL, &info, err);

	if (rc < 0)
		return rc;
	rc = judge(info, err);
	json_decref(info);
	return rc;
}

/* Gives QEMU the other end of a socket, under FD_NAME; returns ours. */
static int give_end(struct qmp *q, struct err *err)
{
	int fd[2], rc;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd) < 0)
		return err_sys(err, -errno, "cannot make a socket");
	rc = qmp_ask_fd(q, "getfd", json_pack("{s:s}", "fdname", FD_NAME), fd[1], NULL, err);
	(void)close(fd[1]);
	if (rc < 0)
		(void)close(fd[0]);
	return rc < 0 ? rc : fd[0];
}

static json_t *by_fd(void)
{
	return json_pack("{s:s}", "uri", "fd:" FD_NAME);
}

static int too_slow(const struct qmp *q, struct err *err)
{
	char time[FMT_SIZE_LEN];

	return err_set(err, -ETIMEDOUT, "the device state of QEMU at '%s' has not moved for %s",
		       qmp_name(q), fmt_duration(time, qmp_timeout_ms(q) / 1e3));
}

static int given_up(const struct qmp *q, int rc, struct err *err)
{
	return err_sys(err, rc, "waiting for the device state of QEMU at '%s'", qmp_name(q));
}

/* Until our end of the socket is ready for `events`. */
static int await(const struct qmp *q, int fd, short events, struct err *err)
{
	int rc = qmp_rest(q, qmp_timeout_ms(q), fd, events);

	if (rc < 0)
		return given_up(q, rc, err);
	return rc > 0 ? 0 : too_slow(q, err);
}

/* When all has been sent, it is only a moment. */
static int await_end(struct qmp *q, struct err *err)
{
	uint64_t end = clock_ms() + (uint64_t)qmp_timeout_ms(q);
	int rc;

	while ((rc = ask_progress(q, err)) == ON_ITS_WAY) {
		rc = qmp_rest(q, POLL_MS, -1, 0);
		if (rc < 0)
			return given_up(q, rc, err);
		if (clock_ms() >= end)
			return too_slow(q, err);
	}
	return rc < 0 ? rc : 0;
}

/* ---- shared memory: a migration ---- */

static int append(int to, const char *data, size_t len, uint64_t *all, struct err *err)
{
	int rc = io_write_all(to, data, len);

	if (rc < 0)
		return err_sys(err, rc, "no memory for a device state");
	*all += len;
	if (*all <= QEMU_STATE_MAX)
		return 0;
	return err_set(err, -EFBIG, "QEMU's device state has more than %llu bytes",
		       QEMU_STATE_MAX);
}

/* Nothing is asked meanwhile: QEMU does not answer while it waits for room in the socket. */
static int receive(struct qmp *q, int from, int to, struct err *err)
{
	char buf[65536];
	uint64_t all = 0;
	ssize_t got;
	int rc = 0;

	while (rc >= 0 && (got = recv(from, buf, sizeof(buf), 0)) != 0) {
		if (got > 0)
			rc = append(to, buf, (size_t)got, &all, err);
		else if (errno == EAGAIN || errno == EINTR)
			rc = await(q, from, POLLIN, err);
		else
			rc = err_sys(err, -errno, "cannot receive QEMU's device state");
	}
	return rc < 0 ? rc : await_end(q, err);
}

static int migrate_out(struct qmp *q, int to, struct err *err)
{
	int rc, from = give_end(q, err);

	if (from < 0)
		return from;
	rc = qmp_ask(q, "migrate", by_fd(), NULL, err);
	if (rc >= 0)
		rc = receive(q, from, to, err);
	if (rc < 0)
		qmp_undo(q, "migrate_cancel", NULL);
	(void)close(from);
	return rc;
}

/* ---- private memory: xen-save-devices-state ---- */

/* Unlike a migration it does not look at what forbids one. */
static int check_blocked(struct qmp *q, struct err *err)
{
	const char *why;
	json_t *info;
	int rc = qmp_ask(q, "query-migrate", NULL, &info, err);

	if (rc < 0)
		return rc;
	why = json_string_value(json_array_get(json_object_get(info, "blocked-reasons"), 0));
	if (why)
		rc = err_set(err, -ENOTSUP, "QEMU cannot save this guest: %.300s", why);
	json_decref(info);
	return rc;
}

static int machine_name(struct qmp *q, char ret[QEMU_STATE_MAX_MACHINE], struct err *err)
{
	static const char suffix[] = "-machine";
	const char *type;
	size_t len;
	json_t *answer;
	int rc = qmp_ask(q, "qom-get", json_pack("{s:s, s:s}", "path", "/machine", "property",
						 "type"), &answer, err);

	if (rc < 0)
		return rc;
	type = json_string_value(answer);
	len = type ? strlen(type) : 0;
	if (len < sizeof(suffix) || len - (sizeof(suffix) - 1) >= QEMU_STATE_MAX_MACHINE ||
	    strcmp(type + len - (sizeof(suffix) - 1), suffix) != 0)
		rc = qmp_strange(q, "qom-get", err);
	else
		(void)snprintf(ret, QEMU_STATE_MAX_MACHINE, "%.*s",
			       (int)(len - (sizeof(suffix) - 1)), type);
	json_decref(answer);
	return rc;
}

/* Returns the number of a set of descriptors with `fd` in it, opened anew, for writing alone. */
static int add_fd(struct qmp *q, int fd, struct err *err)
{
	char path[32];
	json_t *answer;
	int rc, set = -1, own;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	own = open(path, O_WRONLY | O_CLOEXEC);
	if (own < 0)
		return err_sys(err, -errno, "cannot open a device state");
	rc = qmp_ask_fd(q, "add-fd", NULL, own, &answer, err);
	(void)close(own);
	if (rc < 0)
		return rc;
	if (json_unpack(answer, "{s:i}", "fdset-id", &set) < 0 || set < 0)
		set = qmp_strange(q, "add-fd", err);
	json_decref(answer);
	return set;
}

static int xen_save(struct qmp *q, int fd, struct err *err)
{
	int rc, set = add_fd(q, fd, err);
	char path[64];

	if (set < 0)
		return set;
	(void)snprintf(path, sizeof(path), "/dev/fdset/%d", set);
	rc = qmp_ask(q, "xen-save-devices-state", json_pack("{s:s, s:b}", "filename", path, "live",
							    false), NULL, err);
	qmp_undo(q, "remove-fd", json_pack("{s:i}", "fdset-id", set));
	return rc;
}

static int copy_rest(int from, int to, uint64_t off, struct err *err)
{
	off_t at = (off_t)off;
	ssize_t got;

	do
		got = sendfile(to, from, &at, COPY_MAX);
	while (got > 0);
	return got < 0 ? err_sys(err, -errno, "no memory for a device state") : 0;
}

/* `raw` as QEMU wrote it; `to` with what an incoming migration wants. */
static int complete(struct qmp *q, int raw, int to, struct err *err)
{
	unsigned char head[QEMU_STATE_HEAD], begin[9];
	char machine[QEMU_STATE_MAX_MACHINE];
	ssize_t got = io_pread(raw, begin, sizeof(begin), 0);
	int rc, from = qemu_state_sections(begin, got < 0 ? 0 : (size_t)got);

	if (from < 0)
		return err_set(err, from, "the device state of QEMU at '%s' is no migration "
			       "stream", qmp_name(q));
	rc = from ? machine_name(q, machine, err) : 0;
	if (rc >= 0 && from)
		rc = io_write_all(to, head, qemu_state_head(machine, head));
	return rc < 0 ? rc : copy_rest(raw, to, (uint64_t)from, err);
}

static int save_devices(struct qmp *q, int to, struct err *err)
{
	int rc = check_blocked(q, err), raw;

	if (rc < 0)
		return rc;
	raw = make_memfd(err);
	if (raw < 0)
		return raw;
	rc = xen_save(q, raw, err);
	if (rc >= 0)
		rc = complete(q, raw, to, err);
	(void)close(raw);
	return rc;
}

/* ---- out and in ---- */

/* QEMU makes no second migration of a guest that has not run since the first. */
static int take_into(struct qmp *q, const struct qemu_memory *memory, bool migrated, int fd,
		     struct err *err)
{
	bool migrate = memory->shared && !migrated;
	int rc = migrate ? 0 : qemu_memory_alone(q, memory, err);
	int was_on;

	if (rc == -ENOTSUP && memory->shared)
		rc = err_set(err, rc, "QEMU cannot save this guest again before it has gone on "
			     "('lamina guest cont'): it is paused since its last snapshot");
	was_on = rc < 0 ? rc : ignore_memory(q, err);
	if (was_on < 0)
		return was_on;
	rc = migrate ? migrate_out(q, fd, err) : save_devices(q, fd, err);
	heed_memory(q, was_on);
	return rc;
}

int qemu_state_take(struct qmp *q, const struct qemu_memory *memory, bool migrated,
		    struct err *err)
{
	int fd = make_memfd(err), rc;

	if (fd < 0)
		return fd;
	rc = take_into(q, memory, migrated, fd, err);
	if (rc < 0)
		(void)close(fd);
	return rc < 0 ? rc : fd;
}

/* What it does not want behind the end of the stream is not sent; why, it says when asked. */
static int send_state(struct qmp *q, int from, int to, struct err *err)
{
	char buf[65536];
	uint64_t off = 0;
	ssize_t got, sent;
	int rc = 0;

	while (rc >= 0 && (got = io_pread(from, buf, sizeof(buf), off)) > 0) {
		sent = send(to, buf, (size_t)got, MSG_NOSIGNAL);
		if (sent < 0 && errno != EAGAIN && errno != EINTR)
			break;
		if (sent < 0)
			rc = await(q, to, POLLOUT, err);
		off += sent > 0 ? (uint64_t)sent : 0;
	}
	if (rc < 0 || got < 0)
		return rc < 0 ? rc : err_sys(err, (int)got, "cannot read a device state");
	(void)shutdown(to, SHUT_WR);
	return await_end(q, err);
}

static int migrate_in(struct qmp *q, int from, struct err *err)
{
	int rc, to = give_end(q, err);

	if (to < 0)
		return to;
	rc = qmp_ask(q, "migrate-incoming", by_fd(), NULL, err);
	if (rc >= 0)
		rc = send_state(q, from, to, err);
	(void)close(to);
	if (rc == -ECONNRESET)
		rc = err_wrap(err, rc, "it does not load the device state (its log says why)");
	return rc;
}

int qemu_state_give(struct qmp *q, int fd, struct err *err)
{
	int was_on = ignore_memory(q, err), rc;

	if (was_on < 0)
		return was_on;
	rc = migrate_in(q, fd, err);
	if (rc != -ECONNRESET)
		heed_memory(q, was_on);
	return rc;
}

/* ---- files ---- */

struct job {
	int fd;
	const char *path;
};

static int copy_all(struct errand *e, int from, int to)
{
	off_t at = 0;
	ssize_t got;

	for (;;) {
		got = sendfile(to, from, &at, COPY_MAX);
		if (got <= 0)
			break;
		errand_tell(e);
		if ((uint64_t)at > QEMU_STATE_MAX)
			return -EFBIG;
	}
	e->count[0] = (uint64_t)at;
	return got < 0 ? -errno : 0;
}

static int write_file(struct errand *e, struct err *err)
{
	const struct job *job = e->arg;
	int rc, fd = open(job->path, O_WRONLY | O_TRUNC | O_NOCTTY);

	rc = fd < 0 ? -errno : copy_all(e, job->fd, fd);
	if (fd >= 0 && close(fd) < 0 && rc == 0)
		rc = -errno;
	return rc < 0 ? err_sys(err, rc, "cannot write '%s'", job->path) : 0;
}

static int read_file(struct errand *e, struct err *err)
{
	const struct job *job = e->arg;
	int rc, fd = open(job->path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	rc = fd < 0 || fstat(fd, &st) < 0 ? -errno : 0;
	if (rc == 0 && (uint64_t)st.st_size > QEMU_STATE_MAX)
		rc = -EFBIG;
	if (rc == 0)
		rc = copy_all(e, fd, job->fd);
	if (fd >= 0)
		(void)close(fd);
	return rc < 0 ? err_sys(err, rc, "cannot read '%s'", job->path) : 0;
}

static int run(const struct hyper_target *to, struct job *job,
	       int (*fn)(struct errand *e, struct err *err), uint64_t *ret, struct err *err)
{
	struct errand e = {.fn = fn, .arg = job, .path = job->path, .keep = &job->fd, .nkeep = 1,
			   .idle_ms = to->timeout_ms, .stopped = to->stopped};
	int rc = errand_run(&e, err);

	if (rc == 0)
		*ret = e.count[0];
	return rc;
}

int qemu_state_write(const struct hyper_target *to, int fd, const char *path, uint64_t *ret,
		     struct err *err)
{
	struct job job = {fd, path};

	return run(to, &job, write_file, ret, err);
}

int qemu_state_read(const struct hyper_target *to, const char *path, struct err *err)
{
	struct job job = {make_memfd(err), path};
	uint64_t len;
	int rc;

	if (job.fd < 0)
		return job.fd;
	rc = run(to, &job, read_file, &len, err);
	if (rc < 0)
		(void)close(job.fd);
	return rc < 0 ? rc : job.fd;
}
