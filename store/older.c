/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * First of all the packs must be this index's: their headers name their store.
 * One pack that does is enough, since others may have been put here by mistake;
 * where none does and another store is named, it is the index that was put here.
 *
 * Three signs tell an index that is behind its packs from a writer that was
 * killed.  A writer unlinks a pack only after the index has forgotten it, so
 * an index that names a pack which is gone has missed a gc.  And one writer
 * seals one layer at most, so two manifests with numbers that the index has
 * not given out yet are two commits that it has missed.
 *
 * One missed commit looks just like one that was killed at its very end.  So
 * each writer notes in STORE/published, after its transaction and before
 * anybody is told of it, which numbers the index gives out next; an index that
 * is not as far is an old one.  The note is not synced: the transaction was, so
 * what a crash leaves of the note is never ahead of the index, and where it is
 * behind or gone the other two signs remain.
 */
#include "store/older.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/base/io.h"
#include "store/pack.h"
#include "store/scan.h"
#include "store/store.h"

#define NOTE "published"
#define NOTE_FMT "%020llu %020llu\n"	/* of one length: it is written over */
#define NOTE_LEN 42u

struct counters {
	uint64_t next_seq;
	uint64_t next_pack;
};

struct look {
	struct store *store;
	uint32_t next_pack;
	uint64_t next_seq;
	unsigned manifests;
	uint32_t missing;	/* a pack that has a row and no file */
};

/* ---- the note ---- */

static int get_counters(struct store *store, struct counters *ret, struct err *err)
{
	int rc = index_meta_get_u64(store->index, "next_seq", &ret->next_seq, err);

	return rc < 0 ? rc : index_meta_get_u64(store->index, "next_pack", &ret->next_pack, err);
}

/* Zeros where there is none: a power cut may have left anything in it. */
static int read_note(struct store *store, struct counters *ret, struct err *err)
{
	unsigned long long seq, pack;
	char *text;
	size_t len;
	int rc = io_read_file(store->dirfd, NOTE, NOTE_LEN, &text, &len);

	*ret = (struct counters){0};
	if (rc == -ENOENT || rc == -EFBIG)
		return 0;
	if (rc < 0)
		return err_sys(err, rc, "cannot read '%s/" NOTE "'", store->path);
	if (len == NOTE_LEN && sscanf(text, "%20llu %20llu", &seq, &pack) == 2)
		*ret = (struct counters){seq, pack};
	free(text);
	return 0;
}

static void write_note(struct store *store, const struct counters *c)
{
	char text[NOTE_LEN + 1];
	int fd = openat(store->dirfd, NOTE, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return;
	(void)snprintf(text, sizeof(text), NOTE_FMT, (unsigned long long)c->next_seq,
		       (unsigned long long)c->next_pack);
	(void)io_pwrite_all(fd, text, NOTE_LEN, 0);
	close(fd);
}

void older_note(struct store *store)
{
	struct counters now, noted;

	if (get_counters(store, &now, NULL) < 0 || read_note(store, &noted, NULL) < 0)
		return;
	if (now.next_seq < noted.next_seq || now.next_pack < noted.next_pack)
		return;
	if (now.next_seq > noted.next_seq || now.next_pack > noted.next_pack)
		write_note(store, &now);
}

void older_forget(struct store *store)
{
	(void)unlinkat(store->dirfd, NOTE, 0);
}

/* ---- the packs ---- */

struct owner {
	struct store *store;
	bool foreign;
};

/* 1, which ends the walk: this one is ours.  A header that is damaged says nothing. */
static int look_at_owner(void *ctx, uint32_t pack)
{
	struct owner *o = ctx;
	struct store_params params;
	uint8_t uuid[16];

	if (packs_header(o->store->packs, pack, uuid, &params, NULL) < 0)
		return 0;
	if (memcmp(uuid, o->store->uuid, sizeof(uuid)) == 0)
		return 1;
	o->foreign = true;
	return 0;
}

int older_check_owner(struct store *store, struct err *err)
{
	struct owner o = {.store = store};
	int rc = packs_each(store->packs, look_at_owner, &o);

	if (rc < 0)
		return err_sys(err, rc, "cannot list the packs of '%s'", store->path);
	if (rc > 0 || !o.foreign)
		return 0;
	return err_set(err, -EBADMSG, "index.db and the packs of '%s' are of different stores: "
		       "put the right index.db back, or move this one away and run "
		       "'lamina recover'", store->path);
}

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

/* Whether what is there says that the index is old. */
static int judge(const struct look *l, const struct counters *now, const struct counters *noted,
		 struct err *err)
{
	const char *path = l->store->path;

	if (l->missing)
		return err_set(err, -EBADMSG, "index.db is older than the packs of '%s': it names "
			       "pack %08x, which is gone; 'lamina recover' makes it again",
			       path, l->missing);
	if (l->manifests > 1)
		return err_set(err, -EBADMSG, "index.db is older than the packs of '%s': it does "
			       "not know %u layers that they hold; 'lamina recover' makes it again",
			       path, l->manifests);
	if (now->next_seq < noted->next_seq || now->next_pack < noted->next_pack)
		return err_set(err, -EBADMSG, "index.db is older than the packs of '%s': it does "
			       "not know what was published last; 'lamina recover' makes it again",
			       path);
	return 0;
}

/* The note first: the index is never behind one that was written before it is asked. */
int older_check_note(struct store *store, struct err *err)
{
	struct look l = {.store = store};
	struct counters now, noted;
	int rc = read_note(store, &noted, err);

	if (rc == 0)
		rc = get_counters(store, &now, err);
	return rc < 0 ? rc : judge(&l, &now, &noted, err);
}

int older_check(struct store *store, const struct index_pack *last, uint32_t next_pack,
		struct err *err)
{
	struct look l = {.store = store, .next_pack = next_pack};
	struct counters now, noted;
	int rc = get_counters(store, &now, err);

	if (rc == 0)
		rc = read_note(store, &noted, err);
	if (rc == 0)
		rc = index_pack_each(store->index, look_for_file, &l, err);
	if (rc < 0)
		return rc;
	l.next_seq = now.next_seq;
	if (last->number)
		count_manifests(&l, last->number, last->end);
	(void)packs_each(store->packs, count_in_stray, &l);
	return judge(&l, &now, &noted, err);
}
