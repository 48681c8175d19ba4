/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/pack.h"
#include "store/digest.h"
#include "store/pack-header.h"
#include "tests/fault.h"
#include "tests/tap.h"

#include <fcntl.h>
#include <sys/stat.h>

static const uint8_t uuid[16] = "sixteen bytes id", other_uuid[16] = "another store id";
static const struct store_params params = {
	.digest = DIGEST_BLAKE2B_256, .codec = CODEC_ZSTD, .level = 1, .chunk_pages = {4, 4, 4},
};

static struct err err;
static int dirfd_;

static struct packs *new_packs_of(const uint8_t *id, size_t max_open)
{
	struct packs *p;

	if (packs_new(dirfd_, id, &params, max_open, &p) < 0)
		bail("packs_new");
	return p;
}

static struct packs *new_packs(void)
{
	return new_packs_of(uuid, 4);
}

static const char *file_of(uint32_t pack)
{
	char name[32];

	(void)snprintf(name, sizeof(name), "%08x.pack", pack);
	return tap_path(name);
}

static uint64_t length_of(uint32_t pack)
{
	struct stat st;

	return stat(file_of(pack), &st) < 0 ? UINT64_MAX : (uint64_t)st.st_size;
}

/* Cuts, grows or overwrites a file behind the program's back. */
static void spoil(uint32_t pack, off_t at, const void *bytes, size_t len)
{
	int fd = open(file_of(pack), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || (len ? pwrite(fd, bytes, len, at) != (ssize_t)len : ftruncate(fd, at) < 0))
		bail("cannot spoil pack %u", pack);
	close(fd);
}

static struct record record_of(size_t len)
{
	return (struct record){.type = RECORD_DECISION, .len = (uint32_t)len, .id = 7};
}

static uint64_t put(struct pack_writer *w, const char *text)
{
	struct record r = record_of(strlen(text));
	uint64_t off = 0;

	is_int(pack_put(w, &r, text, &off, &err), 0, "put '%.10s'", text);
	return off;
}

static bool reads(struct packs *packs, uint32_t pack, uint64_t off, const char *text)
{
	struct record r;
	void *payload;
	bool same;

	if (packs_read_record(packs, pack, off, &r, &payload, &err) < 0) {
		tap_diag("%s", err.text);
		return false;
	}
	same = r.len == strlen(text) && memcmp(payload, text, r.len) == 0;
	free(payload);
	return same;
}

static void test_write_and_read(void)
{
	struct packs *packs = new_packs();
	struct pack_writer w;
	uint64_t one, two, len, alloc;
	char buf[5];

	is_int(pack_create(packs, 1, &w, &err), 0, "create");
	one = put(&w, "one");
	is_int(one, PACK_HEADER_LEN, "the first record is behind the header");
	two = put(&w, "the second");
	is_int(two, PACK_HEADER_LEN + RECORD_HEADER_LEN + 3, "the second behind the first");
	is_int(w.end, two + RECORD_HEADER_LEN + 10, "the end");
	is_int(pack_sync(&w, &err), 0, "sync");
	is_int(length_of(1), w.end, "all is in the file");
	ok(reads(packs, 1, one, "one"), "the first comes back");
	ok(reads(packs, 1, two, "the second"), "so does the second");
	is_int(packs_read(packs, 1, two + RECORD_HEADER_LEN, buf, 5, &err), 0, "bytes");
	is_mem(buf, "the s", 5, "of the second");
	packs_willneed(packs, 1, 0, 100);
	packs_willneed(packs, 99, 0, 100);
	is_int(packs_size(packs, 1, &len, &alloc), 0, "size");
	is_int(len, w.end, "in bytes");
	ok(alloc > 0 && alloc % 512 == 0, "and on the disk");
	is_int(packs_size(packs, 2, &len, &alloc), -ENOENT, "of a pack that is not there");
	pack_close(&w);
	pack_close(&w);
	packs_free(packs);
}

