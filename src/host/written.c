/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * All of it happens in a child, which has no other thread's locks to fear but allocates
 * nothing: the two buffers are mapped before.  A block of what the process has is read into
 * `got`, what the memfile has there into `had`, and each run of pages that are the same, zeros,
 * or data is passed over, punched, or written.  (A guest that is paused again, in the same
 * process, has all that it ever wrote; the memfile has most of that.)
 */
#include "src/host/written.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "src/host/errand.h"
#include "store/base/io.h"
#include "store/base/maps.h"
#include "store/base/pagemap.h"
#include "store/base/proc.h"

#define PAGE PAGEMAP_PAGE
#define BLOCK (1u << 20)
#define FUSE_SUPER_MAGIC 0x65735546
#define ELSEWHERE 1u		/* what the child says of it */
#define READ_ALL 2u
#define HOLE_STEP (64u << 20)	/* bytes punched at once, where holes cannot be asked for */

/* A mapping, as far as it is the guest's memory. */
struct piece {
	struct maps_region r;
	uint64_t start, end;	/* all of the mapping */
};

struct work {
	const struct written_ask *ask;
	struct errand *errand;
	struct err *err;
	int memfile;
	int mem;		/* /proc/PID/mem, or a file that is mapped */
	bool of_process;	/* the first of these */
	int64_t mem_base;	/* + offset in the memfile = offset in `mem` */
	struct pagemap pm;
	struct stat st;		/* the memfile's */
	unsigned char *got, *had;
	bool fill;		/* what is not there is zeros */
	uint64_t done;		/* offset in the memfile: all before is dealt with */
	uint64_t data, zeros;
	bool elsewhere;		/* some of it is not the memfile itself */
	bool read_all;		/* of a mapping of which others would do */
};

static int cannot(const struct work *w, int rc, const char *what)
{
	return err_sys(w->err, rc, "cannot %s '%s'", what, w->ask->memfile);
}

/* ---- the memfile ---- */

static int write_zeros(struct work *w, uint64_t off, uint64_t len)
{
	static const unsigned char zeros[65536];
	int rc = 0;

	while (len && rc >= 0) {
		size_t n = len < sizeof(zeros) ? (size_t)len : sizeof(zeros);

		rc = io_pwrite_all(w->memfile, zeros, n, off);
		errand_tell(w->errand);
		off += n;
		len -= n;
	}
	return rc;
}

static int punch(struct work *w, uint64_t off, uint64_t len)
{
	int rc = 0;

	if (fallocate(w->memfile, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off,
		      (off_t)len) < 0)
		rc = errno == EOPNOTSUPP || errno == ENOSYS ? write_zeros(w, off, len) : -errno;
	w->zeros += len;
	errand_tell(w->errand);
	return rc < 0 ? cannot(w, rc, "punch") : 0;
}

/* What is data from `off` on: *ret and *end; at `limit` there is none. */
static int next_data(const struct work *w, uint64_t off, uint64_t limit, uint64_t ret[2])
{
	off_t data = lseek(w->memfile, (off_t)off, SEEK_DATA), hole;

	ret[0] = ret[1] = limit;
	if (data < 0 && errno == ENXIO)
		return 0;
	hole = data < 0 ? -1 : lseek(w->memfile, data, SEEK_HOLE);
	if (hole >= 0) {
		ret[0] = (uint64_t)data < limit ? (uint64_t)data : limit;
		ret[1] = (uint64_t)hole < limit ? (uint64_t)hole : limit;
		return 0;
	}
	if (errno != EINVAL && errno != EOPNOTSUPP)
		return -errno;
	ret[0] = off;
	ret[1] = limit - off > HOLE_STEP ? off + HOLE_STEP : limit;
	return 0;
}

/* [w->done, end) is zeros. */
static int fill_with_zeros(struct work *w, uint64_t end)
{
	uint64_t data[2];
	int rc = 0;

	while (rc >= 0 && w->done < end) {
		rc = next_data(w, w->done, end, data);
		if (rc < 0)
			return cannot(w, rc, "look into");
		if (data[0] < data[1])
			rc = punch(w, data[0], data[1] - data[0]);
		w->done = data[1];
		errand_tell(w->errand);
	}
	return rc;
}

/* ---- pages ---- */

enum kind {
	SAME,
	ZEROS,
	DATA,
};

