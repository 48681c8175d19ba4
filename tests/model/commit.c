/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Random images, written, patched, moved about, grown, cut and punched, are
 * committed as whole images, diffs and lists of changed ranges, upon random
 * parents.  What the store reads back is compared with plain arrays, byte for
 * byte.  SEED repeats a run, STEPS makes it longer.
 */
#include "store/commit.h"
#include "store/layer.h"
#include "store/store.h"
#include "store/verify.h"
#include "store/view.h"
#include "tests/tap.h"

#include <fcntl.h>
#include <limits.h>

#define PAGES_MAX 1300u			/* two frames and a half */
#define BYTES_MAX (PAGES_MAX * PAGE_SIZE)
#define KEPT 8u				/* layers that are remembered */

struct model_image {
	bool there;
	uint64_t size;
	uint8_t *bytes;			/* BYTES_MAX, zeros behind the end */
};

struct model {
	struct digest id;
	struct model_image image[2];
};

static const char *const names[2] = {"memfile", "rootfs"};

static struct err err;
static struct store *store;
static uint64_t state;
static struct model kept[KEPT];
static unsigned nkept, next_kept;
static unsigned wrong;

static uint64_t rnd(uint64_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state >> 11) % below;
}

static bool chance(unsigned percent)
{
	return rnd(100) < percent;
}

/* ---- images ---- */

static void fill_page(uint8_t *page, uint32_t content)
{
	uint64_t x = (content + 1) * UINT64_C(0x9e3779b97f4a7c15);

	for (size_t i = 0; i < PAGE_SIZE; i += 8) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		/* Every third page does not compress. */
		memcpy(page + i, i % 32 && content % 3 ? (uint64_t[]){content} : &x, 8);
	}
}

static uint64_t pages_of(const struct model_image *im)
{
	return (im->size + PAGE_SIZE - 1) / PAGE_SIZE;
}

/* Few enough contents that they come again. */
static void write_run(struct model_image *im, uint64_t at, uint64_t n)
{
	uint32_t content = (uint32_t)rnd(3000);

	for (uint64_t i = 0; i < n; i++)
		fill_page(im->bytes + (at + i) * PAGE_SIZE,
			  content + (chance(90) ? (uint32_t)i : 0));
}

static void poke(struct model_image *im, uint64_t at)
{
	im->bytes[at * PAGE_SIZE + rnd(PAGE_SIZE)] ^= (uint8_t)(1 + rnd(255));
}

static void change(struct model_image *im)
{
	uint64_t pages = pages_of(im), at, n, from;

	if (pages == 0)
		return;
	at = rnd(pages);
	n = 1 + rnd(chance(30) ? 600 : 20);
	if (n > pages - at)
		n = pages - at;
	from = rnd(pages - n + 1);
	switch (rnd(4)) {
	case 0:
		write_run(im, at, n);
		break;
	case 1:
		memset(im->bytes + at * PAGE_SIZE, 0, n * PAGE_SIZE);
		break;
	case 2:
		memmove(im->bytes + at * PAGE_SIZE, im->bytes + from * PAGE_SIZE, n * PAGE_SIZE);
		break;
	default:
		poke(im, at);
	}
}

static uint64_t random_size(void)
{
	uint64_t size = rnd(PAGES_MAX) * PAGE_SIZE;

	if (chance(20))
		size = rnd(3) * FRAME_SIZE;
	return chance(40) ? size + rnd(PAGE_SIZE) : size;
}

static void resize(struct model_image *im, uint64_t size)
{
	im->size = size;
	memset(im->bytes + size, 0, BYTES_MAX - size);
}

static void mutate(struct model_image *im)
{
	if (!im->there || chance(15))
		resize(im, random_size());
	im->there = true;
	for (uint64_t n = rnd(8); n > 0; n--)
		change(im);
	resize(im, im->size);
}

static void image_copy(struct model_image *to, const struct model_image *from)
{
	to->there = from->there;
	to->size = from->size;
	memcpy(to->bytes, from->bytes, BYTES_MAX);
}

/* ---- files ---- */

static bool is_zero(const uint8_t *page)
{
	static const uint8_t zeros[PAGE_SIZE];

	return memcmp(page, zeros, PAGE_SIZE) == 0;
}

static void put_page(int fd, const struct model_image *im, const uint8_t *bytes, uint64_t i)
{
	uint64_t off = i * PAGE_SIZE, len = im->size - off < PAGE_SIZE ? im->size - off : PAGE_SIZE;

	if (pwrite(fd, bytes + off, len, (off_t)off) != (ssize_t)len)
		bail("cannot write an image: %s", strerror(errno));
}

static bool differs(const struct model_image *a, const struct model_image *b, uint64_t i)
{
	return memcmp(a->bytes + i * PAGE_SIZE, b->bytes + i * PAGE_SIZE, PAGE_SIZE) != 0;
}

