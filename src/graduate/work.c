/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A job belongs to its thread until it is `done`, then to work_take().  `lock` is for
 * `done`, `cancelled` and each job's `fd`: the connection that is there to be
 * shut down while a request waits on it, taken away before it is closed.
 *
 * A connection that is cut, or refused, is most likely a pager whose worker was
 * replaced: the request is made again, a few times; completing is idempotent.
 */
#include "src/graduate/work.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "src/rpc/http.h"
#include "store/base/clock.h"
#include "store/base/thread.h"

#define TRIES 6
#define PAUSE_MS 100		/* before the second try; each further one twice as long */
#define SLACK_MS 10000		/* the pager's own timeout passes before ours */
#define CONNECT_MS 5000

struct job {
	LIST_ENTRY(job) entry;
	struct work *work;
	struct work_order limits;	/* without its texts */
	struct work_result result;
	pthread_t thread;
	uint64_t began_ms;
	int fd;				/* under work->lock; -1: none */
	bool done;			/* under work->lock */
};

struct work {
	pthread_mutex_t lock;
	pthread_cond_t ended;		/* cancelled */
	LIST_HEAD(, job) jobs;
	size_t running;
	int fd;
	bool cancelled;			/* under lock */
};

const char *work_word(enum work_outcome outcome)
{
	static const char *const words[WORK_NOUTCOMES] = {
		[WORK_GRADUATED] = "graduated",
		[WORK_ALREADY] = "already",
		[WORK_GONE] = "gone",
		[WORK_WAITING] = "waiting",
		[WORK_CANCELLED] = "cancelled",
		[WORK_MEMORY] = "memory",
		[WORK_UNREADABLE] = "unreadable",
		[WORK_TIMEOUT] = "timeout",
		[WORK_UNREACHABLE] = "unreachable",
		[WORK_REFUSED] = "refused",
	};

	return words[outcome];
}

bool work_is_over(enum work_outcome outcome)
{
	return outcome == WORK_GRADUATED || outcome == WORK_ALREADY || outcome == WORK_GONE;
}

/* ---- what a pager answers ---- */

/* The word that a pager gives as its reason. */
static enum work_outcome outcome_of(const char *reason)
{
	static const struct {
		const char *word;
		enum work_outcome outcome;
	} reasons[] = {
		{"unknown", WORK_GONE}, {"gone", WORK_GONE},
		{"waiting", WORK_WAITING}, {"cancelled", WORK_CANCELLED},
		{"memory", WORK_MEMORY}, {"unreadable", WORK_UNREADABLE},
		{"timeout", WORK_TIMEOUT},
	};

