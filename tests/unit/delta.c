/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One delta: what its pages are, on disk and after it was opened again, and what is said of a
 * file that is none.
 */
#include "store/delta-header.h"
#include "tests/unit/delta-fixture.h"

#define MIB (UINT64_C(1) << 20)
#define SIZE (8 * MIB)
#define WHO "delta 3 of 'memfile': "

static struct err err;

static void test_new(void)
{
	struct delta_place place = fixture_place();
	struct delta *d = fixture_new(SIZE), *none = NULL;
	struct delta_counts c;
	enum delta_state state;

	is_int(delta_size(d), SIZE, "the size that was asked for");
	is_int(delta_seq(d), 3, "and the sequence number");
	is_int(delta_run(d, 0, 2048, &state), 2048, "nothing is in it");
	is_int(state, DELTA_NONE, "anywhere");
	delta_count(d, &c);
	is_int(c.data + c.zero + c.frames, 0, "it counts nothing");
	ok(c.disk <= 64 << 10, "and takes next to nothing on disk");
	ok(!delta_has_garbage(d), "nothing is to be freed");
	is_int(delta_sync(d, &err), 0, "a sync of nothing");
	is_err(delta_create(&place, SIZE, &none, &err), &err, -EEXIST,
	       WHO "cannot create its file: File exists");
	delta_unref(d);
	delta_unref(NULL);
	place.name = "other";
	is_err(delta_create(&place, DELTA_SIZE_MAX + 1, &none, &err), &err, -EFBIG,
	       "delta 3 of 'other': an image of 8796093022209 bytes is larger than 8 TiB");
	is_int(access(tap_path("other"), F_OK), -1, "and nothing is left of it");
	is_err(delta_open(&place, 0, &none, &err), &err, -ENOENT,
	       "delta 3 of 'other': cannot open its file: No such file or directory");
	ok(!none, "outputs are untouched");
}

static void test_write(void)
{
	struct delta *d = fixture_new(SIZE);
	struct delta_counts c;

	fixture_write(d, 3, 2, 1);
	fixture_write(d, 31, 3, 2);
	fixture_write(d, 511, 1, 3);
	fixture_write(d, 512, 1, 4);
	fixture_write(d, 32, 1, 5);
	is_str(fixture_states(d, 0, 36), "---11--------------------------252--", "what is written");
	is_str(fixture_states(d, 510, 4), "-34-", "at the border of two frames");
	delta_count(d, &c);
	is_int(c.data, 7, "pages of data");
	is_int(c.zero, 0, "none of zeros");
	is_int(c.frames, 2, "frames");
	ok(c.disk >= 7 * PAGE_SIZE && c.disk < 40 * PAGE_SIZE, "bytes on disk");
	d = fixture_again(d);
	is_str(fixture_states(d, 0, 36), "---11--------------------------252--", "the same again");
	is_str(fixture_states(d, 510, 4), "-34-", "after it was opened again");
	delta_count(d, &c);
	is_int(c.data, 7, "it counts the same");
	is_int(c.frames, 2, "too");
	delta_unref(d);
}

static void test_patch(void)
{
	struct delta *d = fixture_new(SIZE);
	uint8_t got[6];

	fixture_write(d, 7, 1, 0);
	is_int(delta_patch(d, "abc", 3, 8 * PAGE_SIZE - 3, &err), 0, "the end of a page");
	d = fixture_again(d);
	is_int(delta_read(d, got, sizeof(got), 8 * PAGE_SIZE - 6, &err), 0, "is read");
	is_mem(got, "\0\0\0abc", 6, "as it was written");
	is_err(delta_patch(d, "abc", 3, 8 * PAGE_SIZE - 2, &err), &err, -EINVAL,
	       WHO "3 bytes at byte 32766 of the image are not in one page that was written");
	is_err(delta_patch(d, "abc", 3, 0, &err), &err, -EINVAL,
	       WHO "3 bytes at byte 0 of the image are not in one page that was written");
	delta_unref(d);
}

static void test_zero(void)
{
	struct delta *d = fixture_new(SIZE);
	struct delta_counts c;

	fixture_write(d, 0, 8, 1);
	fixture_zero(d, 2, 3);
	fixture_zero(d, 9, 1);
	fixture_zero(d, 9, 0);
	is_str(fixture_states(d, 0, 11), "11zzz111-z-", "what was zeroed");
	ok(delta_has_garbage(d) && !fixture_is_hole(3), "its bytes are there");
	fixture_write(d, 3, 1, 2);
	is_str(fixture_states(d, 0, 11), "11z2z111-z-", "and one was written again");
	fixture_sync(d);
	ok(!delta_has_garbage(d), "the sync frees the rest");
	ok(fixture_is_hole(2) && !fixture_is_hole(3) && fixture_is_hole(4), "of them");
	is_str(fixture_states(d, 0, 11), "11z2z111-z-", "pages are what they were");
	delta_count(d, &c);
	is_int(c.data, 6, "pages of data");
	is_int(c.zero, 3, "and of zeros");
	d = fixture_again(d);
	is_str(fixture_states(d, 0, 11), "11z2z111-z-", "when it is opened again, too");
	fixture_write(d, 2, 1, 3);
	fixture_sync(d);
	is_str(fixture_states(d, 0, 11), "1132z111-z-", "written after it was freed");
	delta_unref(d);
}

