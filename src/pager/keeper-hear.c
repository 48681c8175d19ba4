/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the worker says to the keeper, and what systemd is to be told of it. */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/pager/keeper-private.h"
#include "store/base/clock.h"

static bool has(const struct keeper *k, uint32_t bag, enum keep_role role)
{
	return role != KEEP_HOLD && keep_bag_fd(keep_table_find(&k->bags, bag), role) >= 0;
}

static int hear_put(struct keeper *k, struct keep_msg *msg)
{
	bool replaced[KEEP_FDS_MAX];
	int rc;

	for (unsigned i = 0; i < msg->n; i++)
		replaced[i] = has(k, msg->bag, (enum keep_role)msg->role[i]);
	rc = keep_table_put(&k->bags, msg);
	if (rc < 0)
		return rc;
	for (unsigned i = 0; i < msg->n; i++)
		told_put(&k->told, msg->bag, (enum keep_role)msg->role[i], replaced[i]);
	msg->n = 0;	/* the table's now */
	return 0;
}

static int hear_drop(struct keeper *k, const struct keep_msg *msg)
{
	const struct keep_bag *bag = keep_table_find(&k->bags, msg->bag);
	enum keep_role but = (enum keep_role)msg->arg;

	if (msg->bag == KEEP_BAG_PAGER || msg->arg < KEEP_NONE || msg->arg >= KEEP_NROLES)
		return -EINVAL;
	if (bag)
		told_drop(&k->told, bag, but);
	return keep_table_drop(&k->bags, msg->bag, but);
}

static void answer(struct keeper *k, int rc)
{
	if (k->link >= 0)
		(void)keep_say(k->link, rc < 0 ? KEEP_NO : KEEP_OK, rc < 0 ? -rc : 0);
}

static int accept_for(struct keeper *k, uint32_t id)
{
	const struct keep_bag *bag = keep_table_find(&k->bags, id);
	struct keep_msg put = {.word = KEEP_PUT, .bag = id, .n = 1, .role = {KEEP_CONN}};
	int listening = bag ? keep_bag_fd(bag, KEEP_LISTEN) : -ENOENT;
	int fd, rc;

	if (listening < 0)
		return listening;
	fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return -errno;
	put.fd[0] = fd;
	rc = hear_put(k, &put);
	if (rc < 0)
		close(fd);
	return rc < 0 ? rc : fd;
}

static void hear_accept(struct keeper *k, uint32_t id)
{
	struct keep_msg ok = {.word = KEEP_OK, .bag = id, .n = 1, .role = {KEEP_CONN}};

	ok.fd[0] = accept_for(k, id);
	if (ok.fd[0] < 0)
		answer(k, ok.fd[0]);
	else if (k->link >= 0)
		(void)keep_send(k->link, &ok);
}

static void hear_serving(struct keeper *k)
{
	if (k->phase == KEEPER_STARTING)
		k->phase = KEEPER_SERVING;
	k->served = true;
	if (k->ready_fd >= 0) {
		(void)!write(k->ready_fd, "", 1);
		close(k->ready_fd);
		k->ready_fd = -1;
	}
	told_ready(&k->told);
}

void keeper_hear(struct keeper *k, struct keep_msg *msg)
{
	switch (msg->word) {
	case KEEP_PUT:
		answer(k, hear_put(k, msg));
		break;
	case KEEP_DROP:
		answer(k, hear_drop(k, msg));
		break;
	case KEEP_STOP:
		answer(k, stopper_stop(&k->stopper, msg, keep_table_find(&k->bags, msg->bag),
				       clock_ms()));
		break;
	case KEEP_ACCEPT:
		hear_accept(k, msg->bag);
		break;
	case KEEP_SERVING:
		hear_serving(k);
		break;
	case KEEP_END:
		keeper_end(k);
		break;
	default:
		break;
	}
	keep_msg_close(msg);
}
