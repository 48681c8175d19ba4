/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * board: what the controller shows to who asks over HTTP.  The controller
 * writes, the API's thread reads.
 */
#ifndef LAMINA_GRADUATE_BOARD_H
#define LAMINA_GRADUATE_BOARD_H

#include <jansson.h>
#include <pthread.h>

#include "src/graduate/tally.h"

struct board {
	pthread_mutex_t lock;
	struct tally tally;	/* under lock */
	char *decisions;	/* under lock: JSON; NULL: memory ran out */
	char error[512];	/* under lock: why the last scan failed; "": it did not */
};

void board_init(struct board *b);
void board_fini(struct board *b);

/* What is decided now; takes it. */
void board_decisions(struct board *b, json_t *takes);

/* All of it under the lock. */
struct tally *board_lock(struct board *b);
void board_unlock(struct board *b);

#endif
