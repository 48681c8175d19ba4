/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/agent/job.h"

#include "src/agent/logs.h"
#include "tests/unit/wire.h"

static struct served server;
static struct jobs *jobs;

/* ---- kinds of work ---- */

static atomic_bool release;		/* what waits goes on */
static atomic_int waiting, stopped, unheard;

static int run_echo(void *ctx, const json_t *body, const atomic_bool *cancelled, json_t **ret,
		    struct err *err)
{
	const char *text = json_string_value(json_object_get(body, "fail"));

	(void)cancelled;
	if (text)
		return err_set(err, -(int)json_integer_value(json_object_get(body, "code")), "%s",
			       text);
	*ret = json_pack("{s:O, s:b}", "body", body, "ctx", ctx == &server);
	return 0;
}

static void turn(void)
{
	nanosleep(&(struct timespec){0, 2000000}, NULL);
}

static int run_wait(void *ctx, const json_t *body, const atomic_bool *cancelled, json_t **ret,
		    struct err *err)
{
	(void)ctx;
	(void)body;
	atomic_fetch_add(&waiting, 1);
	while (!atomic_load(&release) && !atomic_load(cancelled))
		turn();
	atomic_fetch_sub(&waiting, 1);
	if (!atomic_load(&release)) {
		atomic_fetch_add(&stopped, 1);
		return err_set(err, -ECANCELED, "cancelled");
	}
	*ret = json_pack("{s:b}", "waited", 1);
	return 0;
}

/* Hears that it is cancelled, and does its work nevertheless. */
static int run_stubborn(void *ctx, const json_t *body, const atomic_bool *cancelled, json_t **ret,
			struct err *err)
{
	(void)ctx;
	(void)body;
	(void)err;
	atomic_fetch_add(&waiting, 1);
	while (!atomic_load(cancelled))
		turn();
	atomic_fetch_sub(&waiting, 1);
	*ret = json_pack("{s:s}", "cgroup", "web.slice");
	return 0;
}

static void on_unheard(void *ctx, const json_t *ret)
{
	if (ctx == &server && json_object_get(ret, "cgroup"))
		atomic_fetch_add(&unheard, 1);
}

static const struct job_kind echo = {.name = "echo", .max_ms = 60000, .run = run_echo};
static const struct job_kind lone = {
	.name = "lone", .alone = true, .max_ms = 600000, .run = run_wait,
};
static const struct job_kind many = {.name = "many", .max_ms = 600000, .run = run_wait};
static const struct job_kind urgent = {
	.name = "urgent", .urgent = true, .max_ms = 600000, .run = run_wait,
};
static const struct job_kind brief = {.name = "brief", .max_ms = 1000, .run = run_wait};
static const struct job_kind stubborn = {
	.name = "stubborn", .max_ms = 600000, .run = run_stubborn, .unheard = on_unheard,
};

#define HANDLER(kind)								\
	static void post_##kind(struct httpd_call *call, void *ctx)		\
	{									\
		(void)ctx;							\
		job_start(jobs, call, &kind);					\
	}

HANDLER(echo)
HANDLER(lone)
HANDLER(many)
HANDLER(urgent)
HANDLER(brief)
HANDLER(stubborn)

static const struct httpd_route routes[] = {
	{"POST", "/echo", post_echo},
	{"POST", "/lone", post_lone},
	{"POST", "/many", post_many},
	{"POST", "/urgent", post_urgent},
	{"POST", "/brief", post_brief},
	{"POST", "/stubborn", post_stubborn},
	{0},
};

/* ---- asking ---- */

static int post(const char *path, const char *body)
{
	char request[512];
	int fd = wire_connect(server.path);

	(void)snprintf(request, sizeof(request), "POST %s HTTP/1.1\r\nConnection: close\r\n"
		       "Content-Length: %zu\r\n\r\n%s", path, strlen(body), body);
	wire_send(fd, request);
	return fd;
}

static void answers(const char *path, const char *body, int status, const char *want)
{
	const char *answer = wire_rest(post(path, body));

	is_int(wire_status(answer), status, "%s %s", path, body);
	is_str(wire_body(answer), want, "which says so");
}

/* One that waits; `n` do then. */
static int begin(const char *path, int n)
{
	int fd = post(path, "");

	if (!WIRE_WITHIN(atomic_load(&waiting) == n))
		bail("'%s' does not run", path);
	return fd;
}

static void let_go(void)
{
	atomic_store(&release, true);
	if (!WIRE_WITHIN(atomic_load(&waiting) == 0))
		bail("somebody still waits");
	atomic_store(&release, false);
}

