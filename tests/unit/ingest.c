/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What only shows with much data: segments that fill up, packs that are rolled
 * over, maps that pile up; and that none of it depends on the threads.
 */
#include "store/ingest.h"
#include "store/verify.h"
#include "tests/fault.h"
#include "tests/unit/commits.h"

/* A layer's manifest and attributes, which tell the time. */
#define TAIL 900u

static struct store_params params;

static void open_store(const char *name)
{
	must(store_init(tap_path(name), &params, &err), "store_init");
	must(store_open(tap_path(name), NULL, &store, &err), "store_open");
}

/* Half of each page is noise, or all of it. */
static void fill_page(uint64_t content, bool noise, uint8_t page[PAGE_SIZE])
{
	uint64_t x = (content + 1) * UINT64_C(0x9e3779b97f4a7c15);

	memset(page, 'a', PAGE_SIZE);
	for (size_t i = 0; i < PAGE_SIZE; i += noise ? 8 : 16) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(page + i, &x, 8);
	}
}

/* `n` different pages, `step` pages apart. */
static const char *make_pages(const char *name, uint64_t n, uint64_t step, bool noise)
{
	const char *path = tap_path(name);
	uint8_t page[PAGE_SIZE];
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		bail("cannot make '%s'", path);
	for (uint64_t i = 0; i < n; i++) {
		fill_page(i, noise, page);
		if (io_pwrite_all(fd, page, PAGE_SIZE, i * step * PAGE_SIZE) < 0)
			bail("cannot write '%s'", path);
	}
	close(fd);
	return path;
}

static int commit(const char *path, unsigned threads)
{
	struct commit_image image = {.name = "memfile", .path = path};
	struct commit_opts opts = {.images = &image, .nimages = 1, .threads = threads};

	return commit_run(store, &opts, &result, &err);
}

static bool reads_as(const char *path)
{
	return same_as(&result.id, "memfile", path);
}

static unsigned long long faults(void)
{
	struct verify_opts opts = {.deep = true};
	struct verify_result r;

	must(verify_run(store, &opts, &r, &err), "verify_run");
	return r.faults;
}

static int count_seg(void *ctx, const struct index_seg *seg)
{
	unsigned *n = ctx;

	*n += seg->span > 0;
	return seg->span > SEG_PAGES ? -EBADMSG : 0;
}

static unsigned segments(void)
{
	unsigned n = 0;

	must(index_seg_each(store->index, count_seg, &n, &err), "index_seg_each");
	return n;
}

/* Two segments and a bit, of chunks that do not divide them. */
static void test_segments(void)
{
	const uint64_t n = 2 * SEG_PAGES + 2000;
	const char *path = make_pages("many", n, 1, false);

	params.chunk_pages[IMAGE_MEMFILE] = 7;
	open_store("segments");
	is_int(commit(path, 2), 0, "more pages than a segment holds");
	is_int(result.total.fresh, n, "all are new");
	is_int(segments(), 3, "are three segments");
	ok(reads_as(path), "they read as they were");
	is_int(faults(), 0, "and the store is whole");
	is_int(commit(path, 2), 0, "again");
	is_int(result.total.fresh, 0, "nothing is new");
	store_close(store);
	params.chunk_pages[IMAGE_MEMFILE] = 4;
}

/* A page in each of so many frames that maps are written before a segment is full. */
static void test_maps(void)
{
	const uint64_t n = 1500;
	const char *path = make_pages("wide", n, FRAME_PAGES, false);

	open_store("maps");
	is_int(commit(path, 3), 0, "a page in each of %llu frames", (unsigned long long)n);
	is_int(result.total.frames_touched, n, "touches all of them");
	is_int(segments(), 2, "the segment ends when too many maps wait");
	ok(reads_as(path), "they read as they were");
	is_int(faults(), 0, "and the store is whole");
	store_close(store);
}

/* ---- packs ---- */

static void pack_path(uint32_t pack, char *out, size_t size)
{
	(void)snprintf(out, size, "%s/packs/%08x.pack", store->path, pack);
}

static uint64_t pack_len(uint32_t pack)
{
	uint64_t len = 0, alloc;

	return packs_size(store->packs, pack, &len, &alloc) < 0 ? 0 : len;
}

/* The first pack gets a hole, so that little data fills it. */
static void fill_pack(uint64_t end)
{
	char path[PATH_MAX + 64];
	struct index_pack row;

	pack_path(1, path, sizeof(path));
	must(index_pack_get(store->index, 1, &row, &err), "index_pack_get");
	if (truncate(path, (off_t)end) < 0)
		bail("truncate");
	row.end = end;
	must(index_begin(store->index, &err), "index_begin");
	must(index_pack_put(store->index, &row, &err), "index_pack_put");
	must(index_commit(store->index, &err), "index_commit");
}