	for (size_t i = 0; reason && i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (strcmp(reason, reasons[i].word) == 0)
			return reasons[i].outcome;
	return WORK_REFUSED;
}

static uint64_t count(const json_t *json, const char *name)
{
	json_int_t n = json_integer_value(json_object_get(json, name));

	return n > 0 ? (uint64_t)n : 0;
}

/* Only what says in so many words that it has graduated has. */
static void read_answer(const struct http_answer *answer, struct work_result *r)
{
	const char *state = json_string_value(json_object_get(answer->json, "state"));

	r->pages = count(answer->json, "pages");
	r->bytes = count(answer->json, "bytes");
	if (answer->status != 200) {
		r->outcome = outcome_of(json_string_value(json_object_get(answer->json,
									  "reason")));
		(void)err_set(&r->err, -EIO, "%s", http_answer_error(answer));
	} else if (!state || strcmp(state, "graduated") != 0) {
		r->outcome = WORK_REFUSED;
		(void)err_set(&r->err, -EBADMSG, "the pager's answer is not understood");
	} else {
		r->outcome = json_is_true(json_object_get(answer->json, "already"))
				     ? WORK_ALREADY : WORK_GRADUATED;
	}
}

/* ---- a job, on its thread ---- */

static json_t *make_body(const struct job *job, uint64_t timeout_ms)
{
	const struct work_order *l = &job->limits;
	json_t *body = json_object();
	int rc = json_object_set_new(body, "timeout_ms", json_integer((json_int_t)timeout_ms));

	if (l->rate)
		rc |= json_object_set_new(body, "rate", json_integer((json_int_t)l->rate));
	if (l->min_available)
		rc |= json_object_set_new(body, "min_available",
					  json_integer((json_int_t)l->min_available));
	if (l->max_pressure > 0)
		rc |= json_object_set_new(body, "max_pressure", json_real(l->max_pressure));
	if (rc == 0)
		return body;
	json_decref(body);
	return NULL;
}

static int connect_pager(struct job *job, struct err *err)
{
	const struct http_target to = {.socket = job->result.pager, .timeout_ms = CONNECT_MS};
	int fd = http_connect(&to, err);

	if (fd < 0)
		return fd;
	pthread_mutex_lock(&job->work->lock);
	if (!job->work->cancelled)
		job->fd = fd;
	pthread_mutex_unlock(&job->work->lock);
	if (job->fd == fd)
		return fd;
	close(fd);
	return err_set(err, -ECANCELED, "the controller ends");
}

static void hang_up(struct job *job)
{
	int fd = job->fd;

	pthread_mutex_lock(&job->work->lock);
	job->fd = -1;
	pthread_mutex_unlock(&job->work->lock);
	close(fd);
}

static int ask(struct job *job, uint64_t timeout_ms, struct http_answer *ret, struct err *err)
{
	struct http_target to = {.name = job->result.pager};
	char *id = http_escape(job->result.id), *path = NULL;
	json_t *body = make_body(job, timeout_ms);
	int rc;

	if (!id || !body || asprintf(&path, "/sessions/%s/complete", id) < 0) {
		path = NULL;
		rc = err_set(err, -ENOMEM, "out of memory");
	} else {
		rc = to.fd = connect_pager(job, err);
	}
	if (rc >= 0) {
		to.timeout_ms = timeout_ms < INT32_MAX - SLACK_MS ? (int)timeout_ms + SLACK_MS
								  : INT32_MAX;
		rc = http_request(&to, "POST", path, body, ret, err);
		hang_up(job);
	}
	json_decref(body);
	free(path);
	free(id);
	return rc;
}

static bool is_cancelled(struct work *w)
{
	bool cancelled;

	pthread_mutex_lock(&w->lock);
	cancelled = w->cancelled;
	pthread_mutex_unlock(&w->lock);
	return cancelled;
}

/* False: cancelled. */
static bool pause_for(struct work *w, unsigned ms)
{
	struct timespec until;
	bool cancelled;

	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	until.tv_sec += ms / 1000 + until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_mutex_lock(&w->lock);
	while (!w->cancelled && pthread_cond_timedwait(&w->ended, &w->lock, &until) != ETIMEDOUT)
		;
	cancelled = w->cancelled;
	pthread_mutex_unlock(&w->lock);
	return !cancelled;
}

static bool is_cut(int rc)
{
	return rc == -ECONNRESET || rc == -ECONNREFUSED || rc == -ENOENT;
}

/* The outcome of a request that got no answer. */
static enum work_outcome outcome_without(int rc)
{
	if (rc == -ETIMEDOUT)
		return WORK_TIMEOUT;
	return is_cut(rc) || rc == -EACCES ? WORK_UNREACHABLE : WORK_REFUSED;
}

static void complete(struct job *job)
{
	uint64_t end = job->began_ms + job->limits.timeout_ms, now = job->began_ms;
	struct work_result *r = &job->result;
	struct http_answer answer;
	int rc = -ECONNRESET;

	for (unsigned i = 0; i < TRIES && is_cut(rc) && now < end; i++) {
		if (i > 0 && !pause_for(job->work, PAUSE_MS << (i - 1)))
			break;
		rc = ask(job, end - now, &answer, &r->err);
		now = clock_ms();
	}
	if (rc >= 0) {
		read_answer(&answer, r);
		http_answer_fini(&answer);
	} else if (is_cancelled(job->work)) {
		r->outcome = WORK_CANCELLED;
		(void)err_set(&r->err, rc, "the controller ends");
	} else {
		r->outcome = outcome_without(rc);
	}
	r->seconds = (double)(now - job->began_ms) / 1000;
}

static void *run(void *arg)
{
	struct job *job = arg;
	struct work *w = job->work;

	complete(job);
	pthread_mutex_lock(&w->lock);
	job->done = true;
	(void)eventfd_write(w->fd, 1);
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* ---- from outside ---- */

int work_new(struct work **ret, struct err *err)
{
	struct work *w = calloc(1, sizeof(*w));

	if (!w)
		return err_set(err, -ENOMEM, "out of memory");
	w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->fd < 0) {
		int rc = -errno;

		free(w);
		return err_sys(err, rc, "cannot make an eventfd");
	}
	pthread_mutex_init(&w->lock, NULL);
	thread_cond_init(&w->ended);
	*ret = w;
	return 0;
}

static void job_free(struct job *job)
{
	work_result_fini(&job->result);
	free(job);
}

static struct job *job_new(struct work *w, const struct work_order *order)
{
	struct job *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	job->work = w;
	job->fd = -1;
	job->limits = *order;
	job->began_ms = clock_ms();
	job->result.pager = strdup(order->pager);
	job->result.version = strdup(order->version);
	job->result.id = strdup(order->id);
	job->result.number = order->number;
	if (job->result.pager && job->result.version && job->result.id)
		return job;
	job_free(job);
	return NULL;
}

int work_start(struct work *w, const struct work_order *order, struct err *err)
{
	struct job *job = job_new(w, order);
	int rc;

	if (!job)
		return err_set(err, -ENOMEM, "out of memory");
	rc = -pthread_create(&job->thread, NULL, run, job);
	if (rc < 0) {
		job_free(job);
		return err_sys(err, rc, "cannot start a thread");
	}
	LIST_INSERT_HEAD(&w->jobs, job, entry);
	w->running++;
	return 0;
}

size_t work_running(const struct work *w)
{
	return w->running;
}

int work_fd(const struct work *w)
{
	return w->fd;
}

static struct job *find_done(struct work *w)
{
	struct job *job;
	eventfd_t n;

