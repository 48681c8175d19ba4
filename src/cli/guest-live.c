/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/guest-live.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/cli/cli.h"
#include "src/cli/guest-args.h"
#include "src/host/guest.h"
#include "src/rpc/address.h"

#define LISTEN_MS 500	/* to be taken up by who listens */

static bool is_listened(const char *path)
{
	struct address address;
	int fd = path ? address_unix(path, &address, NULL) : -EINVAL;

	if (fd == 0)
		fd = address_connect(&address, LISTEN_MS, NULL, NULL);
	if (fd >= 0)
		close(fd);
	return fd >= 0 || fd == -ETIMEDOUT;
}

/* As far as can be told: one without a pid lives while somebody listens at its socket. */
static bool lives(const json_t *record)
{
	if (json_integer_value(json_object_get(record, "pid")) > 0)
		return guest_pid(record) > 0;
	return is_listened(guest_text(record, "socket"));
}

struct search {
	struct cli *cli;
	const char *name, *live;
	const json_t *record;
};

static bool differ(const char *a, const char *b)
{
	return a && b && strcmp(a, b) != 0;
}

static bool is_same_guest(const struct search *s, const struct guest_seen *seen)
{
	const char *own = guest_text(s->record, "socket");
	const char *other = guest_text(seen->record, "socket");

	return !strcmp(seen->name, s->name) || (own && other && !strcmp(own, other));
}

static int look(void *ctx, const struct guest_seen *seen)
{
	const struct search *s = ctx;
	const char *live = guest_text(seen->record, "live");
	int pid;

	if (!live || strcmp(live, s->live) != 0 || is_same_guest(s, seen) ||
	    differ(guest_text(seen->record, "mount"), guest_text(s->record, "mount")) ||
	    !lives(seen->record))
		return 0;
	pid = guest_pid(seen->record);
	if (pid > 0)
		return err_set(&s->cli->err, -EBUSY, "live image '%s' is guest '%s's, which runs "
			       "(pid %d): --live names another", s->live, seen->name, pid);
	return err_set(&s->cli->err, -EBUSY, "live image '%s' is guest '%s's, whose hypervisor "
		       "listens on '%s': --live names another", s->live, seen->name,
		       guest_text(seen->record, "socket"));
}

int guest_live_check(struct cli *cli, const char *name, const char *live, const json_t *record)
{
	struct search s = {cli, name, live, record};
	const char *rundir;
	int rc = guest_args_rundir(cli, &rundir);

	return rc < 0 ? rc : guest_each(rundir, look, &s, &cli->err);
}

static int find(struct cli *cli, const char *live, struct guest_live_at *ret)
{
	struct stat st;

	if (fstat(cli->store->dirfd, &st) < 0)
		return err_sys(&cli->err, -errno, "cannot use '%s'", cli->store->path);
	*ret = (struct guest_live_at){st.st_dev, st.st_ino, live};
	return 0;
}

int guest_live_hold(struct cli *cli, const char *live, const char *what, struct guest_held *ret)
{
	struct guest_live_at at;
	const char *rundir;
	int rc = guest_args_rundir(cli, &rundir);

	if (rc == 0)
		rc = find(cli, live, &at);
	return rc < 0 ? rc : guest_hold_live(rundir, &at, what, ret, &cli->err);
}
