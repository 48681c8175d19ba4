/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rig: a keeper with a stand-in for the worker, which does what it is told over the
 * socket that is kept as KEEP_API:
 *
 *	PUT, DROP, STOP	asks the keeper the same; OK, or NO with its errno
 *	TAKE		sends all descriptors that it has
 *	YES		OK with its pid
 *	QUIT		ends with status arg
 *
 * While the file RUNTIME/sick is there, it ends before it serves.
 */
#ifndef LAMINA_TESTS_PAGER_RIG_H
#define LAMINA_TESTS_PAGER_RIG_H

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "src/pager/keep.h"
#include "src/pager/keeper.h"
#include "src/pager/takeover.h"
#include "src/pager/unixsock.h"
#include "store/base/log.h"
#include "tests/tap.h"

#define RIG_FN static inline __attribute__((unused))

struct rig {
	const char *dir;
	const char *stop_command;
	const struct sandbox *sandbox;
	int stop_signal;
	pid_t pid;		/* of the first keeper, our child */
	int ctl;
	int ready;		/* gets a byte when it serves */
};

/* ---- the stand-in ---- */

struct rig_worker {
	struct keep_table bags;
	int api;
};

RIG_FN int rig_on_bag(void *ctx, struct keep_msg *msg)
{
	struct rig_worker *w = ctx;

	if (keep_table_put(&w->bags, msg) < 0)
		bail("the worker cannot take a bag");
	return 0;
}

RIG_FN void rig_on_quit(void *ctx)
{
	(void)ctx;
	_exit(0);
}

RIG_FN void rig_on_end(void *ctx)
{
	(void)ctx;
	_exit(7);
}

/* What is put belongs to the table as well. */
RIG_FN int rig_obey(struct rig_worker *w, struct keep_link *link, struct keep_msg *msg)
{
	int rc;

	if (msg->word == KEEP_QUIT)
		_exit((int)msg->arg);
	rc = keep_ask(link, msg);
	if (rc == 0 && msg->word == KEEP_PUT) {
		rc = keep_table_put(&w->bags, msg);
		msg->n = 0;
	}
	if (rc == 0 && msg->word == KEEP_DROP)
		rc = keep_table_drop(&w->bags, msg->bag, (enum keep_role)msg->arg);
	keep_msg_close(msg);
	return rc;
}

RIG_FN int rig_worker(const struct worker_args *args)
{
	struct rig_worker w = {{0}, -1};
	struct keep_hooks hooks = {&w, rig_on_bag, rig_on_quit, rig_on_end};
	struct keep_link *link;
	struct keep_msg msg;
	char sick[PATH_MAX];

	(void)snprintf(sick, sizeof(sick), "%s/sick", args->runtime_dir);
	if (access(sick, F_OK) == 0)
		return 3;
	if (keep_link_new(args->link, &hooks, &link, NULL) < 0)
		return 4;
	w.api = keep_bag_fd(keep_table_find(&w.bags, KEEP_BAG_PAGER), KEEP_API);
	(void)keep_serving(link);
	while (keep_recv(w.api, &msg) > 0) {
		if (msg.word == KEEP_YES) {
			(void)keep_say(w.api, KEEP_OK, getpid());
		} else if (msg.word == KEEP_TAKE) {
			(void)keep_table_send(&w.bags, w.api);
		} else {
			int rc = rig_obey(&w, link, &msg);

			(void)keep_say(w.api, rc < 0 ? KEEP_NO : KEEP_OK, rc < 0 ? -rc : 0);
		}
	}
	return 5;
}

/* ---- the rig ---- */

RIG_FN void rig_run(const struct rig *rig, struct keep_table *bags, int ready)
{
	struct keeper_config config = {
		.runtime_dir = rig->dir,
		.stop_signal = rig->stop_signal ? rig->stop_signal : SIGKILL,
		.stop_command = rig->stop_command,
		.sandbox = rig->sandbox,
		.worker = rig_worker,
		.ready_fd = ready,
	};
	struct err err = {""};
	int listening = takeover_listen(rig->dir, &err), rc;

	log_init("keeper", LOG_LEVEL_ERROR);
	rc = listening < 0 ? listening : keeper_run(&config, bags, listening, &err);
	if (rc < 0)
		tap_diag("keeper: %s", err.text);
	keep_table_fini(bags);
	_exit(rc < 0 ? 1 : 0);
}