/* More than a piece; frames that were never touched, and some that were. */
static void test_zero_much(void)
{
	struct delta *d = fixture_new(16384 * MIB);
	const uint64_t from = 700, n = 4000000 - 700;
	struct delta_counts c;
	enum delta_state state;

	fixture_write(d, 699, 1, 1);
	fixture_write(d, 300032, 100, 2);
	fixture_write(d, 4000000, 1, 3);
	fixture_zero(d, from, n);
	is_int(delta_run(d, from, 4194304, &state), n, "15 GiB are zeroed");
	is_int(state, DELTA_ZERO_PAGE, "all of them");
	delta_count(d, &c);
	is_int(c.zero, n, "and counted");
	is_int(c.data, 2, "beside two of data");
	is_int(c.frames, 4000000 / 512, "in as many frames");
	ok(c.disk < 3 * MIB, "which takes little room");
	fixture_write(d, 2000000, 1, 4);
	is_str(fixture_states(d, 1999999, 3), "z4z", "a page of them is written");
	fixture_zero(d, 1024, 512);
	is_str(fixture_states(d, 1023, 2), "zz", "others are zeroed again");
	d = fixture_again(d);
	is_int(delta_run(d, from, 4194304, &state), 2000000 - from, "the same again");
	is_str(fixture_states(d, 1999999, 3), "z4z", "after it was opened again");
	is_str(fixture_states(d, 699, 2), "1z", "with what is before");
	is_str(fixture_states(d, 3999999, 3), "z3-", "and behind");
	ok(fixture_is_hole(300050), "what was written there is freed");
	delta_count(d, &c);
	is_int(c.zero, n - 1, "counted again");
	is_int(c.frames, 4000000 / 512, "in as many frames");
	delta_unref(d);
}

static void test_run(void)
{
	struct delta *d = fixture_new(DELTA_SIZE_MAX);
	const uint64_t pages = DELTA_SIZE_MAX / PAGE_SIZE;
	enum delta_state state;

	is_int(delta_run(d, 5, pages, &state), pages - 5, "8 TiB of nothing");
	fixture_write(d, pages - 1, 1, 1);
	is_int(delta_run(d, 0, pages, &state), pages - 1, "and one page at its end");
	fixture_write(d, 1000, 24, 1);
	fixture_write(d, 1024, 512, 1);
	fixture_write(d, 1536, 32, 1);
	fixture_zero(d, 1568, 32);
	is_int(delta_run(d, 0, pages, &state), 1000, "nothing up to a frame's middle");
	is_int(delta_run(d, 1003, pages, &state), 565, "a run over frames");
	is_int(state, DELTA_DATA_PAGE, "of data");
	is_int(delta_run(d, 1003, 1030, &state), 27, "not beyond what was asked for");
	is_int(delta_run(d, 1570, pages, &state), 30, "zeros after them");
	is_int(state, DELTA_ZERO_PAGE, "are zeros");
	is_int(delta_run(d, 1600, pages, &state), pages - 1601, "and nothing again");
	d = fixture_again(d);
	is_int(delta_run(d, 0, pages, &state), 1000, "opened again");
	is_str(fixture_states(d, pages - 2, 2), "-1", "with its last page");
	delta_unref(d);
}

static void test_refused(void)
{
	struct delta *d = fixture_new(SIZE);
	const uint64_t pages = DELTA_SIZE_MAX / PAGE_SIZE;

	is_err(fixture_try(d, 511, 2, 1, &err), &err, -EINVAL,
	       WHO "2 pages from 511 on are in more than one frame");
	is_err(fixture_try(d, pages - 1, 2, 1, &err), &err, -EINVAL,
	       WHO "it has no pages from 2147483647 to 2147483649");
	is_err(delta_zero(d, 1, UINT64_MAX, &err), &err, -EINVAL,
	       WHO "it has no pages from 1 to 0");
	delta_unref(d);
	d = fixture_open(DELTA_READ);
	is_err(fixture_try(d, 1, 1, 1, &err), &err, -EROFS, WHO "it is open to be read only");
	is_int(delta_zero(d, 1, 1, NULL), -EROFS, "nor zeroed");
	is_int(delta_patch(d, "", 1, 1, NULL), -EROFS, "nor patched");
	is_int(delta_allocate(d, 1, 1, NULL), -EROFS, "nor allocated");
	is_err(delta_set_size(d, 1, &err), &err, -EROFS, WHO "it is open to be read only");
	is_int(delta_sync(d, NULL), 0, "there is nothing to be synced");
	delta_unref(d);
}

