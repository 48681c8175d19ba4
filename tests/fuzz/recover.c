/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * recover and scan over a damaged pack.  The input is what is done to a sound
 * one: pieces of 8 bytes, the first naming the deed, then an argument, a length
 * (2 bytes) and a place (4 bytes).  What recover then shows must be one of the
 * layers that were committed, byte for byte.  Only where a deed makes
 * checksums right again may contents differ; nothing may crash.
 */
#include <stdint.h>

#include "store/base/io.h"
#include "store/recover.h"
#include "store/record.h"
#include "store/scan.h"
#include "store/verify.h"
#include "tests/series.h"

#define DEEDS_MAX 6
#define DEED_LEN 8

enum deed { FLIP, FILL, CUT, COPY, REMOVE, FORGE };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct series s;
static char pack_path[PATH_MAX + 64], index_path[PATH_MAX + 64];
static uint8_t *sound, *bytes;
static size_t sound_len, len_now;
static uint32_t seed;
static bool forged;

/* Three layers in one pack, which is kept in memory. */
static void make_sound(void)
{
	char *text;

	if (!getenv("TMPDIR") && access("/dev/shm", W_OK) == 0)
		setenv("TMPDIR", "/dev/shm", 1);
	series_init(&s, "store", 3);
	for (size_t i = 0; i < 3; i++)
		(void)series_commit(&s, i - 1, i ? 5 : 6, i == 2 ? "last" : NULL);
	seed = packs_seed(s.store->packs);
	store_close(s.store);
	s.store = NULL;
	series_pack_path(&s, 1, pack_path, sizeof(pack_path));
	(void)snprintf(index_path, sizeof(index_path), "%s/index.db", s.path);
	if (io_read_file(AT_FDCWD, pack_path, 64 << 20, &text, &sound_len) < 0)
		bail("cannot read '%s'", pack_path);
	sound = (uint8_t *)text;
	bytes = malloc(2 * sound_len);
}

/* Makes the checksum of the record that begins at or after `at` right. */
static void forge(size_t at)
{
	struct record r;

	for (; at + RECORD_HEADER_LEN <= len_now; at++) {
		if (record_decode(bytes + at, &r) < 0 ||
		    r.len > len_now - at - RECORD_HEADER_LEN)
			continue;
		record_encode(seed, &r, bytes + at + RECORD_HEADER_LEN, bytes + at);
		forged = true;
		return;
	}
}

static void do_deed(const uint8_t p[DEED_LEN])
{
	size_t at = (p[4] | p[5] << 8 | p[6] << 16) % (len_now ? len_now : 1);
	size_t n = (size_t)(p[2] | p[3] << 8), left = len_now - at;

	if (n > left)
		n = left;
	/* Most inputs shall have none that is forged. */
	switch (p[0] < 8 ? FORGE : p[0] % FORGE) {
	case FLIP:
		if (left)
			bytes[at] ^= (uint8_t)(1u << (p[1] & 7));
		break;
	case FILL:
		memset(bytes + at, p[1], n);
		break;
	case CUT:
		len_now = at;
		break;
	case COPY:	/* to the end */
		if (len_now + n > 2 * sound_len)
			break;
		memcpy(bytes + len_now, bytes + at, n);
		len_now += n;
		break;
	case REMOVE:
		memmove(bytes + at, bytes + at + n, left - n);
		len_now -= n;
		break;
	default:
		forge(at);
	}
}

static void write_pack(void)
{
	int fd = open(pack_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || io_write_all(fd, bytes, len_now) < 0)
		bail("cannot write '%s': %s", pack_path, strerror(errno));
	close(fd);
}

static void die(const char *why)
{
	fprintf(stderr, "%s\n", why);
	abort();
}

static void scan_all(void)
{
	struct scan_item item;
	struct scan *scan;
	uint64_t at = PACK_HEADER_LEN;

	if (scan_open(s.store->packs, 1, at, len_now, &scan, NULL) < 0)
		return;
	while (scan_next(scan, &item, NULL) == 1) {
		if (item.off != at || item.len == 0)
			die("items do not follow each other");
		at += item.len;
	}
	scan_close(scan);
}

static int check_shown(void *ctx, const struct index_layer *row)
{
	const char *wrong = "a layer that nobody committed";

	(void)ctx;
	for (size_t i = 0; i < s.n && wrong; i++)
		if (digest_equal(&s.layer[i].id, &row->id))
			wrong = series_check_layer(&s, &s.layer[i]);
	if (wrong && !forged)
		die(wrong);
	return 0;
}

static void check_store(void)
{
	struct verify_opts opts = {.deep = true};
	struct verify_result r;
	struct err err;
	int rc;

	series_open(&s);
	(void)decide_layer_each(s.store, check_shown, NULL, NULL);
	rc = verify_run(s.store, &opts, &r, &err);
	if (!forged && (rc < 0 || r.faults))
		die(rc < 0 ? err.text : "verify finds faults in what recover left");
	scan_all();
	store_close(s.store);
	s.store = NULL;
}

static void forget_old_indexes(void)
{
	char line[PATH_MAX + 128];

	(void)snprintf(line, sizeof(line), "%s.broken", index_path);
	(void)unlink(line);
	(void)unlink(index_path);
	(void)snprintf(line, sizeof(line), "%s/packs/00000001.pack.foreign", s.path);
	(void)unlink(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct recover_opts opts = {0};
	struct recover_result r;

	if (!sound)
		make_sound();
	memcpy(bytes, sound, sound_len);
	len_now = sound_len;
	forged = false;
	for (size_t i = 0; i < DEEDS_MAX && (i + 1) * DEED_LEN <= len; i++)
		do_deed(data + i * DEED_LEN);
	write_pack();
	if (recover_run(s.path, &opts, &r, NULL) == 0)
		check_store();
	forget_old_indexes();
	return 0;
}
