/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A whole index with bytes changed: whatever they are, every row that is given
 * out is one that was put in.  It may be refused or missing.
 *
 * The index is made here; the input is a list of changes: u24 offset (modulo
 * the size), u8 to xor.  An odd first byte writes to what is left, too.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/base/io.h"
#include "store/index.h"

#define ROWS 24u
#define CHANGES_MAX 8u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static char dir[64], path[80], wal[96], shm[96];
static char *base;
static size_t base_len;

/* Every row follows from its number, so that a wrong one is seen. */
static uint8_t filler[600];

static struct digest digest_of(uint64_t n)
{
	struct digest d;

	for (unsigned i = 0; i < DIGEST_LEN; i++)
		d.b[i] = (uint8_t)((n + 1) * 37 + i * 11);
	return d;
}

static uint32_t len_of(uint64_t n)
{
	return (uint32_t)(n * 97 % sizeof(filler));
}

static struct index_pack pack_of(uint64_t n)
{
	return (struct index_pack){.number = (uint32_t)n, .end = n * 1000, .next_ord = (uint32_t)n,
				   .sealed = n % 2};
}

static struct index_seg seg_of(uint64_t n)
{
	return (struct index_seg){.first = n << 32, .span = 100, .pack = (uint32_t)n, .off = n * 64,
				  .dig_off = n * 80, .dig_len = 3200, .table = filler,
				  .table_len = len_of(n)};
}

static struct index_frame frame_of(uint64_t n)
{
	return (struct index_frame){.fid = n, .digest = digest_of(n), .pack = (uint32_t)n,
				    .runs = filler, .runs_len = len_of(n)};
}

static struct index_layer layer_of(uint64_t n)
{
	return (struct index_layer){.id = digest_of(n), .seq = n, .pack = 1, .manifest = filler,
				    .manifest_len = len_of(n)};
}

static struct index_decision decision_of(uint64_t n, char key[8])
{
	(void)snprintf(key, 8, "tag%llu", (unsigned long long)n % 1000);
	return (struct index_decision){.kind = 1, .key = key, .key_len = (uint32_t)strlen(key),
				       .seq = n, .pack = 1, .opack = 1, .has_value = n % 2,
				       .value = filler, .value_len = n % 2 ? len_of(n) : 0};
}

static void must(int rc)
{
	if (rc < 0)
		abort();
}

