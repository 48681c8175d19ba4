/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * As much of systemd as stores descriptors: `systemd COMMAND...` tells and gives COMMAND
 * what it would, and does what its standard input says:
 *
 *	start		COMMAND, with all that is stored
 *	deaf, hear	stop listening; listen again
 *	names		of what is stored, the newest first, and a line `end`
 *	keep DIGITS	forget what has another role
 *
 * Each is answered by a line.  What is stored already (kcmp(2)) is not stored again.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define STORE_MAX 4096
#define NAME_MAX_LEN 64
#define FIRST 3			/* of the descriptors that are passed */
#define PATH "notify"

static struct stored {
	char name[NAME_MAX_LEN];
	int fd;
} store[STORE_MAX];
static size_t stored;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* ---- the store ---- */

static bool is_same(int a, int b)
{
	pid_t me = getpid();

	return syscall(SYS_kcmp, me, me, KCMP_FILE, a, b) == 0;
}

static void add(const char *name, int fd)
{
	for (size_t i = 0; i < stored; i++)
		if (is_same(store[i].fd, fd)) {
			close(fd);
			return;
		}
	if (stored == STORE_MAX)
		die("too many");
	(void)snprintf(store[stored].name, NAME_MAX_LEN, "%s", name);
	store[stored++].fd = fd;
}

static void forget(size_t i)
{
	close(store[i].fd);
	memmove(&store[i], &store[i + 1], (stored - i - 1) * sizeof(store[0]));
	stored--;
}

static void forget_name(const char *name)
{
	for (size_t i = stored; i-- > 0;)
		if (!strcmp(store[i].name, name))
			forget(i);
}

static void keep(const char *roles)
{
	for (size_t i = stored; i-- > 0;)
		if (!strchr(roles, store[i].name[0]))
			forget(i);
}

/* ---- what is said ---- */

static int be_heard(void)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX, .sun_path = PATH};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
		die("bind");
	return fd;
}

/* Takes `fd`, unless it is -1. */
static void heard(const char *text, int fd)
{
	char name[NAME_MAX_LEN] = "stored";
	const char *at = strstr(text, "FDNAME=");

	if (at)
		(void)sscanf(at, "FDNAME=%63s", name);
	if (strstr(text, "FDSTOREREMOVE=1"))
		forget_name(name);
	else if (strstr(text, "FDSTORE=1") && fd >= 0)
		add(name, fd);
	else if (fd >= 0)
		close(fd);
}

static void hear(int from)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	char text[512];
	struct iovec iov = {text, sizeof(text) - 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(from, &msg, MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&msg);
	int fd = -1;

	if (n < 0)
		return;
	text[n] = '\0';
	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(c), sizeof(int));
	heard(text, fd);
}

/* ---- the service ---- */

/* To where the next one's number is no other's source. */
static void pass_all(void)
{
	int high[STORE_MAX];

	for (size_t i = 0; i < stored; i++)
		high[i] = fcntl(store[stored - 1 - i].fd, F_DUPFD_CLOEXEC, FIRST + STORE_MAX);
	for (size_t i = 0; i < stored; i++)
		if (dup2(high[i], FIRST + (int)i) < 0)
			die("dup2");
}

static void set_env(void)
{
	static char names[STORE_MAX * NAME_MAX_LEN];
	char text[32], *end = names;

	for (size_t i = stored; i-- > 0;)
		end += sprintf(end, "%s%s", end == names ? "" : ":", store[i].name);
	(void)setenv("LISTEN_FDNAMES", names, 1);
	(void)snprintf(text, sizeof(text), "%zu", stored);
	(void)setenv("LISTEN_FDS", text, 1);
	(void)snprintf(text, sizeof(text), "%d", (int)getpid());
	(void)setenv("LISTEN_PID", text, 1);
}

static void start(char **argv)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid > 0)
		return;
	set_env();
	pass_all();
	(void)!freopen("/dev/null", "r", stdin);
	execvp(argv[0], argv);
	die(argv[0]);
}

/* ---- commands ---- */

static void obey(char *line, char **argv, bool *deaf)
{
	line[strcspn(line, "\n")] = '\0';
	if (!strcmp(line, "start"))
		start(argv);
	else if (!strcmp(line, "deaf") || !strcmp(line, "hear"))
		*deaf = *line == 'd';
	else if (!strncmp(line, "keep ", 5))
		keep(line + 5);
	else if (!strcmp(line, "names"))
		for (size_t i = stored; i-- > 0;)
			puts(store[i].name);
	else
		die(line);
	puts("end");
	(void)fflush(stdout);
}

int main(int argc, char **argv)
{
	char cwd[200], path[256], line[128];
	struct pollfd p[2] = {{.fd = 0, .events = POLLIN}, {.events = POLLIN}};
	bool deaf = false;

	if (argc < 2 || !getcwd(cwd, sizeof(cwd)))
		return 2;
	(void)snprintf(path, sizeof(path), "%s/" PATH, cwd);
	(void)setenv("NOTIFY_SOCKET", path, 1);
	setvbuf(stdin, NULL, _IONBF, 0);
	p[1].fd = be_heard();
	for (;;) {
		p[1].events = deaf ? 0 : POLLIN;
		if (poll(p, 2, 200) < 0)
			die("poll");
		if (p[1].revents && !deaf)
			hear(p[1].fd);
		else if (p[0].revents && !fgets(line, sizeof(line), stdin))
			return 0;
		else if (p[0].revents)
			obey(line, argv + 1, &deaf);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
}
