/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A message's bytes, little-endian: word (4), bag (4), arg (8), text
 * (KEEP_TEXT_MAX), n (4), n roles (1 each).  The descriptors ride beside them.
 * Nothing here allocates, but for the table.
 */
#include "src/pager/keep.h"

#include <endian.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "store/base/rd.h"

#define HEAD_LEN (4 + 4 + 8 + KEEP_TEXT_MAX + 4)
#define MSG_LEN_MAX (HEAD_LEN + KEEP_FDS_MAX)

union control {
	struct cmsghdr head;
	char room[CMSG_SPACE(sizeof(int) * KEEP_FDS_MAX)];
};

/* ---- messages ---- */

static size_t encode(const struct keep_msg *msg, uint8_t out[MSG_LEN_MAX])
{
	uint32_t word = htole32(msg->word), bag = htole32(msg->bag), n = htole32(msg->n);
	uint64_t arg = htole64((uint64_t)msg->arg);

	memcpy(out, &word, 4);
	memcpy(out + 4, &bag, 4);
	memcpy(out + 8, &arg, 8);
	memset(out + 16, 0, KEEP_TEXT_MAX);
	memcpy(out + 16, msg->text, strnlen(msg->text, KEEP_TEXT_MAX - 1));
	memcpy(out + 16 + KEEP_TEXT_MAX, &n, 4);
	memcpy(out + HEAD_LEN, msg->role, msg->n);
	return HEAD_LEN + msg->n;
}

static bool roles_good(const struct keep_msg *msg)
{
	for (unsigned i = 0; i < msg->n; i++)
		if (msg->role[i] == 0 || msg->role[i] >= KEEP_NROLES)
			return false;
	return true;
}

/* All but the descriptors; msg->n is how many of them came. */
static int decode(const uint8_t *data, size_t len, struct keep_msg *msg)
{
	const uint8_t *text, *roles;
	struct rd rd;
	uint32_t word;

	rd_init(&rd, data, len);
	word = rd_u32(&rd);
	msg->bag = rd_u32(&rd);
	msg->arg = (int64_t)rd_u64(&rd);
	text = rd_bytes(&rd, KEEP_TEXT_MAX);
	if (rd_u32(&rd) != msg->n || word == 0 || word >= KEEP_NWORDS)
		return -EBADMSG;
	roles = rd_bytes(&rd, msg->n);
	if (!rd_done(&rd) || text[KEEP_TEXT_MAX - 1] != '\0')
		return -EBADMSG;
	msg->word = (enum keep_word)word;
	memcpy(msg->text, text, KEEP_TEXT_MAX);
	if (msg->n)
		memcpy(msg->role, roles, msg->n);
	return roles_good(msg) ? 0 : -EBADMSG;
}

int keep_send(int link, const struct keep_msg *msg)
{
	uint8_t bytes[MSG_LEN_MAX];
	struct iovec iov = {bytes, 0};
	struct msghdr head = {.msg_iov = &iov, .msg_iovlen = 1};
	union control control = {{0}};
	ssize_t n;

	if (msg->n > KEEP_FDS_MAX)
		return -EINVAL;
	iov.iov_len = encode(msg, bytes);
	if (msg->n) {
		head.msg_control = &control;
		head.msg_controllen = CMSG_SPACE(sizeof(int) * msg->n);
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(sizeof(int) * msg->n);
		memcpy(CMSG_DATA(&control.head), msg->fd, sizeof(int) * msg->n);
	}
	do
		n = sendmsg(link, &head, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	return 0;
}

/* The descriptors of a message that came; a hostile one may have several lists. */
static void collect(struct msghdr *head, struct keep_msg *ret)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(head); c; c = CMSG_NXTHDR(head, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n && ret->n < KEEP_FDS_MAX; i++)
			memcpy(&ret->fd[ret->n++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
	}
}

int keep_recv(int link, struct keep_msg *ret)
{
	uint8_t bytes[MSG_LEN_MAX];
	struct iovec iov = {bytes, sizeof(bytes)};
	union control control;
	struct msghdr head = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			      .msg_controllen = sizeof(control)};
	struct keep_msg msg = {0};
	int rc, resets = 0;
	ssize_t n;

	/* A reset: the other end closed with something unread.  What it had sent is behind it. */
	do
		n = recvmsg(link, &head, MSG_CMSG_CLOEXEC);
	while (n < 0 && (errno == EINTR || (errno == ECONNRESET && resets++ == 0)));
	if (n < 0)
		return errno == ECONNRESET ? 0 : -errno;
	collect(&head, &msg);
	if (n == 0 && msg.n == 0)
		return 0;
	rc = head.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ? -EBADMSG
						       : decode(bytes, (size_t)n, &msg);
	if (rc < 0) {
		keep_msg_close(&msg);
		return rc;
	}
	*ret = msg;
	return 1;
}

int keep_say(int link, enum keep_word word, int64_t arg)
{
	struct keep_msg msg = {.word = word, .arg = arg};

	return keep_send(link, &msg);
}

void keep_msg_close(struct keep_msg *msg)
{
	for (unsigned i = 0; i < msg->n; i++)
		close(msg->fd[i]);
	msg->n = 0;
}

int keep_pair(int ret[2])
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret) < 0 ? -errno : 0;
}

int keep_timeout(int link, unsigned ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	if (setsockopt(link, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) < 0 ||
	    setsockopt(link, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) < 0)
		return -errno;
	return 0;
}

/* ---- the table ---- */

