/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/pager/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/pager/tool.h"

/* A page becomes MEM_OWN, and its shadow is written, under it. */
static pthread_mutex_t own_lock = PTHREAD_MUTEX_INITIALIZER;

const char *mem_kind_name(enum mem_kind kind)
{
	static const char *const names[MEM_NKINDS] = {
		[MEM_FILE] = "file",   [MEM_SEEN] = "file, seen",     [MEM_ZERO] = "zero",
		[MEM_OWN] = "written", [MEM_EITHER] = "file or zero",
	};

	return names[kind];
}

/* ---- regions ---- */

void mem_init(struct mem *mem)
{
	memset(mem, 0, sizeof(*mem));
	mem->file = -1;
}

void mem_unmap(struct mem_region *r)
{
	if (r->gone)
		return;
	munmap((void *)(uintptr_t)r->at.addr, r->at.size);
	munmap(r->shadow, r->at.size);
	free((void *)r->kind);
	if (r->fd >= 0)
		close(r->fd);
	r->gone = true;
}

void mem_fini(struct mem *mem)
{
	for (unsigned i = 0; i < mem->n; i++)
		mem_unmap(&mem->region[i]);
	if (mem->file >= 0)
		close(mem->file);
	mem->n = 0;
	mem->file = -1;
}

void mem_file(struct mem *mem, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		tool_fail("%s", path);
	if (mem->file >= 0)
		close(mem->file);
	mem->file = fd;
}

static int backing(uint64_t size, unsigned flags)
{
	int fd;

	if (!(flags & MEM_MEMFD))
		return -1;
	fd = memfd_create("guest", MFD_CLOEXEC | (flags & MEM_HUGETLB ? MFD_HUGETLB : 0u));
	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		tool_fail("a memfd of 0x%llx bytes", (unsigned long long)size);
	return fd;
}

static void *place(const struct hand_region *at, int fd, unsigned flags)
{
	void *where = at->addr == MEM_ANY ? NULL : (void *)(uintptr_t)at->addr;
	int how = (fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS) | MAP_NORESERVE |
		  (where ? MAP_FIXED_NOREPLACE : 0) |
		  (fd < 0 && flags & MEM_HUGETLB ? MAP_HUGETLB : 0);
	void *addr = mmap(where, at->size, PROT_READ | PROT_WRITE, how, fd, 0);

	if (addr == MAP_FAILED)
		tool_fail("mmap of 0x%llx bytes%s", (unsigned long long)at->size,
			  flags & MEM_HUGETLB ? " (vm.nr_hugepages?)" : "");
	if (flags & MEM_THP)
		(void)madvise(addr, at->size, MADV_HUGEPAGE);
	return addr;
}

void mem_map(struct mem *mem, struct hand_region at, unsigned flags)
{
	struct mem_region *r = &mem->region[mem->n];

	at.page_size = flags & MEM_HUGETLB ? MEM_HUGE : MEM_PAGE;
	if (mem->n == HAND_REGIONS || !at.size || at.size % at.page_size || at.off % MEM_PAGE)
		tool_die(TOOL_FAILED, "no region: size 0x%llx, offset 0x%llx, number %u",
			 (unsigned long long)at.size, (unsigned long long)at.off, mem->n);
	r->fd = backing(at.size, flags);
	at.addr = (uintptr_t)place(&at, r->fd, flags);
	r->at = at;
	r->gone = false;
	r->kind = tool_alloc(at.size / MEM_PAGE, 1);
	r->shadow = mmap(NULL, at.size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (r->shadow == MAP_FAILED)
		tool_fail("the model's memory");
	mem->n++;
}

uint64_t mem_npages(const struct mem *mem)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < mem->n; i++)
		n += mem->region[i].gone ? 0 : mem->region[i].at.size / MEM_PAGE;
	return n;
}

struct mem_ref mem_nth(struct mem *mem, uint64_t n)
{
	for (unsigned i = 0; i < mem->n; i++) {
		struct mem_region *r = &mem->region[i];
		uint64_t have = r->gone ? 0 : r->at.size / MEM_PAGE;

		if (n < have)
			return (struct mem_ref){r, n};
		n -= have;
	}
	return (struct mem_ref){NULL, 0};
}

struct mem_ref mem_at(struct mem *mem, uint64_t off)
{
	for (unsigned i = 0; i < mem->n; i++) {
		struct mem_region *r = &mem->region[i];

		if (!r->gone && off >= r->at.off && off - r->at.off < r->at.size)
			return (struct mem_ref){r, (off - r->at.off) / MEM_PAGE};
	}
	return (struct mem_ref){NULL, 0};
}