	(void)eventfd_read(w->fd, &n);
	pthread_mutex_lock(&w->lock);
	LIST_FOREACH(job, &w->jobs, entry)
		if (job->done)
			break;
	pthread_mutex_unlock(&w->lock);
	return job;
}

bool work_take(struct work *w, struct work_result *ret)
{
	struct job *job = find_done(w);

	if (!job)
		return false;
	(void)pthread_join(job->thread, NULL);
	LIST_REMOVE(job, entry);
	w->running--;
	*ret = job->result;
	free(job);
	return true;
}

void work_result_fini(struct work_result *r)
{
	free(r->pager);
	free(r->version);
	free(r->id);
}

void work_cancel(struct work *w)
{
	struct job *job;

	pthread_mutex_lock(&w->lock);
	w->cancelled = true;
	LIST_FOREACH(job, &w->jobs, entry)
		if (job->fd >= 0)
			(void)shutdown(job->fd, SHUT_RDWR);
	pthread_cond_broadcast(&w->ended);
	pthread_mutex_unlock(&w->lock);
}

void work_free(struct work *w)
{
	struct job *job;

	if (!w)
		return;
	work_cancel(w);
	while ((job = LIST_FIRST(&w->jobs))) {
		(void)pthread_join(job->thread, NULL);
		LIST_REMOVE(job, entry);
		job_free(job);
	}
	pthread_cond_destroy(&w->ended);
	pthread_mutex_destroy(&w->lock);
	close(w->fd);
	free(w);
}

/* ---- drain ---- */

static int post_drain(const struct http_target *to, bool with_exit, struct err *err)
{
	json_t *body = with_exit ? json_pack("{s:b}", "exit", 1) : json_object();
	struct http_answer answer;
	int rc, status;

	if (!body)
		return err_set(err, -ENOMEM, "out of memory");
	rc = http_request(to, "POST", "/drain", body, &answer, err);
	json_decref(body);
	if (rc < 0)
		return rc;
	status = answer.status;
	if (status != 200)
		(void)err_set(err, -EPROTO, "%s", http_answer_error(&answer));
	http_answer_fini(&answer);
	return status;
}

int work_drain(const char *pager, int timeout_ms, struct err *err)
{
	const struct http_target to = {.socket = pager, .timeout_ms = timeout_ms};
	int rc = post_drain(&to, true, err);

	if (rc == 400)
		rc = post_drain(&to, false, err);
	return rc < 0 ? rc : rc == 200 ? 0 : -EPROTO;
}