static void test_size(void)
{
	struct delta *d = fixture_new(5000);
	struct stat st;

	is_int(delta_set_size(d, 3 * 1024 * MIB + 1, &err), 0, "it grows");
	fixture_write(d, 3 * 262144, 1, 7);
	d = fixture_again(d);
	is_int(delta_size(d), 3 * 1024 * MIB + 1, "and is as large when it is opened again");
	is_str(fixture_states(d, 3 * 262144, 1), "7", "with what was written there");
	ok(stat(tap_path(FIXTURE_NAME), &st) == 0 && st.st_size == 5ll << 30,
	   "its file is long enough");
	fixture_zero(d, 2, 3 * 262144);
	is_int(delta_set_size(d, 5000, &err), 0, "it shrinks");
	d = fixture_again(d);
	is_int(delta_size(d), 5000, "and is small");
	is_int(delta_set_size(d, SIZE, &err), 0, "grows again");
	is_str(fixture_states(d, 0, 5), "--zzz", "and what was cut off is zero");
	is_err(delta_set_size(d, DELTA_SIZE_MAX + 1, &err), &err, -EFBIG,
	       WHO "an image of 8796093022209 bytes is larger than 8 TiB");
	is_int(delta_size(d), SIZE, "the size is what it was");
	is_int(delta_set_size(d, 0, &err), 0, "nothing is left");
	delta_unref(d);
}

static void test_allocate(void)
{
	struct delta *d = fixture_new(SIZE);
	struct delta_counts c;
	int rc = delta_allocate(d, 0, 256, &err);

	if (rc == -EOPNOTSUPP) {
		tap_skip("this file system sets nothing aside");
		delta_unref(d);
		return;
	}
	is_int(rc, 0, "room is set aside");
	delta_count(d, &c);
	ok(c.disk >= MIB + PAGE_SIZE, "of a MiB, and of a block for its bits");
	fixture_write(d, 1, 1, 1);
	d = fixture_again(d);
	is_str(fixture_states(d, 0, 3), "-1-", "pages are what they were");
	is_int(delta_allocate(d, 0, 0, &err), 0, "nothing is set aside");
	delta_unref(d);
}

static void test_mtime(void)
{
	struct delta *d = fixture_new(SIZE);
	struct timespec now;
	struct stat st;

	fixture_write(d, 1, 1, 1);
	is_int(delta_mtime(d, &now), 0, "when it was last written to");
	ok(stat(tap_path(FIXTURE_NAME), &st) == 0 && st.st_mtim.tv_sec == now.tv_sec &&
	   st.st_mtim.tv_nsec == now.tv_nsec, "is the file's time");
	delta_unref(delta_ref(d));
	is_str(fixture_states(d, 1, 1), "1", "one reference less");
	delta_unref(d);
}

/* ---- what a kill or a power cut leaves ---- */

static void test_hole(void)
{
	struct delta *d = fixture_new(SIZE);
	struct delta_counts c;

	fixture_write(d, 0, 4, 1);
	fixture_zero(d, 2, 1);
	fixture_write(d, 2, 1, 2);
	fixture_write(d, 600, 1, 3);
	fixture_sync(d);
	fixture_punch(1);
	fixture_punch(2);
	fixture_punch(600);
	delta_unref(d);
	d = fixture_open(DELTA_READ);
	is_str(fixture_states(d, 0, 5), "1-z1-", "a page without its bytes was never written");
	d = fixture_again(d);
	is_str(fixture_states(d, 0, 5), "1-z1-", "who writes sees the same");
	delta_count(d, &c);
	is_int(c.data, 2, "and counts it");
	is_int(c.frames, 1, "the other frame has nothing");
	fixture_poke(DELTA_DATA + PAGE_SIZE, "", 1);
	d = fixture_again(d);
	is_str(fixture_states(d, 0, 5), "1-z1-", "it is so on disk");
	ok(fixture_is_hole(1), "and bytes that nobody speaks of are freed");
	fixture_write(d, 1, 1, 4);
	d = fixture_again(d);
	is_str(fixture_states(d, 0, 5), "14z1-", "one is written again");
	delta_unref(d);
}

