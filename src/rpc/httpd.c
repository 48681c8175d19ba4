/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The loop.  libevent is used by the loop's thread alone and without locks;
 * other threads reach it through an eventfd: httpd_post() puts a function into
 * a queue under `lock`, httpd_stop() sets a flag, and both write the eventfd.
 */
#include "src/rpc/httpd.h"

#include <event2/http.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <time.h>
#include <unistd.h>

#include "src/rpc/httpd-call.h"
#include "store/base/clock.h"

#define DEFER_S 5		/* for the first bytes of a connection by TCP */
#define SETTLE_MS 1000	/* for answers to be written after httpd_stop() */

struct post {
	STAILQ_ENTRY(post) link;
	void (*fn)(void *arg);
	void *arg;
};

STAILQ_HEAD(post_queue, post);

struct timer {
	SLIST_ENTRY(timer) link;
	struct event *event;
	void (*fn)(void *arg);
	void *arg;
};

struct watch {
	SLIST_ENTRY(watch) link;
	struct event *event;
	int fd;
	void (*fn)(int fd, void *arg);
	void *arg;
};

struct httpd {
	struct httpd_site site;
	struct event_base *base;
	struct evhttp *http;
	struct event *wake;
	int wake_fd;
	atomic_bool stop;
	SLIST_HEAD(, timer) timers;
	SLIST_HEAD(, watch) watches;
	pthread_mutex_t lock;
	struct post_queue posts;	/* under lock */
};

/* libevent would write its warnings to stderr. */
static void keep_quiet(int severity, const char *text)
{
	(void)severity;
	(void)text;
}

static void quieten(void)
{
	event_set_log_callback(keep_quiet);
}

/* ---- other threads ---- */

static void wake(struct httpd *h)
{
	uint64_t one = 1;
	int saved = errno;

	(void)!write(h->wake_fd, &one, sizeof(one));
	errno = saved;
}

void httpd_stop(struct httpd *h)
{
	atomic_store(&h->stop, true);
	wake(h);
}

int httpd_post(struct httpd *h, void (*fn)(void *arg), void *arg)
{
	struct post *post = malloc(sizeof(*post));

	if (!post)
		return -ENOMEM;
	post->fn = fn;
	post->arg = arg;
	pthread_mutex_lock(&h->lock);
	STAILQ_INSERT_TAIL(&h->posts, post, link);
	pthread_mutex_unlock(&h->lock);
	wake(h);
	return 0;
}

static void take_posts(struct httpd *h, struct post_queue *ret)
{
	STAILQ_INIT(ret);
	pthread_mutex_lock(&h->lock);
	STAILQ_CONCAT(ret, &h->posts);
	pthread_mutex_unlock(&h->lock);
}

static void free_posts(struct post_queue *posts, bool run)
{
	struct post *post;

	while ((post = STAILQ_FIRST(posts))) {
		STAILQ_REMOVE_HEAD(posts, link);
		if (run)
			post->fn(post->arg);
		free(post);
	}
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct httpd *h = arg;
	struct post_queue posts;
	uint64_t count;

	(void)what;
	(void)!read(fd, &count, sizeof(count));
	take_posts(h, &posts);
	free_posts(&posts, true);
	if (atomic_load(&h->stop))
		event_base_loopbreak(h->base);
}

/* ---- timers and watches ---- */

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct timer *timer = arg;

	(void)fd;
	(void)what;
	timer->fn(timer->arg);
}

int httpd_every(struct httpd *h, int ms, void (*fn)(void *arg), void *arg)
{
	struct timeval tv = {ms / 1000, ms % 1000 * 1000};
	struct timer *timer = calloc(1, sizeof(*timer));

	if (!timer)
		return -ENOMEM;
	timer->fn = fn;
	timer->arg = arg;
	timer->event = event_new(h->base, -1, EV_PERSIST, on_timer, timer);
	if (!timer->event || event_add(timer->event, &tv) < 0) {
		if (timer->event)
			event_free(timer->event);
		free(timer);
		return -ENOMEM;
	}
	SLIST_INSERT_HEAD(&h->timers, timer, link);
	return 0;
}

static void on_watch(evutil_socket_t fd, short what, void *arg)
{
	struct watch *watch = arg;

	(void)what;
	watch->fn(fd, watch->arg);
}

static struct watch *find_watch(struct httpd *h, int fd)
{
	struct watch *watch;

	SLIST_FOREACH(watch, &h->watches, link)
		if (watch->fd == fd)
			break;
	return watch;
}

