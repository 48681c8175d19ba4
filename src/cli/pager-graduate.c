/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `lamina pager graduate`: the request blocks on a thread of its own, over a
 * connection that this thread can end, which calls it off; meanwhile this one
 * looks how far the session has come, and whether somebody pressed Ctrl-C.
 * A worker that is replaced meanwhile cuts the connection: who asks its successor
 * joins, goes on, or hears that it was done.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "src/cli/out.h"
#include "src/cli/pager.h"
#include "src/rpc/http.h"

#define LOOK_MS 200		/* between two looks at the session and the signal */
#define TRIES_MAX 10		/* that end without an answer, one after the other */

/* ---- what is asked for ---- */

/* A value of an option, and what it is in the request. */
struct limit {
	const char *option;
	const char *text;
	const char *name;
	const char *want;
};

static int put_number(struct cli *cli, json_t *body, const struct limit *l, uint64_t value)
{
	if (value > INT64_MAX)
		return cli_usage(cli, "--%s: '%s' is too large", l->option, l->text);
	if (json_object_set_new(body, l->name, json_integer((json_int_t)value)) < 0)
		return err_set(&cli->err, -ENOMEM, "out of memory");
	return 0;
}

static int not_wanted(struct cli *cli, const struct limit *l)
{
	return cli_usage(cli, "--%s: '%s' is not %s", l->option, l->text, l->want);
}

static int put_size(struct cli *cli, json_t *body, const char *text)
{
	const struct limit l = {"min-available", text, "min_available",
				"a size such as 512M or 2G"};
	uint64_t bytes;

	if (fmt_parse_size(text, &bytes) < 0)
		return not_wanted(cli, &l);
	return put_number(cli, body, &l, bytes);
}

static int put_rate(struct cli *cli, json_t *body, const char *text)
{
	const struct limit l = {"rate", text, "rate", "a size a second such as 200M or 200M/s"};
	size_t len = strlen(text);
	uint64_t bytes;
	char *size;
	int rc;

	if (len > 2 && !strcmp(text + len - 2, "/s"))
		len -= 2;
	size = strndup(text, len);
	if (!size)
		return err_set(&cli->err, -ENOMEM, "out of memory");
	rc = fmt_parse_size(size, &bytes);
	free(size);
	return rc < 0 ? not_wanted(cli, &l) : put_number(cli, body, &l, bytes);
}

static int put_percent(struct cli *cli, json_t *body, const char *text)
{
	char *end;
	double percent = strtod(text, &end);

	if (end == text || *end || !(percent >= 0 && percent <= 100))
		return cli_usage(cli, "--max-pressure: '%s' is not a number from 0 to 100", text);
	if (json_object_set_new(body, "max_pressure", json_real(percent)) < 0)
		return err_set(&cli->err, -ENOMEM, "out of memory");
	return 0;
}

static int put_timeout(struct cli *cli, json_t *body, const char *text)
{
	const struct limit l = {"timeout", text, "timeout_ms", "a duration such as 30s or 10m"};
	uint64_t ms;

	if (fmt_parse_duration_ms(text, &ms) < 0)
		return not_wanted(cli, &l);
	return put_number(cli, body, &l, ms);
}

static int put_all(struct cli *cli, json_t *body)
{
	const struct pager_args *args = cli->args;
	int rc = args->rate ? put_rate(cli, body, args->rate) : 0;

	if (rc == 0 && args->min_available)
		rc = put_size(cli, body, args->min_available);
	if (rc == 0 && args->max_pressure)
		rc = put_percent(cli, body, args->max_pressure);
	if (rc == 0 && args->timeout)
		rc = put_timeout(cli, body, args->timeout);
	return rc;
}

/* ---- one request ---- */

struct call {
	const char *socket;
	int fd;			/* connected to it */
	const char *path;
	const char *session;	/* the path of its session */
	const json_t *body;
	int rc;
	struct http_answer answer;	/* if rc is 0 */
	struct err err;
};

static void *ask(void *arg)
{
	struct call *c = arg;
	struct http_target to = {.fd = c->fd, .timeout_ms = -1};

	c->rc = http_request(&to, "POST", c->path, c->body, &c->answer, &c->err);
	return NULL;
}

