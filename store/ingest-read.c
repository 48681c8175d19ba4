/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "store/frame.h"
#include "store/dedup.h"
#include "store/ingest-private.h"
#include "store/input.h"
#include "store/store.h"
#include "store/view.h"

static void expand(const struct runs *map, uint64_t paddr[])
{
	for (size_t i = 0; i < map->n; i++) {
		const struct run *run = &map->v[i];

		for (uint64_t k = 0; k < run->len; k++)
			paddr[run->pos + k] = run->addr ? run->addr + k : 0;
	}
}

static int load_parent(const struct ingest *in, struct reader *r, struct job *j, struct err *err)
{
	const struct frame *frame;
	struct cache_entry *entry;
	int rc = frame_get(in->store, j->parent_fid, &entry, &frame, err);

	if (rc < 0)
		return rc;
	rc = dedup_parent_digests(in->dedup, &frame->map, r->parent, err);
	if (rc == 0)
		expand(&frame->map, j->paddr);
	frame_put(in->store, entry);
	return rc;
}

/*
 * A full image does not need its parent.  Where that is damaged, what was read
 * is stored as if there were none, and the new layer is whole again.
 */
static bool can_do_without(const struct job *j, int rc)
{
	return j->image->mode == INPUT_FULL && (rc == -EBADMSG || rc == -EIO || rc == -ENOENT);
}

/* Sets j->paddr and r->parent; whether they are what the parent has. */
static int read_parent(const struct ingest *in, struct reader *r, struct job *j, struct err *err)
{
	const struct image *parent = j->image->parent;
	struct err why = {{0}};
	int rc = 0;

	j->parent_fid = parent ? runs_at(&parent->frames, j->frame) : 0;
	if (j->parent_fid) {
		rc = load_parent(in, r, j, &why);
		if (rc == 0)
			return 1;
		if (!can_do_without(j, rc))
			return err_set(err, rc == -ENOENT ? -EBADMSG : rc,
				       "parent of image '%s': %s", j->image->name, why.text);
	}
	memset(r->parent, 0, sizeof(r->parent));
	memset(j->paddr, 0, sizeof(j->paddr));
	return rc == 0;
}

static uint64_t size_of(const struct job *j)
{
	return input_size(j->image->in);
}

/* The page in which the image ends, if that is in this frame, or FRAME_PAGES. */
static unsigned tail_page(const struct job *j)
{
	uint64_t size = size_of(j), off = size & (PAGE_SIZE - 1);

	if (off == 0 || size >> FRAME_SHIFT != j->frame)
		return FRAME_PAGES;
	return (unsigned)((size & (FRAME_SIZE - 1)) >> PAGE_SHIFT);
}

static bool all_zero(const uint8_t *p, size_t len)
{
	while (len > 0 && *p == 0) {
		p++;
		len--;
	}
	return len == 0;
}

/*
 * The image is shorter than its parent and ends within a page that is "as in
 * the parent": what the parent has behind the new end is not part of it.
 */
static int cut_tail(const struct ingest *in, struct job *j, unsigned tail, struct err *err)
{
	uint64_t size = size_of(j), off = size & ~(uint64_t)(PAGE_SIZE - 1);
	uint8_t *page = j->pages + (size_t)tail * PAGE_SIZE;
	struct view *view;
	int64_t n;
	int rc = view_open(in->store, in->parent, j->image->name, &view, err);

	if (rc < 0)
		return rc;
	n = view_pread(view, page, size - off, off, err);
	view_close(view);
	if (n < 0)
		return (int)n;
	memset(page + n, 0, PAGE_SIZE - (size_t)n);
	j->kind[tail] = all_zero(page, PAGE_SIZE) ? INPUT_PAGE_ZERO : INPUT_PAGE_DATA;
	return 0;
}

static int fix_tail(const struct ingest *in, struct job *j, struct err *err)
{
	const struct image *parent = j->image->parent;
	unsigned tail = tail_page(j);

	if (tail == FRAME_PAGES || j->kind[tail] != INPUT_PAGE_PARENT)
		return 0;
	if (!j->paddr[tail] || parent->size <= size_of(j))
		return 0;
	return cut_tail(in, j, tail, err);
}

/* One page: its digest, and what it is compared to the parent's. */
static void look_at(const struct ingest *in, const struct reader *r, struct job *j, unsigned i)
{
	const struct digest *parent = &r->parent[i];

	if (j->kind[i] == INPUT_PAGE_PARENT)
		j->digest[i] = *parent;
	else if (j->kind[i] == INPUT_PAGE_ZERO)
		memset(&j->digest[i], 0, sizeof(j->digest[i]));
	else
		digest_bytes(in->store->params.digest, j->pages + (size_t)i * PAGE_SIZE,
			     PAGE_SIZE, &j->digest[i]);
	if (!digest_equal(&j->digest[i], parent))
		j->changed = true;
	else
		j->kind[i] = j->paddr[i] ? INPUT_PAGE_PARENT : INPUT_PAGE_ZERO;
}

int ingest_read(const struct ingest *in, struct reader *r, struct job *j, struct err *err)
{
	int known = read_parent(in, r, j, err), rc;

	if (known < 0)
		return known;
	rc = input_read(j->image->in, j->frame, j->pages, j->kind, err);
	if (rc < 0)
		return rc;
	j->nread = (unsigned)rc;
	rc = fix_tail(in, j, err);
	if (rc < 0)
		return rc;
	j->changed = !known;
	for (unsigned i = 0; i < FRAME_PAGES; i++)
		look_at(in, r, j, i);
	if (j->changed && digest_frame(in->store->params.digest, j->digest, &j->frame_digest) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	return 0;
}
