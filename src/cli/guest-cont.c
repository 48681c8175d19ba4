/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/guest-cont.h"

#include <unistd.h>

#include "src/cli/cli.h"
#include "src/cli/out.h"
#include "src/host/guest.h"
#include "src/host/pause.h"

static int print(struct cli *cli, const char *name, const struct pause_report *r, int rc)
{
	struct err err = {""};
	int shown;

	if (!cli->json)
		return 0;
	shown = out_json(json_pack("{s:s, s:s, s:o, s:f, s:o}", "guest", name,
				   "state", pause_state_name(r->state),
				   "error", rc < 0 ? out_sentence(cli->err.text) : json_null(),
				   "seconds", r->seconds, "steps", pause_report_steps(r)), &err);
	if (shown < 0 && rc == 0)
		cli->err = err;
	return shown;
}

/* That the agent was not told may matter: what is frozen stays so for a while. */
static void tell(struct cli *cli, const char *name, const struct pause_report *r)
{
	const struct pause_step *told = &r->step[PAUSE_RESUMED];

	if (told->outcome != PAUSE_DONE && *told->error)
		cli_note(cli, "warning: the agent of guest '%s' was not told that it goes on: %s",
			 name, told->error);
}

static int go_on(struct cli *cli, const char *name, struct pause_plan *plan)
{
	struct pause_report report;
	int rc = pause_go_on(plan, &report, &cli->err), shown;

	shown = print(cli, name, &report, rc);
	if (rc == 0)
		tell(cli, name, &report);
	pause_report_fini(&report);
	return rc ? rc : shown;
}

static int hold(struct cli *cli, const char *name, bool kept, int *ret)
{
	const char *rundir;
	int rc = guest_args_rundir(cli, &rundir);

	if (rc == 0 && kept)
		rc = *ret = guest_hold(rundir, name, "lamina guest cont", &cli->err);
	return rc < 0 ? rc : 0;
}

int guest_cont(struct cli *cli, const char *name, const struct guest_args *args)
{
	struct pause_settings settings = {0};
	struct pause_plan plan = {.settings = &settings};
	json_t *record = NULL;
	bool kept;
	int fd = -1, rc = guest_args_load(cli, name, args, &record, &kept);

	if (rc == 0)
		rc = guest_args_plan(cli, record, &plan);
	if (rc == 0)
		rc = hold(cli, name, kept, &fd);
	if (rc == 0)
		rc = pause_settings_load(cli->conf, name, &(struct pause_wishes){.bare = true},
					 &settings, &cli->err);
	if (rc == 0) {
		plan.unfinished = json_is_boolean(json_object_get(record, "pausing"));
		settings.leave = false;
		rc = go_on(cli, name, &plan);
		/* Who pauses it next need not think that it was left so. */
		if (rc == 0 && plan.unfinished)
			guest_args_change(cli, name, json_pack("{s:n}", "pausing"),
					  "that the guest goes on");
	}
	pause_settings_fini(&settings);
	json_decref(record);
	if (fd >= 0)
		close(fd);
	return rc;
}
