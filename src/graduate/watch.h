/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * watch: what was last said of a thing, so that it is said again only when it
 * has changed.
 */
#ifndef LAMINA_GRADUATE_WATCH_H
#define LAMINA_GRADUATE_WATCH_H

#include <stdbool.h>
#include <stddef.h>

struct watch_entry {
	char *key;
	char *text;
	unsigned round;
};

/* {0} knows nothing. */
struct watch {
	struct watch_entry *v;
	size_t n;
	size_t cap;
	unsigned round;
};

void watch_fini(struct watch *w);

/* A new round: what watch_next_old() goes by. */
void watch_begin(struct watch *w);

/* Remembers `text`; true if it is not what was said of `key` before. */
bool watch_changed(struct watch *w, const char *key, const char *text);

/* What was last said of it; NULL: nothing. */
const char *watch_last(const struct watch *w, const char *key);

/*
 * Forgets a thing of which nothing was said in this round, and gives its key, to be freed.
 * NULL: there is none.
 */
char *watch_next_old(struct watch *w);

#endif
