/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/told.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "src/pager/notify.h"
#include "store/base/log.h"
#include "store/base/notify.h"

#define PAUSE_MAX_MS 256
#define LATE_MS 1000		/* until it is worth a line in the log */

_Static_assert(KEEP_NROLES <= 16, "a bit for each");

void told_init(struct told *t, const struct told *heir)
{
	void *page;

	*t = (struct told){.retry_ms = UINT64_MAX};
	if (heir) {
		t->unsaid = heir->unsaid;
		return;
	}
	page = mmap(NULL, sizeof(*t->unsaid), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		    -1, 0);
	t->unsaid = page == MAP_FAILED ? NULL : page;
}

void told_fini(struct told *t)
{
	free(t->v);
	if (t->unsaid)
		(void)munmap(t->unsaid, sizeof(*t->unsaid));
	*t = (struct told){.retry_ms = UINT64_MAX};
}

/* ---- what is to be said ---- */

static void note(struct told *t)
{
	if (t->unsaid)
		atomic_store(t->unsaid, true);
	if (t->retry_ms == UINT64_MAX)
		t->retry_ms = 0;
}

bool told_was_cut_short(const struct told *t)
{
	return t->unsaid && atomic_load(t->unsaid);
}

static size_t place(const struct told *t, uint32_t id)
{
	size_t lo = 0, hi = t->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (t->v[mid].id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int grow(struct told *t)
{
	size_t cap = t->cap ? t->cap * 2 : 64;
	struct told_bag *v;

	if (t->n < t->cap)
		return 0;
	v = realloc(t->v, cap * sizeof(*v));
	if (!v)
		return -ENOMEM;
	t->v = v;
	t->cap = cap;
	return 0;
}

/* NULL: out of memory. */
static struct told_bag *at(struct told *t, uint32_t id)
{
	size_t i = place(t, id);

	if (i < t->n && t->v[i].id == id)
		return &t->v[i];
	if (grow(t) < 0)
		return NULL;
	memmove(&t->v[i + 1], &t->v[i], (t->n - i) * sizeof(*t->v));
	t->v[i] = (struct told_bag){.id = id};
	t->n++;
	return &t->v[i];
}

static void mark(struct told *t, uint32_t id, uint16_t remove, uint16_t store)
{
	struct told_bag *bag;

	if (!notify_wanted() || !(remove | store))
		return;
	note(t);
	bag = at(t, id);
	if (!bag) {
		log_error("systemd is not told of session %u: out of memory", id);
		return;
	}
	bag->remove |= remove;
	bag->store = (uint16_t)((bag->store & ~remove) | store);
}

void told_ready(struct told *t)
{
	t->ready = notify_wanted();
	if (t->ready)
		note(t);
}

void told_stopping(struct told *t)
{
	t->stopping = notify_wanted();
	if (t->stopping)
		note(t);
}

void told_put(struct told *t, uint32_t bag, enum keep_role role, bool replaced)
{
	uint16_t bit = (uint16_t)(1U << role);

	mark(t, bag, replaced ? bit : 0, bit);
}

static uint16_t roles_of(const struct keep_bag *bag)
{
	unsigned roles = 0;

	for (unsigned i = 0; i < bag->n; i++)
		roles |= 1U << bag->role[i];
	return (uint16_t)roles;
}

void told_drop(struct told *t, const struct keep_bag *bag, enum keep_role but)
{
	mark(t, bag->id, (uint16_t)(roles_of(bag) & ~(1U << but)), 0);
}

void told_all(struct told *t, const struct keep_table *table)
{
	for (size_t i = 0; i < table->n; i++)
		mark(t, table->v[i].id, 0, roles_of(&table->v[i]));
}

void told_none(struct told *t, const struct keep_table *table)
{
	for (size_t i = 0; i < table->n; i++)
		told_drop(t, &table->v[i], KEEP_NONE);
}

/* ---- saying it ---- */

static int say_stored(const struct keep_bag *bag, enum keep_role role)
{
	int rc = 0;

	for (unsigned i = 0; bag && i < bag->n && rc == 0; i++)
		if (bag->role[i] == role)
			rc = notify_store(bag->id, role, bag->fd[i]);
	return rc;
}

static int say_role(struct told_bag *bag, enum keep_role role, const struct keep_table *table)
{
	uint16_t bit = (uint16_t)(1U << role);
	int rc = 0;

	if (bag->remove & bit)
		rc = notify_remove(bag->id, role);
	if (rc < 0)
		return rc;
	bag->remove &= (uint16_t)~bit;
	if (bag->store & bit)
		rc = say_stored(keep_table_find(table, bag->id), role);
	if (rc == 0)
		bag->store &= (uint16_t)~bit;
	return rc;
}

static int say_bag(struct told_bag *bag, const struct keep_table *table)
{
	int rc = 0;

	for (unsigned role = 1; role < KEEP_NROLES && rc == 0; role++)
		if ((bag->remove | bag->store) & (1U << role))
			rc = say_role(bag, (enum keep_role)role, table);
	return rc;
}

static int say_all(struct told *t, const struct keep_table *table)
{
	int rc = t->ready ? notify_ready() : 0;

	if (rc == 0) {
		t->ready = false;
		rc = t->stopping ? notify_stopping() : 0;
	}
	if (rc == 0)
		t->stopping = false;
	while (rc == 0 && t->n) {
		rc = say_bag(&t->v[t->n - 1], table);
		if (rc == 0)
			t->n--;
	}
	return rc;
}

static void all_said(struct told *t)
{
	if (t->logged)
		log_info("systemd has taken all descriptors again");
	if (t->unsaid)
		atomic_store(t->unsaid, false);
	t->retry_ms = UINT64_MAX;
	t->refused_ms = 0;
	t->pause_ms = 0;
	t->logged = false;
}

static void refused(struct told *t, uint64_t now_ms, int rc, bool some)
{
	if (!t->refused_ms)
		t->refused_ms = now_ms;
	if (!t->logged && now_ms - t->refused_ms >= LATE_MS) {
		log_warn("systemd does not take descriptors now: %s; they are offered again until "
			 "it does", strerror(-rc));
		t->logged = true;
	}
	t->pause_ms = some || !t->pause_ms ? 1 : t->pause_ms * 2;
	if (t->pause_ms > PAUSE_MAX_MS)
		t->pause_ms = PAUSE_MAX_MS;
	t->retry_ms = now_ms + t->pause_ms;
}

uint64_t told_say(struct told *t, const struct keep_table *table, uint64_t now_ms)
{
	size_t before = t->n;
	int rc;

	if (now_ms < t->retry_ms)
		return t->retry_ms;
	rc = say_all(t, table);
	if (rc < 0)
		refused(t, now_ms, rc, t->n < before);
	else
		all_said(t);
	return t->retry_ms;
}
