/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <sys/stat.h>

#include "store/digest.h"
#include "store/pack.h"
#include "store/scan.h"
#include "tests/fault.h"
#include "tests/tap.h"

#define NRECORDS 12

static struct packs *packs;
static uint64_t offs[NRECORDS + 1];	/* of the records; the last is the end */

/* Payloads of very different lengths, the longest beyond the scanner's window. */
static uint32_t len_of(unsigned i)
{
	return i == 5 ? 3u << 20 : i == 7 ? 0 : 100 + 977 * i;
}

static void fill(uint8_t *p, uint32_t len, unsigned i)
{
	for (uint32_t j = 0; j < len; j++)
		p[j] = (uint8_t)(j * 7 + i);
}

static void write_pack(uint32_t number)
{
	static uint8_t payload[4 << 20];
	struct pack_writer w;
	struct err err;

	if (pack_create(packs, number, &w, &err) < 0)
		bail("%s", err.text);
	for (unsigned i = 0; i < NRECORDS; i++) {
		struct record r = {.type = RECORD_MAPS, .len = len_of(i), .id = 1000 + i};

		fill(payload, r.len, i);
		if (pack_put(&w, &r, payload, &offs[i], &err) < 0)
			bail("%s", err.text);
	}
	offs[NRECORDS] = w.end;
	if (pack_sync(&w, &err) < 0)
		bail("%s", err.text);
	pack_close(&w);
}

static void overwrite(uint32_t number, uint64_t off, const void *bytes, size_t len)
{
	char name[32];
	int fd;

	(void)snprintf(name, sizeof(name), "packs/%08x.pack", number);
	fd = open(tap_path(name), O_WRONLY);
	if (fd < 0 || pwrite(fd, bytes, len, (off_t)off) != (ssize_t)len)
		bail("cannot damage '%s'", name);
	close(fd);
}

static void cut(uint32_t number, uint64_t len)
{
	char name[32];

	(void)snprintf(name, sizeof(name), "packs/%08x.pack", number);
	if (truncate(tap_path(name), (off_t)len) < 0)
		bail("cannot cut '%s'", name);
}

struct seen {
	unsigned records;
	uint64_t ids;		/* bit i: record 1000 + i came, whole */
	unsigned damages;
	uint64_t bytes;		/* damaged */
	uint64_t off;		/* of the last damage */
	char reason[64];
	int rc;
};

static bool is_right(const struct scan_item *item)
{
	static uint8_t want[4 << 20];
	unsigned i = (unsigned)(item->record.id - 1000);

	if (i >= NRECORDS || item->off != offs[i] || item->record.len != len_of(i) ||
	    item->len != RECORD_HEADER_LEN + (uint64_t)len_of(i))
		return false;
	fill(want, item->record.len, i);
	return memcmp(item->payload, want, item->record.len) == 0 &&
	       item->bytes + RECORD_HEADER_LEN == item->payload;
}

/* Items must cover [from, to) without gaps. */
static struct seen scan(uint32_t number, uint64_t from, uint64_t to)
{
	struct seen seen = {0};
	struct scan_item item;
	struct scan *s;
	struct err err;
	uint64_t at = from;

	if (scan_open(packs, number, from, to, &s, &err) < 0)
		bail("%s", err.text);
	while ((seen.rc = scan_next(s, &item, &err)) == 1) {
		if (item.off != at)
			bail("a gap at %llu", (unsigned long long)at);
		at += item.len;
		if (item.damage) {
			seen.damages++;
			seen.bytes += item.len;
			seen.off = item.off;
			(void)snprintf(seen.reason, sizeof(seen.reason), "%s", item.damage);
		} else if (is_right(&item)) {
			seen.records++;
			seen.ids |= UINT64_C(1) << (item.record.id - 1000);
		}
	}
	if (seen.rc == 0 && at != to)
		bail("it ended at %llu, not at %llu", (unsigned long long)at,
		     (unsigned long long)to);
	scan_close(s);
	return seen;
}

