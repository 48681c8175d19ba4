/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A file is written as ".ID", which is no session's id, and renamed: one that was
 * cut short by a kill is never read, and the next one of that id writes over it.
 * Everything else in the directory that is no regular file of an id is nobody's
 * and is left alone.
 */
#include "src/pager/graduated.h"

#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "src/pager/setup.h"
#include "store/base/io.h"

#define FILE_MAX 4096		/* bytes of a file; ours have about 250 */
#define REMOVE_MAX 16		/* for each one that is put */

/* ---- the directory ---- */

static int open_dir(const char *runtime_dir, bool make)
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s/graduated", runtime_dir), fd;

	if (n < 0 || (size_t)n >= sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT && make && mkdir(path, 0755) == 0)
		fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int graduated_prepare(const char *runtime_dir, struct err *err)
{
	int dir = open_dir(runtime_dir, true);

	if (dir < 0)
		return err_sys(err, dir, "cannot use '%s/graduated'", runtime_dir);
	close(dir);
	return 0;
}

static int open_for(const char *runtime_dir, const char *id, bool make, struct err *err)
{
	int dir;

	if (!setup_id_is_good(id))
		return err_set(err, -ENOENT, "no session can have that id");
	dir = open_dir(runtime_dir, make);
	return dir < 0 ? err_sys(err, dir, "cannot use '%s/graduated'", runtime_dir) : dir;
}

/* ---- too many ---- */

struct oldest {
	struct timespec when;
	char name[SETUP_ID_MAX + 1];	/* "": none */
};

static bool is_before(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec : a->tv_nsec < b->tv_nsec;
}

/* How many there are; the oldest but `id`. */
static size_t look_through(DIR *d, const char *id, struct oldest *ret)
{
	const struct dirent *e;
	struct stat st;
	size_t n = 0;

	*ret->name = '\0';
	rewinddir(d);
	while ((e = readdir(d))) {
		if (!setup_id_is_good(e->d_name) ||
		    fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !S_ISREG(st.st_mode))
			continue;
		n++;
		if (!strcmp(e->d_name, id) || (*ret->name && !is_before(&st.st_mtim, &ret->when)))
			continue;
		ret->when = st.st_mtim;
		(void)snprintf(ret->name, sizeof(ret->name), "%.*s", SETUP_ID_MAX, e->d_name);
	}
	return n;
}

/* Best effort: what is left over goes with the next one. */
static void remove_oldest(int dir, const char *id)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct oldest oldest;

	if (!d) {
		if (fd >= 0)
			close(fd);
		return;
	}
	for (int i = 0; i < REMOVE_MAX && look_through(d, id, &oldest) > GRADUATED_MAX; i++)
		(void)unlinkat(dir, oldest.name, 0);
	closedir(d);
}

/* ---- writing ---- */

static char *encode(const char *id, const struct complete_report *r)
{
	json_t *json = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "id", id, "when",
				 (json_int_t)time(NULL), "pages", (json_int_t)r->pages, "bytes",
				 (json_int_t)r->bytes, "zero_pages", (json_int_t)r->zero,
				 "hole_pages", (json_int_t)r->holes, "ns", (json_int_t)r->ns,
				 "unregister_ns", (json_int_t)r->unregister_ns);
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

	json_decref(json);
	return text;
}

static int write_new(int dir, const char *name, const char *text)
{
	int fd, rc;

	(void)unlinkat(dir, name, 0);
	fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	rc = io_write_all(fd, text, strlen(text));
	if (rc == 0)
		rc = io_fsync(fd);
	close(fd);
	return rc;
}

static int replace(int dir, const char *id, const char *text)
{
	char name[SETUP_ID_MAX + 2];
	int rc;

	(void)snprintf(name, sizeof(name), ".%s", id);
	rc = write_new(dir, name, text);
	if (rc == 0 && renameat(dir, name, dir, id) < 0)
		rc = -errno;
	if (rc == 0)
		return io_fsync_dir(dir, ".");
	(void)unlinkat(dir, name, 0);
	return rc;
}

int graduated_put(const char *runtime_dir, const char *id, const struct complete_report *report,
		  struct err *err)
{
	int dir = open_for(runtime_dir, id, true, err), rc;
	char *text;

	if (dir < 0)
		return dir;
	text = encode(id, report);
	rc = text ? replace(dir, id, text) : -ENOMEM;
	if (rc == 0)
		remove_oldest(dir, id);
	free(text);
	close(dir);
	return rc < 0 ? err_sys(err, rc, "cannot write '%s/graduated/%s'", runtime_dir, id) : 0;
}

/* ---- reading ---- */

/* -EBADMSG where there is something that cannot be a file of ours. */
static int read_text(int dir, const char *id, char out[FILE_MAX], size_t *ret_len)
{
	int fd = openat(dir, id, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;
	ssize_t n;

	if (fd < 0)
		return errno == ELOOP || errno == ENXIO ? -EBADMSG : -errno;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size >= FILE_MAX) {
		close(fd);
		return -EBADMSG;
	}
	n = io_pread(fd, out, FILE_MAX, 0);
	close(fd);
	if (n < 0)
		return (int)n;
	*ret_len = (size_t)n;
	return 0;
}

static bool get_number(const json_t *json, const char *name, uint64_t *ret)
{
	const json_t *value = json_object_get(json, name);

	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return false;
	*ret = (uint64_t)json_integer_value(value);
	return true;
}

static int decode(const char *text, size_t len, const char *id, struct complete_report *ret)
{
	json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	const char *name = json_string_value(json_object_get(json, "id"));
	struct complete_report r = {.already = true, .durable = true};
	bool good = name && !strcmp(name, id) && get_number(json, "pages", &r.pages) &&
		    get_number(json, "bytes", &r.bytes) &&
		    get_number(json, "zero_pages", &r.zero) &&
		    get_number(json, "hole_pages", &r.holes) && get_number(json, "ns", &r.ns) &&
		    get_number(json, "unregister_ns", &r.unregister_ns);

	json_decref(json);
	if (!good)
		return -EBADMSG;
	*ret = r;
	return 0;
}

int graduated_get(const char *runtime_dir, const char *id, struct complete_report *ret,
		  struct err *err)
{
	int dir = open_for(runtime_dir, id, false, err), rc;
	char text[FILE_MAX];
	size_t len = 0;

	if (dir < 0)
		return dir;
	rc = read_text(dir, id, text, &len);
	close(dir);
	if (rc == 0)
		rc = decode(text, len, id, ret);
	if (rc == -EBADMSG)
		return err_set(err, rc, "'%s/graduated/%s' is not what a pager writes", runtime_dir,
			       id);
	return rc < 0 ? err_sys(err, rc, "cannot read '%s/graduated/%s'", runtime_dir, id) : 0;
}

int graduated_forget(const char *runtime_dir, const char *id, struct err *err)
{
	int dir = open_for(runtime_dir, id, false, err), rc = 0;

	if (dir < 0)
		return dir == -ENOENT ? 0 : dir;
	if (unlinkat(dir, id, 0) < 0 && errno != ENOENT)
		rc = err_sys(err, -errno, "cannot remove '%s/graduated/%s'", runtime_dir, id);
	close(dir);
	return rc;
}