/* Where a bag is, or would be. */
static size_t place(const struct keep_table *t, uint32_t bag)
{
	size_t lo = 0, hi = t->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (t->v[mid].id < bag)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

const struct keep_bag *keep_table_find(const struct keep_table *t, uint32_t bag)
{
	size_t i = place(t, bag);

	return i < t->n && t->v[i].id == bag ? &t->v[i] : NULL;
}

int keep_table_reserve(struct keep_table *t)
{
	size_t cap = t->cap ? t->cap * 2 : 8;
	struct keep_bag *v;

	if (t->n < t->cap)
		return 0;
	v = realloc(t->v, cap * sizeof(*v));
	if (!v)
		return -ENOMEM;
	t->v = v;
	t->cap = cap;
	return 0;
}

static int add_bag(struct keep_table *t, uint32_t id)
{
	size_t i = place(t, id);
	int rc;

	if (t->n >= KEEP_BAGS_MAX)
		return -ENOSPC;
	rc = keep_table_reserve(t);
	if (rc < 0)
		return rc;
	memmove(&t->v[i + 1], &t->v[i], (t->n - i) * sizeof(*t->v));
	memset(&t->v[i], 0, sizeof(*t->v));
	t->v[i].id = id;
	t->n++;
	return 0;
}

static int index_of(const struct keep_bag *bag, uint8_t role)
{
	for (unsigned i = 0; i < bag->n; i++)
		if (bag->role[i] == role)
			return (int)i;
	return -ENOENT;
}

int keep_bag_fd(const struct keep_bag *bag, enum keep_role role)
{
	int i = bag ? index_of(bag, (uint8_t)role) : -ENOENT;

	return i < 0 ? i : bag->fd[i];
}

static void bag_put(struct keep_bag *bag, uint8_t role, int fd)
{
	int i = role == KEEP_HOLD ? -ENOENT : index_of(bag, role);

	if (i < 0) {
		i = (int)bag->n++;
		bag->role[i] = role;
	} else {
		close(bag->fd[i]);
	}
	bag->fd[i] = fd;
}

/* How many of a message's descriptors would not replace one; a role twice counts twice. */
static unsigned news(const struct keep_bag *bag, const struct keep_msg *msg)
{
	unsigned n = 0;

	for (unsigned i = 0; i < msg->n; i++)
		n += !bag || msg->role[i] == KEEP_HOLD || index_of(bag, msg->role[i]) < 0;
	return n;
}

int keep_table_put(struct keep_table *t, const struct keep_msg *msg)
{
	const struct keep_bag *there = keep_table_find(t, msg->bag);
	struct keep_bag *bag;
	int rc;

	for (unsigned i = 0; i < msg->n; i++)
		if (msg->role[i] == KEEP_LINK)
			return -EINVAL;
	if ((there ? there->n : 0) + news(there, msg) > KEEP_FDS_MAX)
		return -ENOSPC;
	if (!there) {
		rc = add_bag(t, msg->bag);
		if (rc < 0)
			return rc;
	}
	bag = &t->v[place(t, msg->bag)];
	for (unsigned i = 0; i < msg->n; i++)
		bag_put(bag, msg->role[i], msg->fd[i]);
	return 0;
}

static void close_bag(struct keep_bag *bag, enum keep_role but)
{
	unsigned left = 0;

	for (unsigned i = 0; i < bag->n; i++) {
		if (bag->role[i] != but) {
			close(bag->fd[i]);
			continue;
		}
		bag->role[left] = bag->role[i];
		bag->fd[left++] = bag->fd[i];
	}
	bag->n = left;
}

int keep_table_drop(struct keep_table *t, uint32_t bag, enum keep_role but)
{
	size_t i = place(t, bag);

	if (i == t->n || t->v[i].id != bag)
		return -ENOENT;
	close_bag(&t->v[i], but);
	if (t->v[i].n > 0)
		return 0;
	t->n--;
	memmove(&t->v[i], &t->v[i + 1], (t->n - i) * sizeof(*t->v));
	return 0;
}

char *keep_count(const struct keep_table *t, char out[KEEP_COUNT_LEN])
{
	size_t n = t->n - (keep_table_find(t, KEEP_BAG_PAGER) != NULL);

	(void)snprintf(out, KEEP_COUNT_LEN, "%zu session%s", n, n == 1 ? "" : "s");
	return out;
}

void keep_table_fini(struct keep_table *t)
{
	for (size_t i = 0; i < t->n; i++)
		close_bag(&t->v[i], KEEP_NONE);
	free(t->v);
	*t = (struct keep_table){0};
}

int keep_table_send(const struct keep_table *t, int link)
{
	struct keep_msg msg = {.word = KEEP_BAG};
	int rc;

	for (size_t i = 0; i < t->n; i++) {
		const struct keep_bag *bag = &t->v[i];

		msg.bag = bag->id;
		msg.n = bag->n;
		memcpy(msg.role, bag->role, bag->n);
		memcpy(msg.fd, bag->fd, bag->n * sizeof(int));
		rc = keep_send(link, &msg);
		if (rc < 0)
			return rc;
	}
	return keep_say(link, KEEP_READY, 0);
}

int keep_table_recv(struct keep_table *t, int link)
{
	struct keep_msg msg;
	int rc;

	for (;;) {
		rc = keep_recv(link, &msg);
		if (rc <= 0)
			return rc < 0 ? rc : -ECONNRESET;
		if (msg.word == KEEP_READY && msg.n == 0)
			return 0;
		if (msg.word == KEEP_BAG)
			rc = keep_table_put(t, &msg);
		else
			rc = msg.word == KEEP_NO && msg.arg > 0 && msg.arg < 4096 ? -(int)msg.arg
										  : -EBADMSG;
		if (rc < 0) {
			keep_msg_close(&msg);
			return rc;
		}
	}
}
