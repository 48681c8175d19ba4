/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/graduate/watch.h"

#include <stdlib.h>
#include <string.h>

#include "store/base/vec.h"

static void entry_fini(struct watch_entry *e)
{
	free(e->key);
	free(e->text);
}

void watch_fini(struct watch *w)
{
	for (size_t i = 0; i < w->n; i++)
		entry_fini(&w->v[i]);
	vec_fini(w);
}

void watch_begin(struct watch *w)
{
	w->round++;
}

static struct watch_entry *find(const struct watch *w, const char *key)
{
	for (size_t i = 0; i < w->n; i++)
		if (strcmp(w->v[i].key, key) == 0)
			return &w->v[i];
	return NULL;
}

/* Without memory it is as if nothing had been said. */
static void add(struct watch *w, const char *key, const char *text)
{
	struct watch_entry e = {strdup(key), strdup(text), w->round};

	if (!e.key || !e.text || vec_push(w, e) < 0)
		entry_fini(&e);
}

bool watch_changed(struct watch *w, const char *key, const char *text)
{
	struct watch_entry *e = find(w, key);
	char *copy;

	if (!e) {
		add(w, key, text);
		return true;
	}
	e->round = w->round;
	if (strcmp(e->text, text) == 0)
		return false;
	copy = strdup(text);
	if (copy) {
		free(e->text);
		e->text = copy;
	}
	return true;
}

const char *watch_last(const struct watch *w, const char *key)
{
	const struct watch_entry *e = find(w, key);

	return e ? e->text : NULL;
}

char *watch_next_old(struct watch *w)
{
	for (size_t i = 0; i < w->n; i++) {
		struct watch_entry *e = &w->v[i];
		char *key = e->key;

		if (e->round == w->round)
			continue;
		free(e->text);
		*e = w->v[--w->n];
		return key;
	}
	return NULL;
}
