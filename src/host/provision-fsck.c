/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A file system may be damaged and not be marked so, and the kernel mounts it all the same: what is
 * written then damages more.  So e2fsck reads it first, and writes nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/host/provision-private.h"

#define IMAGE_FD 3

/* Of e2fsck's exit status. */
#define FSCK_DAMAGED 4

int provision_fsck_damaged(const char *name, struct err *err)
{
	return err_set(err, -EBADMSG, "the file system of '%s' is damaged: mend it with "
		       "'e2fsck -fp %s', or with 'e2fsck -f %s', which asks", name, name, name);
}

static int spawn_with(const posix_spawn_file_actions_t *files, pid_t *ret)
{
	/* Not every PATH has the administrator's programs. */
	static const char *const places[] = {"e2fsck", "/usr/sbin/e2fsck", "/sbin/e2fsck"};
	static char program[] = "e2fsck", look[] = "-fn", image[] = "/proc/self/fd/3";
	static char *const argv[] = {program, look, image, NULL};
	int rc = ENOENT;

	for (size_t i = 0; rc == ENOENT && i < sizeof(places) / sizeof(places[0]); i++)
		rc = posix_spawnp(ret, places[i], files, NULL, argv, environ);
	return -rc;
}

/* The file that we have open, whatever its name leads to by now. */
static int start(int file, pid_t *ret)
{
	posix_spawn_file_actions_t files;
	int rc = posix_spawn_file_actions_init(&files);

	if (rc)
		return -rc;
	rc = posix_spawn_file_actions_adddup2(&files, file, IMAGE_FD);
	if (!rc)
		rc = posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
	for (int fd = 1; !rc && fd < 3; fd++)
		rc = posix_spawn_file_actions_addopen(&files, fd, "/dev/null", O_WRONLY, 0);
	rc = rc ? -rc : spawn_with(&files, ret);
	(void)posix_spawn_file_actions_destroy(&files);
	return rc;
}

int provision_fsck(const char *name, int file, struct err *err)
{
	int status, rc;
	pid_t pid;

	rc = start(file, &pid);
	if (rc == -ENOENT)
		return err_set(err, rc, "there is no e2fsck to check the file system of '%s' with: "
			       "install e2fsprogs", name);
	if (rc < 0)
		return err_sys(err, rc, "cannot run e2fsck");
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return err_sys(err, -errno, "cannot wait for e2fsck");
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) & FSCK_DAMAGED)
		return provision_fsck_damaged(name, err);
	return err_set(err, -EIO, "e2fsck cannot check the file system of '%s': "
		       "'e2fsck -fn %s' says why", name, name);
}
