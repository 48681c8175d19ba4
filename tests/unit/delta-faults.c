/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Calls that fail: the n-th of each kind, for every n.  What the delta says of its pages is then
 * what it said before, or what it was to be; and so it is when it is opened again.
 */
#include "tests/fault.h"
#include "tests/unit/delta-fixture.h"

#define WHO "delta 3 of 'memfile': "
#define SIZE (UINT64_C(4) << 20)
#define BEFORE "11zz1-"

static struct err err;

struct deed {
	const char *name;
	int (*run)(struct delta *d);
	const char *after;	/* of its first pages */
};

static int do_write(struct delta *d)
{
	return fixture_try(d, 1, 4, 2, &err);
}

static int do_zero(struct delta *d)
{
	return delta_zero(d, 1, 1000, &err);
}

static int do_sync(struct delta *d)
{
	return delta_sync(d, &err);
}

static int do_shrink(struct delta *d)
{
	return delta_set_size(d, 6 * PAGE_SIZE, &err);
}

static int do_grow(struct delta *d)
{
	return delta_set_size(d, UINT64_C(3) << 30, &err);
}

static const struct deed deeds[] = {
	{"a write", do_write, "12222-"},
	{"zeroing", do_zero, "1zzzzz"},
	{"a sync", do_sync, BEFORE},
	{"shrinking", do_shrink, BEFORE},
	{"growing", do_grow, BEFORE},
};

static const struct fault {
	const char *name;
	enum fault_kind kind;
	int error;
	bool from;
} faults[] = {
	{"no memory", FAULT_MALLOC, ENOMEM, false},
	{"a write that fails", FAULT_PWRITE, EIO, false},
	{"a full disk", FAULT_PWRITE, ENOSPC, true},
	{"short writes", FAULT_PWRITE, FAULT_SHORT, true},
	{"an interrupted write", FAULT_PWRITE, EINTR, false},
	{"an interrupted sync", FAULT_FSYNC, EINTR, false},
	{"a sync that fails", FAULT_FSYNC, EIO, false},
	{"a hole that cannot be punched", FAULT_FALLOCATE, EIO, false},
	{"an interrupted punch", FAULT_FALLOCATE, EINTR, false},
	{"a length that cannot be set", FAULT_FTRUNCATE, EFBIG, false},
};

static struct delta *before(void)
{
	struct delta *d = fixture_new(SIZE);

	fixture_write(d, 0, 5, 1);
	fixture_sync(d);
	fixture_zero(d, 2, 2);
	return d;
}

/* Of the pages of a write that failed those with data before may be either. */
static bool is_either(const char *is, const char *after, bool failed)
{
	for (unsigned i = 0; i < 6; i++) {
		bool was = is[i] == BEFORE[i];

		if (failed ? !was && is[i] != after[i] : is[i] != after[i])
			return false;
	}
	return true;
}

static const char *look(struct delta *d, const struct deed *deed, int rc)
{
	uint64_t size = delta_size(d);

	if (!is_either(fixture_states(d, 0, 6), deed->after, rc < 0))
		return "its pages are not what they were";
	if (rc < 0 && size != SIZE)
		return "its size is not what it was";
	return NULL;
}

/* It can be written to still, or says that it cannot; what it then has lasts. */
static const char *go_on(struct delta *d)
{
	char was[7];
	int rc = fixture_try(d, 0, 1, 9, &err);

	if (rc < 0 && !strstr(err.text, "an earlier write or sync failed"))
		return "it cannot be written to";
	if (rc == 0 && delta_sync(d, &err) < 0)
		return "it cannot be synced";
	(void)snprintf(was, sizeof(was), "%s", fixture_states(d, 0, 6));
	d = fixture_again(delta_ref(d));
	if (rc == 0 && strcmp(was, fixture_states(d, 0, 6)) != 0)
		return "opened again it is another";
	delta_unref(d);
	return NULL;
}

