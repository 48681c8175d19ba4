/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/keep.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "tests/tap.h"

static int link_pair[2];

static void make_pair(void)
{
	if (keep_pair(link_pair) < 0)
		bail("no pair");
}

static void close_pair(void)
{
	close(link_pair[0]);
	close(link_pair[1]);
}

static int new_fd(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		bail("no descriptor");
	return fd;
}

static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void test_messages(void)
{
	struct keep_msg out = {.word = KEEP_STOP, .bag = 7, .arg = -5, .text = "vm-1", .n = 2,
			       .role = {KEEP_UFFD, KEEP_HOLD}}, in;
	int before = count_fds();

	make_pair();
	out.fd[0] = new_fd();
	out.fd[1] = new_fd();
	is_int(keep_send(link_pair[0], &out), 0, "a message is sent");
	is_int(keep_recv(link_pair[1], &in), 1, "and received");
	ok(in.word == KEEP_STOP && in.bag == 7 && in.arg == -5, "word, bag and arg are the same");
	is_str(in.text, "vm-1", "and the text");
	ok(in.n == 2 && in.role[0] == KEEP_UFFD && in.role[1] == KEEP_HOLD, "and the roles");
	ok(in.fd[0] != out.fd[0] && is_open(in.fd[0]), "the descriptors are new ones");
	ok(fcntl(in.fd[1], F_GETFD) & FD_CLOEXEC, "and close on exec");
	keep_msg_close(&in);
	keep_msg_close(&out);
	is_int(keep_timeout(link_pair[1], 1), 0, "with a timeout");
	is_int(keep_recv(link_pair[1], &in), -EAGAIN, "nothing is -EAGAIN");
	is_int(keep_say(link_pair[0], KEEP_QUIT, 3), 0, "the last word");
	close(link_pair[0]);
	ok(keep_recv(link_pair[1], &in) == 1 && in.arg == 3, "comes before the end");
	is_int(keep_recv(link_pair[1], &in), 0, "then the end");
	is_int(keep_say(link_pair[1], KEEP_OK, 0), -EPIPE, "nobody hears an answer");
	close(link_pair[1]);
	is_int(count_fds(), before, "nothing is left open");
}

/* The other end closes with something unread: what it had said is heard all the same. */
static void test_reset(void)
{
	struct keep_msg in;

	make_pair();
	(void)keep_say(link_pair[1], KEEP_OK, 0);
	(void)keep_say(link_pair[0], KEEP_NO, 4);
	close(link_pair[0]);
	is_int(keep_recv(link_pair[1], &in), 1, "a reset does not swallow a message");
	is_int(in.arg, 4, "which is the last one");
	is_int(keep_recv(link_pair[1], &in), 0, "then the end");
	close(link_pair[1]);
}

static void send_raw(const void *bytes, size_t len, int fd)
{
	struct iovec iov = {(void *)(uintptr_t)bytes, len};
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {{0}};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		control.head = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.head), &fd, sizeof(int));
	}
	if (sendmsg(link_pair[0], &msg, 0) < 0)
		bail("cannot send");
}

static void test_nonsense(void)
{
	uint8_t bytes[512] = {0};
	struct keep_msg in = {.bag = 77};
	int fd = new_fd(), before;
	const size_t head = 4 + 4 + 8 + KEEP_TEXT_MAX + 4;

	make_pair();
	before = count_fds();
	send_raw(bytes, 1, -1);
	is_int(keep_recv(link_pair[1], &in), -EBADMSG, "a byte is no message");
	send_raw(bytes, head, -1);
	is_int(keep_recv(link_pair[1], &in), -EBADMSG, "nor is word 0");
	bytes[0] = KEEP_NWORDS;
	send_raw(bytes, head, -1);
	is_int(keep_recv(link_pair[1], &in), -EBADMSG, "nor a word that is none");
	bytes[0] = KEEP_PUT;
	send_raw(bytes, head, fd);
	is_int(keep_recv(link_pair[1], &in), -EBADMSG, "nor a descriptor without a role");
	bytes[head - 4] = 1;
	send_raw(bytes, head + 1, fd);
	is_int(keep_recv(link_pair[1], &in), -EBADMSG, "nor role 0");
	bytes[head] = KEEP_UFFD;
	send_raw(bytes, head + 1, -1);
	is_int(keep_recv(link_pair[1], &in), -EBADMSG, "nor a role without a descriptor");
	send_raw(bytes, sizeof(bytes), fd);
	is_int(keep_recv(link_pair[1], &in), -EBADMSG, "nor what is too long");
	memset(bytes + 16, 'x', KEEP_TEXT_MAX);
	send_raw(bytes, head + 1, fd);
	is_int(keep_recv(link_pair[1], &in), -EBADMSG, "nor a text without an end");
	is_int(in.bag, 77, "the output was not touched");
	is_int(count_fds(), before, "and nothing is left open");
	bytes[16] = '\0';
	bytes[16 + KEEP_TEXT_MAX - 1] = '\0';
	send_raw(bytes, head + 1, fd);
	is_int(keep_recv(link_pair[1], &in), 1, "all put right, it is one");
	keep_msg_close(&in);
	close(fd);
	close_pair();
}