static int connect_to(const char *socket_path, struct err *err)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd, rc;

	if (strlen(socket_path) >= sizeof(a.sun_path))
		return err_set(err, -ENAMETOOLONG, "'%s' is too long for a socket", socket_path);
	memcpy(a.sun_path, socket_path, strlen(socket_path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(err, -errno, "cannot make a socket");
	if (connect(fd, (const struct sockaddr *)&a, sizeof(a)) == 0)
		return fd;
	rc = -errno;
	close(fd);
	if (rc == -ENOENT)
		return err_set(err, rc, "there is no socket '%s'", socket_path);
	return err_sys(err, rc, "cannot connect to '%s'", socket_path);
}

static bool ended_within(pthread_t thread, long ms)
{
	struct timespec until;

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += ms * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	return pthread_timedjoin_np(thread, NULL, &until) == 0;
}

/* Only who looks at a terminal costs the pager a request. */
static void show_progress(struct cli *cli, const struct call *call)
{
	struct err err = cli->err;
	json_t *session = NULL;
	char what[sizeof(cli->meter.what)];

	if (!cli->meter.on)
		return;
	if (pager_ask_at(cli, call->socket, &(struct pager_request){"GET", call->session, NULL},
			 &session, NULL) == 0 &&
	    json_is_object(pager_at(session, "completion"))) {
		(void)snprintf(what, sizeof(what), "%s%.20s",
			       json_is_true(pager_at(session, "completion.held")) ?
			       "no memory: " : "", pager_text(session, "id"));
		meter_show(&cli->meter, what, PROGRESS_BYTES,
			   (uint64_t)pager_number(session, "completion.position_bytes"),
			   (uint64_t)pager_number(session, "memory_bytes"));
	}
	json_decref(session);
	cli->err = err;
}

/* The connection's end is what calls it off. */
static void wait_for(struct cli *cli, const struct call *call, pthread_t thread)
{
	while (!ended_within(thread, LOOK_MS)) {
		if (cli_stopped())
			(void)shutdown(call->fd, SHUT_RDWR);
		else
			show_progress(cli, call);
	}
}

static int try_once(struct cli *cli, struct call *call)
{
	pthread_t thread;
	int rc;

	call->fd = rc = connect_to(call->socket, &call->err);
	if (rc < 0)
		return rc;
	rc = -pthread_create(&thread, NULL, ask, call);
	if (rc == 0) {
		wait_for(cli, call, thread);
		rc = call->rc;
	} else {
		(void)err_sys(&call->err, rc, "cannot start a thread");
	}
	close(call->fd);
	return rc;
}

static bool was_cut(int rc)
{
	return rc == -ECONNRESET || rc == -ECONNREFUSED || rc == -EPIPE;
}

static int ask_until_answered(struct cli *cli, struct call *call)
{
	static const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};
	int rc = try_once(cli, call);

	for (int i = 1; was_cut(rc) && i < TRIES_MAX && !cli_stopped(); i++) {
		(void)nanosleep(&pause, NULL);
		rc = try_once(cli, call);
	}
	return cli_stopped() && rc < 0 ? err_set(&call->err, -ECANCELED, "interrupted") : rc;
}

/* The newest pager first, until one knows it: it may have graduated, and be listed by none. */
static int ask_each(struct cli *cli, const struct pagers *pagers, struct call *call)
{
	const struct pagers_entry *silent = pager_silent(pagers);
	size_t n = pagers->n == 1 ? 1 : pager_answering(pagers);
	int rc = 0;

	if (!n)
		return err_set(&call->err, pagers->v[0].code, "%s", pagers->v[0].err.text);
	for (size_t i = 0; i < n; i++) {
		call->socket = pagers->v[i].socket;
		rc = ask_until_answered(cli, call);
		if (rc < 0 || call->answer.status != 404 || (i + 1 == n && !silent))
			return rc;
		http_answer_fini(&call->answer);
	}
	return err_set(&call->err, -ENOENT, "none of the pagers that answer has it; %s",
		       silent->err.text);
}

static int ask_who_has_it(struct cli *cli, const char *pager, struct call *call)
{
	const struct pagers_entry *owner = NULL;
	const struct pagers *pagers = NULL;
	int rc = pager ? 0 : pager_found(cli, &pagers);

	if (pagers)
		rc = pager_owner(cli, pagers, call->session, &owner);
	if (rc < 0) {
		call->err = cli->err;
		return rc;
	}
	if (!pager && !owner)
		return ask_each(cli, pagers, call);
	call->socket = pager ? pager : owner->socket;
	return ask_until_answered(cli, call);
}

/* ---- what it came to ---- */

static void print_done(const struct cli *cli, const json_t *answer)
{
	char size[FMT_SIZE_LEN], took[FMT_SIZE_LEN], last[FMT_SIZE_LEN];
	bool before = json_is_true(pager_at(answer, "already"));
	double pages = pager_number(answer, "pages");

	printf("%s: %s%s in %.0f page%s populated in %s; %.0f stay zeros without memory; "
	       "unregistered in %s\n", pager_text(answer, "id"),
	       before ? "had graduated before: " : "",
	       cli_size(cli, size, (uint64_t)pager_number(answer, "bytes")), pages,
	       pages > 1 || pages < 1 ? "s" : "",
	       fmt_duration(took, pager_number(answer, "seconds")),
	       pager_number(answer, "hole_pages"),
	       fmt_duration(last, pager_number(answer, "unregister_seconds")));
	(void)fflush(stdout);
}

static json_t *failure_json(const char *id, const struct err *err)
{
	return json_pack("{s:s*, s:s*}", "error", err->text, "id", id);
}

struct errand {
	struct cli *cli;
	const json_t *body;
	struct out_array array;
	bool all;
	bool failed;
};

