/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * keymap: 64-bit keys, taken from digests, to 64-bit values that are not 0.
 * Grows as needed; nothing is removed.  `struct keymap m = {0}` is empty.
 */
#ifndef LAMINA_KEYMAP_H
#define LAMINA_KEYMAP_H

#include <stddef.h>
#include <stdint.h>

struct keymap {
	struct keymap_slot *v;
	size_t n;
	size_t cap;		/* a power of two, or 0 */
};

void keymap_fini(struct keymap *m);
/* Sets or replaces; 0 or -ENOMEM. */
int keymap_put(struct keymap *m, uint64_t key, uint64_t value);
uint64_t keymap_find(const struct keymap *m, uint64_t key);	/* or 0 */

#endif