static struct keep_msg put_of(uint32_t bag, enum keep_role role, int fd)
{
	return (struct keep_msg){.word = KEEP_PUT, .bag = bag, .n = 1, .role = {(uint8_t)role},
				 .fd = {fd}};
}

static void test_table(void)
{
	struct keep_table t = {0};
	struct keep_msg msg;
	int before = count_fds(), first = new_fd(), second;

	msg = put_of(5, KEEP_STATE, first);
	is_int(keep_table_put(&t, &msg), 0, "a bag is begun");
	second = new_fd();
	msg = put_of(5, KEEP_STATE, second);
	is_int(keep_table_put(&t, &msg), 0, "a role is put again");
	ok(!is_open(first), "the old descriptor is closed");
	is_int(keep_bag_fd(keep_table_find(&t, 5), KEEP_STATE), second, "the new one is there");
	is_int(keep_bag_fd(keep_table_find(&t, 5), KEEP_UFFD), -ENOENT, "another role is not");
	is_int(keep_bag_fd(keep_table_find(&t, 6), KEEP_UFFD), -ENOENT, "nor another bag");
	for (int i = 1; i < KEEP_FDS_MAX; i++) {
		msg = put_of(5, KEEP_HOLD, new_fd());
		if (keep_table_put(&t, &msg) != 0)
			bail("hold %d is not taken", i);
	}
	is_int(keep_table_find(&t, 5)->n, KEEP_FDS_MAX, "holds add up");
	msg = put_of(5, KEEP_HOLD, new_fd());
	is_int(keep_table_put(&t, &msg), -ENOSPC, "to a limit");
	ok(is_open(msg.fd[0]), "a refused descriptor stays the caller's");
	close(msg.fd[0]);
	msg = put_of(5, KEEP_STATE, new_fd());
	is_int(keep_table_put(&t, &msg), 0, "a full bag has a role replaced");
	msg = put_of(5, KEEP_LINK, 0);
	is_int(keep_table_put(&t, &msg), -EINVAL, "a link is in no bag");
	msg = put_of(0, KEEP_API, new_fd());
	is_int(keep_table_put(&t, &msg), 0, "another bag");
	ok(t.v[0].id == 0 && t.v[1].id == 5, "bags are in order");
	first = keep_bag_fd(keep_table_find(&t, 5), KEEP_STATE);
	is_int(keep_table_drop(&t, 5, KEEP_STATE), 0, "a bag is dropped but for one role");
	ok(keep_table_find(&t, 5) && keep_table_find(&t, 5)->n == 1 &&
	   keep_bag_fd(keep_table_find(&t, 5), KEEP_STATE) == first && is_open(first),
	   "which stays");
	is_int(keep_table_drop(&t, 5, KEEP_UFFD), 0, "but for one that it does not have");
	ok(!keep_table_find(&t, 5) && !is_open(first), "it is gone");
	is_int(keep_table_drop(&t, 5, KEEP_NONE), -ENOENT, "and cannot be dropped again");
	is_int(keep_table_drop(&t, 0, KEEP_NONE), 0, "nor is anything left of another one");
	is_int((long long)t.n, 0, "none is there");
	msg = put_of(9, KEEP_STATE, new_fd());
	is_int(keep_table_put(&t, &msg), 0, "what is there in the end");
	keep_table_fini(&t);
	is_int(count_fds(), before, "nothing is left open");
}

static void test_table_travels(void)
{
	struct keep_table t = {0}, u = {0};
	struct keep_msg msg;
	int before = count_fds();

	make_pair();
	for (uint32_t bag = 0; bag < 30; bag++) {
		msg = put_of(bag * 3, KEEP_STATE, new_fd());
		if (keep_table_put(&t, &msg) < 0)
			bail("no table");
	}
	is_int(keep_table_send(&t, link_pair[0]), 0, "a table is sent");
	is_int(keep_table_recv(&u, link_pair[1]), 0, "and received");
	is_int(u.n, 30, "with all bags");
	ok(keep_table_find(&u, 87) != NULL, "by their names");
	keep_table_fini(&u);
	(void)keep_say(link_pair[0], KEEP_NO, EBUSY);
	is_int(keep_table_recv(&u, link_pair[1]), -EBUSY, "NO is its errno");
	keep_table_fini(&t);
	close_pair();
	is_int(count_fds(), before, "nothing is left open");
}

/* ---- the link, against a keeper that is this test ---- */

struct heard {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int bags, quits, ends;
};

static int on_bag(void *ctx, struct keep_msg *msg)
{
	((struct heard *)ctx)->bags++;
	keep_msg_close(msg);
	return 0;
}

static void note(struct heard *h, int *which)
{
	pthread_mutex_lock(&h->lock);
	++*which;
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
}

static void on_quit(void *ctx)
{
	note(ctx, &((struct heard *)ctx)->quits);
}

