/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/graduate/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/vec.h"

static void entry_fini(struct memory_entry *e)
{
	free(e->pager);
	free(e->id);
}

void memory_fini(struct memory *m)
{
	for (size_t i = 0; i < m->n; i++)
		entry_fini(&m->v[i]);
	vec_fini(m);
}

static struct memory_entry *find(const struct memory *m, const struct memory_key *key)
{
	for (size_t i = 0; i < m->n; i++) {
		struct memory_entry *e = &m->v[i];

		if (e->number == key->number && strcmp(e->id, key->id) == 0 &&
		    strcmp(e->pager, key->pager) == 0)
			return e;
	}
	return NULL;
}

const struct memory_entry *memory_find(const struct memory *m, const struct memory_key *key)
{
	return find(m, key);
}

static int add(struct memory *m, const struct memory_key *key, pid_t pid)
{
	struct memory_entry e = {
		.pager = strdup(key->pager),
		.id = strdup(key->id),
		.number = key->number,
		.pid = pid,
		.running = true,
	};

	if (e.pager && e.id && vec_push(m, e) == 0)
		return 0;
	entry_fini(&e);
	return -ENOMEM;
}

int memory_begin(struct memory *m, const struct memory_key *key, pid_t pid)
{
	struct memory_entry *e = find(m, key);

	if (!e)
		return add(m, key, pid);
	if (e->running)
		return -EEXIST;
	e->running = true;
	e->pid = pid;
	return 0;
}

static void drop(struct memory *m, size_t i)
{
	entry_fini(&m->v[i]);
	m->v[i] = m->v[--m->n];
}

void memory_end(struct memory *m, const struct memory_key *key, uint64_t now_ns)
{
	struct memory_entry *e = find(m, key);

	if (!e)
		return;
	e->running = false;
	e->ended_ns = now_ns;
}

void memory_expire(struct memory *m, uint64_t now_ns, uint64_t backoff_ns)
{
	for (size_t i = m->n; i > 0; i--) {
		const struct memory_entry *e = &m->v[i - 1];

		if (!e->running && now_ns - e->ended_ns >= backoff_ns)
			drop(m, i - 1);
	}
}

size_t memory_running(const struct memory *m)
{
	size_t n = 0;

	for (size_t i = 0; i < m->n; i++)
		n += m->v[i].running;
	return n;
}
