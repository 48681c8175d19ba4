/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * solo: the pager's sessions in one process, without keeper and API, so that all of
 * it runs under a sanitizer.
 *
 *	solo RUNTIME-DIR [THREADS [PATIENCE-MS]]
 *
 * Commands come line by line; each answers one line:
 *
 *	{...}			what POST /sessions takes: `ok SOCKET` or `error: SENTENCE`
 *	show ID			the session as JSON
 *	close ID		`closed`, or `error: SENTENCE`
 *	count			how many sessions have not ended
 *	rss			resident KiB of this process
 *	quit			closes all, waits until nobody holds any of them: `bye`
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/pager/dispatch.h"
#include "src/pager/facts.h"
#include "src/pager/sessions.h"
#include "store/base/log.h"
#include "tests/pager/tool.h"

#define PATIENCE_MS 1000
#define LINE_MAX_LEN 65536

struct solo {
	struct session_env env;
	struct sessions *sessions;
};

static void create(struct solo *solo, const char *line)
{
	json_t *json = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
	struct setup setup = {0};
	struct session *s = NULL;
	struct err err = {"no JSON"};
	int rc = json ? setup_from_json(json, solo->env.runtime_dir, &setup, &err) : -EINVAL;

	if (rc == 0)
		rc = sessions_create(solo->sessions, &setup, &s, &err);
	if (rc < 0)
		printf("error: %s\n", err.text);
	else
		printf("ok %s\n", s->setup.socket);
	session_unref(s);
	setup_fini(&setup);
	json_decref(json);
}

static void show(struct solo *solo, const char *id)
{
	struct session *s = sessions_by_id(solo->sessions, id);
	struct facts_want want = {.histogram = false};
	json_t *json = NULL;
	char *text;

	facts_until(&want, 10000);
	if (s)
		json = facts_json(s, &want);
	text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	printf("%s\n", text ? text : "error: no such session");
	free(text);
	json_decref(json);
	session_unref(s);
}

static void close_one(struct solo *solo, const char *id)
{
	struct err err;
	int rc = sessions_close(solo->sessions, id, false, &err);

	printf("%s%s\n", rc < 0 ? "error: " : "closed", rc < 0 ? err.text : "");
}

static void rss(void)
{
	char line[256];
	FILE *f = fopen("/proc/self/status", "re");

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, "VmRSS:", 6))
			printf("%ld\n", strtol(line + 6, NULL, 10));
	if (f)
		fclose(f);
}

static void end_one(struct session *s)
{
	session_enter(s);
	session_end(s, STATE_GONE, "closed");
	session_leave(s);
	/* Ours and the table's are left. */
	for (int i = 0; i < 1000 && atomic_load(&s->refs) > 2; i++)
		usleep(10000);
	if (atomic_load(&s->refs) > 2)
		tool_die(TOOL_WRONG, "%s: %u references are left", s->setup.id,
			 atomic_load(&s->refs) - 2);
	session_unref(s);
}

static void end_all(struct solo *solo)
{
	size_t n = 0;
	struct session **all = sessions_all(solo->sessions, &n);

	for (size_t i = 0; i < n; i++)
		end_one(all[i]);
	free(all);
	loop_free(solo->env.loop);
	sessions_free(solo->sessions);
	printf("bye\n");
}

/* Whether there are to be more. */
static bool obey(struct solo *solo, char *line)
{
	line[strcspn(line, "\n")] = '\0';
	if (line[0] == '{')
		create(solo, line);
	else if (!strncmp(line, "show ", 5))
		show(solo, line + 5);
	else if (!strncmp(line, "close ", 6))
		close_one(solo, line + 6);
	else if (!strcmp(line, "count"))
		printf("%zu\n", sessions_count(solo->sessions));
	else if (!strcmp(line, "rss"))
		rss();
	else if (!strcmp(line, "quit"))
		return false;
	else
		tool_die(TOOL_FAILED, "what is '%s'?", line);
	return true;
}

int main(int argc, char **argv)
{
	struct solo solo = {.env.patience_ms = PATIENCE_MS};
	static char line[LINE_MAX_LEN];
	struct err err;

	tool_name = "solo";
	if (argc < 2)
		tool_die(TOOL_FAILED, "usage: solo RUNTIME-DIR [THREADS [PATIENCE-MS]]");
	setvbuf(stdout, NULL, _IOLBF, 0);
	log_init("solo", LOG_LEVEL_DEBUG);
	solo.env.runtime_dir = argv[1];
	if (argc > 3)
		solo.env.patience_ms = (uint32_t)strtoul(argv[3], NULL, 10);
	solo.sessions = sessions_new(&solo.env);
	if (!solo.sessions)
		tool_fail("sessions");
	if (loop_new(argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0, &dispatch_ops,
		     solo.sessions, &solo.env.loop, &err) < 0)
		tool_die(TOOL_FAILED, "%s", err.text);
	while (fgets(line, sizeof(line), stdin) && obey(&solo, line))
		;
	end_all(&solo);
	return 0;
}