static struct seen scan_all(uint32_t number)
{
	return scan(number, PACK_HEADER_LEN, offs[NRECORDS]);
}

static void test_whole(void)
{
	struct seen s;

	write_pack(1);
	s = scan_all(1);
	is_int(s.rc, 0, "a pack is read to its end");
	is_int(s.records, NRECORDS, "and all of its records come, in order");
	is_int(s.damages, 0, "nothing is damaged");
	s = scan(1, offs[3], offs[6]);
	is_int(s.ids, 7 << 3, "a part of it has the records of that part");
	s = scan(1, offs[4], offs[4]);
	is_int(s.records + s.damages, 0, "an empty part has nothing");
}

static void test_payload(void)
{
	struct seen s;

	write_pack(2);
	overwrite(2, offs[4] + RECORD_HEADER_LEN + 50, "\xff", 1);
	s = scan_all(2);
	is_int(s.records, NRECORDS - 1, "a flipped byte of a payload costs one record");
	is_int(s.off, offs[4], "which one is told");
	is_int(s.bytes, offs[5] - offs[4], "and how long it was");
	is_str(s.reason, "checksum differs", "and why");
	overwrite(2, offs[5] + 5000, "\xff\xff", 2);
	s = scan_all(2);
	is_int(s.records, NRECORDS - 2, "the next one damaged too");
	is_int(s.damages, 1, "is one piece with it");
	is_int(s.bytes, offs[6] - offs[4], "which covers both");
}

static void test_header(void)
{
	struct seen s;

	write_pack(3);
	overwrite(3, offs[2], "xxxx", 4);
	s = scan_all(3);
	is_int(s.records, NRECORDS - 1, "a lost magic number costs one record");
	is_int(s.bytes, offs[3] - offs[2], "the next one is found by its own");
	is_str(s.reason, "there is no record header", "the reason is another");
	write_pack(3);
	overwrite(3, offs[2] + 8, "\x10\x00\x01", 3);
	s = scan_all(3);
	ok(s.ids & 1 << 3, "a wrong length does not lead astray");
	is_int(s.records, NRECORDS - 1, "it costs one record");
	write_pack(3);
	overwrite(3, offs[8], "xxxx", 4);
	overwrite(3, offs[10] + 30, "x", 1);
	s = scan_all(3);
	is_int(s.damages, 2, "two places apart are two pieces");
	is_int(s.records, NRECORDS - 2, "of a record each");
}

/* A record within a payload: what a guest's memory may hold. */
static void test_embedded(void)
{
	uint8_t inner[RECORD_HEADER_LEN + 4] = {0};
	struct record r = {.type = RECORD_DECISION, .len = 4, .id = 4711};
	struct seen s;

	record_encode(packs_seed(packs), &r, inner + RECORD_HEADER_LEN, inner);
	write_pack(4);
	overwrite(4, offs[3] + RECORD_HEADER_LEN + 100, inner, sizeof(inner));
	s = scan_all(4);
	is_int(s.damages, 1, "a payload that holds a record and is damaged is one piece");
	is_int(s.records, NRECORDS - 1, "what it holds is not taken for a record of the pack");
}

static void test_end(void)
{
	struct seen s;

	write_pack(5);
	cut(5, offs[11] + 30);
	s = scan_all(5);
	is_int(s.records, NRECORDS - 1, "a cut pack gives what is whole");
	is_int(s.damages, 2, "the torn record and what is not in the file are damage");
	is_str(s.reason, "the file ends before", "the last reason");
	cut(5, offs[11] + 7);
	s = scan_all(5);
	is_int(s.records, NRECORDS - 1, "cut within a header it does, too");
	cut(5, offs[11]);
	s = scan_all(5);
	is_int(s.damages, 1, "cut between records only the end is missing");
	is_int(s.bytes, offs[12] - offs[11], "as long as it was");
}

