/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/host/pause.h"

#include <stdio.h>
#include <stdlib.h>

const char *const pause_names[PAUSE_NSTEPS] = {
	"freeze", "collapse", "reclaim", "drain", "pause", "snapshot", "sync", "seal", "resume",
	"resumed", "commit",
};

const char *pause_outcome_name(enum pause_outcome outcome)
{
	static const char *const names[] = {
		"skipped", "planned", "done", "failed", "unsupported", "timeout", "killed",
	};

	return names[outcome];
}

const char *pause_state_name(enum pause_state state)
{
	static const char *const names[] = {"running", "paused", "unknown", "ended"};

	return names[state];
}

char *pause_report_frozen(const struct pause_report *report)
{
	char *text = calloc(1, 1), *more;
	const json_t *name;
	size_t i;

	json_array_foreach(report->frozen, i, name) {
		if (text && asprintf(&more, "%s%s%s", text, i ? " " : "",
				     json_string_value(name)) < 0)
			more = NULL;
		free(text);
		text = text ? more : NULL;
	}
	return text;
}

json_t *pause_report_steps(const struct pause_report *report)
{
	json_t *list = json_array(), *item;

	for (int i = 0; list && i < PAUSE_NSTEPS; i++) {
		const struct pause_step *s = &report->step[i];

		item = json_pack("{s:s, s:s, s:f, s:o, s:o}", "step", pause_names[i],
				 "result", pause_outcome_name(s->outcome), "seconds", s->seconds,
				 "error", *s->error ? json_string(s->error) : json_null(),
				 "detail", s->detail ? json_incref(s->detail) : json_null());
		if (json_array_append_new(list, item) < 0) {
			json_decref(list);
			list = NULL;
		}
	}
	return list;
}

void pause_report_fini(struct pause_report *report)
{
	for (int i = 0; i < PAUSE_NSTEPS; i++)
		json_decref(report->step[i].detail);
	json_decref(report->frozen);
	json_decref(report->commit);
	json_decref(report->warnings);
	*report = (struct pause_report){.seconds = 0};
}
