/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/pause-session.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "src/cli/cli.h"
#include "src/cli/pager.h"
#include "src/host/guest.h"
#include "src/rpc/http.h"

#define ANSWER_MS 1000

static bool is_gone(int rc)
{
	return rc == -ECONNREFUSED || rc == -ENOENT;
}

static int call_off(const char *pager, const char *session, bool *ret_cancelled, struct err *err)
{
	const struct http_target to = {.socket = pager, .fd = -1, .timeout_ms = ANSWER_MS};
	char *path = pager_path(session, "/complete");
	struct http_answer answer;
	int rc;

	if (!path)
		return err_set(err, -ENOMEM, "out of memory");
	rc = http_request(&to, "DELETE", path, NULL, &answer, err);
	free(path);
	if (rc < 0)
		return rc;
	*ret_cancelled = json_is_true(json_object_get(answer.json, "cancelled"));
	http_answer_fini(&answer);
	return 0;
}

void pause_session_hold(struct cli *cli, const json_t *record)
{
	const char *session = guest_text(record, "session"), *pager = guest_text(record, "pager");
	struct err err = {""};
	bool cancelled = false;
	int rc;

	if (!session || !pager)
		return;
	rc = call_off(pager, session, &cancelled, &err);
	if (cancelled)
		cli_note(cli, "the graduation of session '%s' is called off: its guest is paused",
			 session);
	else if (rc < 0 && !is_gone(rc))
		cli_note(cli, "session '%s' may be graduating while its guest is paused: %s",
			 session, err.text);
}