/* Uses pack 1 of the test before. */
static void test_append(void)
{
	struct packs *packs = new_packs();
	struct pack_writer w;
	uint64_t end = length_of(1), off;

	spoil(1, (off_t)end, "a torn tail", 11);
	is_int(pack_append_at(packs, 1, end, &w, &err), 0, "append");
	is_int(length_of(1), end, "what was not published is cut");
	off = put(&w, "third");
	is_int(off, end, "the next record is at the end");
	is_int(pack_sync(&w, &err), 0, "sync");
	ok(reads(packs, 1, off, "third"), "it comes back");
	put(&w, "fourth");
	fault_reset();
	is_int(pack_sync(&w, &err), 0, "sync again");
	is_int(fault_count(FAULT_FSYNC), 1, "of the file, not of its name");
	pack_abort(&w, off);
	is_int(length_of(1), off, "abort cuts back");
	is_int(pack_append_at(packs, 1, end + 1, &w, &err), -EBADMSG, "a pack that is too short");
	is_str(err.text, "pack 00000001 ends before byte 126", "the sentence");
	is_err(pack_append_at(packs, 9, 64, &w, &err), &err, -ENOENT,
	       "cannot open pack 00000009: No such file or directory");
	packs_free(packs);
}

static void test_abort_of_new(void)
{
	struct packs *packs = new_packs();
	struct pack_writer w;
	char c;

	pack_create(packs, 2, &w, &err);
	put(&w, "never seen");
	pack_abort(&w, 0);
	is_int(length_of(2), UINT64_MAX, "an aborted new pack is gone");
	pack_create(packs, 2, &w, &err);
	put(&w, "synced, not published");
	pack_sync(&w, &err);
	pack_abort(&w, 0);
	is_int(length_of(2), UINT64_MAX, "also when it was synced");
	pack_abort(&w, 0);

	spoil(2, 0, "a leftover that is quite a bit longer than a header of a pack, and wrong", 72);
	is_int(pack_create(packs, 2, &w, &err), 0, "a leftover is replaced");
	pack_sync(&w, &err);
	is_int(length_of(2), PACK_HEADER_LEN, "by an empty pack");
	fault_reset();
	pack_sync(&w, &err);
	is_int(fault_count(FAULT_FSYNC), 1, "whose name is made durable once");
	pack_close(&w);
	is_int(packs_read(packs, 2, 0, &c, 1, &err), 0, "it can be read");
	is_int(packs_unlink(packs, 2, &err), 0, "unlink");
	is_int(packs_read(packs, 2, 0, &c, 1, &err), -ENOENT, "it cannot be read any more");
	is_int(packs_unlink(packs, 2, &err), 0, "unlink of what is gone");
	packs_free(packs);
}

/* More than the writer's buffer in one record, in many, and encoded ones. */
static void test_large(void)
{
	enum { LEN = 3 << 20 };
	struct packs *packs = new_packs();
	struct record r = record_of(LEN), small = record_of(700);
	uint8_t *data = malloc(LEN), raw[RECORD_HEADER_LEN + 700], *back;
	struct pack_writer w;
	uint64_t big, off[2000];
	int good = 0;

	for (size_t i = 0; i < LEN; i++)
		data[i] = (uint8_t)(i * 7 >> 3);
	pack_create(packs, 3, &w, &err);
	put(&w, "first");
	is_int(pack_put(&w, &r, data, &big, &err), 0, "a record larger than the buffer");
	for (int i = 0; i < 2000; i++)
		if (pack_put(&w, &small, data + i, &off[i], NULL) < 0)
			bail("put");
	record_encode(packs_seed(packs), &small, data + 4242, raw);
	memcpy(raw + RECORD_HEADER_LEN, data + 4242, 700);
	is_int(pack_put_raw(&w, raw, sizeof(raw), &off[0], &err), 0, "an encoded record");
	pack_sync(&w, &err);
	is_int(length_of(3), w.end, "all is in the file");
	is_int(packs_read_record(packs, 3, big, &r, (void **)&back, &err), 0, "the large one");
	is_mem(back, data, LEN, "comes back");
	free(back);
	for (int i = 1; i < 2000; i++) {
		good += packs_read_record(packs, 3, off[i], &r, (void **)&back, NULL) == 0 &&
			memcmp(back, data + i, 700) == 0;
		free(back);
	}
	is_int(good, 1999, "and all the small ones");
	is_int(packs_read_record(packs, 3, off[0], &r, (void **)&back, &err), 0, "the encoded one");
	is_mem(back, data + 4242, 700, "too");
	free(back);
	pack_close(&w);
	packs_unlink(packs, 3, NULL);
	packs_free(packs);
	free(data);
}

