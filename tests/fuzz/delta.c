/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files of deltas: the first 64 bytes of the input are the header, as it is or mended, the next
 * ones the bits of the first frames; each of the rest says of four pages whether there are bytes.
 * It is refused with a sentence, or what it says is the same when it is opened again, and
 * it can be written to.
 */
#include <fcntl.h>
#include <sys/mman.h>

#include "store/delta-header.h"
#include "tests/unit/delta-fixture.h"

#define BITS_MAX 512u		/* bytes of bits that come from the input */
#define PAGES (BITS_MAX * 4)
#define PLACES 16u		/* bytes that say where there is data */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static char file[32];		/* in memory: /proc/self/fd/N */

static void mend(uint8_t bytes[DELTA_HEADER_LEN])
{
	struct delta_header h = {.seq = 3};

	memcpy(h.uuid, fixture_store.uuid, sizeof(h.uuid));
	for (int i = 0; i < 3; i++)
		h.size = h.size << 8 | bytes[48 + i];
	delta_header_encode(&h, bytes);
}

static void put(int fd, const void *bytes, size_t len, uint64_t off)
{
	if (pwrite(fd, bytes, len, (off_t)off) != (ssize_t)len)
		abort();
}

static void put_places(int fd, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len && i < PLACES; i++)
		for (unsigned j = 0; j < 4; j++)
			if (data[i] >> 2 * j & 1)
				put(fd, "x", 1, DELTA_DATA + (i * 4 + j) * PAGE_SIZE);
}

static int make_file(const uint8_t header[DELTA_HEADER_LEN], const uint8_t *data, size_t len)
{
	size_t nbits = len < BITS_MAX ? len : BITS_MAX;
	int fd = memfd_create("delta", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, (off_t)(2 * DELTA_DATA)) < 0)
		abort();
	put(fd, header, DELTA_HEADER_LEN, 0);
	put(fd, data, nbits, DELTA_BITS);
	put_places(fd, data + nbits / 2, len - nbits / 2);
	(void)snprintf(file, sizeof(file), "/proc/self/fd/%d", fd);
	return fd;
}

static uint64_t sum_of(struct delta *d)
{
	uint64_t sum = delta_size(d), n;
	enum delta_state state;

	for (uint64_t page = 0; page < 2 * PAGES; page += n) {
		n = delta_run(d, page, 2 * PAGES, &state);
		if (n == 0 || state != delta_state(d, page + n - 1))
			abort();
		sum = sum * 31 + n * 3 + state;
		if (state == DELTA_DATA_PAGE)
			(void)fixture_stamp(d, page);
	}
	return sum;
}

static struct delta *try_open(unsigned flags)
{
	struct delta_place place = fixture_place();
	struct delta *d = NULL;
	struct err err = {""};

	place.name = file;
	if (delta_open(&place, flags, &d, &err) < 0 && !*err.text)
		abort();
	return d;
}

static void use_open(struct delta *d, uint64_t want)
{
	if (!d || sum_of(d) != want || delta_has_garbage(d))
		abort();
	fixture_write(d, 5, 3, 1);
	fixture_zero(d, 7, 600);
	fixture_sync(d);
}

static void use(void)
{
	struct delta *d = try_open(DELTA_READ);
	uint64_t sum;

	if (!d)
		return;
	sum = sum_of(d);
	delta_unref(d);
	d = try_open(0);
	use_open(d, sum);
	sum = sum_of(d);
	if (delta_size(d) >= 8 * PAGE_SIZE) {
		delta_unref(d);
		d = try_open(0);
		if (!d || sum_of(d) != sum)
			abort();
	}
	delta_unref(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint8_t header[DELTA_HEADER_LEN];
	struct delta_header h;
	struct err err = {""};
	int fd;

	(void)fixture_place();
	if (len < sizeof(header))
		return 0;
	memcpy(header, data, sizeof(header));
	if (delta_header_decode(header, &h, &err) < 0 && !*err.text)
		abort();
	mend(header);
	fd = make_file(header, data + sizeof(header), len - sizeof(header));
	use();
	close(fd);
	return 0;
}