static void test_noise(void)
{
	static uint8_t noise[1 << 20];
	struct record r = {.type = RECORD_MAPS, .len = sizeof(noise), .id = 1};
	struct seen s;

	write_pack(6);
	/* Headers that claim much and are wrong: each would be read through. */
	record_encode(packs_seed(packs), &r, noise, noise);
	noise[12] ^= 1;
	for (size_t i = RECORD_HEADER_LEN; i + RECORD_HEADER_LEN <= sizeof(noise); i++)
		noise[i] = noise[i - RECORD_HEADER_LEN];
	overwrite(6, offs[5] + 10, noise, sizeof(noise));
	overwrite(6, offs[5], "x", 1);
	s = scan_all(6);
	is_int(s.rc, 0, "a field of false headers is passed in the end");
	is_int(s.damages, 1, "as one piece");
	is_int(s.records, NRECORDS - 1, "and all others are there");
}

static void test_unreadable(void)
{
	struct seen s;

	write_pack(7);
	packs_forget(packs, 7);
	(void)scan(7, PACK_HEADER_LEN, offs[1]);	/* the header has been read */
	fault_arm_from(FAULT_PREAD, 1, EIO);
	s = scan_all(7);
	fault_disarm();
	is_int(s.records, 0, "a disk that reads nothing gives no record");
	is_str(s.reason, "it cannot be read", "for that reason");
	is_int(s.rc, 0, "but it is no reason to stop");
	fault_arm(FAULT_PREAD, 1, EIO);
	s = scan_all(7);
	fault_disarm();
	is_int(s.records, NRECORDS, "a read that fails once is made again in small pieces");
}

static void test_errors(void)
{
	struct scan_item item;
	struct scan *s;
	struct err err;

	is_err(scan_open(packs, 99, 64, 100, &s, &err), &err, -ENOENT,
	       "cannot look at pack 00000063: No such file or directory");
	write_pack(8);
	packs_forget(packs, 8);
	overwrite(8, 0, "not at all a pack", 17);
	is_int(scan_open(packs, 8, 64, offs[1], &s, &err), 0, "a pack without its magic opens");
	is_err(scan_next(s, &item, &err), &err, -EBADMSG,
	       "pack 00000008: it does not begin as a pack does");
	scan_close(s);
	scan_close(NULL);
	write_pack(9);
	fault_arm(FAULT_MALLOC, 1, ENOMEM);
	is_err(scan_open(packs, 9, 64, offs[1], &s, &err), &err, -ENOMEM, "out of memory");
	fault_disarm();
	is_int(scan_open(packs, 9, 64, offs[1], &s, &err), 0, "there is memory again");
	fault_arm(FAULT_MALLOC, 1, ENOMEM);
	is_err(scan_next(s, &item, &err), &err, -ENOMEM, "out of memory");
	fault_disarm();
	is_int(scan_next(s, &item, &err), 1, "the same scan goes on afterwards");
	scan_close(s);
}

int main(void)
{
	static const uint8_t uuid[16] = "0123456789abcde";
	static const struct store_params params = {
		.digest = DIGEST_BLAKE2B_256, .codec = CODEC_ZSTD, .level = 1,
		.chunk_pages = {4, 4, 4},
	};
	int dirfd;

	if (digest_init() < 0 || mkdir(tap_path("packs"), 0700) < 0)
		bail("cannot begin");
	dirfd = open(tap_path("packs"), O_RDONLY | O_DIRECTORY);
	if (dirfd < 0 || packs_new(dirfd, uuid, &params, 4, &packs) < 0)
		bail("cannot begin");
	test_whole();
	test_payload();
	test_header();
	test_embedded();
	test_end();
	test_noise();
	test_unreadable();
	test_errors();
	packs_free(packs);
	close(dirfd);
	return tap_done();
}
