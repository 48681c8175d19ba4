/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * recover-private: what the recover*.c files share: one run.
 */
#ifndef LAMINA_RECOVER_PRIVATE_H
#define LAMINA_RECOVER_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/base/vec.h"
#include "store/digest.h"
#include "store/format.h"
#include "store/recover.h"

struct store;

#define RECOVER_INDEX "index.db.new"
#define RECOVER_FID_MAX (UINT64_C(1) << 32)	/* no store has had as many frames */

struct recover_pack {
	uint32_t number;
	uint64_t end;		/* of the last whole record */
	uint64_t next_ord;	/* above all ordinals that were seen */
	bool damaged;		/* something before the end of the file is no record */
};

/* A chunk that belongs to no whole segment. */
struct recover_chunk {
	uint64_t id;
	uint32_t pack;
	uint32_t off;
	uint32_t len;
	uint16_t slots;
	bool taken;
};

/* A segment that the new index has. */
struct recover_seg {
	uint64_t first;
	uint32_t span;
	uint32_t npages;
	bool bare;		/* it has no digest list yet */
};

/* What the index that is replaced says. */
struct recover_old {
	bool known;		/* it can be read: identity and params count */
	uint8_t uuid[16];
	struct store_params params;
	uint64_t next_seq;
	VEC(struct digest) layers;	/* that exist */
};

struct recover {
	struct store *store;	/* with the new index */
	const struct recover_opts *opts;
	struct recover_result res;
	struct recover_old old;
	VEC(struct recover_pack) packs;	/* by number */
	VEC(struct recover_chunk) orphans;
	VEC(struct recover_seg) segs;	/* by first; they do not overlap */
	uint64_t next_fid;	/* counters: above all that were seen */
	uint64_t next_seq;
	uint64_t next_pack;
	int algo;		/* of a manifest that was seen, or 0 */
	uint64_t bytes, total;	/* for the progress */
	struct err *err;
};

/* A line for who runs this. */
void recover_note(struct recover *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A number is in use: no other pack gets it. */
void recover_see_pack(struct recover *r, uint32_t number);
/* An address is in use somewhere: it is never given out again. */
void recover_see_page(struct recover *r, uint64_t paddr);
struct recover_pack *recover_pack_of(struct recover *r, uint32_t number);

/*
 * recover-old.c: reads what the old index says, if there is one that can be
 * read, and writes to none of its files.  -EPROTONOSUPPORT if it is newer.
 */
int recover_old_read(struct recover *r);
void recover_old_fini(struct recover *r);

/*
 * recover-identity.c: which store this is, from the old index, else from the
 * headers; repairs damaged ones.
 */
int recover_identity_find(struct recover *r);
/* Sets packs aside that belong to another store. */
int recover_identity_check(struct recover *r);

/*
 * recover-seed.c: by which seed the records of packs are right whose headers are
 * all lost.  1 and the seed, 0 if no record says it, or -ENOMEM.
 */
int recover_seed_find(struct recover *r, const uint32_t *packs, size_t n, uint32_t *ret);

/* recover-pack.c: every record of the packs into the new index. */
int recover_packs_collect(struct recover *r);

/* recover-seg.c: which copy of a segment counts, and what replaces a lost list. */
/*
 * Puts the segment on the list unless what is there has more pages; 1 if so, 0 or
 * -errno.  Rows of those that it replaces are deleted.
 */
int recover_seg_add(struct recover *r, const struct recover_seg *seg);
/* Rows for the chunks that are in no whole segment. */
int recover_segs_adopt(struct recover *r);
/* Hashes the pages of segments that are still in the index and have no list. */
int recover_segs_list(struct recover *r);
int recover_segs_hook(struct recover *r);

/*
 * recover-live.c: the new index's live images and their directories, once the rows are settled; in
 * the caller's transaction.
 */
int recover_live_settle(struct recover *r);

/* recover-layer.c: drops what is removed or incomplete, and all that only it reached. */
int recover_layers_settle(struct recover *r);

#endif