static uint64_t parent_size;	/* of the image that was cut last */

/* What the parent gives where nothing is said: itself, cut to the new size. */
static void cut_parent(struct model_image *out, const struct model_image *parent, uint64_t size)
{
	parent_size = parent->size;
	image_copy(out, parent);
	resize(out, size);
}

static struct model_image scratch;
static uint64_t parent_size;

/* Of an image that grew, what the parent does not have is read in any case. */
static bool is_beyond(const struct model_image *im, uint64_t i)
{
	return im->size > parent_size && (i + 1) * PAGE_SIZE > parent_size;
}

/* Writes the image as `mode` wants it; ranges for INPUT_DIRTY. */
static size_t write_image(const char *path, const struct model_image *im, enum input_mode mode,
			  struct input_range *ranges)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	static uint8_t junk[BYTES_MAX];
	unsigned needless = chance(50) ? 0 : 10;
	size_t n = 0;

	if (fd < 0 || ftruncate(fd, (off_t)im->size) < 0)
		bail("cannot write '%s'", path);
	for (uint64_t i = 0; i < pages_of(im); i++) {
		bool news = mode == INPUT_FULL ? !is_zero(im->bytes + i * PAGE_SIZE) :
			    differs(im, &scratch, i);

		/* What the parent ends in or before is read without being asked for. */
		if (mode == INPUT_DIRTY && im->size > parent_size)
			news |= (i + 1) * PAGE_SIZE > parent_size;
		if (mode == INPUT_DIRTY && is_beyond(im, i)) {
			put_page(fd, im, im->bytes, i);
		} else if (news || chance(needless)) {
			put_page(fd, im, im->bytes, i);
			ranges[n++] = (struct input_range){i * PAGE_SIZE + rnd(PAGE_SIZE), 1};
		} else if (mode == INPUT_DIRTY && chance(30)) {
			/* Not in the ranges, so nobody may look at it. */
			memset(junk + i * PAGE_SIZE, (int)rnd(256), PAGE_SIZE);
			put_page(fd, im, junk, i);
		}
	}
	close(fd);
	return n;
}

/* ---- comparing ---- */

static void fail(const struct model *m, const char *image, const char *why)
{
	tap_diag("layer %02x%02x%02x%02x image '%s': %s", m->id.b[0], m->id.b[1], m->id.b[2],
		 m->id.b[3], image, why);
	wrong++;
}

static void check_whole(const struct model *m, struct view *view, int i)
{
	static uint8_t got[BYTES_MAX];
	const struct model_image *im = &m->image[i];
	int64_t n = view_pread(view, got, sizeof(got), 0, &err);

	if (n < 0)
		fail(m, names[i], err.text);
	else if ((uint64_t)n != im->size || view_size(view) != im->size)
		fail(m, names[i], "its size differs");
	else if (memcmp(got, im->bytes, im->size) != 0)
		fail(m, names[i], "its bytes differ");
}

static void check_part(const struct model *m, struct view *view, int i)
{
	static uint8_t got[BYTES_MAX];
	const struct model_image *im = &m->image[i];
	uint64_t off = rnd(im->size + 1), len = 1 + rnd(100000);
	int64_t n = view_pread(view, got, len, off, &err);

	if (len > im->size - off)
		len = im->size - off;
	if (n != (int64_t)len || memcmp(got, im->bytes + off, len) != 0)
		fail(m, names[i], n < 0 ? err.text : "a part of it differs");
}

static void check_layer(const struct model *m)
{
	struct layer *layer;
	struct view *view;

	if (layer_open(store, &m->id, &layer, &err) < 0) {
		fail(m, "", err.text);
		return;
	}
	for (int i = 0; i < 2; i++) {
		if (!m->image[i].there && layer_image(layer, names[i]))
			fail(m, names[i], "it should not be there");
		if (!m->image[i].there)
			continue;
		if (view_open(store, layer, names[i], &view, &err) < 0) {
			fail(m, names[i], err.text);
			continue;
		}
		check_whole(m, view, i);
		check_part(m, view, i);
		view_close(view);
	}
	layer_unref(layer);
}

/* ---- a step ---- */

static void check_counts(const struct model *m, const struct commit_result *r, int i, size_t k)
{
	const struct commit_counts *c = &r->image[k];
	uint64_t zero = 0;

	if (c->zero + c->same + c->known + c->fresh != c->pages ||
	    c->pages != pages_of(&m->image[i]))
		fail(m, names[i], "its pages do not add up");
	for (uint64_t p = 0; p < pages_of(&m->image[i]); p++)
		zero += is_zero(m->image[i].bytes + p * PAGE_SIZE);
	/* In frames that were not read, zero pages are not told from the parent's. */
	if (c->zero > zero)
		fail(m, names[i], "too many zero pages");
}

