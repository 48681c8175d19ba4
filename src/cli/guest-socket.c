/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is at the end of links counts, as it does for who connects; of what is not there yet, the
 * directory in which it will be, or where the first is made that is missing.
 */
#include "src/cli/guest-socket.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "src/cli/cli.h"
#include "src/cli/guest-args.h"
#include "src/host/guest.h"

/* The last slash that has a directory in front of it, which is there: 1. */
static int look_at(char *path, char *slash, struct guest_socket_at *ret)
{
	struct stat st;
	int rc;

	*slash = '\0';
	rc = stat(*path ? path : "/", &st);
	*slash = '/';
	if (rc < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	ret->dev = st.st_dev;
	ret->ino = st.st_ino;
	if (strlen(slash + 1) >= sizeof(ret->name))
		return -ENAMETOOLONG;
	(void)snprintf(ret->name, sizeof(ret->name), "%s", slash + 1);
	return 1;
}

static int find_in(char *path, struct guest_socket_at *ret)
{
	int rc;

	for (char *at = path + strlen(path); at >= path; at--) {
		rc = *at == '/' ? look_at(path, at, ret) : 0;
		if (rc)
			return rc < 0 ? rc : 0;
	}
	return -EINVAL;
}

static int find(struct cli *cli, const char *path, struct guest_socket_at *ret)
{
	char *real = realpath(path, NULL);
	int rc;

	if (!real)
		real = strdup(path);
	rc = real ? find_in(real, ret) : -ENOMEM;
	free(real);
	return rc < 0 ? err_sys(&cli->err, rc, "cannot use the socket '%s'", path) : 0;
}

int guest_socket_hold(struct cli *cli, const char *path, const char *what, struct guest_held *ret)
{
	struct guest_socket_at at;
	const char *rundir;
	int rc = guest_args_rundir(cli, &rundir);

	if (rc == 0)
		rc = find(cli, path, &at);
	return rc < 0 ? rc : guest_hold_socket(rundir, &at, what, ret, &cli->err);
}
