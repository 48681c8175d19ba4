/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From the first UNREGISTER on there is no way back, and none is needed:
 * `unregistering` is stored before it, and a worker that finds it in a state
 * which it takes over does it all again, which does no harm.
 *
 * A REMOVE that was not read when its range was unregistered would leave the
 * guest's madvise() waiting for ever.  As long as there is one, every COPY says
 * EAGAIN; when it says ENOENT the guest has been answered, and only then may
 * the descriptors be closed.
 *
 * UNREGISTER wakes those who wait and then takes the range out of the
 * userfaultfd's care.  Where faults are handled under the lock of their mapping alone
 * (Linux 6.8 and later), one that was woken can come back and wait again in between, and
 * nobody would ever wake it.  So all are woken once more after it; nobody can
 * begin to wait any more then.
 */
#include "src/pager/unregister.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <string.h>

#include "src/pager/session.h"
#include "src/pager/uffd.h"

static const uint8_t zeros[4096] __attribute__((aligned(4096)));

/* Until the guest waits for an answer to no message. */
static void read_out(struct session *s, const struct region *r)
{
	struct uffd_msg msg[STATE_SLOTS];
	uint64_t done;
	int fd = s->fd[SESSION_UFFD], rc;

	do {
		while (uffd_read(fd, msg, STATE_SLOTS) > 0)
			;
		rc = uffd_copy(fd, (struct uffd_range){r->addr, sizeof(zeros)}, zeros, &done);
		if (rc == -EAGAIN)
			sched_yield();
	} while (rc == -EAGAIN);
}

static int unregister_all(struct session *s, struct err *err)
{
	const struct state_head *head = s->state->head;

	for (uint32_t i = 0; i < head->nregions; i++) {
		const struct region *r = &head->regions[i];
		int rc = uffd_unregister(s->fd[SESSION_UFFD],
					 (struct uffd_range){r->addr, r->size});

		if (rc < 0 && rc != -ENOENT)
			return err_set(err, rc, "memory at 0x%" PRIx64
				       " cannot be unregistered: %s", r->addr, strerror(-rc));
	}
	for (uint32_t i = 0; i < head->nregions; i++) {
		const struct region *r = &head->regions[i];

		(void)uffd_wake(s->fd[SESSION_UFFD], (struct uffd_range){r->addr, r->size});
		read_out(s, r);
	}
	return 0;
}

int unregister_memory(struct session *s, struct err *err)
{
	struct state_graduation *g = &s->state->head->graduation;
	uint64_t begin = loop_now_ns();
	int rc;

	atomic_store(&g->unregistering, 1);
	rc = unregister_all(s, err);
	if (rc < 0) {
		atomic_store(&g->unregistering, 0);
		return rc;
	}
	g->unregister_ns = loop_now_ns() - begin;
	g->ns += g->unregister_ns;
	return 0;
}