/* Checksums begin with a seed of the store: those that are compared get the same. */
static void set_uuid(const char *name)
{
	must(index_begin(store->index, &err), "index_begin");
	must(index_meta_set(store->index, "uuid", "6c616d696e61206c616d696e61212121", &err), "set");
	must(index_commit(store->index, &err), "index_commit");
	store_close(store);
	must(store_open(tap_path(name), NULL, &store, &err), "store_open");
}

/* A store whose pack has `room` left. */
static void open_filled(const char *name, uint64_t room)
{
	open_store(name);
	set_uuid(name);
	must(commit(make_pages("one", 1, 1, false), 1), "commit");
	fill_pack(PACK_SIZE_MAX - room);
}

static uint8_t *load(uint32_t pack, uint64_t from, size_t *ret_len)
{
	char path[PATH_MAX + 64];
	uint64_t len = pack_len(pack);
	uint8_t *data;
	int fd;

	pack_path(pack, path, sizeof(path));
	*ret_len = len - from;
	data = malloc(*ret_len);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (!data || io_pread_all(fd, data, *ret_len, from) < 0)
		bail("cannot load pack %u", pack);
	close(fd);
	return data;
}

static void test_roll(void)
{
	char *path = strdup(make_pages("noise", 7000, 1, true));
	const unsigned threads[] = {1, 2, 7};
	uint8_t *first[2] = {NULL, NULL};
	size_t len[2];

	for (size_t t = 0; t < 3; t++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "roll%u", threads[t]);
		open_filled(name, 22u << 20);
		is_int(commit(path, threads[t]), 0, "%u threads: more than the pack holds",
		       threads[t]);
		ok(pack_len(1) <= PACK_SIZE_MAX, "the pack has no more than it may");
		ok(pack_len(1) > PACK_SIZE_MAX - (16u << 20), "and not much less");
		ok(pack_len(2) > 5u << 20, "the rest is in another");
		is_int(pack_len(3), 0, "and that is all");
		ok(reads_as(path), "it reads as it was");
		for (uint32_t pack = 1; pack <= 2; pack++) {
			uint64_t from = pack == 1 ? PACK_SIZE_MAX - (22u << 20) : PACK_HEADER_LEN;
			size_t n;
			uint8_t *data = load(pack, from, &n);

			if (t == 0) {
				first[pack - 1] = data;
				len[pack - 1] = n;
				continue;
			}
			ok(n + 8 > len[pack - 1] && n < len[pack - 1] + 8 &&
			   memcmp(data, first[pack - 1], len[pack - 1] - TAIL) == 0,
			   "pack %u is the same as with one thread", pack);
			free(data);
		}
		store_close(store);
	}
	free(first[0]);
	free(first[1]);
	free(path);
}

/*
 * What was foreseen in the worst case is taken back when it has turned out
 * smaller, or packs of pages that compress would stay half empty.
 */
static void test_fill(void)
{
	char *path = strdup(make_pages("half", 16000, 1, false));

	open_filled("fill", 40u << 20);
	is_int(commit(path, 2), 0, "pages that compress");
	ok(pack_len(1) <= PACK_SIZE_MAX, "the pack has no more than it may");
	ok(pack_len(1) > PACK_SIZE_MAX - (17u << 20), "but is not left half empty");
	ok(pack_len(2) > 0, "before another is begun");
	ok(reads_as(path), "it reads as it was");
	store_close(store);
	free(path);
}

/* What fails after a pack was rolled over leaves neither. */
static void test_roll_back(void)
{
	const char *path = make_pages("noise", 7000, 1, true);
	const uint64_t end = PACK_SIZE_MAX - (22u << 20);

	open_filled("back", 22u << 20);
	/* The first is of the full pack. */
	fault_arm(FAULT_FSYNC, 2, EIO);
	is_err(commit(path, 2), &err, -EIO, "cannot sync pack 00000002: Input/output error");
	fault_disarm();
	is_int(pack_len(1), end, "the first pack is cut back");
	is_int(pack_len(2), 0, "the second is gone");
	is_int(commit(path, 2), 0, "a second try works");
	ok(reads_as(path), "and reads as it was");
	store_close(store);
}

static void test_codec_none(void)
{
	const char *path = make_pages("plain", 100, 1, false);

	params.codec = CODEC_NONE;
	params.level = 0;
	open_store("plain-store");
	is_int(commit(path, 2), 0, "without compression");
	is_int(result.total.stored_bytes, 100 * PAGE_SIZE + 25 * RECORD_HEADER_LEN,
	       "chunks are as long as their pages");
	ok(reads_as(path), "and read as they were");
	store_close(store);
}

int main(void)
{
	must(digest_init(), "digest_init");
	store_params_default(&params);
	params.chunk_pages[IMAGE_MEMFILE] = 4;
	test_segments();
	test_maps();
	test_roll();
	test_fill();
	test_roll_back();
	test_codec_none();
	return tap_done();
}
