/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/resume-live.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "src/cli/cli.h"
#include "store/live.h"

#define REMOVE_TRIES 40
#define REMOVE_TRY_MS 50

static bool is_written(const struct live_info *info)
{
	for (unsigned i = 0; i < info->nimages; i++)
		if (info->image[i].written || info->image[i].punched ||
		    info->image[i].size != info->image[i].base_size)
			return true;
	return info->sealed > 0;
}

/* A disk that went on without its memory is no disk for it. */
static int check(struct cli *cli, const struct resume_live *what, const struct live_info *info)
{
	char own[CLI_ID_LEN], base[CLI_ID_LEN] = "none";

	(void)cli_id(own, what->layer);
	if (info->row.has_base)
		(void)cli_id(base, &info->row.base);
	if (!info->row.has_base || memcmp(&info->row.base, what->layer, sizeof(*what->layer)) != 0)
		return err_set(&cli->err, -EEXIST, "live image '%s' stands on layer %s, not on "
			       "%s: resume that one, 'lamina live rm %s' if nobody needs it, or "
			       "--live names another", what->name, base, own, what->name);
	if (is_written(info))
		return err_set(&cli->err, -EEXIST, "live image '%s' was written to since layer "
			       "%s: 'lamina live commit %s' keeps its files, not to be resumed, "
			       "'lamina live rm %s' forgets it, --live names another", what->name,
			       own, what->name, what->name);
	return 0;
}

int resume_live_need(struct cli *cli, const struct resume_live *what, bool *ret_made)
{
	const struct live_new new = {.name = what->name, .from = what->layer};
	struct live_info *info = calloc(1, sizeof(*info));
	int rc = info ? live_info(cli->store, what->name, info, &cli->err)
		      : err_set(&cli->err, -ENOMEM, "out of memory");

	if (rc == 0) {
		rc = check(cli, what, info);
	} else if (rc == -ENOENT) {
		rc = live_create(cli->store, &new, what->wait_ms, &cli->err);
		*ret_made = rc == 0;
	}
	free(info);
	return rc;
}

/* The daemon closes it only some time after the hypervisor has. */
void resume_live_drop(struct cli *cli, const struct resume_live *what)
{
	static const struct timespec pause = {.tv_nsec = REMOVE_TRY_MS * 1000000L};
	struct err why = {""};
	int rc = -EBUSY;

	for (int i = 0; i < REMOVE_TRIES && rc == -EBUSY; i++) {
		rc = live_remove(cli->store, what->name, what->wait_ms, &why);
		if (rc == -EBUSY)
			(void)nanosleep(&pause, NULL);
	}
	if (rc < 0)
		cli_note(cli, "live image '%s' is left ('lamina live rm %s' removes it): %s",
			 what->name, what->name, why.text);
}
