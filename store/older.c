/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two signs tell an index that is behind its packs from a writer that was
 * killed.  A writer unlinks a pack only after the index has forgotten it, so
 * an index that names a pack which is gone has missed a gc.  And one writer
 * seals one layer at most, so two manifests with numbers that the index has
 * not given out yet are two commits that it has missed.  One missed commit
 * looks just like one that was killed at its very end.
 */
#include "store/older.h"

#include "store/pack.h"
#include "store/scan.h"
#include "store/store.h"

struct look {
	struct store *store;
	uint32_t next_pack;
	uint64_t next_seq;
	unsigned manifests;
	uint32_t missing;	/* a pack that has a row and no file */
};

static int look_for_file(void *ctx, const struct index_pack *row)
{
	struct look *l = ctx;
	uint64_t len, alloc;

	if (packs_size(l->store->packs, row->number, &len, &alloc) == -ENOENT)
		l->missing = row->number;
	return 0;
}

/* What cannot be read holds nothing that could be recovered. */
static void count_manifests(struct look *l, uint32_t pack, uint64_t from)
{
	struct scan_item item;
	struct scan *scan;
	uint64_t len, alloc;

	if (packs_size(l->store->packs, pack, &len, &alloc) < 0 || len <= from)
		return;
	if (scan_open(l->store->packs, pack, from, len, &scan, NULL) < 0)
		return;
	while (scan_next(scan, &item, NULL) > 0)
		if (!item.damage && item.record.type == RECORD_LAYER &&
		    item.record.id >= l->next_seq)
			l->manifests++;
	scan_close(scan);
}

static int count_in_stray(void *ctx, uint32_t pack)
{
	struct look *l = ctx;

	if (pack >= l->next_pack)
		count_manifests(l, pack, PACK_HEADER_LEN);
	return 0;
}

int older_check(struct store *store, const struct index_pack *last, uint32_t next_pack,
		struct err *err)
{
	struct look l = {.store = store, .next_pack = next_pack};
	int rc = index_meta_get_u64(store->index, "next_seq", &l.next_seq, err);

	if (rc == 0)
		rc = index_pack_each(store->index, look_for_file, &l, err);
	if (rc < 0)
		return rc;
	if (last->number)
		count_manifests(&l, last->number, last->end);
	(void)packs_each(store->packs, count_in_stray, &l);
	if (l.missing)
		return err_set(err, -EBADMSG, "index.db is older than the packs of '%s': it names "
			       "pack %08x, which is gone; 'lamina recover' makes it again",
			       store->path, l.missing);
	if (l.manifests > 1)
		return err_set(err, -EBADMSG, "index.db is older than the packs of '%s': it does "
			       "not know %u layers that they hold; 'lamina recover' makes it again",
			       store->path, l.manifests);
	return 0;
}
