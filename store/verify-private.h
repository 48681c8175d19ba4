/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * verify-private: what the verify*.c files share: one run.
 */
#ifndef LAMINA_VERIFY_PRIVATE_H
#define LAMINA_VERIFY_PRIVATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/base/vec.h"
#include "store/digest.h"
#include "store/seg.h"
#include "store/verify.h"

struct layer;
struct mark;

#define VERIFY_REASON_LEN 256

/* What a fault is about, which says how to look again and whom it hurts. */
enum verify_about {
	VERIFY_RECORD,		/* bytes of a pack that no row names: nobody */
	VERIFY_PACK,		/* a whole pack: who has pages in it */
	VERIFY_SEG,		/* pages [first, first + span), said to be at pack, off */
	VERIFY_FRAME,		/* frame `id`: who has it */
	VERIFY_LAYER,		/* the layer in `layers` */
	VERIFY_OTHER,		/* nobody's, or not known whose */
};

struct verify_item {
	const char *what;	/* as in verify_fault */
	enum verify_about about;
	uint64_t id;
	uint32_t pack;
	uint64_t off;
	uint64_t first;
	uint32_t span;
	bool hurts;		/* false: the layers can be read all the same */
	char reason[VERIFY_REASON_LEN];
	VEC(struct digest) layers;
};

struct verify_bits {
	uint8_t *v;
	size_t len;		/* bytes */
};

struct verify_pack {
	uint32_t number;
	uint64_t end;		/* looked at so far */
};

struct verify {
	struct store *store;
	const struct verify_opts *opts;
	struct verify_result res;
	struct mark *mark;
	VEC(struct verify_item) faults;		/* under lock, in the deep part */
	VEC(struct verify_pack) packs;
	VEC(uint64_t) frames;			/* of all layers, each once */
	struct verify_bits frames_listed;
	struct verify_bits frames_seen;		/* by fid: their maps are in the packs */
	struct verify_bits seqs_seen;		/* manifests and decisions, the same */
	pthread_mutex_t lock;
	struct err *err;
};

/* ---- faults ---- */

/* Takes the item; `fmt` is the reason.  -ENOMEM with a sentence.  Any thread. */
int verify_faults_add(struct verify *v, struct verify_item item, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Drops what gc has moved or deleted meanwhile. */
int verify_faults_confirm(struct verify *v);
/* Finds the layers that each fault hurts. */
int verify_faults_attribute(struct verify *v);
/* Fills the counts of the result that say how much is hurt. */
int verify_faults_count(struct verify *v);
void verify_faults_tell(struct verify *v);
void verify_faults_free(struct verify *v);

/* ---- parts of a run; -errno when it cannot go on ---- */

/* Records, and the rows that name them. */
int verify_packs(struct verify *v);
/* Once all packs were looked at: rows whose record is in none. */
int verify_rows(struct verify *v);
/* Roots, maps, tags. */
int verify_layers(struct verify *v);
/* Live images. */
int verify_live(struct verify *v);
/* Contents. */
int verify_deep(struct verify *v);

/* ---- helpers ---- */

/* What was looked at of a pack, or NULL. */
struct verify_pack *verify_pack_of(struct verify *v, uint32_t number);
bool verify_bit(const struct verify_bits *b, uint64_t i);
int verify_bit_set(struct verify *v, struct verify_bits *b, uint64_t i);
/* Whether the layer is there and was not removed: 1, 0 or -errno. */
int verify_layer_exists(struct verify *v, const struct digest *id);
/* Calls fn for each layer that exists, with its manifest decoded. */
int verify_each_layer(struct verify *v, int (*fn)(void *ctx, const struct layer *layer),
		      void *ctx);

#endif
