/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One delta against a plain array, through random writes, kills and power cuts (power.h).  Of
 * each page it is known what it has been since the last sync: after a cut it is one of
 * these, after a kill what it was or, of the call that was killed, is to be.  A cut may
 * come while a delta is opened after a cut, and writes while it is synced.
 *
 *	SEED=N repeats a run, ROUNDS=N changes how many there are
 */
#include "tests/model/power.h"
#include "tests/unit/delta-fixture.h"

#define PAGES 1600u		/* four frames, the last one a part */
#define NONE 0u
#define ZERO 1u			/* else data: the stamp, and above it that of a patch */
#define BAD UINT64_MAX
#define ANEW 12u		/* rounds */
#define PATCH_AT 100		/* words of a page */

struct page {
	uint64_t *was;		/* [0] at the last sync, the last one is what it is now */
	unsigned n;
};

static struct page pages[PAGES];
static uint64_t sizes[4096];
static unsigned nsizes;
static uint64_t stamp;
static struct delta *delta;
static const char *path;
static unsigned long cuts, kills, checked;

static void push(uint64_t page, uint64_t value)
{
	struct page *p = &pages[page];

	p->was = realloc(p->was, (p->n + 1) * sizeof(p->was[0]));
	p->was[p->n++] = value;
}

static uint64_t now(uint64_t page)
{
	return pages[page].was[pages[page].n - 1];
}

static void push_size(uint64_t size)
{
	if (nsizes == 4096)
		bail("too many sizes");
	sizes[nsizes++] = size;
}

/* What page `i` was before its `n` last values is not on disk any more. */
static void keep_last(unsigned i, unsigned n)
{
	struct page *p = &pages[i];

	memmove(p->was, p->was + p->n - n, n * sizeof(p->was[0]));
	p->n = n;
}

static void all_synced(void)
{
	for (unsigned i = 0; i < PAGES; i++)
		keep_last(i, 1);
	sizes[0] = sizes[nsizes - 1];
	nsizes = 1;
}

static uint64_t value_of(uint64_t page)
{
	enum delta_state state = delta_state(delta, page);
	uint64_t buf[PAGE_SIZE / 8];
	struct err err;

	if (state != DELTA_DATA_PAGE)
		return state == DELTA_NONE ? NONE : ZERO;
	fixture_must(delta_read(delta, buf, sizeof(buf), page * PAGE_SIZE, &err), &err, "read");
	for (unsigned i = 0; i < PAGE_SIZE / 8; i++)
		if (buf[i] != buf[0] && i != PATCH_AT)
			return BAD;
	return buf[0] | (buf[PATCH_AT] == buf[0] ? 0 : buf[PATCH_AT] << 32);
}

static bool is_data(uint64_t value)
{
	return value > ZERO;
}

static bool may_be(uint64_t page, uint64_t value)
{
	const struct page *p = &pages[page];
	bool found = false, end = page * PAGE_SIZE >= delta_size(delta);

	for (unsigned i = 0; i < p->n; i++)
		found |= p->was[i] == value || (end && value == ZERO);
	return found && !(end && is_data(value));
}

static void check_size(void)
{
	bool found = false;

	for (unsigned i = 0; i < nsizes; i++)
		found |= sizes[i] == delta_size(delta);
	if (!found)
		bail("the size is %llu", (unsigned long long)delta_size(delta));
}

static void check_counts(void)
{
	struct delta_counts c, want = {0};
	uint64_t frame = UINT64_MAX;

	for (uint64_t i = 0; i < PAGES; i++) {
		want.data += is_data(now(i));
		want.zero += now(i) == ZERO;
		want.frames += now(i) != NONE && frame != i / FRAME_PAGES;
		if (now(i) != NONE)
			frame = i / FRAME_PAGES;
	}
	delta_count(delta, &c);
	if (c.data != want.data || c.zero != want.zero || c.frames != want.frames)
		bail("counts %llu %llu %llu", (unsigned long long)c.data,
		     (unsigned long long)c.zero, (unsigned long long)c.frames);
}

