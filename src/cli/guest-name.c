/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/guest-name.h"

#include <stdlib.h>
#include <string.h>

#include "src/cli/cli.h"
#include "src/cli/guest-args.h"
#include "src/host/guest.h"
#include "store/live-row.h"

char *guest_name_find(struct cli *cli, const char *name, const char *member)
{
	struct err before = cli->err, why = {""};
	const char *rundir, *text;
	json_t *record = NULL;
	char *ret = NULL;

	if (guest_name_ok(name) && guest_args_rundir(cli, &rundir) == 0 &&
	    guest_load(rundir, name, &record, &why) == 0) {
		text = guest_text(record, member);
		ret = text ? strdup(text) : NULL;
	}
	json_decref(record);
	cli->err = before;
	return ret;
}

char *guest_name_live(struct cli *cli, const char *name)
{
	struct live_row *row = malloc(sizeof(*row));
	struct err why = {""};
	char *live = NULL;

	if (row && live_row_get(cli->store, name, row, &why) == -ENOENT)
		live = guest_name_find(cli, name, "live");
	free(row);
	return live ? live : strdup(name);
}
