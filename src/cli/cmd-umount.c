/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <libgen.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/cli/cli.h"
#include "src/cli/holders.h"
#include "src/cli/mounts.h"

#define DAEMONS_MAX 8		/* mounts on top of each other; the first that ends is ours */
#define END_WAIT_MS 10000

extern char **environ;

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

static int unmount(char *path, const struct mounts_entry *mounted)
{
	if (umount2(path, UMOUNT_NOFOLLOW) == 0)
		return 0;
	return errno == EPERM && mounted->user == getuid() ? by_fusermount(path) : -errno;
}

static int check_ours(struct cli *cli, const char *path, struct mounts_entry *ret)
{
	int rc = mounts_find(path, ret);

	if (rc < 0 && rc != -ENOENT)
		return err_sys(&cli->err, rc, "cannot read /proc/self/mountinfo");
	if (rc == -ENOENT)
		return err_set(&cli->err, -EINVAL, "nothing is mounted on '%s'", path);
	if (strcmp(ret->type, MOUNTS_OURS) != 0)
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
	struct mounts_entry mounted;
	char who[384];
	unsigned n;
	int rc = check_ours(cli, path, &mounted);

	if (rc < 0)
		return rc;
	n = holders_daemons("lamina-fuse", path, daemons, DAEMONS_MAX);
	rc = unmount(path, &mounted);
	if (rc == 0)
		await_end(daemons, n);
	while (n > 0)
		(void)close(daemons[--n]);
	if (rc == -EBUSY && holders_find(mounted.dev, who, sizeof(who)))
		return err_set(&cli->err, rc, "'%s' is in use by %s", path, who);
	if (rc == -EPERM)
		return err_set(&cli->err, rc, "'%s' was mounted by another user (uid %u)", path,
			       (unsigned)mounted.user);
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
