/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The buffer holds file bytes [buf_off, buf_off + buf_len).  It moves forward
 * in pieces of WINDOW bytes and grows for a record that is longer.  Blocks that
 * the disk cannot read are filled with POISON, so that no record that touches
 * one is whole.
 *
 * Searching by magic number checks whatever looks like a header, and each such
 * check may read as much as the header claims.  `budget` bounds the sum.
 */
#include "store/scan.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "store/pack.h"

#define WINDOW (1u << 20)
#define BLOCK 4096u
#define POISON 0xa5
#define SEARCH_COST 16		/* checked in a search, for each byte of the pack */

struct scan {
	struct packs *packs;
	uint32_t pack;
	uint64_t off;		/* of the next item */
	uint64_t end;		/* of what the file has */
	uint64_t want_end;
	uint8_t *buf;
	size_t cap;
	uint64_t buf_off;
	size_t buf_len;
	uint64_t budget;
	bool unreadable;	/* a block of what is in the buffer */
};

int scan_open(struct packs *packs, uint32_t pack, uint64_t off, uint64_t end, struct scan **ret,
	      struct err *err)
{
	struct scan *s;
	uint64_t len, alloc;
	int rc = packs_size(packs, pack, &len, &alloc);

	if (rc < 0)
		return err_sys(err, rc, "cannot look at pack %08x", pack);
	s = calloc(1, sizeof(*s));
	if (!s)
		return err_set(err, -ENOMEM, "out of memory");
	s->packs = packs;
	s->pack = pack;
	s->off = s->buf_off = off;
	s->end = len < end ? len : end;
	s->want_end = end;
	if (s->end < off)
		s->end = off;
	s->budget = (s->end - off) * SEARCH_COST;
	*ret = s;
	return 0;
}

void scan_close(struct scan *scan)
{
	if (!scan)
		return;
	free(scan->buf);
	free(scan);
}

/* Block by block, where the whole could not be read. */
static int read_blocks(struct scan *s, uint8_t *dst, uint64_t off, size_t len, struct err *err)
{
	while (len > 0) {
		size_t n = BLOCK - (size_t)(off % BLOCK);
		int rc;

		if (n > len)
			n = len;
		rc = packs_read(s->packs, s->pack, off, dst, n, err);
		if (rc == -EIO) {
			memset(dst, POISON, n);
			s->unreadable = true;
		} else if (rc < 0) {
			return rc;
		}
		dst += n;
		off += n;
		len -= n;
	}
	return 0;
}

static int fill(struct scan *s, size_t want, struct err *err)
{
	uint64_t off = s->buf_off + s->buf_len, left = s->end - off;
	size_t n = want - s->buf_len;
	int rc;

	if (n < WINDOW)
		n = left < WINDOW ? (size_t)left : WINDOW;
	if (s->buf_len + n > s->cap) {
		uint8_t *p = realloc(s->buf, s->buf_len + n);

		if (!p)
			return err_set(err, -ENOMEM, "out of memory");
		s->buf = p;
		s->cap = s->buf_len + n;
	}
	rc = packs_read(s->packs, s->pack, off, s->buf + s->buf_len, n, err);
	if (rc == -EIO)
		rc = read_blocks(s, s->buf + s->buf_len, off, n, err);
	if (rc < 0)
		return rc;
	s->buf_len += n;
	if (left > n)
		packs_willneed(s->packs, s->pack, off + n, WINDOW);
	return 0;
}

/* Bytes [off, off + len), which are in the file.  Until the next call. */
static int fetch(struct scan *s, uint64_t off, size_t len, const uint8_t **ret, struct err *err)
{
	int rc;

	if (off >= s->buf_off && off - s->buf_off + len <= s->buf_len) {
		*ret = s->buf + (off - s->buf_off);
		return 0;
	}
	if (off >= s->buf_off && off - s->buf_off < s->buf_len) {
		s->buf_len -= (size_t)(off - s->buf_off);
		memmove(s->buf, s->buf + (off - s->buf_off), s->buf_len);
	} else {
		s->buf_len = 0;
		s->unreadable = false;
	}
	s->buf_off = off;
	rc = fill(s, len, err);
	if (rc == 0)
		*ret = s->buf;
	return rc;
}

/* A plausible header of a record that fits: 1, 0 or -errno. */
static int header_at(struct scan *s, uint64_t off, struct record *ret, struct err *err)
{
	const uint8_t *p;
	int rc;

	if (s->end - off < RECORD_HEADER_LEN)
		return 0;
	rc = fetch(s, off, RECORD_HEADER_LEN, &p, err);
	if (rc < 0)
		return rc;
	return record_decode(p, ret) == 0 && ret->len <= s->end - off - RECORD_HEADER_LEN;
}

