/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An extended attribute: the kernel keeps it in memory with the cgroup, so that it is there after
 * a crash, has gone after a boot, is in the guest's snapshot, and a cgroup that is made anew with
 * the same name has none.
 */
#include "src/agent/mark.h"

#include <errno.h>
#include <stdio.h>
#include <sys/xattr.h>

#include "store/base/fmt.h"

#define NAME "trusted.lamina.frozen"

int mark_set(int dirfd, uint64_t end_ms)
{
	char text[24];
	int len = snprintf(text, sizeof(text), "%llu", (unsigned long long)end_ms);

	return fsetxattr(dirfd, NAME, text, (size_t)len, 0) < 0 ? -errno : 0;
}

int mark_get(int dirfd, uint64_t *ret_end_ms)
{
	char text[24];
	ssize_t len = fgetxattr(dirfd, NAME, text, sizeof(text) - 1);

	if (len < 0)
		return -errno;
	text[len] = '\0';
	return fmt_parse_u64(text, ret_end_ms) < 0 ? -EBADMSG : 0;
}

void mark_clear(int dirfd)
{
	(void)fremovexattr(dirfd, NAME);
}
