/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/base/notify.h"

#include <fcntl.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/tap.h"

/* Listens as systemd does, at a path or at "@name". */
static int be_systemd(const char *name)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	size_t len = strlen(name);

	if (len >= sizeof(at.sun_path))
		bail("the name is too long");
	memcpy(at.sun_path, name, len);
	if (*name == '@')
		at.sun_path[0] = '\0';
	if (fd < 0 || bind(fd, (struct sockaddr *)&at,
			   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
		bail("cannot listen on '%s': %s", name, strerror(errno));
	setenv("NOTIFY_SOCKET", name, 1);
	return fd;
}

/* What was said, or ""; *ret_fd: what came with it, or -1. */
static const char *heard(int fd, int *ret_fd)
{
	static char text[256];
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(4 * sizeof(int))];
	} control;
	struct iovec iov = {text, sizeof(text) - 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&msg);

	text[n < 0 ? 0 : n] = '\0';
	*ret_fd = -1;
	if (c && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
	return text;
}

static void test_words(const char *name)
{
	int fd = be_systemd(name), passed, null;

	ok(notify_wanted(), "%s: somebody listens", name);
	is_int(notify_send("READY=1\nMAINPID=7", -1, 0), 0, "a word");
	is_str(heard(fd, &passed), "READY=1\nMAINPID=7", "is heard");
	is_int(passed, -1, "alone");
	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	is_int(notify_send("FDSTORE=1", null, MSG_DONTWAIT), 0, "a descriptor");
	is_str(heard(fd, &passed), "FDSTORE=1", "is heard of");
	ok(passed >= 0 && passed != null, "and comes");
	is_str(heard(fd, &null), "", "that is all");
	close(passed);
	close(fd);
}

static void test_full(void)
{
	int fd = be_systemd(tap_path("full")), rc = 0;

	for (int i = 0; i < 100000 && rc == 0; i++)
		rc = notify_send("STATUS=x", -1, MSG_DONTWAIT);
	is_int(rc, -EAGAIN, "nobody waits for a systemd that does not read");
	close(fd);
	is_int(notify_send("READY=1", -1, 0), -ECONNREFUSED, "nor for one that is gone");
}

static void test_nobody(void)
{
	static const char *const names[] = {"", "@", "/", "relative", "vsock:2:1234"};
	char name[200];

	memset(name, '/', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	setenv("NOTIFY_SOCKET", name, 1);
	ok(!notify_wanted() && notify_send("READY=1", -1, 0) == 0, "a name that is too long");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		setenv("NOTIFY_SOCKET", names[i], 1);
		ok(!notify_wanted(), "'%s' is nobody", names[i]);
		is_int(notify_send("READY=1", -1, 0), 0, "who is told in vain");
	}
	unsetenv("NOTIFY_SOCKET");
	ok(!notify_wanted() && notify_send("READY=1", -1, 0) == 0, "nor is nothing");
}

int main(void)
{
	char name[64];

	(void)snprintf(name, sizeof(name), "@lamina-test-%d", (int)getpid());
	test_words(name);
	test_words(tap_path("notify"));
	test_full();
	test_nobody();
	return tap_done();
}