/* ---- checks ---- */

static void test_answers(void)
{
	answers("/echo", "{\"a\":1}", 200, "{\"body\":{\"a\":1},\"ctx\":true}");
	answers("/echo", "", 200, "{\"body\":{},\"ctx\":true}");
	answers("/echo", "[]", 400, "{\"error\":\"the body is no JSON object\"}");
	answers("/echo", "{\"fail\":\"bad\",\"code\":22}", 400, "{\"error\":\"bad\"}");
	answers("/echo", "{\"fail\":\"none\",\"code\":2}", 404, "{\"error\":\"none\"}");
	answers("/echo", "{\"fail\":\"no process\",\"code\":3}", 404, "{\"error\":\"no process\"}");
	answers("/echo", "{\"fail\":\"busy\",\"code\":16}", 409, "{\"error\":\"busy\"}");
	answers("/echo", "{\"fail\":\"broken\",\"code\":5}", 500, "{\"error\":\"broken\"}");
	ok(WIRE_WITHIN(job_count(jobs) == 0), "nothing runs then");
}

static void test_alone(void)
{
	int fd = begin("/lone", 1);

	answers("/lone", "", 409, "{\"error\":\"lone runs already\"}");
	answers("/echo", "", 200, "{\"body\":{},\"ctx\":true}");
	let_go();
	is_str(wire_body(wire_rest(fd)), "{\"waited\":true}", "the one that runs is not disturbed");
	fd = begin("/lone", 1);
	let_go();
	is_int(wire_status(wire_rest(fd)), 200, "then there may be another");
}

static void test_many(void)
{
	int fds[2 * JOB_MAX], n = 0, good = 0;

	for (; n < JOB_MAX; n++)
		fds[n] = begin("/many", n + 1);
	answers("/many", "", 503, "{\"error\":\"8 requests are at work: no more at a time\"}");
	answers("/echo", "", 503, "{\"error\":\"8 requests are at work: no more at a time\"}");
	for (; n < 2 * JOB_MAX; n++)
		fds[n] = begin("/urgent", n + 1);
	answers("/urgent", "", 503, "{\"error\":\"16 requests are at work: no more at a time\"}");
	let_go();
	for (int i = 0; i < n; i++)
		good += wire_status(wire_rest(fds[i])) == 200;
	is_int(good, 2 * JOB_MAX, "all that ran are answered");
	answers("/many/", "", 404, "{\"error\":\"there is nothing at '/many/'\"}");
}

static void test_hangup(void)
{
	int fd = begin("/lone", 1);

	atomic_store(&stopped, 0);
	close(fd);
	ok(WIRE_WITHIN(atomic_load(&stopped) == 1), "who hangs up stops what he asked for");
	ok(WIRE_WITHIN(job_count(jobs) == 0), "and it is over");
	fd = begin("/lone", 1);
	shutdown(fd, SHUT_WR);
	ok(WIRE_WITHIN(atomic_load(&stopped) == 2), "so does who only ends his sending");
	close(fd);
	fd = begin("/stubborn", 1);
	is_int(atomic_load(&unheard), 0, "what is done");
	close(fd);
	ok(WIRE_WITHIN(atomic_load(&unheard) == 1), "for nobody can be undone");
	ok(WIRE_WITHIN(job_count(jobs) == 0), "nothing runs");
}

static void test_time(void)
{
	atomic_store(&stopped, 0);
	answers("/brief", "", 503, "{\"error\":\"brief took longer than 1 s\"}");
	is_int(atomic_load(&stopped), 1, "it was told to stop");
}

static void test_logs(void)
{
	struct logs_line line = {0};
	uint64_t lost;
	int done = 0, failed = 0, left = 0;

	while (logs_next(line.seq, &line, &lost)) {
		done += !!strstr(line.text, "lone: done in ");
		failed += line.level == LOGS_WARNING && strstr(line.text, "echo: failed after ");
		left += line.level == LOGS_INFO && strstr(line.text, ": the caller hung up");
	}
	is_int(done, 2, "what was done is in the log");
	is_int(failed, 5, "so is what failed");
	is_int(left, 2, "and what was given up");
}

int main(void)
{
	struct err err;

	(void)logs_init(LOGS_DEBUG, NULL);
	wire_make(&server, routes, NULL);
	if (job_new(server.h, &server, &jobs, &err) < 0)
		bail("%s", err.text);
	wire_start(&server);
	test_answers();
	test_alone();
	test_many();
	test_hangup();
	test_time();
	test_logs();
	wire_stop(&server);
	wire_free(&server);
	job_free(jobs);
	return tap_done();
}