uint64_t mem_list(struct mem *mem, uint64_t off, uint64_t len, struct mem_ref **ret)
{
	uint64_t total = mem_npages(mem), n = 0;
	struct mem_ref *list = tool_alloc(total, sizeof(*list));

	for (uint64_t i = 0; i < total; i++) {
		struct mem_ref p = mem_nth(mem, i);

		if (mem_off(p) >= off && mem_off(p) - off < len)
			list[n++] = p;
	}
	*ret = list;
	return n;
}

/* ---- what must be there ---- */

static void set_kind(struct mem_ref p, enum mem_kind kind)
{
	atomic_store_explicit(&p.r->kind[p.i], (uint8_t)kind, memory_order_relaxed);
}

/* The whole unit around a page was looked at with it. */
static void mark_seen(struct mem_ref p)
{
	uint64_t unit = p.r->at.page_size / MEM_PAGE;
	uint64_t first = p.i / unit * unit;

	for (uint64_t i = first; i < first + unit; i++) {
		uint8_t from = MEM_FILE;

		atomic_compare_exchange_strong_explicit(&p.r->kind[i], &from, MEM_SEEN,
							memory_order_relaxed, memory_order_relaxed);
	}
}

static void file_page(const struct mem *mem, struct mem_ref p, uint8_t *buf)
{
	ssize_t got;

	if (mem->file < 0)
		tool_die(TOOL_FAILED, "no memfile to compare with: say 'file PATH' first");
	do {
		got = pread(mem->file, buf, MEM_PAGE, (off_t)mem_off(p));
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		tool_fail("the memfile to compare with, at 0x%llx", (unsigned long long)mem_off(p));
	memset(buf + got, 0, MEM_PAGE - (size_t)got);
}

static void expected(struct mem *mem, struct mem_ref p, enum mem_kind kind, uint8_t *buf)
{
	if (kind == MEM_ZERO)
		memset(buf, 0, MEM_PAGE);
	else if (kind == MEM_OWN)
		memcpy(buf, p.r->shadow + p.i * MEM_PAGE, MEM_PAGE);
	else
		file_page(mem, p, buf);
}

static bool all_zero(const uint8_t *page)
{
	return !page[0] && !memcmp(page, page + 1, MEM_PAGE - 1);
}

_Noreturn static void wrong(struct mem *mem, struct mem_ref p, const uint8_t *want,
			    const uint8_t *seen)
{
	uint8_t file[MEM_PAGE];
	unsigned at = MEM_PAGE, n = 0;

	for (unsigned i = MEM_PAGE; i-- > 0;) {
		if (want[i] != seen[i]) {
			at = i;
			n++;
		}
	}
	if (!n)
		tool_die(TOOL_WRONG,
			 "a page changed while it was compared: address %p offset 0x%llx",
			 (void *)mem_addr(p), (unsigned long long)mem_off(p));
	file_page(mem, p, file);
	tool_die(TOOL_WRONG,
		 "wrong byte: address %p offset 0x%llx (%s): expected 0x%02x, got 0x%02x;"
		 " %u bytes of its page differ%s%s",
		 (void *)(mem_addr(p) + at), (unsigned long long)mem_off(p) + at,
		 mem_kind_name(mem_kind(p)), want[at], seen[at], n,
		 all_zero(seen) ? ", it is all zero" : "",
		 memcmp(seen, file, MEM_PAGE) ? "" : ", it is the memfile's");
}

static enum mem_kind verify_as(struct mem *mem, struct mem_ref p, enum mem_kind kind,
			       const uint8_t *seen)
{
	uint8_t want[MEM_PAGE];

	expected(mem, p, kind, want);
	if (!memcmp(want, seen, MEM_PAGE))
		return kind == MEM_EITHER ? MEM_SEEN : kind;
	if (kind == MEM_EITHER && all_zero(seen))
		return MEM_ZERO;
	wrong(mem, p, want, seen);
}

void mem_verify(struct mem *mem, struct mem_ref p, const void *seen)
{
	enum mem_kind kind = mem_kind(p);
	enum mem_kind now = verify_as(mem, p, kind, seen);

	if (kind == MEM_EITHER)
		set_kind(p, now);
	mark_seen(p);
}

void mem_check(struct mem *mem, struct mem_ref p, unsigned first)
{
	(void)*(volatile uint8_t *)(mem_addr(p) + first % MEM_PAGE);
	mem_verify(mem, p, mem_addr(p));
}

void mem_must(struct mem *mem, struct mem_ref p, enum mem_kind kind)
{
	if (kind == MEM_OWN && mem_kind(p) != MEM_OWN)
		tool_die(TOOL_WRONG, "offset 0x%llx was never written",
			 (unsigned long long)mem_off(p));
	(void)verify_as(mem, p, kind, mem_addr(p));
	mark_seen(p);
}

/* ---- what the guest does to it ---- */

void mem_wrote(struct mem *mem, struct mem_ref p, unsigned at, const void *data, size_t len)
{
	uint8_t *shadow = p.r->shadow + p.i * MEM_PAGE;
	enum mem_kind kind;

	pthread_mutex_lock(&own_lock);
	kind = mem_kind(p);
	if (kind == MEM_EITHER)
		tool_die(TOOL_FAILED, "offset 0x%llx was written before it was compared",
			 (unsigned long long)mem_off(p));
	if (kind != MEM_OWN) {
		expected(mem, p, kind, shadow);
		mark_seen(p);
		set_kind(p, MEM_OWN);
	}
	memcpy(shadow + at, data, len);
	pthread_mutex_unlock(&own_lock);
}

void mem_write(struct mem *mem, struct mem_ref p, unsigned at, const void *data, size_t len)
{
	if (mem_kind(p) == MEM_EITHER)
		mem_check(mem, p, at);
	memcpy(mem_addr(p) + at, data, len);
	mem_wrote(mem, p, at, data, len);
}

/*
 * What a removal leaves.  `whole`: it took the unit that the page is in.  Where
 * the kernel does not tell the pager, or tells it a part, a page nobody has
 * looked at is zero if it was there already, and else still comes from the file.
 */
static void removed(struct mem_ref p, enum mem_how how, bool whole)
{
	enum mem_kind kind = mem_kind(p);

	if (how == MEM_DROP && p.r->fd >= 0) {
		if (kind == MEM_FILE)
			set_kind(p, MEM_EITHER);
		return;
	}
	if (how == MEM_PUNCH || !whole)
		set_kind(p, kind == MEM_FILE || kind == MEM_EITHER ? MEM_EITHER : MEM_ZERO);
	else
		set_kind(p, MEM_ZERO);
}

static int ask_kernel(struct mem_region *r, uint64_t from, uint64_t len, enum mem_how how)
{
	void *addr = (void *)(uintptr_t)(r->at.addr + from);
	int advice = how == MEM_REMOVE && r->fd >= 0 ? MADV_REMOVE : MADV_DONTNEED;

	if (how == MEM_PUNCH)
		return fallocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from,
				 (off_t)len) < 0
			       ? -errno
			       : 0;
	while (madvise(addr, len, advice) < 0) {
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
	}
	return 0;
}

