/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Open addressing, at most half full.  Keys are bytes of digests, but may have
 * low bits in common (hooks do), so the upper half says where to begin.
 */
#include "store/keymap.h"

#include <errno.h>
#include <stdlib.h>

#define CAP_MIN 64

struct keymap_slot {
	uint64_t key;
	uint64_t value;		/* 0: free */
};

/* Where the key is, or the free slot where it would be. */
static struct keymap_slot *slot_of(const struct keymap *m, uint64_t key)
{
	size_t i = (size_t)(key >> 32) & (m->cap - 1);

	while (m->v[i].value && m->v[i].key != key)
		i = (i + 1) & (m->cap - 1);
	return &m->v[i];
}

static int grow(struct keymap *m)
{
	struct keymap bigger = {.n = m->n, .cap = m->cap ? m->cap * 2 : CAP_MIN};

	bigger.v = calloc(bigger.cap, sizeof(*bigger.v));
	if (!bigger.v)
		return -ENOMEM;
	for (size_t i = 0; i < m->cap; i++)
		if (m->v[i].value)
			*slot_of(&bigger, m->v[i].key) = m->v[i];
	free(m->v);
	*m = bigger;
	return 0;
}

void keymap_fini(struct keymap *m)
{
	free(m->v);
	*m = (struct keymap){0};
}

int keymap_put(struct keymap *m, uint64_t key, uint64_t value)
{
	struct keymap_slot *s;

	if (m->n >= m->cap / 2 && grow(m) < 0)
		return -ENOMEM;
	s = slot_of(m, key);
	if (!s->value)
		m->n++;
	s->key = key;
	s->value = value;
	return 0;
}

uint64_t keymap_find(const struct keymap *m, uint64_t key)
{
	return m->cap ? slot_of(m, key)->value : 0;
}