/* 1: it struck. */
static int strike(const struct deed *deed, const struct fault *f, unsigned long n,
		  const char **ret_wrong)
{
	struct delta *d = before();
	bool struck;
	int rc;

	err.text[0] = '\0';
	(f->from ? fault_arm_from : fault_arm)(f->kind, n, f->error);
	rc = deed->run(d);
	struck = fault_struck();
	fault_disarm();
	if (struck && rc < 0 && strncmp(err.text, WHO, strlen(WHO)) != 0)
		*ret_wrong = "the sentence does not name it";
	if (struck && !*ret_wrong)
		*ret_wrong = look(d, deed, rc);
	if (struck && !*ret_wrong)
		*ret_wrong = go_on(d);
	delta_unref(d);
	return struck;
}

static void sweep(const struct deed *deed, const struct fault *f)
{
	const char *wrong = NULL;
	unsigned long n = 1;

	while (strike(deed, f, n, &wrong) && !wrong)
		n++;
	ok(!wrong, "%s, %s: at %lu places", deed->name, f->name, n - 1);
	if (wrong)
		tap_diag("call %lu: %s", n, wrong);
}

static void test_sentences(void)
{
	struct delta *d = before();

	fault_arm(FAULT_PWRITE, 1, ENOSPC);
	is_err(fixture_try(d, 4, 2, 2, &err), &err, -ENOSPC,
	       WHO "cannot write 8192 bytes at byte 16384 of the image: No space left on device");
	fault_arm(FAULT_PWRITE, 1, ENOSPC);
	is_err(delta_zero(d, 4, 2, &err), &err, -ENOSPC,
	       WHO "cannot zero 8192 bytes at byte 16384 of the image: No space left on device");
	fault_arm(FAULT_FALLOCATE, 1, ENOSPC);
	is_err(delta_allocate(d, 4, 2, &err), &err, -ENOSPC, WHO "cannot set aside 8192 bytes at "
	       "byte 16384 of the image: No space left on device");
	fault_arm(FAULT_PREAD, 1, EBADF);
	is_err(delta_read(d, &err, 8, 0, &err), &err, -EIO,
	       WHO "cannot read 8 bytes at byte 0 of the image: Input/output error");
	fault_arm(FAULT_FALLOCATE, 1, EIO);
	is_err(delta_sync(d, &err), &err, -EIO, WHO "cannot free what was zeroed from byte 0 of "
	       "the image on: Input/output error");
	fault_disarm();
	is_int(delta_sync(d, &err), 0, "the next sync does it");
	ok(!delta_has_garbage(d) && fixture_is_hole(2), "and frees them");
	fixture_write(d, 9, 1, 1);
	fault_arm(FAULT_FSYNC, 1, ENOSPC);
	is_err(delta_sync(d, &err), &err, -ENOSPC, WHO "cannot sync: No space left on device");
	fault_disarm();
	is_err(delta_sync(d, &err), &err, -EIO, WHO "an earlier write or sync failed, and what is "
	       "on disk is not known");
	is_int(fixture_try(d, 1, 1, 1, NULL), -EIO, "nor is it written to any more");
	is_str(fixture_states(d, 0, 6), BEFORE, "but read");
	delta_unref(d);
}

/* A failed write leaves no bytes where there were none. */
static void test_taken_back(void)
{
	struct delta *d = before();

	fault_arm(FAULT_PWRITE, 2, ENOSPC);
	is_int(fixture_try(d, 4, 3, 2, &err), -ENOSPC, "bytes are written, bits are not");
	fault_disarm();
	ok(fixture_is_hole(5) && fixture_is_hole(6) && !fixture_is_hole(4), "what was new is gone");
	fault_arm_from(FAULT_FALLOCATE, 1, EIO);
	is_int(delta_sync(d, NULL), -EIO, "a sync that frees nothing");
	fault_disarm();
	fault_arm(FAULT_PWRITE, 2, ENOSPC);
	is_int(fixture_try(d, 9, 1, 2, &err), -ENOSPC, "once more");
	fault_disarm();
	ok(fixture_is_hole(9), "it is gone, too");
	is_str(fixture_states(d, 0, 10), "11zz2-----", "all are what they were, or new");
	delta_unref(d);
}

