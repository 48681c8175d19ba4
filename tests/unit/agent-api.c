/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the real program cannot be asked for on a host: its clock is a fake here.  And who may
 * come by which socket; the followers of the log; the command line.
 */
#include "src/agent/api.h"

#include <fcntl.h>
#include <stddef.h>
#include <time.h>

#include "src/agent/cgroup.h"
#include "src/agent/resumed.h"
#include "src/rpc/address.h"
#include "tests/unit/wire.h"

static struct err err;

/* ---- the clock ---- */

static struct timespec set_to;
static int sets, set_error;

/* In the place of the libc's: nobody's clock is to be changed by a test. */
int clock_settime(clockid_t clock, const struct timespec *ts)
{
	if (clock != CLOCK_REALTIME)
		bail("another clock");
	sets++;
	set_to = *ts;
	errno = set_error;
	return set_error ? -1 : 0;
}

static json_t *resumed(struct freeze *freeze, const char *body, int want_rc)
{
	json_t *parsed = json_loads(body, 0, NULL), *ret = NULL;

	is_int(resumed_run(freeze, parsed, &ret, &err), want_rc, "resumed %s", body);
	json_decref(parsed);
	return ret;
}

static void test_resumed(void)
{
	static const char *const bad[] = {"\"1764000000\"", "0", "-1", "1e300", "1577836799",
					  "7258118400", "null", "true"};
	struct freeze *freeze;
	struct timespec now;
	char body[64];
	json_t *ret;
	double step;

	if (freeze_new(0, 0, &freeze, &err) < 0)
		bail("%s", err.text);
	ret = resumed(freeze, "{}", 0);
	is_int(sets, 0, "without a time the clock is left alone");
	ok(json_real_value(json_object_get(ret, "clock_step_ms")) == 0.0, "a step of nothing");
	json_decref(ret);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		(void)snprintf(body, sizeof(body), "{\"now\":%s}", bad[i]);
		json_decref(resumed(freeze, body, -EINVAL));
	}
	is_int(sets, 0, "nor is it set to nonsense");
	(void)clock_gettime(CLOCK_REALTIME, &now);
	(void)snprintf(body, sizeof(body), "{\"now\":%lld.25}", (long long)now.tv_sec + 5000);
	ret = resumed(freeze, body, 0);
	is_int(set_to.tv_sec, now.tv_sec + 5000, "it is set to the second");
	is_int(set_to.tv_nsec, 250000000, "and to what is below it");
	step = json_number_value(json_object_get(ret, "clock_step_ms"));
	ok(step > 4990000 && step <= 5000250, "the step is told: %f", step);
	json_decref(ret);
	set_error = EPERM;
	json_decref(resumed(freeze, "{\"now\":1764000000}", -EPERM));
	is_str(err.text, "cannot set the clock: Operation not permitted",
	       "one that may not be set");
	freeze_free(freeze);
}

/* ---- a whole agent, without its program ---- */

struct agent {
	struct args args;
	struct front front;
	struct api api;
	pthread_t thread;
};

static struct agent agent;
static char unix_path[108];
static char *words[] = {(char *)"lamina-agent", (char *)"--kmsg=none", (char *)"-l", NULL,
			(char *)"-ltcp:127.0.0.1:0", (char *)"-t", NULL, NULL};

static void *run_agent(void *arg)
{
	struct agent *a = arg;

	(void)httpd_run(a->front.httpd, NULL);
	return NULL;
}

static void make_token(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || write(fd, "0123456789abcdef\n", 17) != 17)
		bail("no token");
	close(fd);
}

static void begin_agent(void)
{
	static char listen[128], token[PATH_MAX];
	struct api *api = &agent.api;

	(void)snprintf(unix_path, sizeof(unix_path), "%s", tap_path("agent"));
	(void)snprintf(listen, sizeof(listen), "unix:%s", unix_path);
	(void)snprintf(token, sizeof(token), "%s", tap_path("token"));
	make_token(token);
	words[3] = listen;
	words[6] = token;
	(void)logs_init(LOGS_DEBUG, NULL);
	if (args_parse(&agent.args, 7, words, &err) < 0 ||
	    freeze_new(0, 0, &api->freeze, &err) < 0 ||
	    front_open(&agent.front, &agent.args, api_routes, api, &err) < 0 ||
	    job_new(agent.front.httpd, api, &api->jobs, &err) < 0 ||
	    follow_new(agent.front.httpd, &api->follow, &err) < 0)
		bail("no agent: %s", err.text);
	api->front = &agent.front;
	if (pthread_create(&agent.thread, NULL, run_agent, &agent))
		bail("no thread");
}