static void test_no_space(void)
{
	struct packs *packs = new_packs();
	struct record r = record_of(600 << 10);
	void *data = calloc(1, r.len);
	struct pack_writer w;
	uint64_t first, end;

	pack_create(packs, 4, &w, &err);
	pack_put(&w, &r, data, &first, &err);
	end = w.end;
	fault_arm(FAULT_PWRITE, 1, ENOSPC);
	is_err(pack_put(&w, &r, data, NULL, &err), &err, -ENOSPC,
	       "cannot write pack 00000004: No space left on device");
	fault_disarm();
	is_int(w.end, end, "nothing was appended");
	is_int(pack_put(&w, &r, data, NULL, &err), 0, "a retry works");
	is_int(pack_sync(&w, &err), 0, "and syncs");
	is_int(length_of(4), end + RECORD_HEADER_LEN + r.len, "with both records");
	pack_abort(&w, 0);
	packs_free(packs);
	free(data);
}

static void test_failed_sync(void)
{
	struct packs *packs = new_packs();
	struct record r = record_of(1);
	struct pack_writer w;

	pack_create(packs, 5, &w, &err);
	fault_arm(FAULT_FSYNC, 1, EIO);
	is_err(pack_sync(&w, &err), &err, -EIO,
	       "cannot sync pack 00000005: Input/output error");
	fault_disarm();
	is_err(pack_sync(&w, &err), &err, -EIO,
	       "pack 00000005 could not be synced: it is not written again");
	is_int(pack_put(&w, &r, "x", NULL, &err), -EIO, "nor appended to");
	pack_abort(&w, 0);

	pack_create(packs, 5, &w, &err);
	fault_arm(FAULT_FSYNC, 2, EIO);
	is_int(pack_sync(&w, &err), -EIO, "the directory's sync counts as well");
	fault_disarm();
	ok(w.failed, "the pack has failed");
	pack_abort(&w, 0);
	packs_free(packs);
}

static void test_damage(void)
{
	struct packs *packs = new_packs();
	struct pack_writer w;
	struct record r;
	uint64_t off, chunk;
	void *payload = NULL;

	pack_create(packs, 6, &w, &err);
	off = put(&w, "to be damaged");
	r = (struct record){.type = RECORD_CHUNK, .slots = 1, .len = 1, .id = 1};
	pack_put(&w, &r, "c", &chunk, &err);
	pack_sync(&w, &err);
	is_err(packs_read_record(packs, 6, chunk, &r, &payload, &err), &err, -EBADMSG,
	       "there is no such record at byte 101 of pack 00000006");
	spoil(6, (off_t)off + RECORD_HEADER_LEN + 3, "X", 1);
	is_err(packs_read_record(packs, 6, off, &r, &payload, &err), &err, -EBADMSG,
	       "record at byte 64 of pack 00000006: checksum differs");
	is_err(packs_read_record(packs, 6, off + 1, &r, &payload, &err), &err, -EBADMSG,
	       "there is no such record at byte 65 of pack 00000006");
	spoil(6, (off_t)off + 30, NULL, 0);
	is_err(packs_read_record(packs, 6, off, &r, &payload, &err), &err, -EBADMSG,
	       "pack 00000006 ends before byte 101");
	is_err(packs_read(packs, 6, 1 << 20, &r, 1, &err), &err, -EBADMSG,
	       "pack 00000006 ends before byte 1048577");
	fault_arm(FAULT_PREAD, 1, EIO);
	is_err(packs_read(packs, 6, 64, &r, 1, &err), &err, -EIO,
	       "cannot read pack 00000006 at byte 64: Input/output error");
	fault_disarm();
	ok(payload == NULL, "the output is untouched");
	pack_abort(&w, 0);
	packs_free(packs);
}

/* Writes a header over a pack; which of them open? */
static void write_header(uint32_t pack, uint32_t number, const uint8_t *id, uint32_t rocompat)
{
	struct pack_header h = {.number = number, .rocompat = rocompat, .params = params};
	uint8_t bytes[PACK_HEADER_LEN];

	memcpy(h.uuid, id, 16);
	pack_header_encode(&h, bytes);
	spoil(pack, 0, bytes, sizeof(bytes));
}