/* A whole record: 1, 0 or -errno. */
static int record_at(struct scan *s, uint64_t off, struct scan_item *ret, struct err *err)
{
	struct scan_item item = {.off = off};
	int rc = header_at(s, off, &item.record, err);

	if (rc <= 0)
		return rc;
	item.len = RECORD_HEADER_LEN + (uint64_t)item.record.len;
	rc = fetch(s, off, (size_t)item.len, &item.bytes, err);
	if (rc < 0)
		return rc;
	item.payload = item.bytes + RECORD_HEADER_LEN;
	if (record_check(packs_seed(s->packs), item.bytes, item.payload) < 0)
		return 0;
	*ret = item;
	return 1;
}

/* From header to header: where the first whole record is, or the end. */
static int follow(struct scan *s, uint64_t off, uint64_t *ret, struct err *err)
{
	struct scan_item item;
	struct record r;
	int rc;

	while ((rc = header_at(s, off, &r, err)) == 1) {
		off += RECORD_HEADER_LEN + (uint64_t)r.len;
		rc = off == s->end ? 1 : record_at(s, off, &item, err);
		if (rc == 1)
			*ret = off;
		if (rc != 0)
			return rc;
	}
	return rc;
}

/* Whether a whole record begins here, if that may still be asked. */
static int probe(struct scan *s, uint64_t off, struct err *err)
{
	struct scan_item item;
	struct record r;
	int rc = header_at(s, off, &r, err);

	if (rc <= 0 || r.len > s->budget)
		return rc < 0 ? rc : 0;
	s->budget -= r.len;
	return record_at(s, off, &item, err);
}

/* The next place in [off, end) where the magic number stands, or the end. */
static int next_magic(struct scan *s, uint64_t off, uint64_t *ret, struct err *err)
{
	static const uint8_t magic[] = {
		RECORD_MAGIC & 0xff, RECORD_MAGIC >> 8 & 0xff,
		RECORD_MAGIC >> 16 & 0xff, RECORD_MAGIC >> 24,
	};

	while (s->end - off >= RECORD_HEADER_LEN) {
		const uint8_t *p, *hit;
		size_t n = s->end - off < BLOCK ? (size_t)(s->end - off) : BLOCK;
		int rc = fetch(s, off, n, &p, err);

		if (rc < 0)
			return rc;
		hit = memmem(p, n, magic, sizeof(magic));
		if (hit) {
			*ret = off + (uint64_t)(hit - p);
			return 0;
		}
		off += n - (sizeof(magic) - 1);
	}
	*ret = s->end;
	return 0;
}

static int search(struct scan *s, uint64_t off, uint64_t *ret, struct err *err)
{
	int rc = next_magic(s, off, &off, err);

	while (rc == 0 && off < s->end) {
		rc = probe(s, off, err);
		if (rc != 0)
			break;
		rc = next_magic(s, off + 1, &off, err);
	}
	if (rc < 0)
		return rc;
	*ret = off;
	return 0;
}

static const char *reason_at(struct scan *s, uint64_t off)
{
	struct record r;

	if (header_at(s, off, &r, NULL) == 1)
		return s->unreadable ? "it cannot be read" : "checksum differs";
	return s->unreadable ? "it cannot be read" : "there is no record header";
}

static int damage_at(struct scan *s, struct scan_item *ret, struct err *err)
{
	const char *reason = reason_at(s, s->off);
	uint64_t next = s->end;
	int rc = follow(s, s->off, &next, err);

	if (rc == 0)
		rc = search(s, s->off + 1, &next, err);
	if (rc < 0)
		return rc;
	*ret = (struct scan_item){.off = s->off, .len = next - s->off, .damage = reason};
	return 1;
}

static int missing_end(struct scan *s, struct scan_item *ret)
{
	if (s->off >= s->want_end)
		return 0;
	*ret = (struct scan_item){
		.off = s->off, .len = s->want_end - s->off, .damage = "the file ends before",
	};
	return 1;
}

int scan_next(struct scan *scan, struct scan_item *ret, struct err *err)
{
	int rc;

	if (scan->off >= scan->end) {
		rc = missing_end(scan, ret);
	} else {
		rc = record_at(scan, scan->off, ret, err);
		if (rc == 0)
			rc = damage_at(scan, ret, err);
	}
	if (rc == 1)
		scan->off = ret->off + ret->len;
	return rc;
}
