/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/pause-session.h"

#include <errno.h>
#include <stdio.h>

#include "src/cli/cli.h"
#include "src/host/guest.h"
#include "src/rpc/http.h"

#define ANSWER_MS 1000

static bool is_gone(int rc)
{
	return rc == -ECONNREFUSED || rc == -ENOENT;
}

void pause_session_hold(struct cli *cli, const json_t *record)
{
	const char *session = guest_text(record, "session"), *pager = guest_text(record, "pager");
	const struct http_target to = {.socket = pager, .fd = -1, .timeout_ms = ANSWER_MS};
	struct http_answer answer;
	struct err err = {""};
	char path[GUEST_NAME_MAX + 32];
	int rc;

	if (!session || !pager)
		return;
	(void)snprintf(path, sizeof(path), "/sessions/%s/complete", session);
	rc = http_request(&to, "DELETE", path, NULL, &answer, &err);
	if (rc == 0 && answer.json && json_is_true(json_object_get(answer.json, "cancelled")))
		cli_note(cli, "the graduation of session '%s' is called off: its guest is paused",
			 session);
	if (rc == 0)
		http_answer_fini(&answer);
	else if (!is_gone(rc))
		cli_note(cli, "session '%s' may be graduating while its guest is paused: %s",
			 session, err.text);
}
