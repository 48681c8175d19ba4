/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * recover-fixture: what the tests of recover share.
 */
#ifndef LAMINA_TESTS_UNIT_RECOVER_FIXTURE_H
#define LAMINA_TESTS_UNIT_RECOVER_FIXTURE_H

#include "store/recover.h"
#include "store/scan.h"
#include "tests/series.h"

#define NOTES_LEN 16384

static struct series s;
static char notes[NOTES_LEN];
static struct progress progress;

TAP_FN void note(void *ctx, const char *line)
{
	size_t len = strlen(notes);

	(void)ctx;
	(void)snprintf(notes + len, sizeof(notes) - len, "%s\n", line);
}

TAP_FN int try_recover(struct recover_result *ret, struct err *err)
{
	struct recover_opts opts = {.note = note, .progress = progress};

	notes[0] = '\0';
	return recover_run(s.path, &opts, ret, err);
}

TAP_FN struct recover_result recover(void)
{
	struct recover_result r;
	struct err err;

	store_close(s.store);
	s.store = NULL;
	series_must(try_recover(&r, &err), &err, "recover");
	series_open(&s);
	return r;
}

TAP_FN const char *file(const char *name)
{
	static char path[4][PATH_MAX + 128];
	static unsigned next;
	char *p = path[next++ % 4];

	(void)snprintf(p, sizeof(path[0]), "%s/%s", s.path, name);
	return p;
}

TAP_FN bool exists(const char *name)
{
	return access(file(name), F_OK) == 0;
}

TAP_FN void copy(const char *from, const char *to)
{
	char line[5 * PATH_MAX];

	(void)snprintf(line, sizeof(line), "cp '%s' '%s'", from, to);
	if (system(line) != 0)
		bail("cannot copy '%s'", from);
}

TAP_FN void write_file(const char *path, const void *bytes, size_t len, off_t off)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0600);

	if (fd < 0 || pwrite(fd, bytes, len, off) != (ssize_t)len)
		bail("cannot write '%s'", path);
	close(fd);
}

/* Four generations, two packs; tags "newest" and "kept". */
TAP_FN void make(const char *name)
{
	struct err err;

	series_init(&s, name, 23);
	for (size_t i = 0; i < 4; i++) {
		series_commit(&s, i - 1, i ? 15 : 40, i == 3 ? "newest" : NULL);
		if (i == 1)
			series_new_pack(&s);
	}
	series_must(decide_tag(s.store, "kept", &s.layer[0].id, 0, &err), &err, "tag");
}

/* Where the n-th record of a type begins in a pack, and how long it is. */
TAP_FN uint64_t record_at(uint32_t pack, enum record_type type, unsigned n, uint64_t *ret_len)
{
	struct scan_item item;
	struct scan *scan;
	uint64_t len, alloc, off = 0;
	struct err err;

	series_must(packs_size(s.store->packs, pack, &len, &alloc), NULL, "packs_size");
	series_must(scan_open(s.store->packs, pack, PACK_HEADER_LEN, len, &scan, &err), &err,
		    "scan");
	while (!off && scan_next(scan, &item, &err) == 1)
		if (!item.damage && item.record.type == type && n-- == 0) {
			off = item.off;
			*ret_len = item.len;
		}
	scan_close(scan);
	if (!off)
		bail("pack %u has no such record", pack);
	return off;
}

TAP_FN void flip_record(uint32_t pack, enum record_type type, unsigned n)
{
	uint64_t len, off = record_at(pack, type, n, &len);

	series_flip(&s, pack, off + len / 2);
}

/* Layers that recover has left out are gone for the model, too. */
TAP_FN size_t forget_lost(void)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++) {
		struct layer *layer;
		int rc;

		if (s.layer[i].removed)
			continue;
		rc = layer_open(s.store, &s.layer[i].id, &layer, NULL);
		if (rc == 0) {
			layer_unref(layer);
		} else if (rc == -ENOENT) {
			s.layer[i].removed = true;
			n++;
		}
	}
	return n;
}

TAP_FN void check_sound(const char *how)
{
	struct digest id;
	struct err err;

	series_ok(&s, "%s: every layer is there and whole", how);
	is_int(decide_tag_find(s.store, "newest", &id, &err), 0, "with its tag");
	ok(digest_equal(&id, &s.layer[3].id), "that points at it");
	is_int(series_faults(&s), 0, "the store is sound");
}

#endif