/* `from` and `to` are of the region.  MADV_DONTNEED leaves the end of a huge page alone. */
static int64_t remove_in(struct mem_region *r, uint64_t from, uint64_t to, enum mem_how how)
{
	uint64_t unit = r->at.page_size, n = 0;
	bool advised = how == MEM_DROP || (how == MEM_REMOVE && r->fd < 0);
	int rc = ask_kernel(r, from, to - from, how);

	if (rc < 0)
		return rc;
	if (advised)
		to -= to % unit;
	for (uint64_t at = from; at < to; at += MEM_PAGE) {
		uint64_t start = at / unit * unit;

		removed((struct mem_ref){r, at / MEM_PAGE}, how,
			start >= from && start + unit <= to);
		n++;
	}
	return (int64_t)n;
}

int64_t mem_remove(struct mem *mem, uint64_t off, uint64_t len, enum mem_how how)
{
	int64_t n = 0;

	for (unsigned i = 0; i < mem->n; i++) {
		struct mem_region *r = &mem->region[i];
		uint64_t from = off > r->at.off ? off - r->at.off : 0;
		uint64_t to = off + len > r->at.off ? off + len - r->at.off : 0;
		int64_t rc;

		to = to > r->at.size ? r->at.size : to;
		if (r->gone || from >= to)
			continue;
		if (how == MEM_PUNCH && r->fd < 0)
			return -EBADF;
		rc = remove_in(r, from, to, how);
		if (rc < 0)
			return rc;
		n += rc;
	}
	return n;
}

static bool in_page_tables(const void *addr)
{
	uint64_t entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || pread(fd, &entry, sizeof(entry),
			    (off_t)((uintptr_t)addr / MEM_PAGE * sizeof(entry))) != sizeof(entry))
		tool_fail("/proc/self/pagemap");
	close(fd);
	return entry >> 62;
}

bool mem_resident(struct mem_ref p)
{
	unsigned char vec;
	uint64_t unit = p.r->at.page_size / MEM_PAGE;

	if (p.r->fd < 0)
		return in_page_tables(mem_addr(p));
	if (mincore(mem_addr((struct mem_ref){p.r, p.i / unit * unit}), MEM_PAGE, &vec) < 0)
		tool_fail("mincore");
	return vec & 1;
}