static void test_garbage(void)
{
	struct delta *d = fixture_new(SIZE);

	fixture_write(d, 0, 4, 1);
	fixture_zero(d, 1, 2);
	fixture_poke(DELTA_DATA + 700 * PAGE_SIZE, "x", 1);
	ok(delta_has_garbage(d), "killed before it was synced");
	delta_unref(d);
	d = fixture_open(DELTA_READ);
	is_str(fixture_states(d, 0, 4), "1zz1", "the bits say what the pages are");
	ok(!delta_has_garbage(d) && !fixture_is_hole(1), "who reads changes nothing");
	d = fixture_again(d);
	is_str(fixture_states(d, 0, 4), "1zz1", "and so for who writes");
	ok(!delta_has_garbage(d) && fixture_is_hole(1) && fixture_is_hole(2), "but it is freed");
	ok(fixture_is_hole(700), "with what bytes were written without bits");
	is_str(fixture_states(d, 700, 1), "-", "which are nothing");
	delta_unref(d);
}

static void test_behind_the_end(void)
{
	struct delta *d = fixture_new(SIZE);
	struct delta_header h = {.seq = 3, .size = 2 * PAGE_SIZE + 1};
	uint8_t bytes[DELTA_HEADER_LEN];

	fixture_zero(d, 4, 1);
	fixture_write(d, 0, 6, 1);
	delta_unref(d);
	memcpy(h.uuid, fixture_store.uuid, sizeof(h.uuid));
	delta_header_encode(&h, bytes);
	fixture_poke(0, bytes, sizeof(bytes));
	d = fixture_open(0);
	is_int(delta_size(d), 2 * PAGE_SIZE + 1, "a larger size was lost");
	is_int(delta_set_size(d, SIZE, &err), 0, "it grows again");
	is_str(fixture_states(d, 0, 6), "111-z-", "and has nothing that was written there");
	ok(fixture_is_hole(3) && fixture_is_hole(4) && !fixture_is_hole(2), "which is freed");
	delta_unref(d);
}

/* ---- what is none ---- */

static void refuse(int rc, const char *text)
{
	struct delta_place place = fixture_place();
	struct delta *d = NULL;

	is_err(delta_open(&place, 0, &d, &err), &err, rc, WHO "%s", text);
	ok(!d, "and nothing is opened");
}

static void poke_header(const struct delta_header *h)
{
	uint8_t bytes[DELTA_HEADER_LEN];

	delta_header_encode(h, bytes);
	fixture_poke(0, bytes, sizeof(bytes));
}

static void test_header(void)
{
	struct delta_header good = {.seq = 3, .size = SIZE}, h;
	struct delta *d = fixture_new(SIZE);

	delta_unref(d);
	memcpy(good.uuid, fixture_store.uuid, sizeof(good.uuid));
	h = good;
	h.uuid[3] ^= 1;
	poke_header(&h);
	refuse(-EBADMSG, "it belongs to another store");
	h = good;
	h.seq = 4;
	poke_header(&h);
	refuse(-EBADMSG, "its header says that it is delta 4");
	h = good;
	h.incompat = 6;
	poke_header(&h);
	refuse(-EPROTONOSUPPORT, "it needs a newer lamina (features 0x6)");
	h = good;
	h.size = DELTA_SIZE_MAX + 1;
	poke_header(&h);
	refuse(-EBADMSG, "its header says that the image has 8796093022209 bytes");
	h = good;
	h.rocompat = 1;
	poke_header(&h);
	refuse(-EPROTONOSUPPORT, "to write to it needs a newer lamina (features 0x1)");
	d = fixture_open(DELTA_READ);
	is_int(delta_size(d), SIZE, "but it can be read");
	delta_unref(d);
	poke_header(&good);
	fixture_poke(30, "x", 1);
	refuse(-EBADMSG, "its header's checksum differs");
	fixture_poke(0, "x", 1);
	refuse(-EBADMSG, "it does not begin as a delta does");
}

static void test_cut(void)
{
	struct delta *d = fixture_new(SIZE);

	fixture_write(d, 0, 6, 1);
	delta_unref(d);
	if (truncate(tap_path(FIXTURE_NAME), (off_t)DELTA_DATA + 8192) < 0)
		bail("truncate");
	refuse(-EBADMSG, "it was cut: its file has 1073750016 bytes of 2147483648");
	if (truncate(tap_path(FIXTURE_NAME), 63) < 0)
		bail("truncate");
	refuse(-EBADMSG, "it is too short for a header");
}

static void test_read_error(void)
{
	struct delta *d = fixture_new(SIZE);
	uint8_t byte;

	if (truncate(tap_path(FIXTURE_NAME), (off_t)DELTA_DATA) < 0)
		bail("truncate");
	is_err(delta_read(d, &byte, 1, 4096, &err), &err, -EIO,
	       WHO "its file ends before byte 4097 of the image");
	delta_unref(d);
}

int main(void)
{
	test_new();
	test_write();
	test_patch();
	test_zero();
	test_zero_much();
	test_run();
	test_refused();
	test_size();
	test_allocate();
	test_mtime();
	test_hole();
	test_garbage();
	test_behind_the_end();
	test_header();
	test_cut();
	test_read_error();
	return tap_done();
}