int httpd_watch(struct httpd *h, int fd, void (*fn)(int fd, void *arg), void *arg)
{
	struct watch *watch;

	if (find_watch(h, fd))
		return -EEXIST;
	watch = calloc(1, sizeof(*watch));
	if (!watch)
		return -ENOMEM;
	watch->fd = fd;
	watch->fn = fn;
	watch->arg = arg;
	watch->event = event_new(h->base, fd, EV_READ | EV_PERSIST, on_watch, watch);
	if (!watch->event || event_add(watch->event, NULL) < 0) {
		if (watch->event)
			event_free(watch->event);
		free(watch);
		return -ENOMEM;
	}
	SLIST_INSERT_HEAD(&h->watches, watch, link);
	return 0;
}

void httpd_unwatch(struct httpd *h, int fd)
{
	struct watch *watch = find_watch(h, fd);

	if (!watch)
		return;
	SLIST_REMOVE(&h->watches, watch, watch, link);
	event_free(watch->event);
	free(watch);
}

/* ---- running ---- */

/* A peer that closed early must not kill the process; writev() knows no MSG_NOSIGNAL. */
static bool block_sigpipe(sigset_t *ret_old)
{
	sigset_t set, pending;

	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	sigpending(&pending);
	pthread_sigmask(SIG_BLOCK, &set, ret_old);
	return sigismember(&pending, SIGPIPE);
}

static void restore_sigpipe(const sigset_t *old, bool was_pending)
{
	const struct timespec none = {0};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	if (!was_pending)
		(void)sigtimedwait(&set, NULL, &none);
	pthread_sigmask(SIG_SETMASK, old, NULL);
}

static void settle(struct httpd *h)
{
	int64_t end = (int64_t)clock_ms() + SETTLE_MS;
	struct timeval turn = {0, 10000};

	for (unsigned i = 0; i < h->site.conns.nlisteners; i++)
		evconnlistener_disable(h->site.conns.listeners[i]);
	while (httpd_conns_writing(&h->site.conns) && (int64_t)clock_ms() < end) {
		event_base_loopexit(h->base, &turn);
		event_base_dispatch(h->base);
	}
}

int httpd_run(struct httpd *h, struct err *err)
{
	sigset_t old;
	bool was_pending;
	int rc;

	if (httpd_conns_start(&h->site.conns) < 0)
		return err_sys(err, -ENOMEM, "cannot serve");
	was_pending = block_sigpipe(&old);
	rc = event_base_dispatch(h->base);
	settle(h);
	httpd_conns_stop(&h->site.conns);
	restore_sigpipe(&old, was_pending);
	atomic_store(&h->stop, false);
	return rc < 0 ? err_set(err, -EIO, "the event loop failed") : 0;
}

void httpd_on_ended(struct httpd *h, void (*fn)(void *arg), void *arg)
{
	h->site.conns.ended = fn;
	h->site.conns.ended_arg = arg;
}

unsigned httpd_conns(const struct httpd *h)
{
	return h->site.conns.n;
}

/* ---- made and freed ---- */

void httpd_set_limits(struct httpd *h, const struct httpd_limits *limits)
{
	struct httpd_limits *l = &h->site.conns.limits;

	*l = *limits;
	l->max_conns = l->max_conns ? l->max_conns : 256;
	l->max_body = l->max_body ? l->max_body : 1 << 20;
	l->max_headers = l->max_headers ? l->max_headers : 16 << 10;
	l->max_values = l->max_values ? l->max_values : l->max_body;
	l->idle_ms = l->idle_ms > 0 ? l->idle_ms : 60000;
	l->request_ms = l->request_ms > 0 ? l->request_ms : 20000;
	evhttp_set_max_body_size(h->http, (ev_ssize_t)l->max_body);
	evhttp_set_max_headers_size(h->http, (ev_ssize_t)l->max_headers);
}

/* libevent exits at the address of a peer of any other kind. */
static int check_socket(int fd, struct err *err)
{
	int domain = 0, listening = 0, flags = fcntl(fd, F_GETFL);
	socklen_t len = sizeof(int);

	if (flags < 0 || getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0)
		return err_sys(err, -errno, "cannot serve on descriptor %d", fd);
	if (domain != AF_UNIX && domain != AF_INET && domain != AF_INET6)
		return err_set(err, -EINVAL, "descriptor %d is no unix or inet socket", fd);
	if (!listening)
		return err_set(err, -EINVAL, "descriptor %d is no listening socket", fd);
	if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return err_sys(err, -errno, "cannot make descriptor %d non-blocking", fd);
	return 0;
}

