/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/holders.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "tests/tap.h"

static char who[256];

static dev_t device_of(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		bail("cannot look at a descriptor");
	return st.st_dev;
}

/* sleep(1) stands for a daemon; its arguments are no other's on this machine. */
static void daemons(void)
{
	char first[32], last[32];
	int fds[4];
	pid_t pid;

	(void)snprintf(first, sizeof(first), "60.%d", (int)getpid());
	(void)snprintf(last, sizeof(last), "00061.%d", (int)getpid());
	pid = fork();
	if (pid == 0) {
		execlp("sleep", "sleep", first, last, NULL);
		_exit(1);
	}
	while (holders_daemons("sleep", last, fds, 4) == 0)
		usleep(1000);
	close(fds[0]);
	is_int(holders_daemons("sleep", last, fds, 0), 0, "no more than asked for");
	is_int(holders_daemons("sleep", last + 1, fds, 4), 0, "the whole argument counts");
	is_int(holders_daemons("sleep", first, fds, 4), 0, "and only the last one");
	is_int(holders_daemons("sloop", last, fds, 4), 0, "and the name");
	kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
	is_int(holders_daemons("sleep", last, fds, 4), 0, "until it has ended");
}

/* A pipe and a memfd are on kernel-internal devices that files have in common. */
int main(void)
{
	int fd = memfd_create("held", MFD_CLOEXEC);
	dev_t dev = fd < 0 ? 0 : device_of(fd);
	char me[64], tiny[8];
	void *map;

	if (fd < 0 || ftruncate(fd, 4096) < 0)
		bail("no memfd");
	(void)snprintf(me, sizeof(me), "pid %d (", (int)getpid());
	ok(holders_find(dev, who, sizeof(who)) >= 1, "somebody has it open");
	ok(strstr(who, me) != NULL, "we do: %s", who);
	map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	ok(map != MAP_FAILED && holders_find(dev, who, sizeof(who)) >= 1 && strstr(who, me),
	   "a map holds it, too");
	ok(holders_find(dev, tiny, sizeof(tiny)) >= 1 && strlen(tiny) < sizeof(tiny),
	   "a short buffer is not overrun");
	munmap(map, 4096);
	is_int(holders_find(makedev(4000, 1), who, sizeof(who)), 0, "nobody has what is not there");
	is_str(who, "", "and nobody is named");
	daemons();
	return tap_done();
}