static enum kind kind_of(const struct work *w, size_t at)
{
	const unsigned char *page = w->got + at;

	if (!memcmp(page, w->had + at, PAGE))
		return SAME;
	return page[0] == 0 && !memcmp(page, page + 1, PAGE - 1) ? ZEROS : DATA;
}

static int put(struct work *w, enum kind kind, size_t at, uint64_t off, size_t len)
{
	int rc;

	if (kind == SAME)
		return 0;
	if (kind == ZEROS)
		return punch(w, off, len);
	rc = io_pwrite_all(w->memfile, w->got + at, len, off);
	w->data += len;
	errand_tell(w->errand);
	return rc < 0 ? cannot(w, rc, "write") : 0;
}

static int put_block(struct work *w, uint64_t off, size_t len)
{
	size_t at = 0, end;
	int rc = 0;

	for (; at < len && rc >= 0; at = end) {
		enum kind kind = kind_of(w, at);

		end = at + PAGE;
		while (end < len && kind_of(w, end) == kind)
			end += PAGE;
		rc = put(w, kind, at, off + at, end - at);
	}
	return rc;
}

static int ended(struct err *err)
{
	return err_set(err, -ESRCH, "the hypervisor has ended");
}

/* The memory of a process that has ended is empty. */
static int unread(struct work *w, int rc, uint64_t off)
{
	if (rc == -EBADMSG && w->of_process)
		return ended(w->err);
	return err_sys(w->err, rc == -EBADMSG ? -EIO : rc,
		       "cannot read the guest's memory at %" PRIu64, off);
}

static int read_block(struct work *w, uint64_t off, size_t len)
{
	int rc = io_pread_all(w->mem, w->got, len, (uint64_t)w->mem_base + off);

	if (rc < 0)
		return unread(w, rc, off);
	rc = io_pread_all(w->memfile, w->had, len, off);
	errand_tell(w->errand);
	return rc < 0 ? cannot(w, rc, "read") : 0;
}

/* [off, end) of the memfile is what the process has there. */
static int take(struct work *w, uint64_t off, uint64_t end)
{
	int rc = w->fill ? fill_with_zeros(w, off) : 0;

	for (; rc >= 0 && off < end; off += BLOCK) {
		size_t len = end - off < BLOCK ? (size_t)(end - off) : BLOCK;

		rc = read_block(w, off, len);
		if (rc >= 0)
			rc = put_block(w, off, len);
	}
	w->done = end;
	return rc;
}

/* ---- mappings ---- */

static int take_run(void *ctx, const struct pagemap_run *run)
{
	struct work *w = ctx;

	return take(w, run->start - w->ask->addr, run->end - w->ask->addr);
}

/* Also those that are the file's, or the pager's; what no pager has given yet is EIO. */
static int take_whole(struct work *w, const struct maps_region *r)
{
	int rc;

	w->read_all = true;
	rc = take(w, r->start - w->ask->addr, r->end - w->ask->addr);
	if (rc != -EIO || !(r->flags & MAPS_PAGED))
		return rc;
	return err_set(w->err, rc, "the guest is paged, from a file of which it is not known what "
		       "it held: only when it has graduated can all of its memory be read");
}

/* Pages of the process's own. */
static int take_pages(struct work *w, const struct maps_region *r, unsigned none)
{
	struct pagemap_query query = {r->start, r->end, PAGEMAP_PRESENT | PAGEMAP_SWAPPED, none};
	int rc = pagemap_each(&w->pm, &query, take_run, w);

	return rc == -ESRCH ? ended(w->err) : rc;
}

static int take_anonymous(struct work *w, const struct maps_region *r)
{
	if (w->ask->all && (r->flags & MAPS_PAGED))
		return take_whole(w, r);
	w->fill = !(r->flags & MAPS_PAGED);
	return take_pages(w, r, 0);
}

/* Pages with data, from `off` on: ret[0] to ret[1]; ret[0] is `end` where there are none. */
static int next_extent(struct work *w, uint64_t off, uint64_t end, uint64_t ret[2])
{
	uint64_t base = (uint64_t)w->mem_base, page = PAGE;
	off_t data = lseek(w->mem, (off_t)(base + off), SEEK_DATA), hole;

	ret[0] = ret[1] = end;
	if (data < 0 && errno == ENXIO)
		return 0;
	hole = data < 0 ? -1 : lseek(w->mem, data, SEEK_HOLE);
	if (hole < 0)
		return err_sys(w->err, -errno, "cannot look into the guest's memory");
	if ((uint64_t)data - base >= end)
		return 0;
	ret[0] = ((uint64_t)data - base) / page * page;
	if ((uint64_t)hole - base < end)
		ret[1] = ((uint64_t)hole - base + page - 1) / page * page;
	return 0;
}

