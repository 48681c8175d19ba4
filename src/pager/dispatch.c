/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stddef.h>
#include <sys/epoll.h>

#include "src/pager/care.h"
#include "src/pager/dispatch.h"
#include "src/pager/handoff.h"
#include "src/pager/serve.h"
#include "src/pager/sessions.h"
#include "src/pager/uffd.h"
#include "store/base/log.h"

/* An error is all that the kernel says of one that blocks: somebody has made it so. */
static void unblock(struct session *s)
{
	(void)uffd_unblock(s->fd[SESSION_UFFD]);
	if (!s->blocked)
		log_warn("%s: somebody takes O_NONBLOCK from its userfaultfd; it is put back",
			 s->setup.id);
	s->blocked = true;
}

static void on_uffd(struct session *s, struct hand *hand, uint32_t events)
{
	if (!session_enter_told(s))
		return;
	if (!s->ended && (events & EPOLLERR))
		unblock(s);
	if (!s->ended)
		serve_turn(s, hand);
	session_leave(s);
}

static void on_other(struct session *s, enum session_fd which)
{
	session_enter(s);
	if (s->ended)
		;
	else if (which == SESSION_LISTEN)
		handoff_accept(s);
	else if (which == SESSION_CONN && !session_serves(s))
		handoff_receive(s);
	else
		care_hang_up(s);
	session_leave(s);
}

static void on_ready(void *ctx, struct hand *hand, uint64_t tag, uint32_t events)
{
	struct session *s = sessions_by_bag(ctx, session_tag_bag(tag));

	if (!s)
		return;
	if (session_tag_fd(tag) == SESSION_UFFD)
		on_uffd(s, hand, events);
	else
		on_other(s, session_tag_fd(tag));
	session_unref(s);
}

static struct session *session_of(struct loop_job *job)
{
	size_t at = job->urgent ? offsetof(struct session, rescue) : offsetof(struct session, work);

	return (struct session *)((char *)job - at);
}

static void on_work(void *ctx, struct hand *hand, struct loop_job *job)
{
	struct session *s = session_of(job);
	bool urgent = job->urgent;

	(void)ctx;
	session_enter(s);
	if (!s->ended && session_serves(s)) {
		if (urgent)
			serve_turn(s, hand);
		else
			serve_work(s, hand);
	}
	session_leave(s);
	session_unref(s);
}

static void on_tick(void *ctx, struct hand *hand)
{
	unsigned ms = sessions_tick(ctx);

	if (ms)
		loop_tick_in(hand->loop, ms);
}

const struct loop_ops dispatch_ops = {on_ready, on_work, on_tick};
