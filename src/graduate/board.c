/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/graduate/board.h"

#include <stdlib.h>

void board_init(struct board *b)
{
	*b = (struct board){.error = ""};
	pthread_mutex_init(&b->lock, NULL);
}

void board_fini(struct board *b)
{
	free(b->decisions);
	pthread_mutex_destroy(&b->lock);
}

void board_decisions(struct board *b, json_t *takes)
{
	char *text = takes ? json_dumps(takes, JSON_COMPACT) : NULL, *old;

	json_decref(takes);
	pthread_mutex_lock(&b->lock);
	old = b->decisions;
	b->decisions = text;
	pthread_mutex_unlock(&b->lock);
	free(old);
}

struct tally *board_lock(struct board *b)
{
	pthread_mutex_lock(&b->lock);
	return &b->tally;
}

void board_unlock(struct board *b)
{
	pthread_mutex_unlock(&b->lock);
}
