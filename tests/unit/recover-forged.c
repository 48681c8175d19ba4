/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest writes what looks like a record into its memory: a decision that
 * takes a tag away.  The pages do not compress, so these bytes stand in the
 * pack as they are, and when the header of their chunk is destroyed the search
 * for the next record meets them.
 */
#include "tests/unit/recover-fixture.h"

#include "store/base/io.h"
#include "store/digest.h"

#define FORGED_AT 100u		/* in each of its pages */
#define FORGED_PAGES 4u		/* of one chunk */
#define FORGED_LEN (RECORD_HEADER_LEN + sizeof(untag))

static const uint8_t untag[] = {DECISION_TAG, 6, 'n', 'e', 'w', 'e', 's', 't', 0, 0};

static const struct record forged = {
	.type = RECORD_DECISION, .len = sizeof(untag), .id = 1u << 20,
};

static void set_checksum(uint8_t *record, uint32_t sum)
{
	for (int i = 0; i < 4; i++)
		record[12 + i] = (uint8_t)(sum >> (8 * i));
}

/* As any record was made before there were seeds. */
static void forge_unkeyed(uint8_t out[FORGED_LEN])
{
	uint8_t covered[20];

	record_encode(0, &forged, untag, out);
	memcpy(out + RECORD_HEADER_LEN, untag, sizeof(untag));
	memcpy(covered, out, 12);
	memcpy(covered + 12, out + 16, 8);
	set_checksum(out, digest_crc(covered, sizeof(covered), untag, sizeof(untag)));
}

static void forge_seeded(uint32_t seed, uint8_t out[FORGED_LEN])
{
	record_encode(seed, &forged, untag, out);
	memcpy(out + RECORD_HEADER_LEN, untag, sizeof(untag));
}

/* The guest's pages: noise, and the record in each. */
static void write_pages(const uint8_t record[FORGED_LEN])
{
	static uint8_t pages[FORGED_PAGES * PAGE_SIZE];

	for (size_t i = 0; i < sizeof(pages); i++)
		pages[i] = (uint8_t)series_random(&s, 256);
	for (unsigned i = 0; i < FORGED_PAGES; i++)
		memcpy(pages + (size_t)i * PAGE_SIZE + FORGED_AT, record, FORGED_LEN);
	write_file(s.input[0], pages, sizeof(pages), 0);
}

static void commit_guest(const uint8_t record[FORGED_LEN])
{
	struct series_layer guest = s.layer[3];
	struct err err;

	series_write_files(&s, &guest);
	write_pages(record);
	series_must(series_commit_files(&s, &guest, &s.layer[3], NULL, &err), &err, "commit");
}

/* Overwrites the header of the chunk that holds the first of them. */
static void destroy_header(const uint8_t record[FORGED_LEN])
{
	char path[PATH_MAX + 64], *bytes, *hit;
	size_t len;

	series_pack_path(&s, 2, path, sizeof(path));
	if (io_read_file(AT_FDCWD, path, 64 << 20, &bytes, &len) < 0)
		bail("cannot read '%s'", path);
	hit = memmem(bytes, len, record, FORGED_LEN);
	if (!hit)
		bail("the pages are not stored as they are");
	write_file(path, "xxxxxxxxxxxxxxxxxxxxxxxx", RECORD_HEADER_LEN,
		   hit - bytes - FORGED_AT - RECORD_HEADER_LEN);
	free(bytes);
}

/* Whether the tag is still there when the store has been recovered. */
static bool tag_survives(const uint8_t record[FORGED_LEN])
{
	struct recover_result r;
	struct digest id;
	struct err err;

	commit_guest(record);
	destroy_header(record);
	r = recover();
	is_int(r.layers, 4, "the layer with the destroyed chunk is lost, and no other");
	return decide_tag_find(s.store, "newest", &id, &err) == 0 &&
	       digest_equal(&id, &s.layer[3].id);
}

static void test_unkeyed(void)
{
	uint8_t record[FORGED_LEN];

	make("unkeyed");
	forge_unkeyed(record);
	ok(tag_survives(record), "a record under a bare CRC is not taken");
	check_sound("unkeyed");
	store_close(s.store);
}

static void test_other_store(void)
{
	uint8_t record[FORGED_LEN];

	make("other");
	forge_seeded(packs_seed(s.store->packs), record);
	store_close(s.store);
	make("this");
	ok(tag_survives(record), "nor is one that another store would take");
	check_sound("other");
	store_close(s.store);
}

/* The others fail for the seed's sake alone. */
static void test_own(void)
{
	uint8_t record[FORGED_LEN];

	make("own");
	forge_seeded(packs_seed(s.store->packs), record);
	ok(!tag_survives(record), "whoever knew the seed could do it");
	store_close(s.store);
}

int main(void)
{
	test_unkeyed();
	test_other_store();
	test_own();
	return tap_done();
}