/* Nothing is left to graduate: what --all wants. */
static bool is_gone(const json_t *answer)
{
	const char *reason = pager_text(answer, "reason");

	return !strcmp(reason, "gone") || !strcmp(reason, "unknown");
}

static int tell_answer(struct errand *e, const char *id, const struct http_answer *answer)
{
	struct cli *cli = e->cli;

	meter_end(&cli->meter);
	if (answer->status != 200) {
		if (!e->all || !is_gone(answer->json))
			e->failed = true;
		if (!cli->quiet || e->failed)
			cli_note(cli, "cannot graduate session '%s': %s", id,
				 http_answer_error(answer));
	} else if (!cli->json && !cli->quiet) {
		print_done(cli, answer->json);
	}
	if (!cli->json)
		return 0;
	return out_array_add(&e->array, json_incref(answer->json), &cli->err);
}

static int tell_failure(struct errand *e, const char *id, const struct err *err)
{
	struct cli *cli = e->cli;

	e->failed = true;
	meter_end(&cli->meter);
	cli_note(cli, "cannot graduate session '%s': %s", id, err->text);
	return cli->json ? out_array_add(&e->array, failure_json(id, err), &cli->err) : 0;
}

static int ask_paths(struct errand *e, const char *id, const char *pager, struct call *call)
{
	char *path = pager_path(id, "/complete"), *session = pager_path(id, "");
	int rc = -ENOMEM;

	call->path = path;
	call->session = session;
	if (path && session)
		rc = ask_who_has_it(e->cli, pager, call);
	else
		(void)err_set(&call->err, rc, "out of memory");
	free(path);
	free(session);
	return rc;
}

/* `pager`: its socket; NULL: whoever has it.  -ECANCELED: Ctrl-C. */
static int graduate(struct errand *e, const char *id, const char *pager)
{
	struct call call = {.body = e->body};
	int rc = ask_paths(e, id, pager, &call);

	if (rc == -ECANCELED)
		return err_set(&e->cli->err, rc, "%s", call.err.text);
	if (rc < 0)
		return tell_failure(e, id, &call.err);
	if (json_is_object(call.answer.json)) {
		rc = tell_answer(e, id, &call.answer);
	} else {
		(void)err_set(&call.err, -EPROTO, "what answers is no pager");
		rc = tell_failure(e, id, &call.err);
	}
	http_answer_fini(&call.answer);
	return rc;
}

/* ---- all of them ---- */

static bool is_wanted(const json_t *s)
{
	const char *state = pager_text(s, "state");

	return json_is_true(pager_at(s, "detachable")) &&
	       (!strcmp(state, "serving") || !strcmp(state, "completing"));
}

static int by_age(const void *a, const void *b)
{
	double x = pager_number(*(json_t *const *)a, "age_seconds");
	double y = pager_number(*(json_t *const *)b, "age_seconds");

	return (x < y) - (x > y);
}

static int graduate_list(struct errand *e, const json_t *sessions)
{
	size_t n = 0, i;
	const json_t **v = calloc(json_array_size(sessions) + 1, sizeof(*v));
	const json_t *s;
	int rc = v ? 0 : err_set(&e->cli->err, -ENOMEM, "out of memory");

	json_array_foreach(sessions, i, s)
		if (v && is_wanted(s))
			v[n++] = s;
	if (n)
		qsort(v, n, sizeof(*v), by_age);
	else if (rc == 0 && !e->cli->quiet)
		cli_note(e->cli, "no session that serves can do without its pager");
	for (i = 0; rc == 0 && i < n; i++)
		rc = graduate(e, pager_text(v[i], "id"),
			      json_string_value(pager_at(v[i], "pager")));
	free(v);
	return rc;
}

static int graduate_all(struct errand *e)
{
	json_t *sessions = NULL;
	int rc = pager_list(e->cli, "", &sessions);

	if (rc == 0)
		rc = graduate_list(e, sessions);
	json_decref(sessions);
	return rc;
}

static int graduate_each(struct errand *e, int argc, char **argv)
{
	struct cli *cli = e->cli;
	int rc = 0;

	cli_catch();
	if (!cli->quiet)
		meter_begin(&cli->meter);
	if (cli->json)
		out_array_begin(&e->array, 0);
	if (e->all)
		rc = graduate_all(e);
	for (int i = 0; rc == 0 && i < argc; i++)
		rc = graduate(e, argv[i], NULL);
	if (cli->json) {
		out_array_end(&e->array);
		putchar('\n');
	}
	return rc ? rc : e->failed ? CLI_FAILED : CLI_DONE;
}

int pager_graduate(struct cli *cli, int argc, char **argv)
{
	const struct pager_args *args = cli->args;
	struct errand e = {.cli = cli, .all = args->all};
	json_t *body;
	int rc;

	if (args->all == (argc > 0))
		return cli_usage(cli, "pager graduate wants ID..., or --all");
	body = json_object();
	rc = body ? put_all(cli, body) : err_set(&cli->err, -ENOMEM, "out of memory");
	e.body = body;
	if (rc == 0)
		rc = graduate_each(&e, argc, argv);
	json_decref(body);
	return rc;
}