static void test_headers(void)
{
	struct packs *packs = new_packs();
	struct store_params p;
	struct pack_writer w;
	uint8_t id[16];
	char c;

	is_err(packs_read(packs, 7, 0, &c, 1, &err), &err, -ENOENT,
	       "cannot open pack 00000007: No such file or directory");
	spoil(7, 0, "too short", 9);
	is_err(packs_read(packs, 7, 0, &c, 1, &err), &err, -EBADMSG,
	       "pack 00000007 ends before its header does");
	spoil(7, 0, "no pack, but some other file of more than sixty-four bytes, alas.", 65);
	is_err(packs_read(packs, 7, 0, &c, 1, &err), &err, -EBADMSG,
	       "pack 00000007: it does not begin as a pack does");
	write_header(7, 7, other_uuid, 0);
	is_err(packs_read(packs, 7, 0, &c, 1, &err), &err, -EBADMSG,
	       "pack 00000007 belongs to another store");
	is_int(packs_header(packs, 7, id, &p, &err), 0, "recover may read its header");
	is_mem(id, other_uuid, 16, "and see whose it is");
	is_int(p.chunk_pages[1], 4, "and its parameters");
	write_header(7, 8, uuid, 0);
	is_err(packs_read(packs, 7, 0, &c, 1, &err), &err, -EBADMSG,
	       "pack 00000007 has the header of pack 00000008");
	write_header(7, 7, uuid, 1);
	is_int(packs_read(packs, 7, 0, &c, 1, &err), 0, "one that may only be read can be");
	is_err(pack_append_at(packs, 7, 64, &w, &err), &err, -EPROTONOSUPPORT,
	       "pack 00000007 may only be read: it needs a newer lamina (features 0x1)");
	packs_unlink(packs, 7, NULL);
	is_int(packs_header(packs, 7, id, &p, &err), -ENOENT, "a header that is not there");
	packs_free(packs);
}

/* Each bit of a header, flipped: the records behind it can be read all the same. */
static void test_hurt_header(void)
{
	struct packs *packs = new_packs();
	uint8_t good[PACK_HEADER_LEN], bad;
	unsigned unread = 0, unseen = 0, appended = 0;
	struct pack_writer w;
	char text[5] = "";

	write_header(9, 9, uuid, 0);
	spoil(9, PACK_HEADER_LEN, "words", 5);
	is_int(packs_check(packs, 9, &err), 0, "a good header");
	is_int(packs_read(packs, 9, 0, good, sizeof(good), &err), 0, "can be read itself");
	for (unsigned bit = 0; bit < 8 * PACK_HEADER_LEN; bit++) {
		packs_forget(packs, 9);
		bad = good[bit / 8] ^ (uint8_t)(1u << bit % 8);
		spoil(9, bit / 8, &bad, 1);
		unread += packs_read(packs, 9, PACK_HEADER_LEN, text, 5, &err) < 0 ||
			  memcmp(text, "words", 5) != 0 ||
			  packs_check_readable(packs, 9, PACK_HEADER_LEN + 5, &err) < 0;
		unseen += packs_check(packs, 9, &err) != -EBADMSG;
		unseen += packs_read(packs, 9, PACK_HEADER_LEN - 1, text, 5, &err) != -EBADMSG;
		appended += pack_append_at(packs, 9, PACK_HEADER_LEN + 5, &w, &err) != -EBADMSG;
		spoil(9, bit / 8, &good[bit / 8], 1);
	}
	is_int(unread, 0, "no flipped bit of the header hides the records");
	is_int(unseen, 0, "none is overlooked");
	is_int(appended, 0, "and nothing is appended behind one");
	spoil(9, 24, "zzzzzzzzz", 9);
	packs_forget(packs, 9);
	is_err(packs_read(packs, 9, PACK_HEADER_LEN, text, 5, &err), &err, -EBADMSG,
	       "pack 00000009: its header's checksum differs");
	is_err(packs_check_readable(packs, 9, PACK_HEADER_LEN, &err), &err, -EBADMSG,
	       "pack 00000009: its header's checksum differs");
	packs_unlink(packs, 9, NULL);
	packs_free(packs);
}

