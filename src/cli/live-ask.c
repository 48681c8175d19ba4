/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/live-ask.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/cli/cli.h"
#include "src/cli/mounts.h"
#include "store/base/clock.h"
#include "store/base/vec.h"
#include "store/live-commit.h"

#define FOLD_STOP_MS 1000	/* that who was told to stop waits for the daemon */

struct answer {
	int rc;
	uint64_t upto;
};

/* ---- the child ---- */

static int seal(const char *path, int *ret_dir, uint64_t *ret_upto)
{
	*ret_dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*ret_dir < 0)
		return -errno;
	return ioctl(*ret_dir, LIVE_IOC_SEAL, ret_upto) < 0 ? -errno : 0;
}

static void ask_there(int fd, void *path)
{
	struct answer a = {0};
	int dir;
	char go;

	a.rc = seal(path, &dir, &a.upto);
	if (send(fd, &a, sizeof(a), MSG_NOSIGNAL) < 0 || a.rc < 0 || recv(fd, &go, 1, 0) != 1)
		return;
	a.rc = ioctl(dir, LIVE_IOC_FOLD) < 0 ? -errno : 0;
	(void)send(fd, &a, sizeof(a), MSG_NOSIGNAL);
}

/* ---- answers ---- */

static struct answer answer_of(const struct aside *ask)
{
	struct answer a;

	if (recv(ask->fd, &a, sizeof(a), MSG_DONTWAIT) != (ssize_t)sizeof(a))
		a = (struct answer){.rc = -EPIPE};
	return a;
}

static uint64_t end_of(uint64_t wait_ms)
{
	uint64_t now = clock_ms();

	return wait_ms > UINT64_MAX - now ? UINT64_MAX : now + wait_ms;
}

static bool stopped(void)
{
	return cli_stopped();
}

/* ---- all mounts ---- */

struct asked {
	struct aside ask;
	char *mount;
};

struct search {
	struct cli *cli;
	const char *name;
	VEC(struct asked) asked;
	char *read_only;	/* borrowed: a mount that is */
	struct err *err;
};

static int ask_mount(struct search *s, const char *mount)
{
	struct asked a = {0};
	char *path;
	int rc;

	if (asprintf(&path, "%s/live/%s", mount, s->name) < 0)
		return -ENOMEM;
	rc = aside_begin(&(struct aside_work){.fn = ask_there, .arg = path}, &a.ask);
	free(path);
	if (rc < 0)
		return rc;
	a.mount = strdup(mount);
	if (a.mount && vec_push(&s->asked, a) == 0)
		return 0;
	aside_end(&a.ask);
	free(a.mount);
	return -ENOMEM;
}

static int add_mount(void *ctx, const char *mount, const struct mounts_entry *entry)
{
	struct search *s = ctx;
	int rc = cli_is_store(s->cli, entry->source) ? ask_mount(s, mount) : 0;

	return rc < 0 ? err_sys(s->err, rc, "cannot ask the mount '%s'", mount) : 0;
}

/* Its daemon is dead or has not the live image, or it is another one's to use. */
static bool is_not_it(int rc)
{
	return rc == -EBUSY || rc == -ENOTCONN || rc == -ECONNABORTED || rc == -ENOENT ||
	       rc == -EACCES || rc == -EPERM || rc == -EROFS;
}

/* 1: it sealed; 0: it cannot. */
static int take_answer(struct search *s, struct asked *a, struct aside *ret, uint64_t *ret_upto)
{
	struct answer answer = answer_of(&a->ask);

	if (answer.rc == 0) {
		*ret = a->ask;
		*ret_upto = answer.upto;
		a->ask.pid = 0;
		return 1;
	}
	aside_end(&a->ask);
	if (answer.rc == -EROFS)
		s->read_only = a->mount;
	if (is_not_it(answer.rc))
		return 0;
	return err_sys(s->err, answer.rc, "live image '%s' cannot be sealed through the mount '%s'",
		       s->name, a->mount);
}

static int nobody(struct search *s)
{
	if (s->read_only)
		return err_set(s->err, -EROFS, "live image '%s' is open, and the mount '%s' is "
			       "read-only", s->name, s->read_only);
	return err_set(s->err, -ENOENT, "no mount has live image '%s'", s->name);
}

static const char *first_asked(const struct search *s)
{
	size_t i = 0;

	while (!s->asked.v[i].ask.pid)
		i++;
	return s->asked.v[i].mount;
}

/* Which are still out, as poll(2) wants them: those that have answered are -1. */
static size_t list_out(const struct search *s, struct pollfd *fds)
{
	size_t n = 0;

	for (size_t i = 0; i < s->asked.n; i++) {
		const struct aside *ask = &s->asked.v[i].ask;

		fds[i] = (struct pollfd){.fd = ask->pid ? ask->fd : -1, .events = POLLIN};
		n += ask->pid != 0;
	}
	return n;
}

static int await_all(struct search *s, struct pollfd *fds, uint64_t end, struct aside *ret,
		     uint64_t *ret_upto)
{
	int rc = 0;

	while (rc == 0 && list_out(s, fds)) {
		rc = aside_poll(fds, s->asked.n, end, stopped);
		if (rc == 0)
			return err_set(s->err, -EBUSY, "live image '%s' is open, and the daemon "
				       "that serves it does not answer (mount '%s')", s->name,
				       first_asked(s));
		if (rc < 0)
			return err_sys(s->err, rc, "cannot wait for the daemon");
		rc = 0;
		for (size_t i = 0; i < s->asked.n && rc == 0; i++)
			if (fds[i].revents)
				rc = take_answer(s, &s->asked.v[i], ret, ret_upto);
	}
	return rc ? rc : nobody(s);
}

int live_ask_seal(struct cli *cli, const char *name, uint64_t wait_ms, struct aside *ret,
		  uint64_t *ret_upto, struct err *err)
{
	struct search s = {.cli = cli, .name = name, .err = err};
	struct pollfd *fds;
	int rc = mounts_each(add_mount, &s);

	if (rc == 0) {
		fds = calloc(s.asked.n + 1, sizeof(*fds));
		rc = fds ? await_all(&s, fds, end_of(wait_ms), ret, ret_upto)
			 : err_set(err, -ENOMEM, "out of memory");
		free(fds);
	}
	for (size_t i = 0; i < s.asked.n; i++) {
		aside_end(&s.asked.v[i].ask);
		free(s.asked.v[i].mount);
	}
	vec_fini(&s.asked);
	return rc < 0 ? rc : 0;
}

/* Who was told to stop waits a moment, too: else nobody could say whether the daemon answers. */
int live_ask_fold(struct aside *ask, uint64_t wait_ms)
{
	struct answer a;
	int rc;

	if (send(ask->fd, "", 1, MSG_NOSIGNAL) < 0)
		return -errno;
	rc = aside_await(ask, &a, sizeof(a), end_of(wait_ms), stopped);
	if (rc == -ECANCELED)
		rc = aside_await(ask, &a, sizeof(a),
				 end_of(wait_ms < FOLD_STOP_MS ? wait_ms : FOLD_STOP_MS), NULL);
	return rc == 0 ? a.rc : rc;
}
