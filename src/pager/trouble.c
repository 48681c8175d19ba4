/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "src/pager/care.h"
#include "src/pager/install.h"
#include "src/pager/session.h"
#include "src/pager/trouble.h"
#include "src/pager/uffd.h"
#include "store/base/log.h"

void trouble_uffd(struct session *s, int code)
{
	if (code == -ESRCH)
		care_gone(s, CARE_ENDED);
}

static void tell(struct session *s, uint64_t page, int code, const char *what)
{
	const struct region *r = session_region(s, page);

	log_warn("%s: address 0x%" PRIx64 ", offset %" PRIu64 " of '%s': %s: %s", s->setup.id,
		 region_addr(r, page), region_offset(r, page), s->setup.memfile,
		 source_strerror(code), what);
}

/* Whatever is there instead, once: each page says what it lacks by itself. */
static void tell_of_other(struct session *s)
{
	struct err err;

	if (source_is_other(s->source, &err))
		log_warn("%s: %s", s->setup.id, err.text);
}

static uint64_t pause_ns(uint32_t tries)
{
	uint64_t ms = TROUBLE_FIRST_MS;

	while (--tries && ms < TROUBLE_LAST_MS)
		ms *= 2;
	return (ms < TROUBLE_LAST_MS ? ms : TROUBLE_LAST_MS) * 1000000;
}

static void park(struct session *s, struct want *w, uint64_t now)
{
	uint64_t pause = pause_ns(w->tries);

	w->step = WANT_PARKED;
	w->due_ns = now + pause;
	loop_tick_in(s->env->loop, (unsigned)(pause / 1000000));
}

static int poison(struct session *s, uint64_t page, int code)
{
	const struct region *r = session_region(s, page);
	uint64_t done;
	int rc = uffd_poison(s->fd[SESSION_UFFD],
			     (struct uffd_range){region_addr(r, page), r->page_size}, &done);

	if (rc < 0 && rc != -EEXIST)
		return rc;
	wants_drop(&s->wants, page);
	if (rc == -EEXIST) {		/* there after all */
		install_wake(s, page);
		return 0;
	}
	tell(s, page, code, "poisoned: whoever touches it gets SIGBUS");
	state_set(s->state, page, state_get(s->state, page) | STATE_POISONED);
	state_add(&s->state->head->count.poisoned, 1);
	return 0;
}

int trouble_stop_guest(struct session *s, const char *why)
{
	struct state_head *head = s->state->head;
	int rc = s->env->link ? keep_stop(s->env->link, s->bag, s->setup.id, s->pid) : -EOPNOTSUPP;

	if (rc < 0)
		return rc;
	if (!*head->reason)
		(void)snprintf(head->reason, sizeof(head->reason), "%s", why);
	s->stopped = true;
	return 0;
}

void trouble_leave(struct session *s, uint64_t addr, const char *why)
{
	_Atomic uint64_t *count = &s->state->head->count.unanswered;

	if (!atomic_load(count))
		log_warn("%s: a fault at address 0x%" PRIx64 " cannot be answered: %s; "
			 "who waits there is left waiting, and others are only counted",
			 s->setup.id, addr, why);
	state_add(count, 1);
}

static void stop(struct session *s, uint64_t page, int code)
{
	struct err why;
	int rc;

	if (s->stopped)
		return;
	err_set(&why, code, "stopped, because offset %" PRIu64 " of '%s' cannot be read: %s",
		region_offset(session_region(s, page), page), s->setup.memfile,
		source_strerror(code));
	rc = trouble_stop_guest(s, why.text);
	if (rc == 0)
		tell(s, page, code, "the guest is stopped");
	else
		log_error("%s: cannot stop the guest: %s", s->setup.id, strerror(-rc));
}

/* No file is at fault: memory, or huge pages, may come. */
static bool is_memory(int code)
{
	return code == -ENOMEM;
}

static void apply(struct session *s, uint64_t page, int code)
{
	if (s->setup.on_error == SETUP_POISON && poison(s, page, code) == 0)
		return;
	if (s->setup.on_error == SETUP_STOP)
		stop(s, page, code);
	park(s, wants_find(&s->wants, page), loop_now_ns());
}

/* Only memory that was registered, or mapped anew, after the handoff. */
static bool is_of_other_pages(const struct session *s, uint64_t page)
{
	const struct region *r = session_region(s, page);
	uint64_t page_size = uffd_page_size(s->fd[SESSION_UFFD], region_addr(r, page));

	return page_size && page_size != r->page_size;
}

void trouble_page(struct session *s, uint64_t page, int code)
{
	struct want *w = wants_find(&s->wants, page);
	uint64_t now = loop_now_ns();

	if (code == -EINVAL && is_of_other_pages(s, page)) {
		trouble_leave(s, region_addr(session_region(s, page), page),
			      "its memory has pages of another size than was handed over");
		wants_drop(&s->wants, page);
		return;
	}
	if (code == -ESRCH || code == -ENOENT) {
		if (code == -ENOENT)
			install_wake(s, page);
		wants_drop(&s->wants, page);
		trouble_uffd(s, code);
		return;
	}
	w->tries++;
	state_add(&s->state->head->count.retries, 1);
	tell_of_other(s);
	if (w->tries == 1 && (state_get(s->state, page) & STATE_PAGE) == STATE_MISSING)
		tell(s, page, code, "will be tried again");
	if (is_memory(code) || now - w->asked_ns < (uint64_t)s->env->patience_ms * 1000000)
		park(s, w, now);
	else
		apply(s, page, code);
}
