/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mkimage: makes or changes a test image, page by page, the same everywhere.
 *
 *	mkimage FILE PAGES [FIRST[-LAST]:KIND]...
 *
 * sets the file's size to PAGES pages of 4096 bytes (`N+B` adds B bytes), then
 * writes each range.  KIND is
 *	data=SEED	pages that differ from each other and from those of
 *			other seeds, about as compressible as a guest's
 *	noise=SEED	pages that do not compress
 *	fill=BYTE	every byte the same
 *	zero		written zeros
 *	hole		punched
 * Page k of a data=S range depends on S and k - FIRST only, so that the same
 * pages can be put elsewhere.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE 4096

static void die(const char *what)
{
	fprintf(stderr, "mkimage: %s\n", what);
	exit(2);
}

static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static void make_noise(unsigned char *page, uint64_t seed, uint64_t index)
{
	uint64_t state = seed * UINT64_C(0x100000001b3) + index * UINT64_C(0xd6e8feb86659fd93), v;

	for (size_t i = 0; i < PAGE; i += sizeof(v)) {
		v = next_random(&state);
		memcpy(page + i, &v, sizeof(v));
	}
}

/* Words of a small vocabulary and pointers into one region: about 2.5 to 1. */
static void make_data(unsigned char *page, uint64_t seed, uint64_t index)
{
	make_noise(page, seed, index);
	for (size_t i = 16; i < PAGE; i += 16) {
		page[i] &= 0x1f;
		memset(page + i + 3, 0, 5);
		memset(page + i + 8, page[i] & 3, 6);
	}
}

static void make_page(unsigned char *page, const char *kind, uint64_t index)
{
	const char *value = strchr(kind, '=');
	uint64_t arg = value ? strtoull(value + 1, NULL, 0) : 0;

	if (!strncmp(kind, "data=", 5))
		make_data(page, arg, index);
	else if (!strncmp(kind, "noise=", 6))
		make_noise(page, arg, index);
	else if (!strncmp(kind, "fill=", 5))
		memset(page, (int)arg, PAGE);
	else if (!strcmp(kind, "zero"))
		memset(page, 0, PAGE);
	else
		die("unknown kind of page");
}

static void write_range(int fd, uint64_t first, uint64_t last, const char *kind)
{
	unsigned char page[PAGE];

	if (!strcmp(kind, "hole")) {
		if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(first * PAGE),
			      (off_t)((last - first + 1) * PAGE)) < 0)
			die("cannot punch a hole");
		return;
	}
	for (uint64_t i = first; i <= last; i++) {
		make_page(page, kind, i - first);
		if (pwrite(fd, page, PAGE, (off_t)(i * PAGE)) != PAGE)
			die("cannot write");
	}
}

static void apply(int fd, const char *range)
{
	char *end;
	uint64_t first = strtoull(range, &end, 0), last = first;

	if (*end == '-')
		last = strtoull(end + 1, &end, 0);
	if (*end != ':' || last < first)
		die("bad range");
	write_range(fd, first, last, end + 1);
}

int main(int argc, char **argv)
{
	uint64_t size;
	char *end;
	int fd;

	if (argc < 3)
		die("usage: mkimage FILE PAGES [FIRST[-LAST]:KIND]...");
	size = strtoull(argv[2], &end, 0) * PAGE;
	if (*end == '+')
		size += strtoull(end + 1, &end, 0);
	fd = open(argv[1], O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		die("cannot open or size the file");
	for (int i = 3; i < argc; i++)
		apply(fd, argv[i]);
	/* A range may have gone past an end inside a page. */
	if (ftruncate(fd, (off_t)size) < 0 || close(fd) < 0)
		die("cannot close the file");
	return 0;
}
