/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/base/pagemap.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "store/base/io.h"

#ifndef PAGEMAP_SCAN
/* Of Linux 6.7, include/uapi/linux/fs.h. */
#define PAGEMAP_SCAN _IOWR('f', 16, struct pm_scan_arg)
#define PAGE_IS_FILE (1 << 2)
#define PAGE_IS_PRESENT (1 << 3)
#define PAGE_IS_SWAPPED (1 << 4)
#define PAGE_IS_PFNZERO (1 << 5)
#define PAGE_IS_HUGE (1 << 6)

struct page_region {
	uint64_t start;
	uint64_t end;
	uint64_t categories;
};

struct pm_scan_arg {
	uint64_t size;
	uint64_t flags;
	uint64_t start;
	uint64_t end;
	uint64_t walk_end;
	uint64_t vec;
	uint64_t vec_len;
	uint64_t max_pages;
	uint64_t category_inverted;
	uint64_t category_mask;
	uint64_t category_anyof_mask;
	uint64_t return_mask;
};
#endif

/* Entries of /proc/PID/pagemap: Documentation/admin-guide/mm/pagemap.rst. */
#define ENTRY_PRESENT (UINT64_C(1) << 63)
#define ENTRY_SWAPPED (UINT64_C(1) << 62)
#define ENTRY_FILE (UINT64_C(1) << 61)
#define ENTRY_PFN ((UINT64_C(1) << 55) - 1)

#define WINDOW_PAGES (PAGEMAP_WINDOW / PAGEMAP_PAGE)
#define NREGIONS 64	/* asked for at once */

static const struct {
	unsigned flag;
	uint64_t category;
} categories[] = {
	{PAGEMAP_PRESENT, PAGE_IS_PRESENT}, {PAGEMAP_SWAPPED, PAGE_IS_SWAPPED},
	{PAGEMAP_FILE, PAGE_IS_FILE}, {PAGEMAP_ZERO, PAGE_IS_PFNZERO},
	{PAGEMAP_HUGE, PAGE_IS_HUGE},
};
#define NCATEGORIES (sizeof(categories) / sizeof(*categories))
#define ALL_FLAGS 31u

/* Runs on their way to who asked, joined where they meet. */
struct sink {
	int (*fn)(void *ctx, const struct pagemap_run *run);
	void *ctx;
	bool at_once;		/* not joined */
	struct pagemap_run run;	/* empty: start == end */
};

static int drain(struct sink *sink)
{
	struct pagemap_run run = sink->run;

	sink->run.start = sink->run.end = 0;
	return run.start < run.end ? sink->fn(sink->ctx, &run) : 0;
}

static int put(struct sink *sink, const struct pagemap_run *run)
{
	int rc;

	if (sink->at_once)
		return sink->fn(sink->ctx, run);
	if (sink->run.end == run->start && sink->run.flags == run->flags) {
		sink->run.end = run->end;
		return 0;
	}
	rc = drain(sink);
	sink->run = *run;
	return rc;
}

static uint64_t to_categories(unsigned flags)
{
	uint64_t bits = 0;

	for (size_t i = 0; i < NCATEGORIES; i++)
		bits |= flags & categories[i].flag ? categories[i].category : 0;
	return bits;
}

static unsigned from_categories(uint64_t bits)
{
	unsigned flags = 0;

	for (size_t i = 0; i < NCATEGORIES; i++)
		flags |= bits & categories[i].category ? categories[i].flag : 0;
	return flags;
}

/* ---- PAGEMAP_SCAN ---- */

/* How many regions; *at is then where it stopped. */
static int scan_some(const struct pagemap *pm, const struct pagemap_query *query, uint64_t *at,
		     struct page_region *vec, size_t n)
{
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = *at,
		.end = query->end,
		.vec = (uintptr_t)vec,
		.vec_len = n,
		.category_inverted = to_categories(query->none),
		.category_mask = to_categories(query->none),
		.category_anyof_mask = to_categories(query->any),
		.return_mask = to_categories(ALL_FLAGS),
	};
	int got;

	do
		got = ioctl(pm->fd, PAGEMAP_SCAN, &arg);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	/* Behind the last mapping it says 0, or the end. */
	*at = got && arg.walk_end > *at && arg.walk_end < query->end ? arg.walk_end : query->end;
	return got;
}

static int scan(struct pagemap *pm, const struct pagemap_query *query, struct sink *sink)
{
	struct page_region vec[NREGIONS];
	size_t max = sink->at_once ? 1 : NREGIONS;
	uint64_t at = query->start;
	int rc = 0, got;

	/* valgrind does not know that the kernel fills it in. */
	memset(vec, 0, max * sizeof(*vec));
	while (rc == 0 && at < query->end) {
		got = scan_some(pm, query, &at, vec, max);
		if (got < 0)
			return got;
		for (int i = 0; i < got && rc == 0; i++)
			rc = put(sink, &(struct pagemap_run){vec[i].start, vec[i].end,
							     from_categories(vec[i].categories)});
	}
	return rc;
}

/* ---- entries ---- */

static uint64_t pfn_of(uint64_t entry)
{
	return entry & ENTRY_PRESENT ? entry & ENTRY_PFN : 0;
}

/* Entries of the `n` pages from `at` on; those of no mapping are 0. */
static int read_entries(const struct pagemap *pm, uint64_t at, uint64_t *entries, size_t n)
{
	ssize_t got = io_pread(pm->fd, entries, n * sizeof(*entries),
			       at / PAGEMAP_PAGE * sizeof(*entries));

	if (got < 0)
		return (int)got;
	memset((char *)entries + got, 0, n * sizeof(*entries) - (size_t)got);
	return got ? 0 : -ESRCH;
}

