/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/notify.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "store/base/fmt.h"
#include "store/base/notify.h"

#define LISTEN_FDS_START 3
#define LISTEN_FDS_LIMIT 1048576
#define NAME_FORMAT "lamina-%u-%u"

/* ---- words to systemd ---- */

/* With a descriptor, or -1. */
static int tell(const char *text, int passed)
{
	return notify_send(text, passed, MSG_DONTWAIT);
}

int notify_ready(void)
{
	char text[64];

	(void)snprintf(text, sizeof(text), "READY=1\nMAINPID=%d", (int)getpid());
	return tell(text, -1);
}

int notify_stopping(void)
{
	return tell("STOPPING=1", -1);
}

bool notify_keeps(void)
{
	const char *text = getenv("FDSTORE");
	uint64_t n;

	return text && fmt_parse_u64(text, &n) == 0 && n > 0 && notify_wanted();
}

int notify_store(uint32_t bag, enum keep_role role, int fd)
{
	char text[96];

	(void)snprintf(text, sizeof(text), "FDSTORE=1\nFDPOLL=0\nFDNAME=" NAME_FORMAT, bag,
		       (unsigned)role);
	return tell(text, fd);
}

int notify_remove(uint32_t bag, enum keep_role role)
{
	char text[96];

	(void)snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=" NAME_FORMAT, bag,
		       (unsigned)role);
	return tell(text, -1);
}

static int remove_bag(const struct keep_bag *bag)
{
	int rc, first = 0;

	for (unsigned i = 0; i < bag->n; i++) {
		rc = notify_remove(bag->id, bag->role[i]);
		if (rc < 0 && first == 0)
			first = rc;
	}
	return first;
}

int notify_remove_all(const struct keep_table *table)
{
	int rc, first = 0;

	for (size_t i = 0; i < table->n; i++) {
		rc = remove_bag(&table->v[i]);
		if (rc < 0 && first == 0)
			first = rc;
	}
	return first;
}

/* ---- what systemd kept ---- */

/* How many descriptors were meant for this process. */
static int passed(void)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	uint64_t n;

	if (!pid || !fds || fmt_parse_u64(pid, &n) < 0 || n != (uint64_t)getpid())
		return 0;
	if (fmt_parse_u64(fds, &n) < 0 || n > LISTEN_FDS_LIMIT)
		return 0;
	return (int)n;
}

static bool parse_name(const char *name, size_t len, struct keep_msg *ret)
{
	char text[64];
	unsigned bag, role;
	int end = 0;

	if (len >= sizeof(text))
		return false;
	memcpy(text, name, len);
	text[len] = '\0';
	if (sscanf(text, NAME_FORMAT "%n", &bag, &role, &end) != 2 || (size_t)end != len)
		return false;
	if (role == 0 || role >= KEEP_LINK)
		return false;
	*ret = (struct keep_msg){.word = KEEP_BAG, .bag = bag, .n = 1, .role = {(uint8_t)role}};
	return true;
}

static bool take(struct keep_table *ret, const char *name, size_t len, int fd)
{
	struct keep_msg msg;

	if (parse_name(name, len, &msg)) {
		msg.fd[0] = fd;
		(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
		if (keep_table_put(ret, &msg) == 0)
			return true;
	}
	close(fd);
	return false;
}

int notify_take(struct keep_table *ret)
{
	const char *name = getenv("LISTEN_FDNAMES");
	int n = passed(), taken = 0;

	for (int i = 0; i < n; i++) {
		size_t len = name ? strcspn(name, ":") : 0;

		taken += take(ret, name ? name : "", len, LISTEN_FDS_START + i);
		if (name)
			name = name[len] ? name + len + 1 : NULL;
	}
	(void)unsetenv("LISTEN_PID");
	(void)unsetenv("LISTEN_FDS");
	(void)unsetenv("LISTEN_FDNAMES");
	return taken;
}
