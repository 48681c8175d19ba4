/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * session-fixture: a session that serves memory of this very process, without a
 * handoff, so that a test can be its owner and its guest.
 */
#ifndef LAMINA_TESTS_UNIT_SESSION_FIXTURE_H
#define LAMINA_TESTS_UNIT_SESSION_FIXTURE_H

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "src/pager/session.h"
#include "src/pager/touch.h"
#include "src/pager/uffd.h"
#include "tests/tap.h"

#define PAGE UINT64_C(4096)

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

struct rig {
	uint8_t *mem;
	uint64_t npages;
	struct session_env env;
	struct session s;
	struct hand hand;
};

/* What byte `i` of page `page` of the memfile is; each fifth page is zero. */
TAP_FN uint8_t rig_byte(uint64_t page, uint64_t i)
{
	return page % 5 == 4 ? 0 : (uint8_t)(page * 37 + i * 11 + 1);
}

TAP_FN const char *rig_memfile(uint64_t npages)
{
	const char *path = tap_path("memfile");
	FILE *f = fopen(path, "we");

	for (uint64_t page = 0; f && page < npages; page++)
		for (uint64_t i = 0; i < PAGE; i++)
			fputc(rig_byte(page, i), f);
	if (!f || fclose(f) != 0)
		bail("no memfile");
	return path;
}

TAP_FN void rig_nothing(void *ctx, struct hand *hand, uint64_t tag, uint32_t events)
{
	(void)ctx, (void)hand, (void)tag, (void)events;
}

TAP_FN void rig_no_work(void *ctx, struct hand *hand, struct loop_job *job)
{
	(void)ctx, (void)hand, (void)job;
}

TAP_FN void rig_no_tick(void *ctx, struct hand *hand)
{
	(void)ctx, (void)hand;
}

static const struct loop_ops rig_ops __attribute__((unused)) = {
	rig_nothing, rig_no_work, rig_no_tick,
};

TAP_FN int rig_uffd(void *mem, uint64_t len)
{
	struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_EVENT_REMOVE};
	struct uffdio_register reg = {
		.range = {(uintptr_t)mem, len}, .mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	if (fd < 0)
		tap_skip_all("no userfaultfd here");
	if (ioctl(fd, UFFDIO_API, &api) < 0 || ioctl(fd, UFFDIO_REGISTER, &reg) < 0)
		bail("userfaultfd: %s", strerror(errno));
	return fd;
}

TAP_FN void rig_map(struct rig *rig, bool shared)
{
	int fd = shared ? memfd_create("guest", MFD_CLOEXEC) : -1;

	if (shared && ftruncate(fd, (off_t)(rig->npages * PAGE)) < 0)
		bail("memfd");
	rig->mem = mmap(NULL, rig->npages * PAGE, PROT_READ | PROT_WRITE,
			shared ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, fd, 0);
	if (rig->mem == MAP_FAILED)
		bail("mmap");
	if (fd >= 0)
		close(fd);
}

/* One region of `npages`, all of the memfile; no window. */
TAP_FN void rig_open(struct rig *rig, uint64_t npages, bool shared)
{
	struct region region = {.size = npages * PAGE, .page_size = PAGE};
	struct session *s = &rig->s;
	struct err err = {""};

	memset(rig, 0, sizeof(*rig));
	rig->npages = npages;
	rig_map(rig, shared);
	region.addr = (uintptr_t)rig->mem;
	if (loop_new(1, &rig_ops, NULL, &rig->env.loop, &err) < 0 ||
	    state_new("rig", "{}", &s->state, &err) < 0 ||
	    source_open(rig_memfile(npages), &s->source, &err) < 0 ||
	    state_begin(s->state, &region, 1, npages * PAGE, &err) < 0)
		bail("%s", err.text);
	s->env = &rig->env;
	s->bag = 1;
	s->setup.id = (char *)"rig";
	s->setup.memfile = (char *)"memfile";
	s->refs = 1000;		/* never freed: it is ours */
	pthread_mutex_init(&s->lock, NULL);
	for (int i = 0; i < SESSION_NFDS; i++)
		s->fd[i] = -1;
	for (int i = 0; i < SETUP_HOLDS_MAX; i++)
		s->hold[i] = -1;
	s->fd[SESSION_UFFD] = rig_uffd(rig->mem, npages * PAGE);
	s->armed = true;	/* nobody watches */
	session_look_at_regions(s);
	window_init(&s->window, WINDOW_OFF, 0, 1);
	rig->hand.loop = rig->env.loop;
	if (posix_memalign((void **)&rig->hand.buf, 4096, LOOP_BUF_LEN) != 0)
		bail("memory");
}

TAP_FN void rig_close(struct rig *rig)
{
	struct session *s = &rig->s;

	loop_free(rig->env.loop);
	if (s->fd[SESSION_UFFD] >= 0)
		close(s->fd[SESSION_UFFD]);
	source_close(s->source);
	state_close(s->state);
	wants_fini(&s->wants);
	pthread_mutex_destroy(&s->lock);
	munmap(rig->mem, rig->npages * PAGE);
	free(rig->hand.buf);
}

TAP_FN unsigned rig_state(const struct rig *rig, uint64_t page)
{
	return state_get(rig->s.state, page);
}

/* Whether a page (that is there) has the memfile's bytes. */
TAP_FN bool rig_is_file(const struct rig *rig, uint64_t page)
{
	for (uint64_t i = 0; i < PAGE; i++)
		if (rig->mem[page * PAGE + i] != rig_byte(page, i))
			return false;
	return true;
}

TAP_FN bool rig_is_zero(const struct rig *rig, uint64_t page)
{
	const uint8_t *p = rig->mem + page * PAGE;

	return !p[0] && !memcmp(p, p + 1, PAGE - 1);
}

/* ---- guests: threads of ours ---- */

struct rig_thread {
	pthread_t thread;
	struct rig *rig;
	uint64_t page;
	uint8_t got;
	_Atomic bool done;
};

TAP_FN void *rig_touches(void *arg)
{
	struct rig_thread *t = arg;

	t->got = *(volatile uint8_t *)(t->rig->mem + t->page * PAGE);
	t->done = true;
	return NULL;
}

TAP_FN void *rig_removes(void *arg)
{
	struct rig_thread *t = arg;

	(void)madvise(t->rig->mem + t->page * PAGE, PAGE, MADV_DONTNEED);
	t->done = true;
	return NULL;
}

TAP_FN void rig_begin(struct rig_thread *t, void *(*what)(void *), struct rig *rig, uint64_t page)
{
	*t = (struct rig_thread){.rig = rig, .page = page, .done = false};
	if (pthread_create(&t->thread, NULL, what, t) != 0)
		bail("no thread");
}

TAP_FN void rig_end(struct rig_thread *t)
{
	pthread_join(t->thread, NULL);
}

/* Until a removal waits to be read: nothing can be installed then, here at page 0. */
TAP_FN void rig_removal_waits(struct rig *rig)
{
	struct uffd_range first = {(uintptr_t)rig->mem, PAGE};
	uint64_t done;

	while (uffd_copy(rig->s.fd[SESSION_UFFD], first, rig->hand.buf, &done) != -EAGAIN)
		usleep(100);
}

/* Until a message waits to be read. */
TAP_FN bool rig_message_waits(const struct rig *rig)
{
	struct pollfd p = {.fd = rig->s.fd[SESSION_UFFD], .events = POLLIN};

	return poll(&p, 1, 20000) == 1;
}

#endif
