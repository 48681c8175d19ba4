/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * delta-fixture: a delta in the directory of this run.  A page is filled with its stamp.
 */
#ifndef LAMINA_TESTS_UNIT_DELTA_FIXTURE_H
#define LAMINA_TESTS_UNIT_DELTA_FIXTURE_H

#include <fcntl.h>
#include <sys/stat.h>

#include "store/delta.h"
#include "store/digest.h"
#include "store/store.h"
#include "tests/tap.h"

#define FIXTURE_NAME "memfile"

static struct store fixture_store = {.uuid = "a store's uuid!"};

TAP_FN struct delta_place fixture_place(void)
{
	static int dirfd = -1;

	if (dirfd < 0 && digest_init() < 0)
		bail("digest_init");
	if (dirfd < 0)
		dirfd = open(tap_tmpdir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return (struct delta_place){&fixture_store, dirfd, FIXTURE_NAME, 3};
}

TAP_FN void fixture_must(int rc, const struct err *err, const char *what)
{
	if (rc < 0)
		bail("%s: %s (%s)", what, err ? err->text : "", strerror(-rc));
}

TAP_FN struct delta *fixture_new(uint64_t size)
{
	struct delta_place place = fixture_place();
	struct delta *d;
	struct err err;

	(void)unlink(tap_path(FIXTURE_NAME));
	fixture_must(delta_create(&place, size, &d, &err), &err, "delta_create");
	return d;
}

TAP_FN struct delta *fixture_open(unsigned flags)
{
	struct delta_place place = fixture_place();
	struct delta *d;
	struct err err;

	fixture_must(delta_open(&place, flags, &d, &err), &err, "delta_open");
	return d;
}

TAP_FN struct delta *fixture_again(struct delta *d)
{
	delta_unref(d);
	return fixture_open(0);
}

TAP_FN void fixture_fill(void *buf, unsigned n, uint64_t stamp)
{
	uint64_t *p = buf;

	for (size_t i = 0; i < (size_t)n * PAGE_SIZE / sizeof(*p); i++)
		p[i] = stamp;
}

TAP_FN int fixture_try(struct delta *d, uint64_t page, unsigned n, uint64_t stamp, struct err *err)
{
	static _Thread_local uint8_t buf[FRAME_SIZE];

	fixture_fill(buf, n, stamp);
	return delta_write(d, buf, page, n, err);
}

TAP_FN void fixture_write(struct delta *d, uint64_t page, unsigned n, uint64_t stamp)
{
	struct err err;

	fixture_must(fixture_try(d, page, n, stamp, &err), &err, "delta_write");
}

TAP_FN void fixture_zero(struct delta *d, uint64_t page, uint64_t n)
{
	struct err err;

	fixture_must(delta_zero(d, page, n, &err), &err, "delta_zero");
}

TAP_FN void fixture_sync(struct delta *d)
{
	struct err err;

	fixture_must(delta_sync(d, &err), &err, "delta_sync");
}

/* The stamp of a page, UINT64_MAX if it is not one stamp all over. */
TAP_FN uint64_t fixture_stamp(struct delta *d, uint64_t page)
{
	uint64_t buf[PAGE_SIZE / 8];
	struct err err;

	fixture_must(delta_read(d, buf, sizeof(buf), page * PAGE_SIZE, &err), &err, "delta_read");
	for (size_t i = 1; i < PAGE_SIZE / 8; i++)
		if (buf[i] != buf[0])
			return UINT64_MAX;
	return buf[0];
}

/* "-" nothing, "z" zero, "D" data, of `n` pages; of data the last digit of its stamp. */
TAP_FN const char *fixture_states(struct delta *d, uint64_t page, unsigned n)
{
	static char text[2][FRAME_PAGES + 1];
	static unsigned turn;
	char *p = text[turn++ % 2];

	for (unsigned i = 0; i < n; i++) {
		enum delta_state state = delta_state(d, page + i);

		p[i] = state == DELTA_NONE ? '-' : 'z';
		if (state == DELTA_DATA_PAGE)
			p[i] = (char)('0' + fixture_stamp(d, page + i) % 10);
	}
	p[n] = '\0';
	return p;
}

/* Of the file itself. */
TAP_FN int fixture_fd(void)
{
	int fd = open(tap_path(FIXTURE_NAME), O_RDWR | O_CLOEXEC);

	if (fd < 0)
		bail("no delta");
	return fd;
}

TAP_FN bool fixture_is_hole(uint64_t page)
{
	int fd = fixture_fd();
	off_t at = (off_t)(DELTA_DATA + page * PAGE_SIZE);
	bool hole = lseek(fd, at, SEEK_HOLE) == at;

	close(fd);
	return hole;
}

TAP_FN void fixture_poke(uint64_t off, const void *bytes, size_t len)
{
	int fd = fixture_fd();

	if (pwrite(fd, bytes, len, (off_t)off) != (ssize_t)len)
		bail("poke");
	close(fd);
}

TAP_FN void fixture_punch(uint64_t page)
{
	int fd = fixture_fd();

	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)(DELTA_DATA + page * PAGE_SIZE), PAGE_SIZE) < 0)
		bail("punch");
	close(fd);
}

#endif
