/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * raw: the references that `make bench` measures lamina against.
 *
 *   raw pages FILE...               distinct, non-zero and zero pages of all files together
 *   raw new PAGES THREADS LEVEL FILE hash and compress the file's distinct pages, no more
 *   raw hash THREADS FILE           hash its non-zero pages, no more
 *   raw unzip PAGES LEVEL FILE      decompress its pages in chunks: CPU s/GiB, p50 of one
 *   raw seq FILE [BYTES]            read it from end to end in requests of BYTES (1 MiB)
 *   raw random FILE N SEED LIKE [LEN]  N preads of LEN (4 KiB) at pages that are data in LIKE
 *   raw warm FILE A_SECONDS         4 KiB preads at random places of a cached file
 *
 * Each prints one JSON object.  libzstd and libgcrypt are called directly.
 */
#include <errno.h>
#include <fcntl.h>
#include <gcrypt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

#define PAGE 4096u
#define FRAME (2u << 20)

static void die(const char *what)
{
	fprintf(stderr, "raw: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int open_or_die(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die(path);
	return fd;
}

static uint64_t size_of(int fd)
{
	off_t end = lseek(fd, 0, SEEK_END);

	if (end < 0)
		die("lseek");
	return (uint64_t)end;
}

static bool is_zero(const uint8_t *page)
{
	return !page[0] && !memcmp(page, page + 1, PAGE - 1);
}

/* ---- the pages of a file, held in memory ---- */

struct page {
	uint64_t pgno;
	uint64_t key[2];
};

struct image {
	uint8_t *data;		/* the non-zero pages, packed */
	struct page *page;
	size_t n;
	uint64_t zero;
	uint64_t size;
};

static void image_add(struct image *im, const uint8_t *buf, uint64_t pgno)
{
	struct page *p = &im->page[im->n];
	uint8_t h[32];

	memcpy(im->data + im->n * PAGE, buf, PAGE);
	gcry_md_hash_buffer(GCRY_MD_BLAKE2B_256, h, buf, PAGE);
	memcpy(p->key, h, sizeof(p->key));
	p->pgno = pgno;
	im->n++;
}

static void image_load(struct image *im, const char *path)
{
	int fd = open_or_die(path);
	static uint8_t buf[FRAME];

	memset(im, 0, sizeof(*im));
	im->size = size_of(fd);
	im->data = mmap(NULL, im->size + PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	im->page = calloc(im->size / PAGE + 1, sizeof(*im->page));
	if (im->data == MAP_FAILED || !im->page)
		die("memory");
	for (uint64_t off = 0; off < im->size; off += FRAME) {
		ssize_t got = pread(fd, buf, FRAME, (off_t)off);

		if (got < 0)
			die(path);
		memset(buf + got, 0, FRAME - (size_t)got);
		for (uint64_t i = 0; i < ((uint64_t)got + PAGE - 1) / PAGE; i++) {
			if (is_zero(buf + i * PAGE))
				im->zero++;
			else
				image_add(im, buf + i * PAGE, off / PAGE + i);
		}
	}
	close(fd);
}

/* An open-addressed set of 128-bit keys; returns whether it was new. */
static uint64_t (*set)[2];
static size_t set_cap, set_n;

static bool set_put(const uint64_t key[2])
{
	if (2 * (set_n + 1) > set_cap) {
		uint64_t (*old)[2] = set;
		size_t old_cap = set_cap;

		set_cap = set_cap ? set_cap * 4 : 1 << 16;
		set = calloc(set_cap, sizeof(*set));
		if (!set)
			die("memory");
		set_n = 0;
		for (size_t i = 0; i < old_cap; i++)
			if (old[i][0])
				set_put(old[i]);
		free(old);
	}
	for (size_t i = key[0] & (set_cap - 1);; i = (i + 1) & (set_cap - 1)) {
		if (set[i][0] == key[0] && set[i][1] == key[1])
			return false;
		if (!set[i][0]) {
			memcpy(set[i], key, sizeof(set[i]));
			set_n++;
			return true;
		}
	}
}

/* Keeps only pages not seen before. */
static void image_distinct(struct image *im)
{
	size_t kept = 0;

	for (size_t i = 0; i < im->n; i++) {
		if (!set_put(im->page[i].key))
			continue;
		memmove(im->data + kept * PAGE, im->data + i * PAGE, PAGE);
		im->page[kept++] = im->page[i];
	}
	im->n = kept;
}

static int cmd_pages(int argc, char **argv)
{
	uint64_t data = 0, zero = 0, fresh = 0;

	for (int i = 0; i < argc; i++) {
		struct image im;

		image_load(&im, argv[i]);
		data += im.n;
		zero += im.zero;
		image_distinct(&im);
		fresh += im.n;
		munmap(im.data, im.size + PAGE);
		free(im.page);
	}
	printf("{\"data\": %llu, \"zero\": %llu, \"distinct\": %llu}\n",
	       (unsigned long long)data, (unsigned long long)zero, (unsigned long long)fresh);
	return 0;
}

/* ---- hash and compress on some threads ---- */

struct work {
	struct image *im;
	atomic_size_t next;
	size_t *start;		/* first page of each piece */
	size_t npieces;
	unsigned chunk_pages;	/* 0: hash only */
	int level;
	atomic_ullong stored;
};

static void work_piece(struct work *w, size_t piece, ZSTD_CCtx *zc, uint8_t *out, size_t cap)
{
	size_t i = w->start[piece], end = w->start[piece + 1];
	uint8_t h[32];

	for (size_t k = i; k < end; k++)
		gcry_md_hash_buffer(GCRY_MD_BLAKE2B_256, h, w->im->data + k * PAGE, PAGE);
	for (; w->chunk_pages && i < end; i += w->chunk_pages) {
		size_t n = end - i < w->chunk_pages ? end - i : w->chunk_pages;
		size_t z = ZSTD_compress2(zc, out, cap, w->im->data + i * PAGE, n * PAGE);

		w->stored += ZSTD_isError(z) || z > n * PAGE ? n * PAGE : z;
	}
}

static void *work_main(void *arg)
{
	struct work *w = arg;
	size_t cap = ZSTD_compressBound(16 * PAGE);
	uint8_t *out = malloc(cap);
	ZSTD_CCtx *zc = ZSTD_createCCtx();

	if (!out || !zc)
		die("memory");
	ZSTD_CCtx_setParameter(zc, ZSTD_c_compressionLevel, w->level);
	for (;;) {
		size_t piece = w->next++;

		if (piece >= w->npieces)
			break;
		work_piece(w, piece, zc, out, cap);
	}
	ZSTD_freeCCtx(zc);
	free(out);
	return NULL;
}

/* A piece is what is there of one frame. */
static void work_split(struct work *w)
{
	struct image *im = w->im;

	w->start = calloc(im->n + 2, sizeof(*w->start));
	if (!w->start)
		die("memory");
	for (size_t i = 0; i < im->n; i++)
		if (!i || im->page[i].pgno / 512 != im->page[i - 1].pgno / 512)
			w->start[w->npieces++] = i;
	w->start[w->npieces] = im->n;
}

static int work_run(struct image *im, unsigned chunk_pages, int threads, int level)
{
	struct work w = { .im = im, .chunk_pages = chunk_pages, .level = level };
	pthread_t t[64];
	double t0;

	work_split(&w);
	t0 = now(CLOCK_MONOTONIC);
	for (int i = 0; i < threads && i < 64; i++)
		pthread_create(&t[i], NULL, work_main, &w);
	for (int i = 0; i < threads && i < 64; i++)
		pthread_join(t[i], NULL);
	printf("{\"seconds\": %.6f, \"pages\": %zu, \"stored\": %llu}\n",
	       now(CLOCK_MONOTONIC) - t0, im->n, (unsigned long long)w.stored);
	free(w.start);
	return 0;
}

static int cmd_new(int argc, char **argv)
{
	struct image im;

	if (argc != 4)
		return 2;
	image_load(&im, argv[3]);
	image_distinct(&im);
	return work_run(&im, (unsigned)atoi(argv[0]), atoi(argv[1]), atoi(argv[2]));
}

static int cmd_hash(int argc, char **argv)
{
	struct image im;

	if (argc != 2)
		return 2;
	image_load(&im, argv[1]);
	return work_run(&im, 0, atoi(argv[0]), 1);
}

/* ---- decompression ---- */

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static int cmd_unzip(int argc, char **argv)
{
	unsigned pages;
	size_t cap, n = 0, raw = 0;
	struct image im;
	ZSTD_DCtx *zd = ZSTD_createDCtx();
	ZSTD_CCtx *zc = ZSTD_createCCtx();
	uint8_t *zip, *out;
	double *took, total = 0;

	if (argc != 3)
		return 2;
	pages = (unsigned)atoi(argv[0]);
	image_load(&im, argv[2]);
	cap = ZSTD_compressBound(pages * PAGE);
	zip = malloc(cap);
	out = malloc(pages * PAGE);
	took = calloc(im.n + 1, sizeof(*took));
	if (!zip || !out || !took || !zc || !zd)
		die("memory");
	ZSTD_CCtx_setParameter(zc, ZSTD_c_compressionLevel, atoi(argv[1]));
	for (size_t i = 0; i + pages <= im.n; i += pages) {
		size_t z = ZSTD_compress2(zc, zip, cap, im.data + i * PAGE, pages * PAGE);
		double t0 = now(CLOCK_MONOTONIC);

		ZSTD_decompressDCtx(zd, out, pages * PAGE, zip, z);
		took[n] = now(CLOCK_MONOTONIC) - t0;
		total += took[n++];
		raw += pages * PAGE;
	}
	qsort(took, n, sizeof(*took), by_value);
	printf("{\"seconds_per_gib\": %.4f, \"p50_us\": %.2f, \"data_bytes\": %zu}\n",
	       raw ? total / ((double)raw / (1 << 30)) : 0, n ? took[n / 2] * 1e6 : 0,
	       im.n * (size_t)PAGE);
	return 0;
}

/* ---- reading ---- */

static int cmd_seq(int argc, char **argv)
{
	size_t len = argc > 1 ? strtoul(argv[1], NULL, 10) : 1 << 20;
	int fd = open_or_die(argv[0]);
	uint8_t *buf = aligned_alloc(PAGE, len);
	uint64_t total = 0;
	double t0 = now(CLOCK_MONOTONIC), cpu = now(CLOCK_PROCESS_CPUTIME_ID);
	ssize_t got;

	if (!buf)
		die("memory");
	while ((got = read(fd, buf, len)) > 0)
		total += (uint64_t)got;
	if (got < 0)
		die(argv[0]);
	printf("{\"seconds\": %.6f, \"cpu\": %.6f, \"bytes\": %llu}\n",
	       now(CLOCK_MONOTONIC) - t0, now(CLOCK_PROCESS_CPUTIME_ID) - cpu,
	       (unsigned long long)total);
	return 0;
}

static uint64_t rng_state;

static uint64_t rng(void)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return rng_state;
}

static int cmd_random(int argc, char **argv)
{
	size_t n, len = PAGE;
	struct image im;
	double *took;
	uint8_t *buf;
	int fd;

	if (argc < 4)
		return 2;
	n = strtoul(argv[1], NULL, 10);
	rng_state = strtoull(argv[2], NULL, 10) * 2654435761u + 88172645463325252ull;
	image_load(&im, argv[3]);
	if (argc > 4)
		len = strtoul(argv[4], NULL, 10);
	took = calloc(n, sizeof(*took));
	buf = aligned_alloc(PAGE, (len + PAGE - 1) / PAGE * PAGE);
	if (!took || !buf || !im.n)
		die("memory");
	fd = open_or_die(argv[0]);
	/* LIKE may be the same file: what it left in the cache would not be cold. */
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	for (size_t i = 0; i < n; i++) {
		uint64_t off = im.page[rng() % im.n].pgno * PAGE;
		double t0 = now(CLOCK_MONOTONIC);

		if (pread(fd, buf, len, (off_t)off) < 0)
			die(argv[0]);
		took[i] = now(CLOCK_MONOTONIC) - t0;
	}
	qsort(took, n, sizeof(*took), by_value);
	printf("{\"p50_us\": %.2f, \"p99_us\": %.2f}\n", took[n / 2] * 1e6,
	       took[n * 99 / 100] * 1e6);
	return 0;
}

static int cmd_warm(int argc, char **argv)
{
	int fd = open_or_die(argv[0]);
	uint64_t pages = size_of(fd) / PAGE, n = 0;
	double until = now(CLOCK_MONOTONIC) + (argc > 1 ? atof(argv[1]) : 1), t0;
	uint8_t buf[PAGE];

	rng_state = 88172645463325252ull;
	t0 = now(CLOCK_MONOTONIC);
	while (now(CLOCK_MONOTONIC) < until)
		for (int i = 0; i < 1000; i++, n++)
			if (pread(fd, buf, PAGE, (off_t)(rng() % pages * PAGE)) < 0)
				die(argv[0]);
	printf("{\"reads_per_second\": %.0f}\n", (double)n / (now(CLOCK_MONOTONIC) - t0));
	return 0;
}

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "pages", cmd_pages }, { "new", cmd_new },	  { "hash", cmd_hash },
	{ "unzip", cmd_unzip }, { "seq", cmd_seq },	  { "random", cmd_random },
	{ "warm", cmd_warm },
};

int main(int argc, char **argv)
{
	gcry_check_version(NULL);
	gcry_control(GCRYCTL_DISABLE_SECMEM, 0);
	gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
	for (size_t i = 0; argc > 2 && i < sizeof(commands) / sizeof(*commands); i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(argc - 2, argv + 2);
	fprintf(stderr, "usage: raw pages|new|hash|unzip|seq|random|warm ...\n");
	return 2;
}
