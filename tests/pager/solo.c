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
 *	complete ID {...}	graduates it, on a thread, with "timeout_ms", "rate" and
 *				"min_available": `begun N`
 *	cancel N		that caller goes: `cancelled`
 *	stop ID			for all callers: `stopped`, or `error: SENTENCE`
 *	wait N			its outcome: JSON, with "code", "error" and what was done
 *	count			how many sessions have not ended
 *	rss			resident KiB of this process
 *	quit			closes all, waits until nobody holds any of them: `bye`
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/pager/complete.h"
#include "src/pager/dispatch.h"
#include "src/pager/facts.h"
#include "src/pager/sessions.h"
#include "store/base/log.h"
#include "tests/pager/tool.h"

#define PATIENCE_MS 1000
#define LINE_MAX_LEN 65536
#define CALLERS_MAX 1024

struct caller {
	pthread_t thread;
	struct session *session;
	struct complete_call call;
	struct complete_report report;
	struct err err;
	int rc;
};

struct solo {
	struct session_env env;
	struct sessions *sessions;
	struct caller caller[CALLERS_MAX];
	unsigned ncallers;
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

static uint64_t number_of(const json_t *json, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(json, name));
}

static void *call(void *arg)
{
	struct caller *c = arg;

	c->rc = complete_session(c->session, &c->call, &c->report, &c->err);
	return NULL;
}

static void complete(struct solo *solo, char *words)
{
	struct caller *c = &solo->caller[solo->ncallers];
	char *id = strsep(&words, " ");
	json_t *json = json_loads(words ? words : "{}", 0, NULL);

	c->session = sessions_by_id(solo->sessions, id);
	if (!c->session || !json || solo->ncallers == CALLERS_MAX)
		tool_die(TOOL_FAILED, "complete '%s'", id);
	c->call.want = (struct complete_want){
		.timeout_ms = number_of(json, "timeout_ms"),
		.rate = number_of(json, "rate"),
		.guard.min_available = number_of(json, "min_available"),
	};
	json_decref(json);
	if (pthread_create(&c->thread, NULL, call, c) != 0)
		tool_fail("thread");
	printf("begun %u\n", solo->ncallers++);
}

static void wait_for(struct solo *solo, const char *number)
{
	struct caller *c = &solo->caller[strtoul(number, NULL, 10)];

	pthread_join(c->thread, NULL);
	session_unref(c->session);
	printf("{\"code\":\"%s\",\"error\":\"%s\",\"already\":%s,\"pages\":%llu,\"bytes\":%llu,"
	       "\"zero\":%llu,\"holes\":%llu,\"at\":%llu,\"ns\":%llu,\"unregister_ns\":%llu}\n",
	       c->rc ? strerrorname_np(-c->rc) : "", c->rc ? c->err.text : "",
	       c->report.already ? "true" : "false", (unsigned long long)c->report.pages,
	       (unsigned long long)c->report.bytes, (unsigned long long)c->report.zero,
	       (unsigned long long)c->report.holes, (unsigned long long)c->report.at,
	       (unsigned long long)c->report.ns, (unsigned long long)c->report.unregister_ns);
}

static void stop(struct solo *solo, const char *id)
{
	struct session *s = sessions_by_id(solo->sessions, id);
	int rc = s ? complete_stop(s, "the guest is being paused") : -ENOENT;

	printf("%s\n", rc < 0 ? "error: nothing to stop" : "stopped");
	session_unref(s);
}

static void cancel(struct solo *solo, const char *number)
{
	complete_cancel(&solo->caller[strtoul(number, NULL, 10)].call);
	printf("cancelled\n");
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
	else if (!strncmp(line, "complete ", 9))
		complete(solo, line + 9);
	else if (!strncmp(line, "wait ", 5))
		wait_for(solo, line + 5);
	else if (!strncmp(line, "cancel ", 7))
		cancel(solo, line + 7);
	else if (!strncmp(line, "stop ", 5))
		stop(solo, line + 5);
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
	static struct solo solo = {.env.patience_ms = PATIENCE_MS};
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