/* Starts a keeper that has `bags` (the API's is added when bag 0 is not there). */
RIG_FN void rig_start_with(struct rig *rig, struct keep_table *bags)
{
	struct keep_msg msg = {.word = KEEP_BAG, .n = 1, .role = {KEEP_API}};
	int pair[2], ready[2];

	if (pipe2(ready, O_CLOEXEC) < 0)
		bail("no pipe");
	if (!keep_table_find(bags, KEEP_BAG_PAGER)) {
		if (keep_pair(pair) < 0)
			bail("no pair");
		rig->ctl = pair[0];
		msg.fd[0] = pair[1];
		if (keep_table_put(bags, &msg) < 0)
			bail("no table");
	}
	fflush(stdout);
	rig->pid = fork();
	if (rig->pid == 0) {
		/* Whoever outlives us must not keep those waiting who read our results. */
		(void)dup2(STDERR_FILENO, STDOUT_FILENO);
		close(rig->ctl);
		close(ready[0]);
		rig_run(rig, bags, ready[1]);
	}
	keep_table_fini(bags);
	close(ready[1]);
	rig->ready = ready[0];
}

RIG_FN bool rig_is_ready(struct rig *rig)
{
	char byte;
	bool ready = read(rig->ready, &byte, 1) == 1;

	close(rig->ready);
	return ready;
}

RIG_FN void rig_start(struct rig *rig)
{
	struct keep_table none = {0};

	rig_start_with(rig, &none);
	if (!rig_is_ready(rig))
		bail("the keeper does not come up");
}

/* -errno of the answer, or its arg. */
RIG_FN long long rig_tell(const struct rig *rig, const struct keep_msg *msg)
{
	struct keep_msg answer;

	(void)keep_timeout(rig->ctl, 30000);
	if (keep_send(rig->ctl, msg) < 0 || keep_recv(rig->ctl, &answer) <= 0)
		bail("the worker does not answer");
	return answer.word == KEEP_OK ? answer.arg : -answer.arg;
}

RIG_FN pid_t rig_worker_pid(const struct rig *rig)
{
	struct keep_msg msg = {.word = KEEP_YES};

	return (pid_t)rig_tell(rig, &msg);
}

RIG_FN int rig_put(const struct rig *rig, uint32_t bag, enum keep_role role, int fd)
{
	struct keep_msg msg = {.word = KEEP_PUT, .bag = bag, .n = 1, .role = {(uint8_t)role},
			       .fd = {fd}};

	return (int)rig_tell(rig, &msg);
}

RIG_FN int rig_drop(const struct rig *rig, uint32_t bag)
{
	struct keep_msg msg = {.word = KEEP_DROP, .bag = bag};

	return (int)rig_tell(rig, &msg);
}

/* All that the worker has. */
RIG_FN void rig_dump(const struct rig *rig, struct keep_table *ret)
{
	*ret = (struct keep_table){0};
	if (keep_say(rig->ctl, KEEP_TAKE, 0) < 0 || keep_table_recv(ret, rig->ctl) < 0)
		bail("the worker does not show its bags");
}

/* Who listens at keeper.sock now; 0: nobody. */
RIG_FN pid_t rig_keeper_pid(const struct rig *rig)
{
	struct ucred peer = {0};
	socklen_t len = sizeof(peer);
	char path[PATH_MAX];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/keeper.sock", rig->dir);
	fd = unixsock_connect(path, SOCK_SEQPACKET);
	if (fd < 0)
		return 0;
	(void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len);
	close(fd);
	return peer.pid;
}

RIG_FN void rig_nap(void)
{
	struct timespec ts = {.tv_nsec = 1000000};

	(void)nanosleep(&ts, NULL);
}

