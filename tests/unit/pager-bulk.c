/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/bulk.h"

#include <errno.h>
#include <unistd.h>

#include "tests/unit/session-fixture.h"

#define NPAGES 1024

static struct rig rig;
static struct err err;
static unsigned seen[NPAGES];		/* how often each came as data or zeros */
static struct bulk *others[64];		/* that are at work in this process */
static unsigned nothers;

static void begin(void)
{
	memset(seen, 0, sizeof(seen));
	rig_open(&rig, NPAGES, false);
}

/* The threads give back what was lent to them. */
static bool is_alone(void)
{
	unsigned lent = 1;

	for (int i = 0; i < 1000 && lent; i++) {
		session_enter(&rig.s);
		lent = rig.s.lent;
		session_leave(&rig.s);
		usleep(lent ? 10000 : 0);
	}
	usleep(10000);		/* and take their last look at it */
	return !lent;
}

static void end(struct bulk *b)
{
	session_enter(&rig.s);
	bulk_free(b);
	for (unsigned i = 0; i < nothers; i++)
		bulk_free(others[i]);
	session_leave(&rig.s);
	ok(is_alone(), "its threads go");
	rig_close(&rig);
}

static struct bulk *start_one(const struct bulk_limits *limits)
{
	struct bulk *b = NULL;
	int rc;

	session_enter(&rig.s);
	rc = bulk_new(&rig.s, limits, &b, &err);
	session_leave(&rig.s);
	if (rc < 0)
		bail("bulk: %s", err.text);
	return b;
}

static struct bulk *start(const struct bulk_limits *limits)
{
	static const struct bulk_limits any;

	for (unsigned i = 0; i < nothers; i++)
		others[i] = start_one(&any);
	return start_one(limits);
}

static bool is_right(const struct bulk_block *block, uint64_t i)
{
	const uint8_t *p = block->buf + i * PAGE;
	uint64_t page = block->page + i;

	if (block->what[i] == BULK_ZERO)
		return page % 5 == 4;
	for (uint64_t k = 0; k < PAGE; k++)
		if (p[k] != rig_byte(page, k))
			return false;
	return true;
}

static bool look(const struct bulk_block *block)
{
	bool right = true;

	for (uint64_t i = 0; i < block->n; i++) {
		if (block->what[i] == BULK_SKIP)
			continue;
		seen[block->page + i]++;
		right = right && is_right(block, i);
	}
	return right;
}

/* Takes what comes until it is over, or has failed; for ten seconds of nothing at most. */
static enum bulk_state run(struct bulk *b, bool *right)
{
	enum bulk_state state = BULK_READING;
	struct bulk_block *block;

	for (int idle = 0; idle < 10000; idle++) {
		session_enter(&rig.s);
		state = bulk_next(b, &block);
		if (state == BULK_READY) {
			*right = *right && look(block);
			bulk_done(b, block);
			idle = 0;
		}
		session_leave(&rig.s);
		if (state == BULK_OVER || state == BULK_FAILED)
			break;
		if (state == BULK_READING)
			usleep(1000);
	}
	return state;
}

static unsigned count(uint64_t from, uint64_t to, unsigned times)
{
	unsigned n = 0;

	for (uint64_t page = from; page < to; page++)
		n += seen[page] == times;
	return n;
}

static void test_all(void)
{
	static const struct bulk_limits any;
	bool right = true, held;
	struct bulk *b;

	begin();
	b = start(&any);
	is_int(run(b, &right), BULK_OVER, "it comes to an end");
	ok(right, "every byte is right, and zeros are told");
	is_int(count(0, NPAGES, 1), NPAGES, "every page comes once");
	is_int(bulk_at(b, &held), NPAGES * PAGE, "it has gone through all");
	ok(!held, "nothing held it");
	end(b);
}

/* Pages 10 to 29 are there, 40 to 49 were removed, 60 is half there, 70 to 79 are holes. */
static void test_settled(void)
{
	static const struct bulk_limits any;
	bool right = true;
	struct bulk *b;

	begin();
	for (uint64_t page = 10; page < 30; page++)
		state_set(rig.s.state, page, STATE_PRESENT);
	for (uint64_t page = 40; page < 50; page++)
		state_set(rig.s.state, page, STATE_REMOVED);
	state_set(rig.s.state, 60, STATE_FILLING);
	for (uint64_t page = 70; page < 80; page++)
		state_set(rig.s.state, page, STATE_HOLE);
	b = start(&any);
	is_int(run(b, &right), BULK_OVER, "with pages that are settled");
	is_int(count(10, 30, 0) + count(40, 50, 0) + count(70, 80, 0), 40, "they do not come");
	is_int(seen[60], 1, "one that was being filled does");
	is_int(count(0, NPAGES, 1), NPAGES - 40, "and all others");
	ok(right, "every byte is right");
	end(b);
}

static void punch(uint64_t from, uint64_t to)
{
	int fd = open(tap_path("memfile"), O_RDWR | O_CLOEXEC);

	if (fd < 0 || fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				(off_t)(from * PAGE), (off_t)((to - from) * PAGE)) < 0)
		bail("no hole");
	close(fd);
}

