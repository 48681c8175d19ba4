/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An extended attribute: the kernel keeps it in memory with the cgroup, so that it is there after
 * a crash, has gone after a boot, is in the guest's snapshot, and a cgroup that is made anew with
 * the same name has none.  It is "END_MS PID START": a number is given again, a start is not.
 */
#include "src/agent/mark.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "store/base/proc.h"

#define NAME "trusted.lamina.frozen"
#define MAX_TEXT 64

int mark_set(int dirfd, uint64_t end_ms)
{
	uint64_t start = 0;
	char text[MAX_TEXT];
	int len;

	(void)proc_start(getpid(), &start);
	len = snprintf(text, sizeof(text), "%" PRIu64 " %d %" PRIu64, end_ms, (int)getpid(), start);
	return fsetxattr(dirfd, NAME, text, (size_t)len, 0) < 0 ? -errno : 0;
}

/* Another one than we, that is. */
static bool lives(pid_t pid, uint64_t began)
{
	uint64_t start;

	return pid > 0 && pid != getpid() && proc_start(pid, &start) == 0 && start == began;
}

int mark_get(int dirfd, uint64_t *ret_end_ms)
{
	char text[MAX_TEXT];
	ssize_t len = fgetxattr(dirfd, NAME, text, sizeof(text) - 1);
	uint64_t end_ms, began;
	int pid;

	if (len < 0)
		return -errno;
	text[len] = '\0';
	if (sscanf(text, "%" SCNu64 " %d %" SCNu64, &end_ms, &pid, &began) != 3)
		return -EBADMSG;
	if (lives(pid, began))
		return -EBUSY;
	*ret_end_ms = end_ms;
	return 0;
}

void mark_clear(int dirfd)
{
	(void)fremovexattr(dirfd, NAME);
}
