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
#define NAME_LEN 16

_Static_assert(KEEP_NROLES <= 16, "one digit");

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

/* ---- what it keeps ---- */

static void name_it(char out[NAME_LEN], uint32_t bag, enum keep_role role)
{
	(void)snprintf(out, NAME_LEN, "%x%x", (unsigned)role, bag);
}

int notify_store(uint32_t bag, enum keep_role role, int fd)
{
	char text[64], name[NAME_LEN];

	name_it(name, bag, role);
	(void)snprintf(text, sizeof(text), "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);
	return tell(text, fd);
}

int notify_remove(uint32_t bag, enum keep_role role)
{
	char text[64], name[NAME_LEN];

	name_it(name, bag, role);
	(void)snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", name);
	return tell(text, -1);
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
	char text[NAME_LEN], again[NAME_LEN];
	unsigned bag, role;

	if (len >= sizeof(text))
		return false;
	memcpy(text, name, len);
	text[len] = '\0';
	if (sscanf(text, "%1x%x", &role, &bag) != 2 || role == 0 || role >= KEEP_LINK)
		return false;
	name_it(again, bag, (enum keep_role)role);
	if (strcmp(text, again) != 0)
		return false;
	*ret = (struct keep_msg){.word = KEEP_BAG, .bag = bag, .n = 1, .role = {(uint8_t)role}};
	return true;
}

static bool is_there(const struct keep_table *table, const struct keep_msg *msg)
{
	return msg->role[0] != KEEP_HOLD &&
	       keep_bag_fd(keep_table_find(table, msg->bag), (enum keep_role)msg->role[0]) >= 0;
}

static bool take(struct keep_table *ret, const char *name, size_t len, int fd)
{
	struct keep_msg msg;

	if (parse_name(name, len, &msg) && !is_there(ret, &msg)) {
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