/* The number of the page of zeros: that of a page of ours which was only read. */
static uint64_t find_zero_pfn(void)
{
	volatile char *page = mmap(NULL, PAGEMAP_PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1,
				   0);
	struct pagemap self = {.fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)};
	uint64_t entry = 0;

	if (page != MAP_FAILED && self.fd >= 0) {
		(void)*page;
		if (read_entries(&self, (uintptr_t)page, &entry, 1) < 0)
			entry = 0;
	}
	if (self.fd >= 0)
		(void)close(self.fd);
	if (page != MAP_FAILED)
		(void)munmap((void *)page, PAGEMAP_PAGE);
	return pfn_of(entry);
}

static bool in_one_frame(const uint64_t *entries)
{
	uint64_t first = pfn_of(entries[0]);

	if (first == 0 || first % WINDOW_PAGES)
		return false;
	for (size_t i = 1; i < WINDOW_PAGES; i++)
		if (pfn_of(entries[i]) != first + i)
			return false;
	return true;
}

static unsigned from_entry(const struct pagemap *pm, uint64_t entry)
{
	return (entry & ENTRY_PRESENT ? PAGEMAP_PRESENT : 0) |
	       (entry & ENTRY_SWAPPED ? PAGEMAP_SWAPPED : 0) |
	       (entry & ENTRY_FILE ? PAGEMAP_FILE : 0) |
	       (pm->zero_pfn && pfn_of(entry) == pm->zero_pfn ? PAGEMAP_ZERO : 0);
}

/* The window around *at, as far as it is asked for. */
static int read_window(const struct pagemap *pm, const struct pagemap_query *query, uint64_t *at,
		       struct sink *sink)
{
	uint64_t window = *at & -(uint64_t)PAGEMAP_WINDOW, entries[WINDOW_PAGES];
	int rc = read_entries(pm, window, entries, WINDOW_PAGES);
	unsigned huge;

	if (rc < 0)
		return rc;
	huge = in_one_frame(entries) ? PAGEMAP_HUGE : 0;
	for (; rc == 0 && *at < query->end && *at < window + PAGEMAP_WINDOW; *at += PAGEMAP_PAGE) {
		unsigned flags = huge | from_entry(pm, entries[(*at - window) / PAGEMAP_PAGE]);

		if (flags & query->any && !(flags & query->none))
			rc = put(sink, &(struct pagemap_run){*at, *at + PAGEMAP_PAGE, flags});
	}
	return rc;
}

static int read_all(struct pagemap *pm, const struct pagemap_query *query, struct sink *sink)
{
	uint64_t at = query->start;
	int rc = 0;

	if (!pm->zero_pfn)
		pm->zero_pfn = find_zero_pfn();
	while (rc == 0 && at < query->end)
		rc = read_window(pm, query, &at, sink);
	return rc;
}

/* ---- either ---- */

/* Linux before 6.7, or a sandbox. */
static bool knows_scan(int fd)
{
	struct pm_scan_arg arg = {.size = sizeof(arg)};

	return ioctl(fd, PAGEMAP_SCAN, &arg) == 0;
}

int pagemap_open(pid_t pid, struct pagemap *ret, struct err *err)
{
	char path[48];
	int fd;

	if (pid)
		(void)snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	else
		(void)snprintf(path, sizeof(path), "/proc/self/pagemap");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, errno == ENOENT ? -ESRCH : -errno, "cannot open '%s'", path);
	*ret = (struct pagemap){.fd = fd, .entries = !knows_scan(fd)};
	return 0;
}

void pagemap_close(struct pagemap *pm)
{
	if (pm->fd >= 0)
		(void)close(pm->fd);
	pm->fd = -1;
}

/* A scan of a process that has ended finds nothing, and does not say why; a read gets no entry. */
static int still_there(const struct pagemap *pm, const struct pagemap_query *query)
{
	uint64_t entry;

	return read_entries(pm, query->start, &entry, 1);
}

static bool is_bad(const struct pagemap_query *query)
{
	return query->start % PAGEMAP_PAGE || query->end % PAGEMAP_PAGE ||
	       query->start > query->end || !query->any || query->any & query->none;
}

static int walk(struct pagemap *pm, const struct pagemap_query *query, struct sink *sink)
{
	int rc, gone;

	if (is_bad(query))
		return -EINVAL;
	if (query->start == query->end)
		return 0;
	rc = pm->entries ? read_all(pm, query, sink) : scan(pm, query, sink);
	if (rc == 0)
		rc = drain(sink);
	if (rc < 0)
		return rc;
	gone = still_there(pm, query);
	return gone < 0 ? gone : rc;
}

int pagemap_each(struct pagemap *pm, const struct pagemap_query *query,
		 int (*fn)(void *ctx, const struct pagemap_run *run), void *ctx)
{
	struct sink sink = {.fn = fn, .ctx = ctx};

	return walk(pm, query, &sink);
}

static int take_first(void *ctx, const struct pagemap_run *run)
{
	*(struct pagemap_run *)ctx = *run;
	return 1;
}

int pagemap_find(struct pagemap *pm, const struct pagemap_query *query, struct pagemap_run *ret)
{
	struct pagemap_run run;
	struct sink sink = {.fn = take_first, .ctx = &run, .at_once = true};
	int rc = walk(pm, query, &sink);

	if (rc == 1)
		*ret = run;
	return rc;
}