static int make_base(struct httpd *h)
{
	struct event_config *config = event_config_new();

	if (!config)
		return -ENOMEM;
	event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
	event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV);
	h->base = event_base_new_with_config(config);
	event_config_free(config);
	if (!h->base)
		return -ENOMEM;
	h->wake = event_new(h->base, h->wake_fd, EV_READ | EV_PERSIST, on_wake, h);
	return h->wake && event_add(h->wake, NULL) == 0 ? 0 : -ENOMEM;
}

/* The kernel keeps those that say nothing.  Of no use, and no harm, for a unix socket. */
static void defer_accept(int fd)
{
	int s = DEFER_S;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &s, sizeof(s));
}

static int bind_listener(struct httpd *h, int fd)
{
	struct evconnlistener *listener =
		evconnlistener_new(h->base, NULL, NULL, LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_DISABLED,
				   0, fd);

	defer_accept(fd);
	if (!listener)
		return -ENOMEM;
	if (!evhttp_bind_listener(h->http, listener)) {
		evconnlistener_free(listener);
		return -ENOMEM;
	}
	httpd_conns_listen(&h->site.conns, listener);
	return 0;
}

int httpd_listen(struct httpd *h, int fd, struct err *err)
{
	int rc = check_socket(fd, err);

	if (rc < 0)
		return rc;
	if (h->site.conns.nlisteners == HTTPD_MAX_LISTENERS)
		return err_set(err, -E2BIG, "a server has at most %d sockets",
			       HTTPD_MAX_LISTENERS);
	rc = bind_listener(h, fd);
	return rc < 0 ? err_sys(err, rc, "cannot serve on descriptor %d", fd) : 0;
}

static int make_http(struct httpd *h)
{
	h->http = evhttp_new(h->base);
	if (!h->http)
		return -ENOMEM;
	evhttp_set_default_content_type(h->http, NULL);
	evhttp_set_allowed_methods(h->http, 0xffff);
	evhttp_set_flags(h->http, EVHTTP_SERVER_LINGERING_CLOSE);
	evhttp_set_bevcb(h->http, httpd_conns_accept, &h->site.conns);
	evhttp_set_gencb(h->http, httpd_call_begin, &h->site);
	return httpd_conns_init(&h->site.conns, h->base);
}

static struct httpd *alloc(const struct httpd_route *routes, void *ctx)
{
	struct httpd *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->site.h = h;
	h->site.routes = routes;
	h->site.ctx = ctx;
	pthread_mutex_init(&h->lock, NULL);
	STAILQ_INIT(&h->posts);
	h->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return h;
}

int httpd_new(int listen_fd, const struct httpd_route *routes, void *ctx, struct httpd **ret,
	      struct err *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct httpd *h;
	int rc = check_socket(listen_fd, err);

	if (rc < 0)
		return rc;
	pthread_once(&once, quieten);
	h = alloc(routes, ctx);
	rc = h ? 0 : -ENOMEM;
	if (h && h->wake_fd < 0)
		rc = -errno;
	if (rc == 0)
		rc = make_base(h);
	if (rc == 0)
		rc = make_http(h);
	if (rc == 0)
		rc = bind_listener(h, listen_fd);
	if (rc < 0) {
		httpd_free(h);
		return err_sys(err, rc, "cannot make a server");
	}
	httpd_set_limits(h, &(struct httpd_limits){0});
	*ret = h;
	return 0;
}

static void free_timers(struct httpd *h)
{
	struct timer *timer;

	while ((timer = SLIST_FIRST(&h->timers))) {
		SLIST_REMOVE_HEAD(&h->timers, link);
		event_free(timer->event);
		free(timer);
	}
}

void httpd_free(struct httpd *h)
{
	if (!h)
		return;
	httpd_call_end_all(&h->site);
	if (h->http)
		evhttp_free(h->http);
	httpd_conns_fini(&h->site.conns);
	free_timers(h);
	while (!SLIST_EMPTY(&h->watches))
		httpd_unwatch(h, SLIST_FIRST(&h->watches)->fd);
	free_posts(&h->posts, false);
	if (h->wake)
		event_free(h->wake);
	if (h->base)
		event_base_free(h->base);
	if (h->wake_fd >= 0)
		close(h->wake_fd);
	pthread_mutex_destroy(&h->lock);
	free(h);
}