static void on_end(void *ctx)
{
	note(ctx, &((struct heard *)ctx)->ends);
}

static void wait_for(struct heard *h, int *which)
{
	pthread_mutex_lock(&h->lock);
	while (*which == 0)
		pthread_cond_wait(&h->changed, &h->lock);
	pthread_mutex_unlock(&h->lock);
}

struct asking {
	struct keep_link *link;
	int fd;
	int rc;
};

static void *ask(void *arg)
{
	struct asking *a = arg;

	a->rc = keep_put(a->link, 3, KEEP_CONN, a->fd);
	return NULL;
}

static int hear(int link, struct keep_msg *ret)
{
	int rc = keep_recv(link, ret);

	keep_msg_close(ret);
	return rc == 1 ? (int)ret->word : rc;
}

/* A keeper dies with a request unanswered; what the next one is told. */
static void test_link(void)
{
	struct heard h = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0};
	struct keep_hooks hooks = {&h, on_bag, on_quit, on_end};
	struct keep_msg spare = {.word = KEEP_SPARE, .n = 1, .role = {KEEP_LINK}}, msg;
	struct keep_table t = {0};
	int before = count_fds(), spares[2], heir;
	struct asking a = {.fd = new_fd()};
	struct err err = {""};
	pthread_t thread;

	make_pair();
	if (keep_pair(spares) < 0)
		bail("no pair");
	spare.fd[0] = spares[1];
	msg = put_of(2, KEEP_STATE, new_fd());
	(void)keep_table_put(&t, &msg);
	(void)keep_send(link_pair[0], &spare);
	close(spares[1]);
	(void)keep_table_send(&t, link_pair[0]);
	keep_table_fini(&t);
	is_int(keep_link_new(link_pair[1], &hooks, &a.link, &err), 0, "a link begins");
	is_int(h.bags, 1, "with the bags that were kept");
	is_int(keep_serving(a.link), 0, "the worker serves");
	is_int(hear(link_pair[0], &msg), KEEP_SERVING, "and the keeper hears of it");
	is_int(keep_end(a.link), 0, "it asks for the end");
	is_int(hear(link_pair[0], &msg), KEEP_END, "which is heard, too");

	(void)keep_say(link_pair[0], KEEP_QUIT, 0);
	wait_for(&h, &h.quits);
	ok(h.quits == 1, "QUIT is heard at once");

	pthread_create(&thread, NULL, ask, &a);
	is_int(hear(link_pair[0], &msg), KEEP_PUT, "a descriptor is put");
	close(link_pair[0]);
	is_int(keep_recv(spares[0], &msg), 1, "the keeper ends, and the spare is called");
	ok(msg.word == KEEP_HEIR && msg.n == 2, "to be the next");
	heir = msg.fd[0];
	close(msg.fd[1]);
	is_int(keep_table_recv(&t, heir), 0, "it is given what was kept");
	ok(t.n == 1 && keep_table_find(&t, 2), "without what nobody had agreed to");
	is_int(hear(heir, &msg), KEEP_SERVING, "hears that the worker serves");
	ok(hear(heir, &msg) == KEEP_PUT && msg.bag == 3, "and what the other left unanswered");
	(void)keep_say(heir, KEEP_OK, 0);
	pthread_join(thread, NULL);
	is_int(a.rc, 0, "who asked has noticed nothing");
	pthread_create(&thread, NULL, ask, &a);
	is_int(hear(heir, &msg), KEEP_PUT, "the next request");
	(void)keep_say(heir, KEEP_NO, ENOSPC);
	pthread_join(thread, NULL);
	is_int(a.rc, -ENOSPC, "is refused with its errno");

	close(heir);
	wait_for(&h, &h.ends);
	is_int(h.ends, 1, "without a spare, the next death is the end");
	is_int(keep_drop(a.link, 3, KEEP_NONE), -ENOTCONN, "nothing is kept from now on");
	keep_link_free(a.link);
	keep_link_free(NULL);
	keep_table_fini(&t);
	close(spares[0]);
	close(a.fd);
	is_int(count_fds(), before, "nothing is left open");
}

static void test_link_fails(void)
{
	struct heard h = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0};
	struct keep_hooks hooks = {&h, on_bag, on_quit, on_end};
	struct keep_link *link = NULL;
	struct err err = {""};
	int rc;

	make_pair();
	(void)keep_say(link_pair[0], KEEP_OK, 0);
	rc = keep_link_new(link_pair[1], &hooks, &link, &err);
	is_err(rc, &err, -EBADMSG, "the keeper said %d before it was ready", KEEP_OK);
	ok(!link && is_open(link_pair[1]), "the descriptor stays the caller's");
	close_pair();
}

int main(void)
{
	test_messages();
	test_reset();
	test_nonsense();
	test_table();
	test_table_travels();
	if (getenv("LAMINA_VALGRIND"))
		tap_skip("a link needs pidfd_open, which valgrind 3.19 does not know");
	else
		test_link();
	test_link_fails();
	return tap_done();
}