/* A descriptor that is still open does not make up for the file. */
static void test_readable(void)
{
	struct packs *packs = new_packs();
	char c;

	write_header(9, 9, uuid, 0);
	is_int(packs_check_readable(packs, 9, PACK_HEADER_LEN, &err), 0, "a pack that is there");
	is_err(packs_check_readable(packs, 9, PACK_HEADER_LEN + 1, &err), &err, -EBADMSG,
	       "pack 00000009 ends before byte 65");
	if (unlink(file_of(9)) < 0)
		bail("unlink");
	is_int(packs_read(packs, 9, 0, &c, 1, &err), 0, "unlinked, it is still read");
	is_err(packs_check_readable(packs, 9, PACK_HEADER_LEN, &err), &err, -ENOENT,
	       "cannot look at pack 00000009: No such file or directory");
	packs_free(packs);
}

/* gc unlinks a pack beside a reader. */
static void test_descriptors(void)
{
	struct packs *packs = new_packs_of(uuid, 2);
	struct pack_writer w;
	char c;

	for (uint32_t i = 0x10; i < 0x18; i++) {
		pack_create(packs, i, &w, &err);
		pack_sync(&w, &err);
		pack_close(&w);
	}
	for (uint32_t i = 0x10; i < 0x18; i++)
		if (packs_read(packs, i, 0, &c, 1, &err) < 0)
			bail("%s", err.text);
	unlink(file_of(0x17));
	is_int(packs_read(packs, 0x17, 0, &c, 1, &err), 0, "an open pack is read on when unlinked");
	packs_forget(packs, 0x17);
	is_int(packs_read(packs, 0x17, 0, &c, 1, &err), -ENOENT, "until it is forgotten");
	for (uint32_t i = 0x14; i < 0x17; i++)
		packs_read(packs, i, 0, &c, 1, NULL);
	unlink(file_of(0x15));
	packs_forget_gone(packs);
	is_int(packs_read(packs, 0x15, 0, &c, 1, &err), -ENOENT, "or all that are gone are");
	fault_reset();
	is_int(packs_read(packs, 0x16, 0, &c, 1, &err), 0, "the others are not");
	is_int(fault_count(FAULT_OPEN), 0, "they stay open");
	unlink(file_of(0x10));
	is_int(packs_read(packs, 0x10, 0, &c, 1, &err), -ENOENT, "few stay open");
	fault_arm(FAULT_OPEN, 1, EMFILE);
	is_err(packs_read(packs, 0x11, 0, &c, 1, &err), &err, -EMFILE,
	       "cannot open pack 00000011: Too many open files");
	fault_arm(FAULT_OPEN, 1, EINTR);
	is_int(packs_read(packs, 0x11, 0, &c, 1, &err), 0, "an interrupted open is repeated");
	fault_disarm();
	for (uint32_t i = 0x11; i < 0x17; i++)
		packs_unlink(packs, i, NULL);
	packs_free(packs);
}

struct seen {
	uint32_t v[8];
	int n;
	int stop_at;
};

static int see(void *ctx, uint32_t pack)
{
	struct seen *s = ctx;

	s->v[s->n++] = pack;
	return s->n == s->stop_at ? 42 : 0;
}

static void test_each(void)
{
	static const char *const others[] = {"0000000b.pack.tmp", "0000000B.pack", "b.pack",
					     "00000000.pack", "zzzzzzzz.pack", "notes"};
	struct packs *packs = new_packs();
	struct seen s = {0};
	uint8_t none = 0;

	packs_unlink(packs, 1, NULL);
	spoil(0xfffffff0, 0, &none, 1);
	spoil(0x0a, 0, &none, 1);
	spoil(3, 0, &none, 1);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		close(open(tap_path(others[i]), O_CREAT | O_WRONLY, 0600));
	is_int(packs_each(packs, see, &s), 0, "each");
	is_int(s.n, 3, "only packs");
	ok(s.v[0] == 3 && s.v[1] == 0x0a && s.v[2] == 0xfffffff0, "in ascending order");
	s = (struct seen){.stop_at = 2};
	is_int(packs_each(packs, see, &s), 42, "the callback stops it");
	is_int(s.n, 2, "at once");
	packs_free(packs);
}

int main(void)
{
	dirfd_ = open(tap_tmpdir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd_ < 0 || digest_init() < 0)
		bail("cannot begin");
	test_write_and_read();
	test_append();
	test_abort_of_new();
	test_large();
	test_no_space();
	test_failed_sync();
	test_damage();
	test_headers();
	test_hurt_header();
	test_readable();
	test_descriptors();
	test_each();
	packs_free(NULL);
	close(dirfd_);
	return tap_done();
}
