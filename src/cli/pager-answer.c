/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "src/cli/pager.h"

json_t *pager_at(const json_t *json, const char *path)
{
	char key[64];
	size_t len;

	for (; json && *path; path += len + (path[len] == '.')) {
		len = strcspn(path, ".");
		(void)snprintf(key, sizeof(key), "%.*s", (int)len, path);
		json = json_object_get(json, key);
	}
	return (json_t *)json;
}

double pager_number(const json_t *json, const char *path)
{
	return json_number_value(pager_at(json, path));
}

const char *pager_text(const json_t *json, const char *path)
{
	const char *text = json_string_value(pager_at(json, path));

	return text ? text : "-";
}

char *pager_state(char out[PAGER_CELL], const json_t *session)
{
	double all = pager_number(session, "memory_bytes");
	const char *state = pager_text(session, "state");

	if (json_is_object(pager_at(session, "completion")) && all > 0)
		(void)snprintf(out, PAGER_CELL, "%s %.0f %%", state,
			       100 * pager_number(session, "completion.position_bytes") / all);
	else
		(void)snprintf(out, PAGER_CELL, "%s", state);
	return out;
}

char *pager_micros(char out[PAGER_CELL], double us)
{
	if (!(us > 0))
		(void)snprintf(out, PAGER_CELL, "-");
	else if (us < 1000)
		(void)snprintf(out, PAGER_CELL, "%.1f us", us);
	else if (us < 1000000)
		(void)snprintf(out, PAGER_CELL, "%.1f ms", us / 1000);
	else
		(void)snprintf(out, PAGER_CELL, "%.1f s", us / 1000000);
	return out;
}
