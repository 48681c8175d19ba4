/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/told.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "src/pager/notify.h"
#include "store/base/log.h"
#include "store/base/notify.h"
#include "tests/tap.h"

#define NEVER UINT64_MAX
#define BAGS 3000

static int be_systemd(void)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	(void)snprintf(at.sun_path, sizeof(at.sun_path), "%s", tap_path("notify"));
	(void)unlink(at.sun_path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
		bail("no socket");
	setenv("NOTIFY_SOCKET", at.sun_path, 1);
	return fd;
}

/* The next message, its newlines as spaces; "": there is none.  *ret_fd: as it came, or -1. */
static const char *heard(int from, int *ret_fd)
{
	static char text[256];
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {text, sizeof(text) - 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(from, &msg, MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&msg);

	text[n < 0 ? 0 : n] = '\0';
	*ret_fd = -1;
	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
	for (char *at = text; (at = strchr(at, '\n'));)
		*at = ' ';
	return text;
}

static void hears(int from, const char *want)
{
	int fd;

	is_str(heard(from, &fd), want, *want ? "says '%s'" : "says no more", want);
	if (fd >= 0)
		close(fd);
}

static int new_file(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		bail("no /dev/null");
	return fd;
}

static void put(struct keep_table *table, uint32_t bag, enum keep_role role)
{
	struct keep_msg msg = {.word = KEEP_PUT, .bag = bag, .n = 1, .role = {(uint8_t)role},
			       .fd = {new_file()}};

	if (keep_table_put(table, &msg) < 0)
		bail("no table");
}

static void fill(void)
{
	while (notify_send("STATUS=x", -1, MSG_DONTWAIT) == 0)
		;
}

static void empty(int from)
{
	int fd;

	while (*heard(from, &fd))
		if (fd >= 0)
			close(fd);
}

static void test_order(void)
{
	int from = be_systemd(), fd;
	struct keep_table table = {0};
	struct told told;

	told_init(&told, NULL);
	is_int((long long)told_say(&told, &table, 1), -1, "nothing is to be told");
	put(&table, 0x12, KEEP_STATE);
	put(&table, 0x12, KEEP_HOLD);
	put(&table, 0x12, KEEP_HOLD);
	told_put(&told, 0x12, KEEP_HOLD, false);
	told_put(&told, 0x12, KEEP_STATE, true);
	ok(told_say(&told, &table, 1) == NEVER, "all is said");
	hears(from, "FDSTOREREMOVE=1 FDNAME=212");
	hears(from, "FDSTORE=1 FDPOLL=0 FDNAME=212");
	hears(from, "FDSTORE=1 FDPOLL=0 FDNAME=712");
	hears(from, "FDSTORE=1 FDPOLL=0 FDNAME=712");
	hears(from, "");
	told_drop(&told, keep_table_find(&table, 0x12), KEEP_STATE);
	ok(told_say(&told, &table, 1) == NEVER, "a bag is dropped but for its state");
	hears(from, "FDSTOREREMOVE=1 FDNAME=712");
	hears(from, "");
	told_drop(&told, keep_table_find(&table, 0x12), KEEP_NONE);
	ok(told_say(&told, &table, 1) == NEVER, "a bag is dropped");
	hears(from, "FDSTOREREMOVE=1 FDNAME=212");
	hears(from, "FDSTOREREMOVE=1 FDNAME=712");
	hears(from, "");
	told_all(&told, &table);
	told_ready(&told);
	told_none(&told, &table);
	told_stopping(&told);
	ok(told_say(&told, &table, 1) == NEVER, "of several words the last one counts");
	ok(!strncmp(heard(from, &fd), "READY=1 MAINPID=", 16), "and that it is ready comes first");
	hears(from, "STOPPING=1");
	hears(from, "FDSTOREREMOVE=1 FDNAME=212");
	empty(from);
	told_fini(&told);
	keep_table_fini(&table);
	close(from);
}

/* All that came until there is no more: how many stored, removed. */
static void count(int from, int *stored, int *removed)
{
	const char *text;
	int fd;

	while (*(text = heard(from, &fd))) {
		*stored += fd >= 0 && !strncmp(text, "FDSTORE=1", 9);
		*removed += !strncmp(text, "FDSTOREREMOVE=1", 15);
		if (fd >= 0)
			close(fd);
	}
}

static void test_full(void)
{
	int from = be_systemd(), stored = 0, removed = 0, soon = 0, turns;
	struct keep_table table = {0};
	uint64_t now = 1000, next;
	struct told told;

	told_init(&told, NULL);
	fill();
	for (uint32_t bag = 1; bag <= BAGS; bag++) {
		put(&table, bag, KEEP_UFFD);
		told_put(&told, bag, KEEP_UFFD, false);
	}
	next = told_say(&told, &table, now);
	ok(next > now && next <= now + 256, "one that does not read is asked again later");
	is_int((long long)told_say(&told, &table, next - 1), (long long)next, "not before");
	for (int i = 0; i < 20; i++)
		next = told_say(&told, &table, now = next);
	ok(next - now == 256, "by and by more seldom");
	empty(from);
	next = told_say(&told, &table, now = next);
	for (turns = 0; turns < 2 * BAGS && next != NEVER; turns++) {
		count(from, &stored, &removed);
		soon += next == NEVER || next - now == 1;
		next = told_say(&told, &table, now = next);
	}
	count(from, &stored, &removed);
	ok(next == NEVER, "at last all is said");
	is_int(soon, turns, "and soon, when some was taken");
	is_int(stored, BAGS, "each descriptor once");
	is_int(removed, 0, "and none was to be removed");
	told_fini(&told);
	keep_table_fini(&table);
	close(from);
}

static void test_changed_meanwhile(void)
{
	int from = be_systemd();
	struct keep_table table = {0};
	struct told told;
	uint64_t next;

	told_init(&told, NULL);
	put(&table, 1, KEEP_UFFD);
	put(&table, 2, KEEP_UFFD);
	put(&table, 3, KEEP_STATE);
	fill();
	told_all(&told, &table);
	next = told_say(&told, &table, 1);
	told_drop(&told, keep_table_find(&table, 1), KEEP_NONE);
	(void)keep_table_drop(&table, 1, KEEP_NONE);
	told_drop(&told, keep_table_find(&table, 3), KEEP_NONE);
	told_put(&told, 3, KEEP_STATE, false);
	empty(from);
	ok(told_say(&told, &table, next) == NEVER, "what has changed meanwhile");
	hears(from, "FDSTOREREMOVE=1 FDNAME=23");
	hears(from, "FDSTORE=1 FDPOLL=0 FDNAME=23");
	hears(from, "FDSTORE=1 FDPOLL=0 FDNAME=52");
	hears(from, "FDSTOREREMOVE=1 FDNAME=51");
	hears(from, "");
	told_fini(&told);
	keep_table_fini(&table);
	close(from);
}

static void test_heir(void)
{
	int from = be_systemd();
	struct keep_table table = {0};
	struct told told, heir;

	told_init(&told, NULL);
	put(&table, 1, KEEP_UFFD);
	told_all(&told, &table);
	told_init(&heir, &told);
	ok(told_was_cut_short(&heir), "who dies before he has said all leaves a word");
	ok(told_say(&told, &table, 1) == NEVER, "who has said it");
	ok(!told_was_cut_short(&heir), "does not");
	empty(from);
	fill();
	told_stopping(&told);
	(void)told_say(&told, &table, 1);
	ok(told_was_cut_short(&heir), "also of a word alone");
	told_fini(&told);
	keep_table_fini(&table);
	close(from);
}

static void test_nobody(void)
{
	struct keep_table table = {0};
	struct told told;

	unsetenv("NOTIFY_SOCKET");
	told_init(&told, NULL);
	put(&table, 1, KEEP_UFFD);
	told_all(&told, &table);
	told_ready(&told);
	is_int((long long)told.n, 0, "without systemd nothing is noted");
	ok(told_say(&told, &table, 1) == NEVER, "nor said");
	ok(!told_was_cut_short(&told), "nor left over");
	told_fini(&told);
	keep_table_fini(&table);
}

int main(void)
{
	log_init("told", LOG_LEVEL_ERROR);
	test_order();
	test_full();
	test_changed_meanwhile();
	test_heir();
	test_nobody();
	return tap_done();
}