static void test_holes(void)
{
	static const struct bulk_limits any;
	bool right = true;
	struct bulk *b;

	begin();
	punch(128, 960);
	b = start(&any);
	is_int(run(b, &right), BULK_OVER, "with a hole");
	is_int(count(0, 128, 1) + count(960, NPAGES, 1), 192, "what is data comes");
	is_int(count(256, 896, 0), 640, "the hole is not read");
	end(b);
}

/* The last block is not in the page cache: the owner leaves it to the threads. */
static void test_cold_end(void)
{
	static const struct bulk_limits any;

	for (int i = 0; i < 20; i++) {
		bool right = true;
		struct bulk *b;
		int fd;

		begin();
		fd = open(tap_path("memfile"), O_RDONLY | O_CLOEXEC);
		(void)fdatasync(fd);
		(void)posix_fadvise(fd, (NPAGES - 64) * PAGE, 64 * PAGE, POSIX_FADV_DONTNEED);
		close(fd);
		b = start(&any);
		right = run(b, &right) == BULK_OVER && right;
		ok(right && count(0, NPAGES, 1) == NPAGES, "a cold end, %d", i);
		end(b);
	}
}

static void test_cut(void)
{
	static const struct bulk_limits any;
	bool right = true;
	struct bulk *b;

	begin();
	if (truncate(tap_path("memfile"), 512 * PAGE) < 0)
		bail("truncate");
	b = start(&any);
	is_int(run(b, &right), BULK_FAILED, "a file that is cut off");
	is_int(bulk_error(b, &err), -EIO, "is an error");
	ok(strstr(err.text, "cannot be read: the file has become too short"), "%s", err.text);
	ok(right, "what came before was right");
	is_int(count(512, NPAGES, 0), 512, "of the rest nothing came");
	end(b);
}

/* In the middle of a block, and of what is read in one go. */
static void test_first_bad(void)
{
	static const struct bulk_limits any;
	bool right = true;
	struct bulk *b;

	begin();
	if (truncate(tap_path("memfile"), 970 * PAGE) < 0)
		bail("truncate");
	for (uint64_t page = 965; page < 975; page++)
		state_set(rig.s.state, page, STATE_PRESENT);
	b = start(&any);
	is_int(run(b, &right), BULK_FAILED, "a file that is cut off within its last block");
	is_err(bulk_error(b, &err), &err, -EIO, "offset %d of '%s' cannot be read: the file has "
	       "become too short", 975 * 4096, tap_path("memfile"));
	end(b);
}

static void test_limits(void)
{
	const struct bulk_limits slow = {.rate = 1};
	const struct bulk_limits guarded = {.guard.min_available = UINT64_MAX};
	bool right = true, held = false;
	struct bulk_block *block;
	struct bulk *b;

	begin();
	b = start(&slow);
	for (int i = 0; i < 50; i++) {
		session_enter(&rig.s);
		if (bulk_next(b, &block) == BULK_READY) {
			right = right && look(block);
			bulk_done(b, block);
		}
		session_leave(&rig.s);
		usleep(2000);
	}
	ok(count(0, NPAGES, 1) <= 64, "a byte a second: one block, and no more for now");
	ok(right, "which is right");
	end(b);

	begin();
	b = start(&guarded);
	for (int i = 0; i < 1000 && !held; i++) {
		(void)bulk_at(b, &held);
		usleep(10000);
	}
	ok(held, "a host without memory holds it");
	session_enter(&rig.s);
	is_int(bulk_next(b, &block), BULK_READING, "nothing is read");
	session_leave(&rig.s);
	end(b);
}

/* What is there, and zeros, are not charged for. */
static void test_free(void)
{
	const struct bulk_limits slow = {.rate = 1};
	bool right = true;
	struct bulk *b;

	begin();
	for (uint64_t page = 0; page < NPAGES; page++)
		if (page % 5 != 4)
			state_set(rig.s.state, page, STATE_PRESENT);
	b = start(&slow);
	is_int(run(b, &right), BULK_OVER, "a byte a second, and nothing to populate");
	end(b);
}

/* Many runs: each has to be found before it is read. */
static void test_runs(void)
{
	static const struct bulk_limits any;
	bool right = true;
	struct bulk *b;

	begin();
	for (uint64_t page = 0; page < NPAGES; page += 128)
		punch(page, page + 64);
	b = start(&any);
	is_int(run(b, &right), BULK_OVER, "with many holes");
	for (uint64_t page = 0; page < NPAGES; page += 128)
		right = right && count(page + 64, page + 128, 1) == 64;
	ok(right, "all that is data comes");
	end(b);
}

static void test_everything(void)
{
	test_free();
	test_all();
	test_settled();
	test_holes();
	test_runs();
	test_cold_end();
	test_cut();
	test_first_bad();
	test_limits();
}

/* With more of them than cores the threads leave the copying to the owners. */
int main(void)
{
	test_everything();
	nothers = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	if (nothers > sizeof(others) / sizeof(*others))
		nothers = sizeof(others) / sizeof(*others);
	test_everything();
	return tap_done();
}