static void make_base(void)
{
	struct index *ix;
	char key[8];

	for (size_t i = 0; i < sizeof(filler); i++)
		filler[i] = (uint8_t)(i * 7);
	(void)snprintf(dir, sizeof(dir), "%s/lamina-fuzz.XXXXXX",
		       access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (digest_init() < 0 || !mkdtemp(dir))
		abort();
	(void)snprintf(path, sizeof(path), "%s/index.db", dir);
	(void)snprintf(wal, sizeof(wal), "%s-wal", path);
	(void)snprintf(shm, sizeof(shm), "%s-shm", path);
	must(index_open(path, INDEX_CREATE, &ix, NULL));
	for (uint64_t n = 1; n <= ROWS; n++) {
		struct index_pack pack = pack_of(n);
		struct index_seg seg = seg_of(n);
		struct index_frame frame = frame_of(n);
		struct index_layer layer = layer_of(n);
		struct index_decision decision = decision_of(n, key);

		must(index_pack_put(ix, &pack, NULL));
		must(index_seg_put(ix, &seg, NULL));
		must(index_frame_put(ix, &frame, NULL));
		must(index_layer_put(ix, &layer, NULL));
		must(index_decision_put(ix, &decision, NULL));
		must(index_hook_put(ix, n * UINT64_C(0x9e3779b97f4a7c15), n << 32, NULL));
	}
	must(index_meta_set(ix, "codec", "zstd", NULL));
	index_close(ix);
	must(io_read_file(AT_FDCWD, path, 1 << 20, &base, &base_len));
}

static void remove_all(void)
{
	(void)unlink(path);
	(void)unlink(wal);
	(void)unlink(shm);
	(void)rmdir(dir);
}

/* ---- rows as they come ---- */

static void same(const void *got, uint32_t len, const void *want, uint32_t want_len)
{
	if (len != want_len || (len && memcmp(got, want, len) != 0))
		abort();
}

static int see_pack(void *ctx, const struct index_pack *p)
{
	struct index_pack want = pack_of(p->number);

	(void)ctx;
	if (p->number < 1 || p->number > ROWS || p->end != want.end ||
	    p->next_ord != want.next_ord || p->sealed != want.sealed)
		abort();
	return 0;
}

static int see_seg(void *ctx, const struct index_seg *s)
{
	struct index_seg want = seg_of(s->first >> 32);

	(void)ctx;
	if (s->first != want.first || s->first >> 32 > ROWS || s->span != want.span ||
	    s->pack != want.pack || s->off != want.off || s->dig_off != want.dig_off ||
	    s->dig_len != want.dig_len)
		abort();
	same(s->table, s->table_len, want.table, want.table_len);
	return 0;
}

static int see_frame(void *ctx, const struct index_frame *f)
{
	struct index_frame want = frame_of(f->fid);

	(void)ctx;
	if (f->fid < 1 || f->fid > ROWS || f->pack != want.pack ||
	    !digest_equal(&f->digest, &want.digest))
		abort();
	same(f->runs, f->runs_len, want.runs, want.runs_len);
	return 0;
}

static int see_layer(void *ctx, const struct index_layer *l)
{
	struct index_layer want = layer_of(l->seq);

	(void)ctx;
	if (l->seq < 1 || l->seq > ROWS || l->pack != 1 || !digest_equal(&l->id, &want.id))
		abort();
	same(l->manifest, l->manifest_len, want.manifest, want.manifest_len);
	return 0;
}

static int see_decision(void *ctx, const struct index_decision *d)
{
	char key[8];
	struct index_decision want = decision_of(d->seq, key);

	(void)ctx;
	if (d->seq < 1 || d->seq > ROWS || d->kind != 1 || d->pack != 1 || d->opack != 1 ||
	    d->has_value != want.has_value)
		abort();
	same(d->key, d->key_len, want.key, want.key_len);
	same(d->value, d->value_len, want.value, want.value_len);
	return 0;
}

static int see_id(void *ctx, const struct digest *id)
{
	(void)ctx;
	(void)id;	/* of a row that is still to be read */
	return 0;
}

static void see_fault(void *ctx, const char *fault)
{
	(void)ctx;
	if (!*fault)
		abort();
}

/* An error has a sentence; a row that was asked for is the one. */
static void expect(int rc, struct err *err)
{
	if (rc < 0 && !*err->text)
		abort();
	err->text[0] = '\0';
}

static void read_one(struct index *ix, uint64_t n)
{
	struct err err = {""};
	struct digest id = digest_of(n);
	struct index_pack p;
	uint64_t fid = 0, seg;
	char key[8];
	struct index_decision what = decision_of(n, key);

	if (index_pack_get(ix, (uint32_t)n, &p, NULL) == 0 && p.number != n)
		abort();
	expect(index_seg_find(ix, (n << 32) + 5, see_seg, NULL, &err), &err);
	expect(index_frame_get(ix, n, see_frame, NULL, &err), &err);
	if (index_frame_find(ix, &id, &fid) == 0 && fid != n)
		abort();
	expect(index_layer_get(ix, &id, see_layer, NULL, &err), &err);
	expect(index_decision_get(ix, &what, see_decision, NULL, &err), &err);
	(void)index_hook_find(ix, n * UINT64_C(0x9e3779b97f4a7c15), &seg);
}

static void read_all(struct index *ix)
{
	struct err err = {""};
	char text[16] = "";

	expect(index_pack_each(ix, see_pack, NULL, &err), &err);
	expect(index_seg_each(ix, see_seg, NULL, &err), &err);
	expect(index_frame_each(ix, see_frame, NULL, &err), &err);
	expect(index_layer_each(ix, see_layer, NULL, &err), &err);
	expect(index_decision_each(ix, 0, see_decision, NULL, &err), &err);
	expect(index_layer_prefix(ix, "a", see_id, NULL, &err), &err);
	expect(index_verify(ix, see_fault, NULL, &err), &err);
	if (index_meta_get(ix, "codec", text, sizeof(text), NULL) == 0 && strcmp(text, "zstd") != 0)
		abort();
	for (uint64_t n = 1; n <= ROWS; n++)
		read_one(ix, n);
}

/* Rows like the others, so that a second look finds nothing strange. */
static void write_some(struct index *ix)
{
	struct index_frame frame = frame_of(3);
	struct index_seg seg = seg_of(7);

	if (index_begin(ix, NULL) < 0)
		return;
	(void)index_frame_put(ix, &frame, NULL);
	(void)index_seg_put(ix, &seg, NULL);
	(void)index_hook_sweep(ix, NULL);
	(void)index_frame_delete(ix, 9, NULL);
	(void)index_commit(ix, NULL);
	index_shrink(ix);
	index_checkpoint(ix);
}

static void write_changed(const uint8_t *data, size_t len)
{
	char *copy = malloc(base_len);
	int fd;

	if (!copy)
		abort();
	memcpy(copy, base, base_len);
	for (size_t i = 0; i + 4 <= len && i / 4 < CHANGES_MAX; i += 4) {
		size_t at = data[i] | (size_t)data[i + 1] << 8 | (size_t)data[i + 2] << 16;

		copy[at % base_len] ^= (char)data[i + 3];
	}
	(void)unlink(wal);
	(void)unlink(shm);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || io_write_all(fd, copy, base_len) < 0)
		abort();
	close(fd);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct err err = {""};
	struct index *ix;

	if (!base) {
		make_base();
		(void)atexit(remove_all);
	}
	/* One change is the likeliest in life: most inputs are cut to that. */
	write_changed(data, len && data[len - 1] % 4 ? (len < 4 ? len : 4) : len);
	if (index_open(path, 0, &ix, &err) < 0) {
		if (!*err.text)
			abort();
		return 0;
	}
	read_all(ix);
	if (len && data[0] % 16 == 1) {
		write_some(ix);
		read_all(ix);
	}
	index_close(ix);
	return 0;
}
