/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is frozen, or about to be, is in a table under `lock`; the waiting is done without it.
 *
 *	free --begin--> FREEZING --events: frozen 1--> FROZEN --end, its time--> free
 *	                    `------failed, cancelled, ended: thawed-------------->
 *
 * An entry that somebody ends while it is FREEZING is taken out of the table; whoever waits for
 * it finds that out by its number, thaws, and says that it was cancelled.  The timer is set for
 * the entry that is held longest, and is not set without one: an idle agent sleeps.
 *
 * A cgroup has its mark from before it is to freeze until after it is to run, so that an agent that
 * is killed leaves nothing frozen without one; the next agent puts those with one into its table,
 * and its own mark on them.  What an agent has marked that lives is that one's.
 */
#include "src/agent/freeze.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "src/agent/cgroup.h"
#include "src/agent/mark.h"
#include "store/base/clock.h"
#include "store/base/io.h"

#define LOOK_MIN_MS 1
#define LOOK_MAX_MS 50
#define MAX_EVENTS 4096

struct entry {
	char name[CGROUP_NAME_SIZE];
	uint64_t number;	/* 0: a free entry */
	uint64_t end_ms;	/* when it thaws; 0: it is not yet frozen */
};

struct freeze {
	pthread_mutex_t lock;
	struct entry entries[FREEZE_MAX];
	uint64_t last_number;
	int timer_fd;
	unsigned wait_ms;
	unsigned hold_ms;
};

/* ---- the freezer of a cgroup ---- */

static int write_freeze(int dirfd, const char *value)
{
	int fd = openat(dirfd, "cgroup.freeze", O_WRONLY | O_CLOEXEC), rc;

	if (fd < 0)
		return errno == ENOENT ? -ENOTSUP : -errno;
	rc = io_write_all(fd, value, 1);
	close(fd);
	return rc;
}

/* 1, 0, or -errno. */
static int is_frozen(int dirfd)
{
	const char *line;
	char *text;
	size_t len;
	int rc = io_read_file(dirfd, "cgroup.events", MAX_EVENTS, &text, &len);

	if (rc < 0)
		return rc;
	line = strstr(text, "frozen ");
	rc = line && line[strlen("frozen ")] == '1';
	free(text);
	return rc;
}

static int let_go(int dirfd)
{
	int rc = write_freeze(dirfd, "0");

	if (rc == 0)
		mark_clear(dirfd);
	return rc;
}

static int thaw(const char *name, struct err *err)
{
	int fd = cgroup_open(name, err), rc;

	if (fd < 0)
		return fd;
	rc = let_go(fd);
	close(fd);
	return rc < 0 ? err_sys(err, rc, "cannot thaw cgroup '%s'", name) : 0;
}

/* ---- the table; under the lock ---- */

static struct entry *find(struct freeze *f, const char *name)
{
	for (int i = 0; i < FREEZE_MAX; i++)
		if (f->entries[i].number && !strcmp(f->entries[i].name, name))
			return &f->entries[i];
	return NULL;
}

static struct entry *find_free(struct freeze *f)
{
	for (int i = 0; i < FREEZE_MAX; i++)
		if (!f->entries[i].number)
			return &f->entries[i];
	return NULL;
}

static void set_timer(struct freeze *f)
{
	struct itimerspec when = {0};
	uint64_t first = 0, now = clock_ms();

	for (int i = 0; i < FREEZE_MAX; i++)
		if (f->entries[i].number && f->entries[i].end_ms &&
		    (!first || f->entries[i].end_ms < first))
			first = f->entries[i].end_ms;
	if (first) {
		uint64_t left = first > now ? first - now : 1;

		when.it_value.tv_sec = (time_t)(left / 1000);
		when.it_value.tv_nsec = (long)(left % 1000 * 1000000);
	}
	(void)timerfd_settime(f->timer_fd, 0, &when, NULL);
}

static int enter(struct freeze *f, const char *name, uint64_t *ret_number, struct err *err)
{
	struct entry *e = find(f, name);

	if (e && !e->end_ms)
		return err_set(err, -EBUSY, "cgroup '%s' is being frozen by another call", name);
	if (!e)
		e = find_free(f);
	if (!e)
		return err_set(err, -EBUSY, "%d cgroups are frozen: no more at a time", FREEZE_MAX);
	*e = (struct entry){.number = ++f->last_number};
	(void)snprintf(e->name, sizeof(e->name), "%s", name);
	*ret_number = e->number;
	set_timer(f);
	return 0;
}

/* ---- freezing ---- */

static bool is_entered(struct freeze *f, const char *name, uint64_t number)
{
	const struct entry *e;
	bool is;

	pthread_mutex_lock(&f->lock);
	e = find(f, name);
	is = e && e->number == number;
	pthread_mutex_unlock(&f->lock);
	return is;
}

static void pause_ms(unsigned ms)
{
	nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL);
}

struct wait {
	struct freeze *f;
	const char *name;
	uint64_t number;
	const atomic_bool *cancelled;
};

static int await(const struct wait *w, int dirfd, struct err *err)
{
	uint64_t end = clock_ms() + w->f->wait_ms;

	for (unsigned ms = LOOK_MIN_MS;; ms = ms * 2 > LOOK_MAX_MS ? LOOK_MAX_MS : ms * 2) {
		int rc = is_frozen(dirfd);

		if (rc < 0)
			return err_sys(err, rc, "cannot see whether cgroup '%s' is frozen",
				       w->name);
		if ((w->cancelled && atomic_load(w->cancelled)) ||
		    !is_entered(w->f, w->name, w->number))
			return err_set(err, -ECANCELED, "freezing cgroup '%s' was cancelled",
				       w->name);
		if (rc == 1)
			return 0;
		if (clock_ms() >= end)
			return err_set(err, -ETIMEDOUT, "cgroup '%s' was not frozen within %u ms",
				       w->name, w->f->wait_ms);
		pause_ms(ms);
	}
}

static int freeze_and_wait(const struct wait *w, int dirfd, struct err *err)
{
	int rc;

	(void)mark_set(dirfd, clock_ms() + w->f->hold_ms);
	rc = write_freeze(dirfd, "1");
	if (rc < 0)
		mark_clear(dirfd);
	if (rc == -ENOTSUP)
		return err_set(err, rc, "cgroup '%s' has no freezer", w->name);
	if (rc < 0)
		return err_sys(err, rc, "cannot freeze cgroup '%s'", w->name);
	rc = await(w, dirfd, err);
	if (rc < 0)
		(void)let_go(dirfd);
	return rc;
}

/* Whether the entry is still ours to hold: somebody may have ended it just now. */
static bool settle(struct freeze *f, const char *name, uint64_t number, bool frozen)
{
	struct entry *e;
	bool ours;

	pthread_mutex_lock(&f->lock);
	e = find(f, name);
	ours = e && e->number == number;
	if (ours && frozen)
		e->end_ms = clock_ms() + f->hold_ms;
	else if (ours)
		e->number = 0;
	set_timer(f);
	pthread_mutex_unlock(&f->lock);
	return ours;
}

static int begin(const struct wait *w, struct err *err)
{
	int fd = cgroup_open(w->name, err), rc;

	if (fd < 0) {
		(void)settle(w->f, w->name, w->number, false);
		return fd;
	}
	rc = freeze_and_wait(w, fd, err);
	if (!settle(w->f, w->name, w->number, rc == 0) && rc == 0) {
		(void)let_go(fd);
		rc = err_set(err, -ECANCELED, "freezing cgroup '%s' was cancelled", w->name);
	}
	close(fd);
	return rc;
}

int freeze_begin(struct freeze *f, const char *name, const atomic_bool *cancelled,
		 struct err *err)
{
	char plain[CGROUP_NAME_SIZE];
	struct wait w = {f, plain, 0, cancelled};
	int rc = cgroup_name(name, plain, err);

	if (rc < 0)
		return rc;
	if (cgroup_has_self(plain))
		return err_set(err, -EINVAL, "the agent itself is in cgroup '%s'", plain);
	pthread_mutex_lock(&f->lock);
	rc = enter(f, plain, &w.number, err);
	pthread_mutex_unlock(&f->lock);
	return rc < 0 ? rc : begin(&w, err);
}

/* ---- thawing ---- */

/*
 * Taken out first: who waits for it must not hold it afterwards.  What fails is tried again
 * later.
 */
static int end_entry(struct freeze *f, struct entry *e, json_t *ret, struct err *err)
{
	bool frozen = e->end_ms != 0;
	uint64_t number = e->number;
	int rc;

	e->number = 0;
	rc = thaw(e->name, err);
	if (rc == 0 && ret)
		(void)json_array_append_new(ret, json_string(e->name));
	if (rc == 0 || rc == -ENOENT)
		return 0;
	if (frozen) {
		e->number = number;
		e->end_ms = clock_ms() + f->hold_ms;
	}
	return rc;
}

static int end_all(struct freeze *f, uint64_t before_ms, json_t *ret, struct err *err)
{
	int first = 0, rc;

	for (int i = 0; i < FREEZE_MAX; i++) {
		struct entry *e = &f->entries[i];

		if (!e->number || e->end_ms > before_ms || (!e->end_ms && before_ms != UINT64_MAX))
			continue;
		rc = end_entry(f, e, ret, first ? NULL : err);
		if (first == 0)
			first = rc;
	}
	set_timer(f);
	return first;
}

/* One that is in no table: frozen by whoever was here before. */
static int end_stranger(const char *name, json_t *ret, struct err *err)
{
	int fd = cgroup_open(name, err), rc;

	if (fd < 0)
		return fd;
	rc = is_frozen(fd);
	close(fd);
	if (rc < 0)
		return err_sys(err, rc, "cannot see whether cgroup '%s' is frozen", name);
	if (rc == 1)
		rc = thaw(name, err);
	else
		return 0;
	if (rc == 0)
		(void)json_array_append_new(ret, json_string(name));
	return rc;
}

int freeze_end(struct freeze *f, const char *name, json_t *ret, struct err *err)
{
	char plain[CGROUP_NAME_SIZE];
	struct entry *e;
	int rc = 0;

	if (name)
		rc = cgroup_name(name, plain, err);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&f->lock);
	e = name ? find(f, plain) : NULL;
	if (!name)
		rc = end_all(f, UINT64_MAX, ret, err);
	else if (e)
		rc = end_entry(f, e, ret, err);
	set_timer(f);
	pthread_mutex_unlock(&f->lock);
	return name && !e ? end_stranger(plain, ret, err) : rc;
}

json_t *freeze_list(struct freeze *f)
{
	json_t *list = json_array();

	pthread_mutex_lock(&f->lock);
	for (int i = 0; i < FREEZE_MAX; i++)
		if (f->entries[i].number && f->entries[i].end_ms)
			(void)json_array_append_new(list, json_string(f->entries[i].name));
	pthread_mutex_unlock(&f->lock);
	return list;
}

int freeze_fd(const struct freeze *f)
{
	return f->timer_fd;
}

void freeze_expire(struct freeze *f, json_t *ret)
{
	uint64_t times;

	(void)!read(f->timer_fd, &times, sizeof(times));
	pthread_mutex_lock(&f->lock);
	(void)end_all(f, clock_ms(), ret, NULL);
	pthread_mutex_unlock(&f->lock);
}

/* ---- what an agent before this one froze ---- */

struct adoption {
	struct freeze *f;
	json_t *ret;
};

/* What it is to be, which it perhaps is not yet. */
static bool is_to_be_frozen(int dirfd)
{
	size_t len;
	char *text;
	bool is;

	if (io_read_file(dirfd, "cgroup.freeze", MAX_EVENTS, &text, &len) < 0)
		return false;
	is = *text == '1';
	free(text);
	return is;
}

/* One for which there is no room, which is another program's doing, runs. */
static void adopt(const char *name, int dirfd, void *arg)
{
	const struct adoption *a = arg;
	struct entry *e = find_free(a->f);
	uint64_t end_ms, latest = clock_ms() + a->f->hold_ms;

	if (mark_get(dirfd, &end_ms) < 0 || find(a->f, name))
		return;
	if (!e || !is_to_be_frozen(dirfd)) {
		(void)let_go(dirfd);
		return;
	}
	*e = (struct entry){.number = ++a->f->last_number};
	(void)snprintf(e->name, sizeof(e->name), "%s", name);
	e->end_ms = end_ms == 0 ? 1 : end_ms > latest ? latest : end_ms;
	(void)mark_set(dirfd, e->end_ms);
	(void)json_array_append_new(a->ret, json_string(name));
}

void freeze_adopt(struct freeze *f, json_t *ret)
{
	struct adoption adoption = {f, ret};

	pthread_mutex_lock(&f->lock);
	cgroup_each(adopt, &adoption);
	set_timer(f);
	pthread_mutex_unlock(&f->lock);
}

/* ---- beginning and end ---- */

int freeze_new(int wait_ms, int hold_ms, struct freeze **ret, struct err *err)
{
	struct freeze *f = calloc(1, sizeof(*f));

	if (!f)
		return err_sys(err, -ENOMEM, "cannot keep track of cgroups");
	f->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (f->timer_fd < 0) {
		free(f);
		return err_sys(err, -errno, "cannot make a timer");
	}
	pthread_mutex_init(&f->lock, NULL);
	f->wait_ms = wait_ms ? (unsigned)wait_ms : FREEZE_WAIT_MS;
	f->hold_ms = hold_ms ? (unsigned)hold_ms : FREEZE_HOLD_MS;
	*ret = f;
	return 0;
}

void freeze_free(struct freeze *f)
{
	if (!f)
		return;
	(void)freeze_end(f, NULL, NULL, NULL);
	close(f->timer_fd);
	pthread_mutex_destroy(&f->lock);
	free(f);
}