static enum input_mode random_mode(const struct model *parent, int i)
{
	return parent && parent->image[i].there ? (enum input_mode)rnd(3) : INPUT_FULL;
}

static void commit(struct model *m, const struct model *parent, const bool change_it[2])
{
	static struct input_range ranges[2][PAGES_MAX];
	struct commit_image images[2];
	struct commit_opts opts = {.images = images, .threads = 1 + (unsigned)rnd(4),
				   .parent = parent ? &parent->id : NULL};
	struct commit_result result, dry;
	int of[2];

	for (int i = 0; i < 2; i++) {
		enum input_mode mode = random_mode(parent, i);
		size_t k = opts.nimages;

		if (!change_it[i])
			continue;
		if (mode != INPUT_FULL)
			cut_parent(&scratch, &parent->image[i], m->image[i].size);
		parent_size = parent ? parent->image[i].size : 0;
		images[k] = (struct commit_image){.name = names[i], .path = tap_path(names[i]),
						  .mode = mode, .ranges = ranges[k]};
		images[k].nranges = write_image(images[k].path, &m->image[i], mode, ranges[k]);
		of[k] = i;
		opts.nimages++;
	}
	opts.dry_run = chance(30);
	if (opts.dry_run && commit_run(store, &opts, &dry, &err) < 0)
		bail("a dry run: %s", err.text);
	if (commit_run(store, &(struct commit_opts){
			.images = images, .nimages = opts.nimages, .threads = opts.threads,
			.parent = opts.parent}, &result, &err) < 0)
		bail("commit: %s", err.text);
	m->id = result.id;
	if (opts.dry_run && !digest_equal(&dry.id, &result.id))
		fail(m, "", "its dry run gave it another name");
	if (opts.dry_run && memcmp(&dry.total, &result.total, sizeof(dry.total)) != 0)
		fail(m, "", "its dry run told otherwise");
	for (size_t k = 0; k < opts.nimages; k++)
		check_counts(m, &result, of[k], k);
}

static void step(void)
{
	const struct model *parent = nkept && chance(85) ? &kept[rnd(nkept)] : NULL;
	struct model *m = &kept[next_kept];
	bool change_it[2] = {chance(80), chance(50)};

	/* Its own place would be written over. */
	if (parent == m)
		parent = NULL;
	if (!change_it[0] && !change_it[1])
		change_it[0] = true;
	for (int i = 0; i < 2; i++) {
		if (parent)
			image_copy(&m->image[i], &parent->image[i]);
		else
			m->image[i].there = false;
		if (change_it[i])
			mutate(&m->image[i]);
	}
	commit(m, parent, change_it);
	check_layer(m);
	next_kept = (next_kept + 1) % KEPT;
	if (nkept < KEPT)
		nkept++;
}

static void open_store(const char *path)
{
	if (store_open(path, NULL, &store, &err) < 0)
		bail("store_open: %s", err.text);
}

static void set_up(const char *path)
{
	struct store_params params;

	store_params_default(&params);
	params.chunk_pages[IMAGE_MEMFILE] = 1 + (unsigned)rnd(CHUNK_PAGES_MAX);
	params.chunk_pages[IMAGE_ROOTFS] = 1 + (unsigned)rnd(CHUNK_PAGES_MAX);
	tap_diag("chunks of %u and %u pages", params.chunk_pages[0], params.chunk_pages[1]);
	if (store_init(path, &params, &err) < 0)
		bail("store_init: %s", err.text);
	open_store(path);
	scratch.bytes = calloc(1, BYTES_MAX + PAGE_SIZE);
	for (unsigned i = 0; i < KEPT; i++)
		for (int k = 0; k < 2; k++)
			kept[i].image[k].bytes = calloc(1, BYTES_MAX + PAGE_SIZE);
}

int main(void)
{
	unsigned steps = getenv("STEPS") ? (unsigned)atoi(getenv("STEPS")) : 60;
	char path[PATH_MAX + 16];
	struct verify_opts opts = {.deep = true};
	struct verify_result result;

	(void)snprintf(path, sizeof(path), "%s/store", tap_tmpdir());
	state = (tap_seed(20261121) + 1) * UINT64_C(0x9e3779b97f4a7c15);
	set_up(path);
	for (unsigned i = 0; i < steps && !wrong; i++) {
		step();
		if (!chance(10))
			continue;
		store_close(store);
		open_store(path);
	}
	is_int(wrong, 0, "%u commits read back as they were", steps);
	for (unsigned i = 0; i < nkept; i++)
		check_layer(&kept[i]);
	is_int(wrong, 0, "and at the end they still do");
	is_int(verify_run(store, &opts, &result, &err), 0, "the store can be verified");
	is_int(result.faults, 0, "and is whole");
	store_close(store);
	return tap_done();
}
