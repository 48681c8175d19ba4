/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * heap MIB [EAT_MIB]: in the guest, a process with a heap whose pages lie all over the guest's
 * memory, as in one that has run for long.
 *
 * It eats EAT_MIB (4/5 of what is available unless it is said) in small pages, gives back single
 * pages all over these, and what it gives back is what the kernel then has for the heap.  Then
 * what is left of the eaten memory is freed.  Transparent huge pages are off meanwhile, and as
 * they were before from then on.  It prints
 *
 *	{"pid": 7, "pages": 65536, "frames": 410, "least": 128, "good": true}
 *
 * where frames is the number of distinct 2 MiB frames of physical memory that the heap's pages
 * are in (by /proc/self/pagemap, so it needs root), and least what it could be.  On SIGUSR1 it
 * reads a byte of each page, in scattered order, and prints that line again; `good` says that all
 * were as written.  On SIGTERM it ends.  Exit status 1: it could not be done, and the reason is
 * on stderr.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define PAGE ((size_t)4096)
#define FRAME_PAGES 512
#define FRAME (FRAME_PAGES * PAGE)
#define MIB ((size_t)1 << 20)
#define MAX_FRAMES (1u << 19)	/* of a TiB */
#define MAX_MIB (1u << 20)
#define TURN 32			/* pages given back and taken at a time */

__attribute__((noreturn)) static void fail(const char *what)
{
	fprintf(stderr, "heap: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Memory that begins at a multiple of 2 MiB. */
static uint8_t *reserve(size_t len)
{
	uint8_t *p = mmap(NULL, len + FRAME, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), *first;

	if (p == MAP_FAILED)
		fail("mmap");
	first = (uint8_t *)(((uintptr_t)p + FRAME - 1) & -(uintptr_t)FRAME);
	if (first > p)
		(void)munmap(p, (size_t)(first - p));
	(void)munmap(first + len, (size_t)(p + FRAME - first));
	return first;
}

static size_t gcd(size_t a, size_t b)
{
	while (b) {
		size_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

/* Steps of it meet each of `n` once, and neighbours are far from each other. */
static size_t stride(size_t n)
{
	size_t step = (size_t)((double)n * 0.6180339887) | 1;

	while (gcd(step, n) != 1)
		step += 2;
	return step;
}

/* Never 0: no page of zeros. */
static uint64_t content(size_t page)
{
	return (page + 1) * UINT64_C(0x9e3779b97f4a7c15) | 1;
}

/* All of it, for the page's data to be worth nothing to compression or deduplication. */
static void fill(uint8_t *page, size_t number)
{
	uint64_t x = content(number);

	for (size_t i = 0; i < PAGE / sizeof(x); i++) {
		memcpy(page + i * sizeof(x), &x, sizeof(x));
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
	}
}

static size_t available_mib(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	size_t kib = 0;
	char line[128];

	while (file && kib == 0 && fgets(line, sizeof(line), file))
		(void)sscanf(line, "MemAvailable: %zu kB", &kib);
	if (file)
		(void)fclose(file);
	return kib / 1024;
}

/* The heap's pages are filled in the places of pages that were given back. */
static void scatter(uint8_t *heap, size_t pages, size_t eaten)
{
	uint8_t *eater = reserve(eaten * PAGE);
	size_t give = 0, take = 0, give_step = stride(eaten), take_step = stride(pages);

	for (size_t i = 0; i < eaten; i++)
		eater[i * PAGE] = 1;
	for (size_t done = 0; done < pages; done += TURN) {
		size_t n = pages - done < TURN ? pages - done : TURN;

		for (size_t i = 0; i < n; i++, give = (give + give_step) % eaten)
			(void)madvise(eater + give * PAGE, PAGE, MADV_DONTNEED);
		for (size_t i = 0; i < n; i++, take = (take + take_step) % pages)
			fill(heap + take * PAGE, take);
	}
	(void)munmap(eater, eaten * PAGE);
}

/* Distinct frames in which they are; 0: that is not shown to us. */
static size_t count_frames(const uint8_t *heap, size_t pages)
{
	static uint8_t seen[MAX_FRAMES / 8];
	uint64_t entries[FRAME_PAGES];
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	size_t n = 0;

	memset(seen, 0, sizeof(seen));
	for (size_t at = 0; fd >= 0 && at < pages; at += FRAME_PAGES) {
		off_t off = (off_t)((uintptr_t)heap / PAGE + at) * 8;

		if (pread(fd, entries, sizeof(entries), off) != (ssize_t)sizeof(entries))
			fail("/proc/self/pagemap");
		for (size_t i = 0; i < FRAME_PAGES; i++) {
			uint64_t frame = (entries[i] & ((UINT64_C(1) << 55) - 1)) / FRAME_PAGES;
			uint8_t bit = (uint8_t)(1 << frame % 8);

			/* Not present, or not shown. */
			if (!(entries[i] >> 63) || frame == 0 || frame >= MAX_FRAMES)
				continue;
			n += !(seen[frame / 8] & bit);
			seen[frame / 8] |= bit;
		}
	}
	if (fd >= 0)
		(void)close(fd);
	return n;
}

static bool check(const uint8_t *heap, size_t pages)
{
	size_t at = 0, step = stride(pages);
	bool good = true;

	for (size_t i = 0; i < pages; i++, at = (at + step) % pages) {
		uint64_t x;

		memcpy(&x, heap + at * PAGE, sizeof(x));
		good = good && x == content(at);
	}
	return good;
}

static void show(const uint8_t *heap, size_t pages)
{
	bool good = check(heap, pages);
	size_t frames = count_frames(heap, pages);

	if (frames == 0) {
		errno = EPERM;
		fail("frame numbers");
	}
	printf("{\"pid\": %d, \"pages\": %zu, \"frames\": %zu, \"least\": %zu, \"good\": %s}\n",
	       (int)getpid(), pages, frames, pages / FRAME_PAGES, good ? "true" : "false");
	fflush(stdout);
}

/* 2 to MAX_MIB, even: whole frames. */
static size_t parse_mib(const char *text)
{
	char *end;
	unsigned long mib = strtoul(text, &end, 10);

	if (*end || end == text || mib < 2 || mib > MAX_MIB || mib % 2) {
		errno = EINVAL;
		fail(text);
	}
	return mib;
}

int main(int argc, char **argv)
{
	size_t mib, eat, pages;
	uint8_t *heap;
	sigset_t set;
	int sig;

	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: heap MIB [EAT_MIB]\n");
		return 2;
	}
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	mib = parse_mib(argv[1]);
	eat = argc > 2 ? parse_mib(argv[2]) : available_mib() / 5 * 4;
	if (eat < mib) {
		errno = ENOMEM;
		fail("too little is eaten for a heap of that size");
	}
	pages = mib * MIB / PAGE;
	heap = reserve(pages * PAGE);
	(void)prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	scatter(heap, pages, eat * MIB / PAGE);
	(void)prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
	do
		show(heap, pages);
	while (sigwait(&set, &sig) == 0 && sig == SIGUSR1);
	return 0;
}