static int take_extents(struct work *w, uint64_t off, uint64_t end)
{
	uint64_t extent[2];
	int rc = 0;

	while (rc >= 0 && off < end) {
		rc = next_extent(w, off, end, extent);
		if (rc >= 0 && extent[0] < extent[1])
			rc = take(w, extent[0], extent[1]);
		off = extent[1];
	}
	return rc;
}

/*
 * It is opened by its mapping: its name may be gone, or never was.  A file system that does not
 * keep its files itself (FUSE) knows of data in mapped pages only when they are synced.
 */
static int open_mapped(struct work *w, const struct piece *p)
{
	struct statfs st;
	char path[96];
	int rc = 0;

	(void)snprintf(path, sizeof(path), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64,
		       (int)w->ask->pid, p->start, p->end);
	w->mem = open(path, O_RDONLY | O_CLOEXEC);
	if (w->mem < 0 || fstatfs(w->mem, &st) < 0)
		rc = -errno;
	else if (st.f_type == FUSE_SUPER_MAGIC)
		rc = io_fsync(w->mem);
	return rc < 0 ? err_sys(w->err, rc, "cannot open the guest's memory '%.200s'", p->r.path) :
	       0;
}

static int take_shared(struct work *w, const struct piece *p)
{
	int mem = w->mem, rc = open_mapped(w, p);

	w->of_process = false;
	if (rc >= 0) {
		w->mem_base = (int64_t)p->r.off - (int64_t)(p->r.start - w->ask->addr);
		w->fill = true;
		rc = take_extents(w, p->r.start - w->ask->addr, p->r.end - w->ask->addr);
	}
	if (w->mem >= 0)
		(void)close(w->mem);
	w->mem = mem;
	w->of_process = true;
	w->mem_base = (int64_t)w->ask->addr;
	return rc;
}

static bool is_memfile(const struct work *w, const struct maps_region *r)
{
	return r->dev == w->st.st_dev && r->ino == w->st.st_ino &&
	       r->off == r->start - w->ask->addr;
}

static int take_piece(struct work *w, const struct piece *p)
{
	const struct maps_region *r = &p->r;
	int rc;

	w->fill = false;
	w->done = r->start - w->ask->addr;
	if (r->shared && is_memfile(w, r))
		return 0;
	w->elsewhere = true;
	if (r->shared)
		rc = take_shared(w, p);
	else if (maps_anonymous(r))
		rc = take_anonymous(w, r);
	else if (w->ask->all)
		rc = take_whole(w, r);
	else
		rc = take_pages(w, r, PAGEMAP_FILE);
	return rc >= 0 && w->fill ? fill_with_zeros(w, r->end - w->ask->addr) : rc;
}

/* ---- which mappings ---- */

/* Cuts *p to [at, end of memory).  1: it is the next piece; 0: it is before. */
static int cut(const struct written_ask *ask, uint64_t at, struct piece *p)
{
	uint64_t end = ask->addr + ask->len;

	if (p->r.end <= at)
		return 0;
	if (p->r.start > at)
		return -ENOTSUP;
	p->start = p->r.start;
	p->end = p->r.end;
	p->r.off += at - p->r.start;
	p->r.start = at;
	if (p->r.end > end)
		p->r.end = end;
	return 1;
}

/* 1: *ret is the mapping of `at`. */
static int next_piece(const struct written_ask *ask, struct maps *maps, uint64_t at,
		      struct piece *ret, struct err *err)
{
	uint64_t start;
	int rc, fits = 0;

	while (fits == 0) {
		rc = maps_next(maps, &ret->r);
		if (rc < 0)
			return err_sys(err, rc, "cannot read the mappings of process %d",
				       (int)ask->pid);
		fits = rc == 0 ? -ENOTSUP : cut(ask, at, ret);
	}
	if (fits < 0 && proc_start(ask->pid, &start) == -ESRCH)
		return ended(err);
	return fits == 1 ? 1 : err_set(err, fits, "process %d has not the guest's memory where it "
				       "is said to be", (int)ask->pid);
}