static void end_agent(void)
{
	httpd_stop(agent.front.httpd);
	pthread_join(agent.thread, NULL);
	front_close(&agent.front);
	follow_free(agent.api.follow);
	job_free(agent.api.jobs);
	freeze_free(agent.api.freeze);
	ok(access(unix_path, F_OK) < 0, "its socket goes with it");
}

static int connect_tcp(void)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (getsockname(agent.front.fds[1], (struct sockaddr *)&addr, &len) < 0 ||
	    connect(fd, (struct sockaddr *)&addr, len) < 0)
		bail("no TCP");
	return fd;
}

static const char *ask(int fd, const char *request)
{
	wire_send(fd, request);
	return wire_rest(fd);
}

static void test_front(void)
{
	static const char good[] = "GET /health HTTP/1.1\r\nConnection: close\r\n"
				   "Authorization: Bearer 0123456789abcdef\r\n\r\n";
	static const char bad[] = "GET /health HTTP/1.1\r\nConnection: close\r\n"
				  "Authorization: Bearer 0123456789abcdeX\r\n\r\n";
	const char *answer;

	is_str(wire_body(ask(wire_connect(unix_path), GET("/health"))), "{\"status\":\"ok\"}",
	       "who may open the unix socket may ask");
	answer = ask(connect_tcp(), GET("/health"));
	is_int(wire_status(answer), 401, "by TCP one needs the token");
	ok(strstr(answer, "WWW-Authenticate: Bearer\r\n"), "and is told so");
	is_int(wire_status(ask(connect_tcp(), bad)), 401, "another word is none");
	is_str(wire_body(ask(connect_tcp(), good)), "{\"status\":\"ok\"}", "who knows it may ask");
	is_int(wire_status(ask(connect_tcp(), GET("/logs"))), 401, "each address needs it");
	is_int(wire_status(ask(connect_tcp(), "POST /freeze HTTP/1.1\r\nConnection: close\r\n"
			       "Content-Length: 22\r\n\r\n{\"cgroup\":\"web.slice\"}")), 401,
	       "all the more those that do something");
}

/* ---- the log ---- */

/* What comes, up to and with `until`; nothing more within half a minute ends it. */
static const char *hear(int fd, const char *until)
{
	static char text[65536];
	struct pollfd p = {.fd = fd, .events = POLLIN};
	size_t len = 0;

	do
		text[len] = '\0';
	while (!strstr(text, until) && len < sizeof(text) - 1 && poll(&p, 1, 30000) == 1 &&
	       recv(fd, text + len, 1, 0) == 1 && ++len);
	return text;
}

static void test_follow(void)
{
	int fd = wire_connect(unix_path), later;
	char request[128];
	uint64_t seq;
	const char *text;

	logs_add(LOGS_DEBUG, "before");
	wire_send(fd, "GET /logs?follow=1 HTTP/1.1\r\n\r\n");
	ok(strstr(hear(fd, "\"text\":\"before\"}\n"), "before"), "what was there comes");
	logs_add(LOGS_DEBUG, "during");
	text = hear(fd, "\"text\":\"during\"}\n");
	ok(strstr(text, "during"), "and what is said then");
	seq = strtoull(strstr(text, "\"seq\":") + 6, NULL, 10);
	seq = strtoull(strstr(strrchr(text, '{'), "\"seq\":") + 6, NULL, 10);
	close(fd);
	ok(WIRE_WITHIN(httpd_conns(agent.front.httpd) == 0), "who hangs up is let go");
	logs_add(LOGS_DEBUG, "meanwhile");
	later = wire_connect(unix_path);
	(void)snprintf(request, sizeof(request), "GET /logs?follow&since=%llu HTTP/1.1\r\n\r\n",
		       (unsigned long long)seq);
	wire_send(later, request);
	text = hear(later, "meanwhile\"}\n");
	ok(strstr(text, "meanwhile") && !strstr(text, "during"),
	   "who comes back is given what he missed, and no more");
	close(later);
	for (int i = 0; i < LOGS_LINES + 5; i++)
		logs_add(LOGS_DEBUG, "flood %d", i);
	later = wire_connect(unix_path);
	wire_send(later, request);
	text = hear(later, "\"text\":\"flood ");
	ok(strstr(text, "{\"lost\":"), "what is no longer there is counted");
	close(later);
}

