/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A step is in the table from before its child is forked until the child has been waited for, so
 * that a name is in it once.  `pid` is 0 as long as the thread of step_run() has the child; then
 * the child was killed, and whoever comes by tries to bury it.  The lock covers the table, never a
 * fork or a wait that could last.  A child keeps nothing of ours; when we end, it is killed.
 */
#include "src/agent/step.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/base/aside.h"
#include "store/base/clock.h"

#define MAX_STEPS 16
#define ASK_CANCELLED_MS 100	/* how often */

static struct entry {
	const char *name;	/* NULL: free */
	pid_t pid;
} table[MAX_STEPS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* What a child says at its end. */
struct message {
	int code;
	struct err err;
};

static void reap_locked(void)
{
	for (size_t i = 0; i < MAX_STEPS; i++) {
		pid_t got;

		if (!table[i].name || !table[i].pid)
			continue;
		got = waitpid(table[i].pid, NULL, WNOHANG);
		if (got == table[i].pid || (got < 0 && errno == ECHILD))
			table[i] = (struct entry){0};
	}
}

void step_reap(void)
{
	(void)pthread_mutex_lock(&lock);
	reap_locked();
	(void)pthread_mutex_unlock(&lock);
}

/* NULL: it is busy, or there are too many. */
static struct entry *enter(const char *name)
{
	struct entry *mine = NULL;

	(void)pthread_mutex_lock(&lock);
	reap_locked();
	for (size_t i = 0; i < MAX_STEPS; i++)
		if (table[i].name && !strcmp(table[i].name, name))
			goto busy;
	for (size_t i = 0; i < MAX_STEPS && !mine; i++)
		mine = table[i].name ? NULL : &table[i];
	if (mine)
		*mine = (struct entry){.name = name};
	(void)pthread_mutex_unlock(&lock);
	return mine;
busy:
	(void)pthread_mutex_unlock(&lock);
	return NULL;
}

/* `pid`: killed, and to be buried later; 0: there is none. */
static void leave(struct entry *entry, pid_t pid)
{
	(void)pthread_mutex_lock(&lock);
	if (pid)
		entry->pid = pid;
	else
		*entry = (struct entry){0};
	(void)pthread_mutex_unlock(&lock);
}

static void in_child(int fd, void *arg)
{
	const struct step *step = arg;
	struct message message = {0};

	message.code = step->fn(step, &message.err);
	(void)send(fd, &message, sizeof(message), MSG_NOSIGNAL);
}

/* 0, -ETIMEDOUT, -ECANCELED, -EPIPE: it ended and said nothing. */
static int await(const struct aside *child, uint64_t end_ms, const atomic_bool *cancelled,
		 struct message *ret)
{
	for (;;) {
		uint64_t turn = clock_ms() + ASK_CANCELLED_MS;
		int rc;

		if (cancelled && atomic_load(cancelled))
			return -ECANCELED;
		rc = aside_await(child, ret, sizeof(*ret), turn < end_ms ? turn : end_ms, NULL);
		if (rc != -ETIMEDOUT || turn >= end_ms)
			return rc;
	}
}

/* What a child that has ended, or is about to, said. */
static void take(const struct message *message, int rc, struct step_outcome *ret)
{
	ret->result = rc < 0 || message->code < 0 ? STEP_FAILED : STEP_DONE;
	if (rc < 0)
		(void)err_set(&ret->err, rc, "the step's process was killed");
	else if (message->code < 0)
		(void)err_sys(&ret->err, message->code, "%s", message->err.text);
}

/* The pid of the child if it may live on. */
static pid_t finish(struct aside *child, bool told)
{
	pid_t pid = child->pid, got;

	(void)close(child->fd);
	if (!told)
		(void)kill(pid, SIGKILL);
	do
		got = waitpid(pid, NULL, told ? 0 : WNOHANG);
	while (got < 0 && errno == EINTR);
	return got == 0 ? pid : 0;
}

static int run_child(const struct step *step, uint64_t end_ms, const atomic_bool *cancelled,
		     struct step_outcome *ret, pid_t *left)
{
	struct aside_work work = {.fn = in_child, .arg = (void *)(uintptr_t)step};
	struct message message = {0};
	struct aside child;
	int rc = aside_begin(&work, &child);
	bool told;

	if (rc < 0) {
		ret->result = STEP_FAILED;
		(void)err_sys(&ret->err, rc, "cannot start a process");
		return 0;
	}
	rc = await(&child, end_ms, cancelled, &message);
	told = rc == 0 || rc == -EPIPE;
	if (told)
		take(&message, rc, ret);
	else
		ret->result = STEP_KILLED;
	*left = finish(&child, told);
	return rc == -ECANCELED ? rc : 0;
}

int step_run(const struct step *step, unsigned cap_ms, const atomic_bool *cancelled,
	     struct step_outcome *ret)
{
	uint64_t began = clock_us(), end_ms = clock_ms() + cap_ms;
	struct entry *entry = enter(step->name);
	pid_t left = 0;
	int rc = 0;

	*ret = (struct step_outcome){.result = STEP_BUSY};
	if (entry) {
		rc = run_child(step, end_ms, cancelled, ret, &left);
		leave(entry, left);
	}
	ret->elapsed_us = clock_us() - began;
	return rc;
}

const char *step_name(enum step_result result)
{
	static const char *const names[] = {"done", "failed", "killed", "busy"};

	return names[result];
}

int step_write(const struct step *step, struct err *err)
{
	int fd = open(step->path, O_WRONLY | O_CLOEXEC), rc = 0;

	if (fd < 0)
		return err_set(err, -errno, "cannot open '%s'", step->path);
	if (write(fd, step->text, strlen(step->text)) < 0)
		rc = err_set(err, -errno, "cannot write '%s'", step->path);
	(void)close(fd);
	return rc;
}

int step_sync(const struct step *step, struct err *err)
{
	(void)step;
	(void)err;
	sync();
	return 0;
}