static int each_piece(const struct written_ask *ask, unsigned detail,
		      int (*fn)(void *ctx, const struct piece *p), void *ctx, struct err *err)
{
	uint64_t at = ask->addr, end = ask->addr + ask->len;
	struct piece p;
	struct maps maps;
	int rc = maps_open(ask->pid, detail, &maps);

	if (rc == -ESRCH)
		return ended(err);
	if (rc < 0)
		return err_sys(err, rc, "cannot read the mappings of process %d", (int)ask->pid);
	for (; at < end && rc >= 0; at = p.r.end) {
		rc = next_piece(ask, &maps, at, &p, err);
		if (rc >= 0)
			rc = fn(ctx, &p);
	}
	maps_close(&maps);
	return rc < 0 ? rc : 0;
}

/* ---- the child ---- */

static int open_memfile(struct work *w)
{
	w->memfile = open(w->ask->memfile, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (w->memfile < 0 || fstat(w->memfile, &w->st) < 0)
		return cannot(w, -errno, "open");
	if (!S_ISREG(w->st.st_mode) || (uint64_t)w->st.st_size != w->ask->len)
		return err_set(w->err, -EINVAL, "'%s' has %" PRId64 " bytes, the guest's memory "
			       "has %" PRIu64, w->ask->memfile, (int64_t)w->st.st_size,
			       w->ask->len);
	return 0;
}

static int open_process(struct work *w)
{
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/%d/mem", (int)w->ask->pid);
	w->mem = open(path, O_RDONLY | O_CLOEXEC);
	if (w->mem < 0 && (errno == ENOENT || errno == ESRCH))
		return ended(w->err);
	if (w->mem < 0)
		return err_sys(w->err, -errno, "cannot read the memory of process %d",
			       (int)w->ask->pid);
	w->of_process = true;
	w->mem_base = (int64_t)w->ask->addr;
	return pagemap_open(w->ask->pid, &w->pm, w->err);
}

static int see_piece(void *ctx, const struct piece *p)
{
	return take_piece(ctx, p);
}

/* What it opened ends with it. */
static int copy(struct errand *e, struct err *err)
{
	struct work *w = e->arg;
	int rc;

	w->errand = e;
	w->err = err;
	rc = open_memfile(w);
	if (rc >= 0)
		rc = open_process(w);
	if (rc >= 0)
		rc = each_piece(w->ask, MAPS_DETAIL, see_piece, w, err);
	e->count[0] = w->data;
	e->count[1] = w->zeros;
	e->count[2] = (w->elsewhere ? ELSEWHERE : 0) | (w->read_all ? READ_ALL : 0);
	return rc;
}

/* ---- who asks ---- */

static int run(struct work *w, struct written_count *ret, struct err *err)
{
	struct errand e = {.fn = copy, .arg = w, .path = w->ask->memfile,
			   .idle_ms = w->ask->idle_ms, .stopped = w->ask->stopped};
	int rc = errand_run(&e, err);

	if (rc == 0)
		*ret = (struct written_count){e.count[0], e.count[1], !(e.count[2] & ELSEWHERE),
					      e.count[2] & READ_ALL};
	return rc;
}

int written_copy(const struct written_ask *ask, struct written_count *ret, struct err *err)
{
	struct work w = {.ask = ask};
	void *space;
	int rc;

	if (!ask->len || ask->len % PAGE || ask->addr % PAGE || ask->len > UINT64_MAX - ask->addr)
		return err_set(err, -EINVAL, "that is no memory: %" PRIu64 " bytes at %" PRIx64,
			       ask->len, ask->addr);
	space = mmap(NULL, 2 * BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (space == MAP_FAILED)
		return err_sys(err, -errno, "no memory for a buffer");
	w.got = space;
	w.had = w.got + BLOCK;
	rc = run(&w, ret, err);
	(void)munmap(space, 2 * BLOCK);
	return rc;
}

static int has_file(void *ctx, const struct piece *p)
{
	bool *all = ctx;

	*all = *all && !maps_anonymous(&p->r);
	return 0;
}

int written_is_told(pid_t pid, uint64_t addr, uint64_t len, struct err *err)
{
	struct written_ask ask = {.pid = pid, .addr = addr, .len = len};
	bool all = true;
	int rc = each_piece(&ask, 0, has_file, &all, err);

	return rc < 0 ? rc : all;
}
