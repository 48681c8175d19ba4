/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A damaged chunk is met again and again: by the read-ahead that covered it,
 * then by each of its pages, by each layer that shares it.  A sentence names
 * layer, image and page first and the chunk, its pack and the reason last, so
 * the tail from "chunk" on is what tells one place from another.
 */
#include "fuse/damage.h"

#include <inttypes.h>
#include <string.h>

#include "store/base/clock.h"
#include "store/base/log.h"

void damage_init(struct damage *d)
{
	memset(d, 0, sizeof(*d));
	pthread_mutex_init(&d->lock, NULL);
}

void damage_fini(struct damage *d)
{
	pthread_mutex_destroy(&d->lock);
}

/* FNV-1a; never 0, which marks a free place. */
static uint64_t place_of(const char *sentence)
{
	const char *tail = strstr(sentence, "chunk ");
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (const char *p = tail ? tail : sentence; *p; p++)
		h = (h ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
	return h | 1;
}

static int seen_locked(struct damage *d, uint64_t place)
{
	for (unsigned i = 0; i < DAMAGE_REMEMBERED; i++)
		if (d->seen[i] == place)
			return 1;
	d->seen[d->next] = place;
	d->next = (d->next + 1) % DAMAGE_REMEMBERED;
	return 0;
}

/* A new period begins; returns how many lines the last one kept back. */
static uint64_t turn_locked(struct damage *d)
{
	uint64_t kept_back = 0;
	time_t now = (time_t)(clock_ms() / 1000);

	if (d->lines == 0 || now - d->period >= DAMAGE_PERIOD) {
		kept_back = d->suppressed;
		d->period = now;
		d->lines = 0;
		d->suppressed = 0;
	}
	return kept_back;
}

void damage_log(struct damage *d, const char *sentence)
{
	uint64_t place = place_of(sentence), kept_back = 0;
	int speak = 0;

	pthread_mutex_lock(&d->lock);
	if (!seen_locked(d, place)) {
		kept_back = turn_locked(d);
		speak = d->lines < DAMAGE_LINES;
		if (speak)
			d->lines++;
		else
			d->suppressed++;
	}
	pthread_mutex_unlock(&d->lock);
	if (kept_back)
		log_error("%" PRIu64 " more damaged places were not logged", kept_back);
	if (speak)
		log_error("%s", sentence);
}
