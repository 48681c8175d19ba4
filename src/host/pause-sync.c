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
};

/* ---- the child ---- */

static int open_file(struct work *w, int dirfd, const char *name)
{
	struct stat st;
	int fd;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISREG(st.st_mode))
		return 0;
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

	while (rc == 0 && (d = readdir(dir)))
		if (d->d_name[0] != '.')
			rc = open_file(w, dirfd(dir), d->d_name);
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

static void run(int fd, void *arg)
{
	struct work *w = arg;
	int rc = open_files(w);
	char go;

	if (send(fd, &rc, sizeof(rc), MSG_NOSIGNAL) < 0 || rc < 0 || recv(fd, &go, 1, 0) != 1)
		return;
	rc = flush_all(w);
	(void)send(fd, &rc, sizeof(rc), MSG_NOSIGNAL);
}

/* ---- we ---- */

static int hear(const struct aside *aside, uint64_t end_ms, bool (*stopped)(void))
{
	int said, rc = aside_await(aside, &said, sizeof(said), end_ms, stopped);

	return rc < 0 ? rc : said;
}

int pause_sync_begin(const char *dir, uint64_t end_ms, bool (*stopped)(void), struct aside *ret,
		     struct err *err)
{
	struct work w = {.dir = dir};
	struct aside aside;
	int rc = aside_begin(&(struct aside_work){.fn = run, .arg = &w}, &aside);

	if (rc < 0)
		return err_sys(err, rc, "cannot look at the live image");
	rc = hear(&aside, end_ms, stopped);
	if (rc == 0) {
		*ret = aside;
		return 0;
	}
	aside_end(&aside);
	if (rc == -ETIMEDOUT)
		return err_set(err, rc, "the mount of '%s' does not answer", dir);
	return err_sys(err, rc, "cannot open the files of '%s'", dir);
}

int pause_sync_run(const struct aside *aside, uint64_t end_ms, bool (*stopped)(void),
		   struct err *err)
{
	int rc = send(aside->fd, "", 1, MSG_NOSIGNAL) < 0 ? -errno : 0;

	if (rc == 0)
		rc = hear(aside, end_ms, stopped);
	if (rc == -ETIMEDOUT)
		return err_set(err, rc, "the mount of the live image does not answer");
	return rc < 0 ? err_sys(err, rc, "cannot write out the live image") : 0;
}
