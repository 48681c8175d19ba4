/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/guest-live.h"

#include <string.h>

#include "src/cli/cli.h"
#include "src/cli/guest-args.h"
#include "src/host/guest.h"

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
	    !guest_lives(seen->record))
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
