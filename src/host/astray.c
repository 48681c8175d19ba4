/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/host/astray.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "store/base/lines.h"
#include "store/base/maps.h"

#define PROC_PATH 64
#define DELETED " (deleted)"
#define FUSE_SUPER_MAGIC 0x65735546

/* ---- a descriptor ---- */

struct held {
	char path[PROC_PATH];	/* /proc/PID/fd/N */
	char name[PATH_MAX];	/* as the kernel shows it */
	uint64_t ino;		/* 0: not known */
};

static int read_name(const char *path, char ret[PATH_MAX])
{
	ssize_t len = readlink(path, ret, PATH_MAX - 1);

	if (len < 0)
		return -errno;
	ret[len] = '\0';
	return 0;
}

static uint64_t read_ino(pid_t pid, const char *fd)
{
	struct lines lines;
	char path[PROC_PATH], *line;
	uint64_t ino = 0;

	(void)snprintf(path, sizeof(path), "/proc/%d/fdinfo/%.20s", (int)pid, fd);
	if (lines_open(AT_FDCWD, path, &lines) < 0)
		return 0;
	while (!ino && lines_next(&lines, &line) == 1)
		if (!strncmp(line, "ino:", 4))
			ino = strtoull(line + 4, NULL, 10);
	lines_close(&lines);
	return ino;
}

/* Sockets, pipes and others that are no files of a directory have no such name. */
static int look(pid_t pid, const char *fd, struct held *ret)
{
	int rc;

	(void)snprintf(ret->path, sizeof(ret->path), "/proc/%d/fd/%.20s", (int)pid, fd);
	rc = read_name(ret->path, ret->name);
	if (rc < 0 || ret->name[0] != '/')
		return rc < 0 ? rc : -ENOENT;
	ret->ino = read_ino(pid, fd);
	return 0;
}

/* ---- which file it is ---- */

/* "/live/LIVE" of MOUNT/live/LIVE. */
static const char *tail_of(const char *dir)
{
	const char *at = dir + strlen(dir);

	for (int slashes = 0; at > dir && slashes < 2;)
		slashes += *--at == '/';
	return at;
}

static bool take_end(const char *text, size_t *len, const char *end)
{
	size_t n = strlen(end);

	if (*len < n || memcmp(text + *len - n, end, n) != 0)
		return false;
	*len -= n;
	return true;
}

static bool is_called(const char *name, const char *dir, const char *image)
{
	size_t len = strlen(name);

	(void)take_end(name, &len, DELETED);
	return take_end(name, &len, image) && take_end(name, &len, "/") &&
	       take_end(name, &len, tail_of(dir));
}

static bool is_fuse(const char *path)
{
	struct statfs st;

	return statfs(path, &st) == 0 && st.f_type == FUSE_SUPER_MAGIC;
}

static bool is_lost(int error)
{
	return error == ENOTCONN || error == ECONNABORTED || error == ESTALE || error == ENOENT;
}

/* The same name may be of another store, or of no store: the number is not. */
static enum astray_how judge(const struct held *held, const struct astray_file *file)
{
	char again[PATH_MAX];
	struct stat st;

	if (stat(held->path, &st) < 0) {
		if (!is_lost(errno) || read_name(held->path, again) < 0 ||
		    strcmp(again, held->name) != 0)
			return ASTRAY_NOT;
		return ASTRAY_DEAD;
	}
	if (st.st_dev == file->dev)
		return st.st_ino == file->ino ? ASTRAY_NOT : ASTRAY_ELSEWHERE;
	return st.st_ino == file->ino && is_fuse(held->path) ? ASTRAY_ELSEWHERE : ASTRAY_NOT;
}

static enum astray_how judge_fd(const struct astray_ask *ask, const char *fd, size_t *ret)
{
	struct held held;
	enum astray_how how = ASTRAY_NOT;

	if (look(ask->pid, fd, &held) < 0)
		return ASTRAY_NOT;
	for (size_t i = 0; i < ask->n && how == ASTRAY_NOT; i++) {
		const struct astray_file *file = &ask->file[i];
		bool may_be = held.ino == file->ino || is_called(held.name, ask->dir, file->name);

		if (!may_be || file->mapped_alone)
			continue;
		how = judge(&held, file);
		*ret = i;
	}
	return how;
}

static enum astray_how find_fd(const struct astray_ask *ask, size_t *ret)
{
	enum astray_how how = ASTRAY_NOT;
	char path[PROC_PATH];
	struct dirent *d;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)ask->pid);
	dir = opendir(path);
	while (dir && how == ASTRAY_NOT && (d = readdir(dir)))
		if (d->d_name[0] != '.')
			how = judge_fd(ask, d->d_name, ret);
	if (dir)
		closedir(dir);
	return how;
}

/* ---- mappings ---- */

/* What is not on the file system of ours, but is the same file, is of another mount of it. */
static bool is_astray(const struct maps_region *r, const struct astray_file *file)
{
	return r->shared && r->ino == file->ino && r->dev != file->dev;
}

static enum astray_how judge_mapping(pid_t pid, const struct maps_region *r)
{
	char path[PROC_PATH];
	struct stat st;

	(void)snprintf(path, sizeof(path), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, (int)pid,
		       r->start, r->end);
	return stat(path, &st) < 0 && is_lost(errno) && errno != ENOENT ? ASTRAY_DEAD :
	       ASTRAY_ELSEWHERE;
}

static enum astray_how find_mapping(const struct astray_ask *ask, size_t *ret)
{
	enum astray_how how = ASTRAY_NOT;
	struct maps_region region;
	struct maps maps;

	if (maps_open(ask->pid, 0, &maps) < 0)
		return ASTRAY_NOT;
	while (how == ASTRAY_NOT && maps_next(&maps, &region) == 1)
		for (size_t i = 0; i < ask->n && how == ASTRAY_NOT; i++)
			if (is_astray(&region, &ask->file[i])) {
				how = judge_mapping(ask->pid, &region);
				*ret = i;
			}
	maps_close(&maps);
	return how;
}

enum astray_how astray_find(const struct astray_ask *ask, size_t *ret)
{
	enum astray_how how = find_fd(ask, ret);

	return how == ASTRAY_NOT ? find_mapping(ask, ret) : how;
}
