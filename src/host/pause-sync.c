/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/host/pause-sync.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/io.h"

struct file {
	int fd;
	int rc;
	pthread_t thread;
	bool apart;		/* a thread has it */
};

/* Of the child alone. */
struct work {
	const char *dir;
	struct file file[PAUSE_SYNC_FILES_MAX];
	size_t n;
	struct pause_sync_seen seen;
};

/* What the child says. */
struct said {
	int rc;
	struct pause_sync_seen seen;
};

/* ---- the child ---- */

static void note(struct work *w, const char *name, const struct stat *st)
{
	if (!strcmp(name, "state")) {
		w->seen.state = true;
	} else if (!strcmp(name, "memfile")) {
		w->seen.memfile = true;
		w->seen.memory = (uint64_t)st->st_size;
	}
}

static int open_file(struct work *w, int dirfd, const char *name)
{
	struct stat st;
	int fd;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISREG(st.st_mode))
		return 0;
	note(w, name, &st);
	if (w->n == PAUSE_SYNC_FILES_MAX)
		return -E2BIG;
	fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	w->file[w->n++] = (struct file){.fd = fd};
	return 0;
}

static int open_files(struct work *w)
{
	DIR *dir = opendir(w->dir);
	struct dirent *d;
	int rc = dir ? 0 : -errno;

	while (rc == 0 && (errno = 0, d = readdir(dir)))
		if (d->d_name[0] != '.')
			rc = open_file(w, dirfd(dir), d->d_name);
	if (rc == 0 && errno)
		rc = -errno;
	if (dir)
		closedir(dir);
	return rc;
}

static void *flush(void *arg)
{
	struct file *file = arg;

	const unsigned how = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
			     SYNC_FILE_RANGE_WAIT_AFTER;

	file->rc = sync_file_range(file->fd, 0, 0, how) < 0 ? -errno : 0;
	return NULL;
}

static int flush_all(struct work *w)
{
	int rc = 0;

	for (size_t i = 0; i < w->n; i++) {
		w->file[i].apart = pthread_create(&w->file[i].thread, NULL, flush,
						  &w->file[i]) == 0;
		if (!w->file[i].apart)
			(void)flush(&w->file[i]);
	}
	for (size_t i = 0; i < w->n; i++) {
		if (w->file[i].apart)
			(void)pthread_join(w->file[i].thread, NULL);
		rc = rc ? rc : w->file[i].rc;
	}
	return rc;
}

static bool say(int fd, const struct work *w, int rc)
{
	struct said said;

	memset(&said, 0, sizeof(said));
	said.rc = rc;
	said.seen = w->seen;
	return send(fd, &said, sizeof(said), MSG_NOSIGNAL) == sizeof(said);
}

static void run(int fd, void *arg)
{
	struct work *w = arg;
	int rc = open_files(w);
	char go;

	if (!say(fd, w, rc) || rc < 0 || recv(fd, &go, 1, 0) != 1)
		return;
	(void)say(fd, w, flush_all(w));
}

/* ---- we ---- */

static int hear(const struct aside *aside, uint64_t end_ms, bool (*stopped)(void),
		struct said *ret)
{
	int rc = aside_await(aside, ret, sizeof(*ret), end_ms, stopped);

	return rc < 0 ? rc : ret->rc;
}

/* Ctrl-C ends the child, too. */
static int died(const struct aside *aside, bool (*stopped)(void), struct err *err)
{
	char fate[ASIDE_FATE_LEN];

	if (stopped && stopped())
		return err_set(err, -ECANCELED, "stopped");
	return err_set(err, -EIO, "the child process that has the files of the live image open %s",
		       aside_fate(aside, fate));
}

int pause_sync_begin(const char *dir, uint64_t end_ms, bool (*stopped)(void), struct aside *ret,
		     struct pause_sync_seen *ret_seen, struct err *err)
{
	struct work w = {.dir = dir};
	struct aside aside;
	struct said said;
	int rc = aside_begin(&(struct aside_work){.fn = run, .arg = &w}, &aside);

	if (rc < 0)
		return err_sys(err, rc, "cannot look at the live image");
	rc = hear(&aside, end_ms, stopped, &said);
	if (rc == 0) {
		*ret = aside;
		*ret_seen = said.seen;
		return 0;
	}
	if (rc == -EPIPE)
		rc = died(&aside, stopped, err);
	else if (rc == -ETIMEDOUT)
		err_set(err, rc, "the mount of '%s' does not answer", dir);
	else
		err_sys(err, rc, "cannot open the files of '%s'", dir);
	aside_end(&aside);
	return rc;
}

int pause_sync_run(const struct aside *aside, uint64_t end_ms, bool (*stopped)(void),
		   struct err *err)
{
	int rc = send(aside->fd, "", 1, MSG_NOSIGNAL) < 0 ? -errno : 0;
	struct said said;

	if (rc == 0)
		rc = hear(aside, end_ms, stopped, &said);
	if (rc == -EPIPE)
		return died(aside, stopped, err);
	if (rc == -ETIMEDOUT)
		return err_set(err, rc, "the mount of the live image does not answer");
	return rc < 0 ? err_sys(err, rc, "cannot write out the live image") : 0;
}
