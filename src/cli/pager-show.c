/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* `lamina pager ls` and `lamina pager show`. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "src/cli/guest-name.h"
#include "src/cli/out.h"
#include "src/cli/pager.h"
#include "src/cli/table.h"

static const struct table_col columns[] = {
	{"session", false}, {"state", false}, {"pid", true}, {"age", true}, {"memory", true},
	{"resident", true}, {"faults", true}, {"p50", true}, {"p99", true}, {"memfile", false},
	{"version", false},	/* of several pagers */
};

static void size_cell(const struct cli *cli, struct table *t, double bytes)
{
	char size[FMT_SIZE_LEN];

	table_cell(t, "%s", cli_size(cli, size, (uint64_t)(bytes > 0 ? bytes : 0)));
}

static void micros_cell(struct table *t, const json_t *session, const char *path)
{
	char text[PAGER_CELL];

	table_cell(t, "%s", pager_micros(text, pager_number(session, path)));
}

static void pid_cell(struct table *t, const json_t *session)
{
	json_int_t pid = json_integer_value(pager_at(session, "pid"));

	if (pid)
		table_cell(t, "%lld", (long long)pid);
	else
		table_cell(t, "-");
}

/* In whole seconds: the clock that it is reckoned by has no finer ones. */
static void age_cell(struct table *t, const json_t *session)
{
	double age = (double)time(NULL) - pager_number(session, "created_seconds");
	char text[FMT_SIZE_LEN];

	if (age < 1)
		table_cell(t, "<1 s");
	else if (age < 60)
		table_cell(t, "%d s", (int)age);
	else
		table_cell(t, "%s", fmt_duration(text, age));
}

static void add_row(const struct cli *cli, struct table *t, const json_t *s)
{
	char state[PAGER_CELL];

	table_cell(t, "%s", pager_text(s, "id"));
	table_cell(t, "%s", pager_state(state, s));
	pid_cell(t, s);
	age_cell(t, s);
	size_cell(cli, t, pager_number(s, "memory_bytes"));
	table_cell(t, "%.1f %%", pager_number(s, "resident_percent"));
	table_cell(t, "%.0f", pager_number(s, "counters.faults"));
	micros_cell(t, s, "latency.p50_us");
	micros_cell(t, s, "latency.p99_us");
	table_cell(t, "%s", pager_text(s, "memfile"));
	if (pager_at(s, "version"))
		table_cell(t, "%s", pager_text(s, "version"));
}

static int print_table(const struct cli *cli, const json_t *sessions)
{
	struct table t = TABLE(columns);
	const json_t *s;
	size_t i;

	if (!pager_at(json_array_get(sessions, 0), "version"))
		t.ncols--;
	json_array_foreach(sessions, i, s)
		add_row(cli, &t, s);
	return t.n || t.error ? table_print(&t, stdout) : 0;
}

static int print_ids(const json_t *sessions)
{
	const json_t *s;
	size_t i;

	json_array_foreach(sessions, i, s)
		puts(pager_text(s, "id"));
	return 0;
}

/* That the list is not whole is said behind it. */
static int check_whole(struct cli *cli)
{
	const struct pagers_entry *silent;
	const struct pagers *pagers;
	int rc = pager_found(cli, &pagers);

	if (rc < 0)
		return rc;
	silent = pager_silent(pagers);
	return silent ? pager_silence(cli, silent) : 0;
}

int pager_ls(struct cli *cli, int argc, char **argv)
{
	json_t *sessions = NULL;
	int rc = pager_list(cli, "", &sessions);

	(void)argc;
	(void)argv;
	if (rc < 0)
		return rc;
	if (cli->json)
		rc = out_json(json_incref(sessions), &cli->err);
	else
		rc = cli->quiet ? print_ids(sessions) : print_table(cli, sessions);
	json_decref(sessions);
	return rc < 0 ? rc : check_whole(cli);
}

/* ---- one of them ---- */

/* "a.b" and its value; objects within objects become lines of their own. */
static void put_member(struct table *t, const char *name, const json_t *value)
{
	char *text;

	if (json_is_null(value))
		return;
	table_cell(t, "%s", name);
	if (json_is_string(value)) {
		table_cell(t, "%s", json_string_value(value));
		return;
	}
	if (json_is_real(value)) {
		table_cell(t, "%.3f", json_real_value(value));
		return;
	}
	text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
	table_cell(t, "%s", text ? text : "-");
	free(text);
}

static void put_object(struct table *t, const char *name, json_t *object)
{
	const char *key;
	json_t *value;
	char whole[128];

	json_object_foreach(object, key, value) {
		(void)snprintf(whole, sizeof(whole), "%s.%s", name, key);
		put_member(t, whole, value);
	}
}

static void put_array(struct table *t, const char *name, const json_t *array)
{
	json_t *value;
	size_t i;

	json_array_foreach(array, i, value)
		put_member(t, name, value);
}

static int print_session(json_t *session)
{
	static const struct table_col fields[] = {{"field", false}, {"value", false}};
	struct table t = TABLE(fields);
	const char *key;
	char state[PAGER_CELL];
	json_t *value;

	(void)json_object_set_new(session, "state", json_string(pager_state(state, session)));
	json_object_foreach(session, key, value) {
		if (json_is_object(value))
			put_object(&t, key, value);
		else if (json_is_array(value))
			put_array(&t, key, value);
		else
			put_member(&t, key, value);
	}
	return table_print(&t, stdout);
}

/* That of the guest of that name, else the one of that id. */
static int find_session(struct cli *cli, const char *name, json_t **ret)
{
	char *own = guest_name_find(cli, name, "session");
	char *path = pager_path(own ? own : name, "");
	int rc = path ? 0 : -ENOMEM;

	if (rc == 0)
		rc = pager_ask(cli, &(struct pager_request){"GET", path, NULL}, ret, NULL);
	free(path);
	free(own);
	return rc;
}

int pager_show(struct cli *cli, int argc, char **argv)
{
	json_t *session = NULL;
	int rc = find_session(cli, argv[0], &session);

	(void)argc;
	if (rc < 0)
		return rc;
	if (cli->json)
		return out_json(session, &cli->err);
	if (cli->quiet)
		puts(pager_text(session, "id"));
	else
		rc = print_session(session);
	json_decref(session);
	return rc;
}