/* Kills a process and waits until nothing is left of it. */
RIG_FN void rig_kill(pid_t pid)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	if (pid <= 1 || pidfd < 0)
		bail("no process %d", (int)pid);
	(void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	if (poll(&p, 1, 30000) != 1)
		bail("process %d does not die", (int)pid);
	close(pidfd);
	(void)waitpid(pid, NULL, WNOHANG);
}

/* Kills the keeper; the next one's pid. */
RIG_FN pid_t rig_kill_keeper(const struct rig *rig)
{
	pid_t old = rig_keeper_pid(rig), now;

	rig_kill(old);
	for (int i = 0; i < 30000; i++) {
		now = rig_keeper_pid(rig);
		if (now > 0 && now != old)
			return now;
		rig_nap();
	}
	bail("no new keeper");
}

/* A pid in the keeper's children whose name is `comm`, or 0. */
RIG_FN pid_t rig_child(pid_t keeper, const char *comm)
{
	char path[128], name[64];
	int pid, found = 0;
	FILE *file, *one;

	(void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)keeper, (int)keeper);
	file = fopen(path, "re");
	while (file && !found && fscanf(file, "%d", &pid) == 1) {
		(void)snprintf(path, sizeof(path), "/proc/%d/comm", pid);
		one = fopen(path, "re");
		if (one && fgets(name, sizeof(name), one) && !strncmp(name, comm, strlen(comm)))
			found = pid;
		if (one)
			(void)fclose(one);
	}
	if (file)
		(void)fclose(file);
	return found;
}

/* What is said to a worker that is about to end may be lost with it. */
RIG_FN void rig_wait_for_other(const struct rig *rig, pid_t worker)
{
	pid_t now = 0;

	for (int i = 0; i < 30000 && (now == 0 || now == worker); i++) {
		now = rig_child(rig_keeper_pid(rig), "pager-worker");
		rig_nap();
	}
}

RIG_FN int rig_count_fds(pid_t pid)
{
	char path[64], link[128];
	struct stat st;
	int n = 0;

	for (int fd = 0; fd < 4096; fd++) {
		(void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, fd);
		n += lstat(path, &st) == 0 && readlink(path, link, sizeof(link)) > 0;
	}
	return n;
}

/* The exit status of our child, the first keeper. */
RIG_FN int rig_status(const struct rig *rig)
{
	int status = -1;

	if (waitpid(rig->pid, &status, 0) != rig->pid)
		bail("no such child");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* Ends whatever keeper there is, twice asked. */
RIG_FN void rig_stop(struct rig *rig)
{
	pid_t pid = rig_keeper_pid(rig);
	int pidfd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	for (int i = 0; pidfd >= 0 && i < 100 && poll(&p, 1, i ? 300 : 0) == 0; i++)
		(void)kill(pid, SIGTERM);
	if (pidfd >= 0)
		close(pidfd);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	close(rig->ctl);
}

/* Kills what is left of us. */
RIG_FN void rig_leave_nobody(void)
{
	char path[64], ours[PATH_MAX], its[PATH_MAX];
	DIR *proc = opendir("/proc");
	ssize_t len = readlink("/proc/self/exe", ours, sizeof(ours));
	struct dirent *d;

	while (proc && len > 0 && (d = readdir(proc))) {
		int pid = atoi(d->d_name);

		(void)snprintf(path, sizeof(path), "/proc/%d/exe", pid);
		if (pid <= 1 || pid == getpid() || readlink(path, its, sizeof(its)) != len ||
		    memcmp(its, ours, (size_t)len) != 0)
			continue;
		tap_diag("process %d was left", pid);
		(void)kill(pid, SIGKILL);
	}
	if (proc)
		(void)closedir(proc);
}

/* ---- descriptors whose identity can be told ---- */

/* The read end of a pipe that has `text` in it. */
RIG_FN int rig_pipe(const char *text)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0 ||
	    write(fds[1], text, strlen(text)) != (ssize_t)strlen(text))
		bail("no pipe");
	close(fds[1]);
	return fds[0];
}

RIG_FN ino_t rig_inode(int fd)
{
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 ? st.st_ino : 0;
}

#endif