/* After a cut or a kill: each page is one that it may be, and that is what it is now. */
static void check_left(void)
{
	check_size();
	for (uint64_t i = 0; i < PAGES; i++) {
		uint64_t value = value_of(i);

		if (!may_be(i, value)) {
			tap_diag("page %llu is %llx and was:", (unsigned long long)i,
				 (unsigned long long)value);
			for (unsigned j = 0; j < pages[i].n; j++)
				tap_diag("%llx", (unsigned long long)pages[i].was[j]);
			bail("after %lu cuts and %lu kills", cuts, kills);
		}
		push(i, value);
	}
	push_size(delta_size(delta));
	check_counts();
	checked++;
}

static void check_now(void)
{
	if (delta_size(delta) != sizes[nsizes - 1])
		bail("the size is %llu", (unsigned long long)delta_size(delta));
	for (uint64_t i = 0; i < PAGES; i++)
		if (value_of(i) != now(i))
			bail("page %llu is %llx, not %llx", (unsigned long long)i,
			     (unsigned long long)value_of(i), (unsigned long long)now(i));
	check_counts();
}

/* A few pages, and those often. */
static uint64_t some_page(void)
{
	static const uint64_t places[] = {0, 20, 505, 1020, 1535, 1590};

	return places[power_random(6)] + power_random(6);
}

static uint64_t end_page(void)
{
	return (delta_size(delta) + PAGE_SIZE - 1) / PAGE_SIZE;
}

static int do_write(void)
{
	uint64_t page = some_page();
	unsigned n = 1 + (unsigned)power_random(5);

	if (n > FRAME_PAGES - page % FRAME_PAGES)
		n = (unsigned)(FRAME_PAGES - page % FRAME_PAGES);
	if (page + n > end_page())
		return 0;
	stamp++;
	for (unsigned i = 0; i < n; i++)
		push(page + i, stamp);
	return fixture_try(delta, page, n, stamp, NULL);
}

static int do_patch(void)
{
	uint64_t page = some_page();

	if (page >= end_page() || !is_data(now(page)))
		return 0;
	stamp++;
	push(page, (now(page) & UINT32_MAX) | stamp << 32);
	return delta_patch(delta, &stamp, 8, page * PAGE_SIZE + PATCH_AT * 8, NULL);
}

static int zero(uint64_t page, uint64_t n)
{
	for (uint64_t i = page; i < page + n; i++)
		push(i, ZERO);
	return delta_zero(delta, page, n, NULL);
}

static int do_zero(void)
{
	uint64_t page = some_page(), n = 1 + power_random(power_random(8) ? 6 : PAGES);

	if (page + n > end_page())
		n = page < end_page() ? end_page() - page : 0;
	return zero(page, n);
}

static void write_meanwhile(void)
{
	static int (*const meanwhile[])(void) = {do_write, do_zero, do_patch};

	for (uint64_t n = power_random(4); n > 0 && !power_was_killed; n--)
		(void)meanwhile[power_random(3)]();
}

/* Others may write meanwhile; what they wrote may last or not. */
static int do_sync(void)
{
	static unsigned before[PAGES];
	int rc;

	for (unsigned i = 0; i < PAGES; i++)
		before[i] = pages[i].n - 1;
	power_in_sync = power_random(2) ? write_meanwhile : NULL;
	rc = delta_sync(delta, NULL);
	power_in_sync = NULL;
	if (rc < 0 || power_was_cut)
		return rc;
	for (unsigned i = 0; i < PAGES; i++)
		keep_last(i, pages[i].n - before[i]);
	sizes[0] = sizes[nsizes - 1];
	nsizes = 1;
	return 0;
}

