/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "fuse/daemonize.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/base/detach.h"
#include "store/base/io.h"
#include "store/base/notify.h"

static int absolute(const char *path, char **ret)
{
	char *cwd;
	int n;

	if (*path == '/') {
		*ret = strdup(path);
		return *ret ? 0 : -ENOMEM;
	}
	cwd = getcwd(NULL, 0);
	n = cwd ? asprintf(ret, "%s/%s", cwd, path) : -1;
	free(cwd);
	return n < 0 ? -ENOMEM : 0;
}

int daemonize_begin(struct daemonize *d, int foreground, const char *pidfile, struct err *err)
{
	*d = (struct daemonize){.parent_fd = -1};
	if (pidfile && absolute(pidfile, &d->pidfile) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	if (foreground)
		return 0;
	d->parent_fd = detach_begin("lamina-fuse", err);
	return d->parent_fd < 0 ? d->parent_fd : 0;
}

static int write_pidfile(const char *path, struct err *err)
{
	char text[32];
	int rc, n = snprintf(text, sizeof(text), "%d\n", (int)getpid());

	rc = io_replace_file(AT_FDCWD, path, text, (size_t)n);
	return rc < 0 ? err_sys(err, rc, "cannot write pid file '%s'", path) : 0;
}

int daemonize_ready(struct daemonize *d, struct err *err)
{
	int rc = 0;

	if (d->pidfile)
		rc = write_pidfile(d->pidfile, err);
	if (rc == 0 && d->parent_fd >= 0)
		rc = detach_from_terminal(err);
	if (rc < 0)
		return rc;
	if (d->parent_fd >= 0) {
		(void)!write(d->parent_fd, "", 1);
		close(d->parent_fd);
		d->parent_fd = -1;
	}
	(void)notify_send("READY=1", -1, 0);
	return 0;
}

/* A daemon that outlives its mount may have a successor, whose file it is now. */
static bool is_ours(const char *path)
{
	char *text = NULL;
	size_t len;
	bool ours;

	if (io_read_file(AT_FDCWD, path, 64, &text, &len) < 0)
		return false;
	ours = strtol(text, NULL, 10) == (long)getpid();
	free(text);
	return ours;
}

void daemonize_end(struct daemonize *d)
{
	if (d->pidfile && is_ours(d->pidfile))
		(void)unlink(d->pidfile);
	free(d->pidfile);
	d->pidfile = NULL;
}
