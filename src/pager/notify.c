/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/notify.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "store/base/fmt.h"

#define LISTEN_FDS_START 3
#define LISTEN_FDS_LIMIT 1048576
#define NAME_FORMAT "lamina-%u-%u"

/* ---- words to systemd ---- */

/* A leading @ means an abstract name. */
static int address(struct sockaddr_un *ret, socklen_t *ret_len)
{
	const char *path = getenv("NOTIFY_SOCKET");
	size_t len = path ? strlen(path) : 0;

	if (len < 2 || len >= sizeof(ret->sun_path) || (*path != '/' && *path != '@'))
		return -ENOENT;
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(ret->sun_path, path, len);
	if (*path == '@')
		ret->sun_path[0] = '\0';
	*ret_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	return 0;
}

/* With a descriptor, or -1. */
static int tell(const char *text, int passed)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {{0}};
	struct sockaddr_un to;
	struct iovec iov = {(void *)(uintptr_t)text, strlen(text)};
	struct msghdr msg = {.msg_name = &to, .msg_iov = &iov, .msg_iovlen = 1};
	int fd, rc = 0;

	if (address(&to, &msg.msg_namelen) < 0)
		return 0;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (passed >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.head), &passed, sizeof(int));
	}
	if (sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		rc = -errno;
	close(fd);
	return rc;
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

int notify_status(const char *text)
{
	char line[256];

	(void)snprintf(line, sizeof(line), "STATUS=%s", text);
	return tell(line, -1);
}

bool notify_keeps(void)
{
	const char *text = getenv("FDSTORE");
	struct sockaddr_un to;
	socklen_t len;
	uint64_t n;

	return text && fmt_parse_u64(text, &n) == 0 && n > 0 && address(&to, &len) == 0;
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