static uint64_t disk_of(struct delta *d)
{
	struct delta_counts counts;

	delta_count(d, &counts);
	return counts.disk;
}

static bool zeroes_ranges(void)
{
	int fd = fixture_fd();
	bool can = fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, DELTA_DATA - PAGE_SIZE,
			     PAGE_SIZE) == 0;

	close(fd);
	return can;
}

/* But the room stays that somebody asked for. */
static void test_set_aside(void)
{
	struct delta *d = before();
	uint64_t disk;

	if (!zeroes_ranges() || delta_allocate(d, 16, 8, &err) < 0) {
		tap_skip("this file system sets nothing aside");
		delta_unref(d);
		return;
	}
	disk = disk_of(d);
	fault_arm(FAULT_PWRITE, 2, ENOSPC);
	is_int(fixture_try(d, 18, 3, 2, &err), -ENOSPC, "bytes are written there, bits are not");
	fault_disarm();
	ok(disk_of(d) >= disk, "the room is still set aside");
	ok(fixture_is_hole(18) && fixture_is_hole(20), "nothing is in it");
	fixture_write(d, 18, 3, 2);
	is_int(disk_of(d), disk, "and what is written then goes there");
	delta_unref(d);
}

static void test_open_fails(void)
{
	static const enum fault_kind kinds[] = {FAULT_MALLOC, FAULT_PREAD, FAULT_OPEN,
						FAULT_PWRITE, FAULT_FSYNC, FAULT_FALLOCATE};
	struct delta_place place = fixture_place();

	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		unsigned long told = 0;
		bool struck = true, good = true;

		for (unsigned long n = 1; struck && good; n++) {
			struct delta *d = before();

			fixture_punch(0);
			delta_unref(d);
			d = NULL;
			fault_arm(kinds[i], n, EIO);
			if (delta_open(&place, 0, &d, &err) < 0)
				good = ++told && !d && err.text[0];
			struck = fault_struck();
			fault_disarm();
			delta_unref(d);
			d = fixture_open(0);
			good &= strcmp(fixture_states(d, 0, 6), "-1zz1-") == 0;
			delta_unref(d);
		}
		ok(good && told, "opening that fails at %lu calls of kind %u", told, kinds[i]);
	}
}

static void test_create_fails(void)
{
	static const enum fault_kind kinds[] = {FAULT_MALLOC, FAULT_OPEN, FAULT_PWRITE,
						FAULT_FTRUNCATE, FAULT_FALLOCATE};
	struct delta_place place = fixture_place();
	struct delta *made = NULL;

	place.name = "new";
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct delta *d = NULL;

		fault_arm(kinds[i], 1, ENOSPC);
		ok(delta_create(&place, SIZE, &d, &err) < 0 && err.text[0] && !d, "%s", err.text);
		fault_disarm();
		ok(access(tap_path("new"), F_OK) < 0, "nothing is left");
	}
	is_int(delta_create(&place, SIZE, &made, &err), 0, "one is made");
	fault_arm(FAULT_FSYNC, 1, EIO);
	is_err(delta_sync(made, &err), &err, -EIO,
	       "delta 3 of 'new': cannot sync: Input/output error");
	fault_disarm();
	delta_unref(made);
	(void)unlink(tap_path("new"));
	fault_arm(FAULT_FALLOCATE, 1, EOPNOTSUPP);
	is_err(delta_create(&place, SIZE, &(struct delta *){NULL}, &err), &err, -ENOTSUP,
	       "delta 3 of 'new': the file system cannot punch holes into a file");
	fault_disarm();
}

int main(void)
{
	for (unsigned i = 0; i < sizeof(deeds) / sizeof(deeds[0]); i++)
		for (unsigned j = 0; j < sizeof(faults) / sizeof(faults[0]); j++)
			sweep(&deeds[i], &faults[j]);
	test_sentences();
	test_taken_back();
	test_set_aside();
	test_open_fails();
	test_create_fails();
	return tap_done();
}