/* As live images do it: what is cut off is zeroed, then the size changes. */
static int do_size(void)
{
	uint64_t size = some_page() * PAGE_SIZE + power_random(2) * 77, end;
	uint64_t old = delta_size(delta);
	int rc = 0;

	if (power_random(3) || size > PAGES * PAGE_SIZE)
		size = PAGES * PAGE_SIZE;
	end = (size + PAGE_SIZE - 1) / PAGE_SIZE;
	if (power_random(3) == 0)
		size = end * PAGE_SIZE;
	if (end < end_page())
		rc = zero(end, end_page() - end);
	if (rc < 0)
		return rc;
	push_size(size);
	rc = delta_set_size(delta, size, NULL);
	if (rc == 0 && size < old && !power_was_cut) {
		all_synced();
		sizes[0] = old;
		push_size(size);
	}
	return rc;
}

static int do_allocate(void)
{
	int rc = delta_allocate(delta, some_page(), 4, NULL);

	return rc == -EOPNOTSUPP ? 0 : rc;
}

/* The process ends between two calls. */
static int do_reopen(void)
{
	struct delta_place place = fixture_place();

	delta_unref(delta);
	delta = NULL;
	return delta_open(&place, 0, &delta, NULL);
}

static int (*const deeds[])(void) = {
	do_write, do_write, do_write, do_write, do_zero, do_zero, do_patch, do_sync, do_sync,
	do_size, do_allocate, do_reopen,
};

static void open_after_kill(void)
{
	power_kill_in = 0;
	power_was_killed = false;
	kills++;
	if (do_reopen() < 0)
		bail("it is not opened after a kill");
}

/* Nothing but what is on disk is there. */
static void open_after_cut(void)
{
	do {
		delta_unref(delta);
		delta = NULL;
		if (unlink(path) < 0 || rename(power_cut_path, path) < 0)
			bail("rename");
		power_begin(path);
		cuts++;
		power_cut_in = power_random(2) ? 1 + power_random(6) : 0;
		if (do_reopen() < 0)
			bail("it is not opened after a cut");
	} while (power_was_cut);
	power_cut_in = 0;
}

/* A cut may come once the last deed is done, with what it still was to write. */
static void round_of(unsigned ndeeds)
{
	int rc = 0;

	power_cut_in = power_random(3) ? 1 + power_random(2 * ndeeds) : 0;
	power_kill_in = !power_cut_in && power_random(2) ? 1 + power_random(2 * ndeeds) : 0;
	for (unsigned i = 0; i < ndeeds && rc == 0 && !power_was_cut; i++)
		rc = deeds[power_random(sizeof(deeds) / sizeof(deeds[0]))]();
	if (power_was_cut) {
		open_after_cut();
		check_left();
		all_synced();
	} else if (power_was_killed) {
		open_after_kill();
		check_left();
	} else if (rc < 0) {
		bail("a call failed: %s", strerror(-rc));
	}
	power_cut_in = power_kill_in = 0;
	check_now();
}

/* What was zeroed once is never again what is below: soon there is little to lose. */
static void begin_anew(void)
{
	power_on = false;
	delta_unref(delta);
	delta = fixture_new(PAGES * PAGE_SIZE);
	for (unsigned i = 0; i < PAGES; i++)
		push(i, NONE);
	push_size(PAGES * PAGE_SIZE);
	all_synced();
	power_begin(path);
}

int main(void)
{
	unsigned long rounds = getenv("ROUNDS") ? strtoul(getenv("ROUNDS"), NULL, 0) : 600;

	power_seed = tap_seed(0x64656c7461) | 1;
	path = strdup(tap_path(FIXTURE_NAME));
	power_cut_path = strdup(tap_path("cut"));
	stamp = ZERO;
	for (unsigned long i = 0; i < rounds; i++) {
		if (i % ANEW == 0)
			begin_anew();
		round_of(1 + (unsigned)power_random(30));
	}
	ok(cuts > 0 && kills > 0 && checked > 0, "%lu rounds, %lu cuts, %lu kills", rounds, cuts,
	   kills);
	delta_unref(delta);
	power_end();
	for (unsigned i = 0; i < PAGES; i++)
		free(pages[i].was);
	return tap_done();
}
