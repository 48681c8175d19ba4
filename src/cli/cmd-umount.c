/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <libgen.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/cli/cli.h"
#include "src/cli/holders.h"

#define OUR_TYPE "fuse.lamina"
#define DAEMONS_MAX 8		/* mounts on top of each other; the first that ends is ours */
#define END_WAIT_MS 10000

extern char **environ;

/* --- what is mounted --- */

struct mounted {
	char type[64];
	dev_t dev;
};

/* Undoes the kernel's \040 and such, in place. */
static char *unescape(char *text)
{
	char *out = text, *in = text;

	while (*in) {
		unsigned c;

		if (*in == '\\' && sscanf(in + 1, "%3o", &c) == 1) {
			*out++ = (char)c;
			in += 4;
		} else {
			*out++ = *in++;
		}
	}
	*out = '\0';
	return text;
}

static bool parse_line(char *line, const char *path, struct mounted *ret)
{
	char *tail = strstr(line, " - "), *point = NULL;
	unsigned maj, min;
	bool good = tail && sscanf(line, "%*d %*d %u:%u %*s %ms", &maj, &min, &point) == 3 &&
		    !strcmp(unescape(point), path) &&
		    sscanf(tail, " - %63s", ret->type) == 1;

	free(point);
	if (good)
		ret->dev = makedev(maj, min);
	return good;
}

/* What is on top at `path`. */
static int find_mounted(const char *path, struct mounted *ret)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	struct mounted one;
	char *line = NULL;
	size_t size = 0;
	int rc = -ENOENT;

	if (!file)
		return -errno;
	while (getline(&line, &size, file) > 0) {
		if (!parse_line(line, path, &one))
			continue;
		*ret = one;
		rc = 0;
	}
	free(line);
	(void)fclose(file);
	return rc;
}

/* Absolute, without touching the last component: its daemon may be dead. */
static char *absolute(const char *path)
{
	char *a = strdup(path), *b = strdup(path), *whole = realpath(path, NULL), *ret = NULL;
	char *parent = a && !whole ? realpath(dirname(a), NULL) : NULL;

	if (!whole && parent && b &&
	    asprintf(&ret, "%s/%s", strcmp(parent, "/") ? parent : "", basename(b)) < 0)
		ret = NULL;
	free(parent);
	free(a);
	free(b);
	return whole ? whole : ret;
}

/* --- unmounting --- */

/* For users, who may not umount2(2): the kernel's EBUSY is not told apart. */
static int by_fusermount(char *path)
{
	char *argv[] = {(char *)"fusermount3", (char *)"-uq", (char *)"--", path, NULL};
	pid_t pid;
	int status, rc = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);

	if (rc)
		return -rc;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EBUSY;
}

static int unmount(char *path)
{
	if (umount2(path, UMOUNT_NOFOLLOW) == 0)
		return 0;
	return errno == EPERM ? by_fusermount(path) : -errno;
}

static int check_ours(struct cli *cli, const char *path, struct mounted *ret)
{
	int rc = find_mounted(path, ret);

	if (rc < 0 && rc != -ENOENT)
		return err_sys(&cli->err, rc, "cannot read /proc/self/mountinfo");
	if (rc == -ENOENT)
		return err_set(&cli->err, -EINVAL, "nothing is mounted on '%s'", path);
	if (strcmp(ret->type, OUR_TYPE) != 0)
		return err_set(&cli->err, -EINVAL, "what is mounted on '%s' is not a lamina store, "
			       "but %s", path, ret->type);
	return 0;
}

/* So that what it held is free when we return. */
static void await_end(const int *pidfds, unsigned n)
{
	struct pollfd fds[DAEMONS_MAX];

	for (unsigned i = 0; i < n; i++)
		fds[i] = (struct pollfd){.fd = pidfds[i], .events = POLLIN};
	(void)poll(fds, n, n ? END_WAIT_MS : 0);
}

static int umount_path(struct cli *cli, char *path)
{
	int daemons[DAEMONS_MAX];
	struct mounted mounted;
	char who[384];
	unsigned n;
	int rc = check_ours(cli, path, &mounted);

	if (rc < 0)
		return rc;
	n = holders_daemons("lamina-fuse", path, daemons, DAEMONS_MAX);
	rc = unmount(path);
	if (rc == 0)
		await_end(daemons, n);
	while (n > 0)
		(void)close(daemons[--n]);
	if (rc == -EBUSY && holders_find(mounted.dev, who, sizeof(who)))
		return err_set(&cli->err, rc, "'%s' is in use by %s", path, who);
	return rc < 0 ? err_sys(&cli->err, rc, "'%s'", path) : 0;
}

static int run(struct cli *cli, int argc, char **argv)
{
	char *path = absolute(argv[0]);
	int rc = -errno;

	(void)argc;
	if (!path)
		return err_sys(&cli->err, rc, "'%s'", argv[0]);
	rc = umount_path(cli, path);
	free(path);
	return rc;
}

const struct cmd cmd_umount = {
	.name = "umount",
	.operands = "MOUNTPOINT",
	.purpose = "Unmounts what mount(8) or 'lamina mount' showed, and ends its daemon.",
	.task = "unmount",
	.notes = "Nothing is unmounted while somebody uses a file below MOUNTPOINT: the exit "
		 "status is then 4, and the message says who. Only mounts of lamina are "
		 "touched. One whose daemon was killed is unmounted too. Returns once the "
		 "daemon has ended, or after 10 seconds.",
	.min = 1,
	.max = 1,
	.words = "@dir",
	.run = run,
};
