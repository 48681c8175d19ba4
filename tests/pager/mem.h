/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mem: a guest's memory and the model of it: what each byte must be, whatever
 * the pager did and in whatever order.
 *
 * The model has a kind for each 4 KiB page, and a shadow of those that were
 * written.  A place is named by its offset in the memfile, as the guest's
 * physical memory would be.
 *
 * Threads: each has pages (units of the region's page size) of its own.  Pages
 * that nobody writes or removes may be read by all, and words of one page may
 * be written by different threads.
 */
#ifndef LAMINA_TESTS_PAGER_MEM_H
#define LAMINA_TESTS_PAGER_MEM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/pager/hand.h"

#define MEM_PAGE 4096u
#define MEM_HUGE (2u << 20)

enum mem_kind {
	MEM_FILE,	/* as in the memfile; the guest has not looked yet */
	MEM_SEEN,	/* as in the memfile; the guest has looked */
	MEM_ZERO,	/* removed */
	MEM_OWN,	/* written: as in the shadow */
	MEM_EITHER,	/* as in the memfile or zero: it depends on what was fetched ahead */
	MEM_NKINDS
};

struct mem_region {
	struct hand_region at;
	bool gone;		/* unmapped */
	int fd;			/* of the memfd, or -1 */
	_Atomic uint8_t *kind;	/* of each 4 KiB page */
	uint8_t *shadow;	/* of at.size bytes; only what is MEM_OWN counts */
};

struct mem {
	int file;		/* the memfile that the bytes are compared with; -1: none yet */
	struct mem_region region[HAND_REGIONS];
	unsigned n;
};

/* A 4 KiB page. */
struct mem_ref {
	struct mem_region *r;
	uint64_t i;
};

#define MEM_ANY UINT64_MAX	/* an address: the kernel's choice */

enum mem_flags {
	MEM_HUGETLB = 1,
	MEM_MEMFD = 2,
	MEM_THP = 4		/* MADV_HUGEPAGE, as QEMU does */
};

enum mem_how {
	MEM_REMOVE,		/* MADV_DONTNEED; of a memfd MADV_REMOVE */
	MEM_DROP,		/* MADV_DONTNEED of anything: a memfd keeps its bytes */
	MEM_PUNCH		/* a hole through the memfd's descriptor: no event */
};

void mem_init(struct mem *mem);
void mem_fini(struct mem *mem);
void mem_file(struct mem *mem, const char *path);
/* `at` says where (MEM_ANY), how large, and at which offset of the memfile. */
void mem_map(struct mem *mem, struct hand_region at, unsigned flags);
void mem_unmap(struct mem_region *r);

static inline uint8_t *mem_addr(struct mem_ref p)
{
	return (uint8_t *)(uintptr_t)p.r->at.addr + p.i * MEM_PAGE;
}

static inline uint64_t mem_off(struct mem_ref p)
{
	return p.r->at.off + p.i * MEM_PAGE;
}

static inline enum mem_kind mem_kind(struct mem_ref p)
{
	return atomic_load_explicit(&p.r->kind[p.i], memory_order_relaxed);
}

const char *mem_kind_name(enum mem_kind kind);

/* 4 KiB pages of all regions that are mapped, and the n-th of them. */
uint64_t mem_npages(const struct mem *mem);
struct mem_ref mem_nth(struct mem *mem, uint64_t n);
/* The page at `off` of the memfile; .r is NULL when no region shows it. */
struct mem_ref mem_at(struct mem *mem, uint64_t off);
/* Of the pages between the two offsets those that are mapped, in order of the regions. */
uint64_t mem_list(struct mem *mem, uint64_t off, uint64_t len, struct mem_ref **ret);

/*
 * Compares a page as somebody saw it with the model; the model learns that it
 * was looked at.  Ends the program with address, offset, expected and got.
 */
void mem_verify(struct mem *mem, struct mem_ref p, const void *seen);
/* The same with the page itself, first touched at its byte `first`. */
void mem_check(struct mem *mem, struct mem_ref p, unsigned first);
/* That a page is all zero, or the memfile's, whatever the model says. */
void mem_must(struct mem *mem, struct mem_ref p, enum mem_kind kind);

/* Writes into memory and model; mem_wrote() into the model only. */
void mem_write(struct mem *mem, struct mem_ref p, unsigned at, const void *data, size_t len);
void mem_wrote(struct mem *mem, struct mem_ref p, unsigned at, const void *data, size_t len);

/* Removes from memory and model.  How many 4 KiB pages were named, or -errno of the kernel. */
int64_t mem_remove(struct mem *mem, uint64_t off, uint64_t len, enum mem_how how);

/* Whether the page is there, without touching it. */
bool mem_resident(struct mem_ref p);

#endif
