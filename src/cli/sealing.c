/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/sealing.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/cli/cli.h"
#include "src/cli/mounts.h"
#include "store/live-commit.h"
#include "store/live.h"

struct search {
	struct cli *cli;
	const char *name;
	struct sealing *ret;
	int rc;			/* of the last mount that was asked */
};

static bool same_store(const struct cli *cli, const char *source)
{
	struct stat ours, theirs;

	return stat(source, &theirs) == 0 && fstat(cli->store->dirfd, &ours) == 0 &&
	       ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

static int seal_at(const char *mount, const char *name, struct sealing *ret)
{
	uint64_t upto;
	char *path;
	int fd, rc;

	if (asprintf(&path, "%s/live/%s", mount, name) < 0)
		return -ENOMEM;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rc = fd < 0 ? -errno : 0;
	free(path);
	if (rc == 0 && ioctl(fd, LIVE_IOC_SEAL, &upto) < 0)
		rc = -errno;
	if (rc == 0)
		*ret = (struct sealing){.fd = fd, .upto = upto};
	else if (fd >= 0)
		(void)close(fd);
	return rc;
}

static int try_mount(void *ctx, const char *path, const struct mounts_entry *entry)
{
	struct search *s = ctx;

	if (!same_store(s->cli, entry->source))
		return 0;
	s->rc = seal_at(path, s->name, s->ret);
	if (s->rc < 0 && s->rc != -EBUSY)
		(void)err_sys(&s->cli->err, s->rc, "live image '%s' cannot be sealed through the "
			      "mount '%s'", s->name, path);
	return s->rc == 0;
}

static int seal_here(struct cli *cli, const char *name, struct sealing *ret)
{
	struct live *live;
	uint64_t upto = 0;
	int rc = live_open(cli->store, name, &live, &cli->err);

	if (rc < 0)
		return rc;
	rc = live_seal(live, &upto, &cli->err);
	live_close(live);
	if (rc == 0)
		*ret = (struct sealing){.fd = -1, .upto = upto};
	return rc;
}

/* A mount whose daemon is dead, or that is another one's to use, is none. */
static bool is_no_mount(int rc)
{
	return rc == -EBUSY || rc == -ENOTCONN || rc == -ENOENT || rc == -EACCES || rc == -EPERM;
}

int sealing_begin(struct cli *cli, const char *name, struct sealing *ret)
{
	struct search s = {.cli = cli, .name = name, .ret = ret, .rc = -ENOENT};
	struct live_row row;
	int rc = live_row_get(cli->store, name, &row, &cli->err);

	if (rc == 0)
		rc = mounts_each(try_mount, &s);
	if (rc < 0)
		return rc;
	if (rc > 0)
		return 0;
	return is_no_mount(s.rc) ? seal_here(cli, name, ret) : s.rc;
}

/* Gives back the room of what is in a layer now; if that fails, the next to open it does. */
static void fold_here(struct cli *cli, const char *name)
{
	struct live *live;
	struct err err;

	if (live_open(cli->store, name, &live, &err) == 0)
		live_close(live);
}

void sealing_end(struct cli *cli, const char *name, struct sealing *sealing)
{
	if (sealing->fd < 0) {
		fold_here(cli, name);
		return;
	}
	if (ioctl(sealing->fd, LIVE_IOC_FOLD) < 0)
		cli_note(cli, "the daemon that serves live image '%s' goes on above what was "
			 "committed: %s", name, strerror(errno));
	(void)close(sealing->fd);
	sealing->fd = -1;
}
