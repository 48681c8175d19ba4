/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/host/pause-sync.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/io.h"

#define MEMFILE "memfile"
#define GO_MEMFILE 'm'		/* what the child is told to write out */
#define GO_ALL 'a'

struct file {
	char name[IMAGE_NAME_MAX + 1];
	int fd;
	int rc;
	struct stat st;
	pthread_t thread;
	bool apart;		/* a thread has it */
};

/* Of the child alone. */
struct work {
	const char *dir;
	pid_t pid;
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
	} else if (!strcmp(name, MEMFILE)) {
		w->seen.memfile = true;
		w->seen.memory = (uint64_t)st->st_size;
	}
}

static int open_file(void *ctx, int dirfd, const char *name)
{
	struct work *w = ctx;
	struct stat st;
	int fd;

	if (*name == '.')
		return 0;
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISREG(st.st_mode) || strlen(name) > IMAGE_NAME_MAX)
		return 0;
	note(w, name, &st);
	if (w->n == PAUSE_SYNC_FILES_MAX)
		return -E2BIG;
	fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	w->file[w->n] = (struct file){.fd = fd, .st = st};
	strcpy(w->file[w->n++].name, name);
	return 0;
}

static int open_files(struct work *w)
{
	return io_each_name(AT_FDCWD, w->dir, open_file, w);
}

/*
 * A memory file that is mapped and private is not the guest's memory any more, whoever serves it,
 * and who maps one has it open.
 */
static void look_at_process(struct work *w)
{
	struct astray_file file[PAUSE_SYNC_FILES_MAX];
	const struct astray_ask ask = {w->pid, w->dir, file, w->n};
	size_t which = 0;

	for (size_t i = 0; i < w->n; i++)
		file[i] = (struct astray_file){w->file[i].name, w->file[i].st.st_dev,
					       w->file[i].st.st_ino,
					       !strcmp(w->file[i].name, MEMFILE)};
	w->seen.astray = astray_find(&ask, &which);
	if (w->seen.astray != ASTRAY_NOT)
		strcpy(w->seen.lost, w->file[which].name);
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

static int flush_memfile(struct work *w)
{
	int rc = 0;

	for (size_t i = 0; i < w->n && rc == 0; i++) {
		if (strcmp(w->file[i].name, MEMFILE) != 0)
			continue;
		(void)flush(&w->file[i]);
		rc = w->file[i].rc;
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

	if (rc == 0 && w->pid > 0)
		look_at_process(w);
	if (!say(fd, w, rc) || rc < 0)
		return;
	while (recv(fd, &go, 1, 0) == 1)
		if (!say(fd, w, go == GO_ALL ? flush_all(w) : flush_memfile(w)))
			return;
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

int pause_sync_begin(const struct pause_sync_ask *ask, struct aside *ret,
		     struct pause_sync_seen *ret_seen, struct err *err)
{
	struct work w = {.dir = ask->dir, .pid = ask->pid};
	struct aside aside;
	struct said said;
	int rc = aside_begin(&(struct aside_work){.fn = run, .arg = &w}, &aside);

	if (rc < 0)
		return err_sys(err, rc, "cannot look at the live image");
	rc = hear(&aside, ask->end_ms, ask->stopped, &said);
	if (rc == 0) {
		*ret = aside;
		*ret_seen = said.seen;
		return 0;
	}
	if (rc == -EPIPE)
		rc = died(&aside, ask->stopped, err);
	else if (rc == -ETIMEDOUT)
		err_set(err, rc, "the mount of '%s' does not answer", ask->dir);
	else
		err_sys(err, rc, "cannot open the files of '%s'", ask->dir);
	aside_end(&aside);
	return rc;
}

static int tell(const struct aside *aside, char what, uint64_t end_ms, bool (*stopped)(void),
		struct err *err)
{
	int rc = send(aside->fd, &what, 1, MSG_NOSIGNAL) < 0 ? -errno : 0;
	struct said said;

	if (rc == 0)
		rc = hear(aside, end_ms, stopped, &said);
	if (rc == -EPIPE)
		return died(aside, stopped, err);
	if (rc == -ETIMEDOUT)
		return err_set(err, rc, "the mount of the live image does not answer");
	return rc < 0 ? err_sys(err, rc, "cannot write out the live image") : 0;
}

int pause_sync_memfile(const struct aside *aside, uint64_t end_ms, bool (*stopped)(void),
		       struct err *err)
{
	return tell(aside, GO_MEMFILE, end_ms, stopped, err);
}

int pause_sync_run(const struct aside *aside, uint64_t end_ms, bool (*stopped)(void),
		   struct err *err)
{
	return tell(aside, GO_ALL, end_ms, stopped, err);
}