/* It says more than he takes: he loses lines, and is told how many. */
static void test_slow_follower(void)
{
	int fd = wire_connect(unix_path), before, lines = 0, lost = 0, buffer = 4096;
	struct logs_line last = {0};
	uint64_t dummy, first;
	const char *text, *p;

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer));
	while (logs_next(last.seq, &last, &dummy))
		;
	first = last.seq;
	before = (int)first;
	{
		char request[128];

		(void)snprintf(request, sizeof(request),
			       "GET /logs?follow=1&since=%d HTTP/1.1\r\n\r\n", before);
		wire_send(fd, request);
	}
	hear(fd, "\r\n\r\n");
	for (int i = 0; i < 20000; i++)
		logs_add(LOGS_DEBUG, "%0300d", i);
	logs_add(LOGS_DEBUG, "the last");
	for (bool end = false; !end;) {
		text = hear(fd, "}\n");
		end = strstr(text, "the last") || !*text;
		p = strstr(text, "{\"lost\":");
		if (p)
			lost += atoi(p + 8);
		lines += !!strstr(text, "{\"seq\":");
	}
	while (logs_next(last.seq, &last, &dummy))
		;
	ok(lost > 0, "who is too slow loses lines");
	is_int(lines + lost, (int)(last.seq - first), "every line was sent or counted");
	close(fd);
}

static void test_follow_words(void)
{
	static const struct {
		const char *query;
		int status;
	} asks[] = {
		{"", 200}, {"?since=3", 200}, {"?follow=0", 200}, {"?since=x", 400},
		{"?since=-1", 400}, {"?follow=maybe", 400}, {"?tail=1", 400},
	};
	char request[128];
	int fds[FOLLOW_MAX];

	for (size_t i = 0; i < sizeof(asks) / sizeof(asks[0]); i++) {
		(void)snprintf(request, sizeof(request),
			       "GET /logs%s HTTP/1.1\r\nConnection: close\r\n\r\n", asks[i].query);
		is_int(wire_status(ask(wire_connect(unix_path), request)), asks[i].status,
		       "/logs%s", asks[i].query);
	}
	for (int i = 0; i < FOLLOW_MAX; i++) {
		fds[i] = wire_connect(unix_path);
		wire_send(fds[i], "GET /logs?follow=1 HTTP/1.1\r\n\r\n");
		(void)hear(fds[i], "\r\n\r\n");
	}
	is_str(wire_body(ask(wire_connect(unix_path), GET("/logs?follow=1"))),
	       "{\"error\":\"8 follow the log: no more at a time\"}", "there is a limit");
	is_int(wire_status(ask(wire_connect(unix_path), GET("/logs"))), 200,
	       "not to those who only look");
	for (int i = 0; i < FOLLOW_MAX; i++)
		close(fds[i]);
	ok(WIRE_WITHIN(httpd_conns(agent.front.httpd) == 0), "they go");
	is_int(wire_status(ask(wire_connect(unix_path), GET("/logs?follow=2"))), 400, "for others");
}

/* ---- the command line ---- */

static void refuses(const char *option, const char *value, const char *want)
{
	char *argv[] = {(char *)"lamina-agent", (char *)option, (char *)value, NULL};
	struct args args;

	is_err(args_parse(&args, value ? 3 : 2, argv, &err), &err, -EINVAL, "%s", want);
}

static void test_args(void)
{
	char *none[] = {(char *)"lamina-agent", NULL};
	struct args args;

	is_int(args_parse(&args, 1, none, &err), 0, "without a word");
	is_int(args.nlisten, 1, "it listens at one place");
	ok(args.listen[0].kind == ADDRESS_VSOCK && args.listen[0].cid == ADDRESS_CID_ANY &&
	   args.listen[0].port == 1052, "which is vsock's port 1052");
	is_int(args.peer, 2, "for the host");
	is_str(args.kmsg, "/dev/kmsg", "and tells the kernel");
	refuses("-l", "tcp:0.0.0.0:1052", "TCP needs --token-file");
	refuses("-l", "hybrid:/x:1",
		"'hybrid' is how the host connects: the guest listens on vsock");
	refuses("-l", "/run/x", "'/run/x' is no address: unix:PATH, tcp:HOST:PORT, vsock:CID:PORT "
				"or hybrid:PATH:PORT");
	refuses("-p", "host", "'host' is no CID");
	refuses("-L", "warn", "'warn' is no level: debug, info, warning or error");
	refuses("x", NULL, "unexpected 'x'");
}

int main(void)
{
	test_resumed();
	test_args();
	begin_agent();
	test_front();
	test_follow();
	test_slow_follower();
	test_follow_words();
	end_agent();
	logs_fini();
	return tap_done();
}
