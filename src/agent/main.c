/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lamina-agent(8).  What dirties memory of the guest for nothing is what it is against: it
 * sleeps while nobody asks, has one heap for all threads, and says nothing on standard output.
 */
#include "config.h"

#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/agent/api.h"
#include "src/agent/cgroup.h"
#include "store/base/notify.h"

#define EXIT_USAGE 2
#define TRIM_MIN 131072		/* bytes of the heap that nobody uses */

struct agent {
	struct front front;
	struct api api;
	int signal_fd;
};

/* Threads that are started later inherit this. */
static int block_signals(struct err *err)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGPIPE);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? err_sys(err, -errno, "cannot wait for signals") : fd;
}

static void on_signal(int fd, void *arg)
{
	struct agent *agent = arg;
	struct signalfd_siginfo info;

	if (read(fd, &info, sizeof(info)) != sizeof(info))
		return;
	logs_add(LOGS_INFO, "ends by signal %u", info.ssi_signo);
	httpd_stop(agent->front.httpd);
}

static void on_held_long(int fd, void *arg)
{
	struct freeze *freeze = arg;
	json_t *thawed = json_array(), *name;
	size_t i;

	(void)fd;
	freeze_expire(freeze, thawed);
	json_array_foreach(thawed, i, name)
		logs_add(LOGS_WARNING, "cgroup '%s' was thawed: nobody had in time",
			 json_string_value(name));
	json_decref(thawed);
}

/* Not before the sockets are ours: one that could not start thaws nothing of another's. */
static void adopt(struct freeze *freeze)
{
	json_t *frozen = json_array(), *name;
	size_t i;

	freeze_adopt(freeze, frozen);
	json_array_foreach(frozen, i, name)
		logs_add(LOGS_WARNING, "cgroup '%s' was frozen by an agent that did not thaw it",
			 json_string_value(name));
	json_decref(frozen);
}

/* What a burst of requests has left on the heap is the guest's again. */
static void on_ended(void *arg)
{
	(void)arg;
	if (mallinfo2().fordblks >= TRIM_MIN)
		(void)malloc_trim(0);
}

static int watch(struct agent *agent)
{
	struct httpd *h = agent->front.httpd;
	int rc = httpd_watch(h, agent->signal_fd, on_signal, agent);

	httpd_on_ended(h, on_ended, NULL);
	if (rc == 0)
		rc = httpd_watch(h, freeze_fd(agent->api.freeze), on_held_long, agent->api.freeze);
	return rc;
}

static int open_all(struct agent *agent, const struct args *args, struct err *err)
{
	struct api *api = &agent->api;
	int rc = agent->signal_fd = block_signals(err);

	if (rc >= 0)
		rc = freeze_new(0, (int)args->thaw_after_s * 1000, &api->freeze, err);
	if (rc == 0)
		rc = front_open(&agent->front, args, api_routes, api, err);
	if (rc == 0)
		rc = job_new(agent->front.httpd, api, &api->jobs, err);
	if (rc == 0)
		rc = follow_new(agent->front.httpd, &api->follow, err);
	api->front = &agent->front;
	if (rc == 0 && watch(agent) < 0)
		rc = err_set(err, -ENOMEM, "out of memory");
	if (rc == 0)
		adopt(api->freeze);
	return rc;
}

/* Threads that are at work still know what would be freed: then the kernel does it. */
static void close_all(struct agent *agent)
{
	struct api *api = &agent->api;
	bool works = api->jobs && job_count(api->jobs) > 0;

	if (works && api->freeze)
		(void)freeze_end(api->freeze, NULL, NULL, NULL);
	if (works) {
		front_unlink(&agent->front);
		_exit(EXIT_SUCCESS);
	}
	front_close(&agent->front);
	follow_free(api->follow);
	job_free(api->jobs);
	freeze_free(api->freeze);
	if (agent->signal_fd >= 0)
		close(agent->signal_fd);
	logs_fini();
}

static int serve(const struct args *args, struct err *err)
{
	struct agent agent = {.signal_fd = -1};
	int rc = open_all(&agent, args, err);

	if (rc == 0) {
		logs_add(LOGS_INFO, "lamina-agent " PACKAGE_VERSION " serves");
		if (notify_send("READY=1", -1, 0) < 0)
			logs_add(LOGS_WARNING, "cannot tell systemd that it runs");
		rc = httpd_run(agent.front.httpd, err);
	}
	close_all(&agent);
	return rc;
}

static int run(const struct args *args)
{
	struct err err = {""};
	int rc;

	(void)mallopt(M_ARENA_MAX, 1);
	(void)umask(077);
	cgroup_set_root(args->cgroup_root);
	rc = logs_init(args->level, args->kmsg);
	if (rc < 0)
		logs_add(LOGS_WARNING, "the kernel's log cannot be written to: %s",
			 strerrordesc_np(-rc));
	rc = serve(args, &err);
	if (rc < 0)
		fprintf(stderr, "lamina-agent: %s\n", err.text);
	return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct args args;
	struct err err = {""};

	if (args_parse(&args, argc, argv, &err) < 0) {
		fprintf(stderr, "lamina-agent: %s\nTry 'lamina-agent --help'.\n", err.text);
		return EXIT_USAGE;
	}
	if (args.action == ARGS_VERSION)
		puts("lamina-agent " PACKAGE_VERSION);
	else if (args.action == ARGS_HELP)
		fputs(args_help(), stdout);
	else
		return run(&args);
	return EXIT_SUCCESS;
}
