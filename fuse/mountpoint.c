/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "fuse/mountpoint.h"

#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define STALE_MAX 16		/* dead mounts on top of each other */

extern char **environ;

/* --- /proc/self/mountinfo --- */

struct mounted {
	bool ours;		/* by its type */
	unsigned major, minor;
	char source[256];
};

/* Undoes the kernel's \040 and such, in place. */
static void unescape(char *text)
{
	char *out = text;

	for (; *text; out++) {
		unsigned c;

		if (*text == '\\' && sscanf(text + 1, "%3o", &c) == 1) {
			*out = (char)c;
			text += 4;
		} else {
			*out = *text++;
		}
	}
	*out = '\0';
}

/* Whether a line of mountinfo is about `path`; fills `ret` then. */
static bool line_fits(char *line, const char *path, struct mounted *ret)
{
	char *tail = strstr(line, " - "), *point = NULL, type[64] = "", source[256] = "";
	unsigned major, minor;
	bool fits;

	if (!tail || sscanf(line, "%*d %*d %u:%u %*s %ms", &major, &minor, &point) != 3) {
		free(point);
		return false;
	}
	unescape(point);
	fits = !strcmp(point, path);
	free(point);
	if (!fits)
		return false;
	(void)sscanf(tail, " - %63s %255s", type, source);
	unescape(source);
	*ret = (struct mounted){!strcmp(type, MOUNTPOINT_TYPE), major, minor, ""};
	memcpy(ret->source, source, sizeof(source));
	return true;
}

/* What is on top at `path`.  -ENOENT: nothing is mounted there. */
static int find_mounted(const char *path, struct mounted *ret)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	int rc = -ENOENT;
	char *line = NULL;
	size_t size = 0;

	if (!file)
		return -errno;
	while (getline(&line, &size, file) > 0)
		if (line_fits(line, path, ret))
			rc = 0;
	free(line);
	(void)fclose(file);
	return rc;
}

/* --- the path --- */

/* Absolute, without looking at the last component, which may be dead. */
static char *resolve_parent(const char *path)
{
	char *a = strdup(path), *b = strdup(path), *ret = NULL, *parent = NULL;

	if (a && b)
		parent = realpath(dirname(a), NULL);
	if (parent && asprintf(&ret, "%s/%s", strcmp(parent, "/") ? parent : "", basename(b)) < 0)
		ret = NULL;
	free(parent);
	free(a);
	free(b);
	return ret;
}

/* Through fusermount3, which may do for users what umount2(2) may not. */
static int run_fusermount(const char *path, bool lazily)
{
	char *argv[] = {(char *)"fusermount3", (char *)(lazily ? "-uqz" : "-uq"), (char *)"--",
			(char *)path, NULL};
	posix_spawnattr_t attr;
	sigset_t none;
	int status, rc;
	pid_t pid;

	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	rc = posix_spawnp(&pid, argv[0], NULL, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	if (rc != 0)
		return -rc;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EBUSY;
}

static int unmount_path(const char *path, bool lazily)
{
	if (umount2(path, UMOUNT_NOFOLLOW | (lazily ? MNT_DETACH : 0)) == 0)
		return 0;
	return errno == EPERM ? run_fusermount(path, lazily) : -errno;
}

/* Detaches one dead mount of ours at `path`. */
static int clear_stale(const char *path, struct err *err)
{
	struct mounted there;
	char *abs = resolve_parent(path);
	int rc = -ENOENT;

	if (abs)
		rc = find_mounted(abs, &there);
	if (rc < 0 || !there.ours)
		rc = err_set(err, -ENOTCONN,
			     "cannot mount on '%s': another file system that has died is there",
			     path);
	else if ((rc = unmount_path(abs, true)) < 0)
		(void)err_sys(err, rc, "cannot unmount what a killed lamina-fuse left on '%s'",
			      path);
	free(abs);
	return rc;
}

/*
 * Whether what is mounted at `path` has lost its daemon.  Names and attributes
 * may still come from the kernel's memory; statfs(2) always asks.
 */
static bool is_dead(const char *path)
{
	struct statvfs st;

	return statvfs(path, &st) < 0 && errno == ENOTCONN;
}

static int check(const char *path, struct err *err)
{
	struct mounted there;
	struct stat st;

	if (stat(path, &st) < 0)
		return err_sys(err, -errno, "cannot mount on '%s'", path);
	if (!S_ISDIR(st.st_mode))
		return err_set(err, -ENOTDIR, "cannot mount on '%s': not a directory", path);
	if (strcmp(path, "/") == 0)
		return err_set(err, -EINVAL, "cannot mount on '/': it would hide everything");
	if (find_mounted(path, &there) == 0 && there.ours)
		return err_set(err, -EBUSY, "'%s' is mounted already: store '%s'", path,
			       there.source);
	return 0;
}

int mountpoint_prepare(const char *path, struct mountpoint *ret, struct err *err)
{
	char *abs;
	int rc = 0;

	for (int i = 0; i < STALE_MAX && rc == 0 && is_dead(path); i++)
		rc = clear_stale(path, err);
	if (rc < 0)
		return rc;
	abs = realpath(path, NULL);
	if (!abs)
		return err_sys(err, -errno, "cannot mount on '%s'", path);
	rc = check(abs, err);
	if (rc < 0)
		free(abs);
	else
		*ret = (struct mountpoint){.path = abs};
	return rc;
}

void mountpoint_fini(struct mountpoint *m)
{
	free(m->path);
	m->path = NULL;
}

/* --- the mount --- */

int mountpoint_mounted(struct mountpoint *m, struct err *err)
{
	struct mounted there;
	int rc;

	rc = find_mounted(m->path, &there);
	if (rc < 0 || !there.ours)
		return err_set(err, rc < 0 ? rc : -ENOENT, "'%s' is not mounted after all",
			       m->path);
	m->major = there.major;
	m->minor = there.minor;
	return 0;
}

int mountpoint_set_readahead(const struct mountpoint *m, unsigned kb, struct err *err)
{
	char path[96], text[16];
	int fd, rc = 0;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", m->major,
		       m->minor);
	n = snprintf(text, sizeof(text), "%u", kb);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, (size_t)n) != n)
		rc = err_sys(err, -errno, "cannot write '%s'", path);
	if (fd >= 0)
		close(fd);
	return rc;
}

int mountpoint_unmount(const struct mountpoint *m, bool lazily, struct err *err)
{
	struct mounted there;
	int rc;

	rc = find_mounted(m->path, &there);
	if (rc < 0 || there.major != m->major || there.minor != m->minor)
		return err_set(err, -EINVAL, "'%s' is not mounted any more", m->path);
	rc = unmount_path(m->path, lazily);
	return rc < 0 ? err_sys(err, rc, "cannot unmount '%s'", m->path) : 0;
}
