/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/agent/collapse-walk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "store/base/fmt.h"
#include "store/base/io.h"
#include "store/base/pagemap.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25	/* of Linux 6.1, include/uapi/asm-generic/mman-common.h */
#endif

#define WINDOW ((uint64_t)PAGEMAP_WINDOW)
#define TRIES 5			/* where the kernel says that another one might do */
#define NAP_NS 1000000
#define LOOK_AHEAD (512 * WINDOW)	/* for something that is there, before asking `cancelled` */
#define MAX_DEPTH 32		/* of cgroups in cgroups */

struct target {
	int pidfd;		/* -1: this process */
	struct pagemap pm;
};

static bool is_cancelled(const struct collapse_walk *walk)
{
	return walk->cancelled && atomic_load(walk->cancelled);
}

/* ---- a window ---- */

static int advise(const struct target *target, uint64_t window)
{
	struct iovec range = {(void *)(uintptr_t)window, PAGEMAP_WINDOW};
	long rc;

	if (target->pidfd < 0)
		rc = madvise(range.iov_base, range.iov_len, MADV_COLLAPSE);
	else
		rc = syscall(SYS_process_madvise, target->pidfd, &range, 1L, (long)MADV_COLLAPSE,
			     0L);
	return rc < 0 ? -errno : 0;
}

static int collapse(const struct target *target, uint64_t window)
{
	int rc = -EAGAIN;

	for (int i = 0; i < TRIES && (rc == -EAGAIN || rc == -EBUSY); i++) {
		if (i)
			(void)nanosleep(&(struct timespec){.tv_nsec = NAP_NS}, NULL);
		rc = advise(target, window);
	}
	return rc;
}

static int is_huge(struct target *target, uint64_t window)
{
	struct pagemap_query query = {window, window + WINDOW, PAGEMAP_HUGE, 0};
	struct pagemap_run run;

	return pagemap_find(&target->pm, &query, &run);
}

/* Something is there.  0, or -ESRCH: the process has ended. */
static int do_window(struct collapse_walk *walk, struct target *target, uint64_t window)
{
	int rc = is_huge(target, window);

	if (rc < 0)
		return rc;
	if (rc == 1)
		walk->already_huge++;
	else if (collapse(target, window) == 0)
		walk->collapsed++;
	else
		walk->skipped++;
	return 0;
}

/* ---- a region ---- */

static bool is_wanted(const struct maps_region *region)
{
	return maps_anonymous(region) && (region->prot & PROT_READ) && (region->prot & PROT_WRITE);
}

/* Whether it has been told, or cannot be. */
static void want_huge(const struct target *target, const struct maps_region *region, bool *told)
{
	if (target->pidfd < 0 && !*told)
		(void)madvise((void *)(uintptr_t)region->start, region->end - region->start,
			      MADV_HUGEPAGE);
	*told = true;
}

/* The windows from `at` to `end`. */
static int do_windows(struct collapse_walk *walk, struct target *target,
		      const struct maps_region *region, uint64_t at, uint64_t end)
{
	bool told = region->flags & MAPS_HUGE;
	int rc = 0;

	while (rc >= 0 && at < end) {
		uint64_t ahead = end - at > LOOK_AHEAD ? at + LOOK_AHEAD : end, window = ahead;
		struct pagemap_query there = {at, ahead, PAGEMAP_PRESENT | PAGEMAP_SWAPPED,
					      PAGEMAP_ZERO};
		struct pagemap_run run;

		if (is_cancelled(walk))
			return -ECANCELED;
		rc = pagemap_find(&target->pm, &there, &run);
		if (rc < 0)
			break;
		if (rc == 1)
			window = run.start & -WINDOW;
		walk->skipped += (window - at) / WINDOW;
		at = window;
		if (rc == 1) {
			want_huge(target, region, &told);
			rc = do_window(walk, target, window);
			at += WINDOW;
		}
	}
	return rc < 0 ? rc : 0;
}

static int do_region(struct collapse_walk *walk, struct target *target,
		     const struct maps_region *region)
{
	uint64_t first = (region->start + WINDOW - 1) & -WINDOW, end = region->end & -WINDOW;

	if (!is_wanted(region) || first >= end)
		return 0;
	walk->regions++;
	if (!(region->flags & MAPS_NOHUGE) && region->rss + region->swap)
		return do_windows(walk, target, region, first, end);
	walk->skipped += (end - first) / WINDOW;
	return 0;
}

/* ---- a process ---- */

static int do_regions(struct collapse_walk *walk, struct target *target, pid_t pid)
{
	struct maps_region region;
	int rc = maps_open(pid, MAPS_DETAIL, &walk->maps);

	if (rc < 0)
		return rc;
	while ((rc = maps_next(&walk->maps, &region)) == 1) {
		rc = do_region(walk, target, &region);
		if (rc < 0)
			break;
	}
	maps_close(&walk->maps);
	return rc;
}

/*
 * A pid that is used again meanwhile does no harm: the advice goes to the process of the pidfd,
 * or fails.
 */
int collapse_walk_pid(struct collapse_walk *walk, pid_t pid)
{
	struct target target = {.pidfd = -1};
	int rc = 0;

	if (is_cancelled(walk))
		return -ECANCELED;
	if (pid != getpid()) {
		target.pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
		if (target.pidfd < 0)
			return 0;
	}
	if (pagemap_open(pid, &target.pm, NULL) == 0) {
		rc = do_regions(walk, &target, pid);
		pagemap_close(&target.pm);
	}
	if (target.pidfd >= 0)
		(void)close(target.pidfd);
	return rc == -ECANCELED ? rc : 0;
}

/* ---- many ---- */

static pid_t parse_pid(const char *text)
{
	uint64_t pid;

	return fmt_parse_u64(text, &pid) == 0 && pid <= INT_MAX ? (pid_t)pid : 0;
}

static int do_list(struct collapse_walk *walk, int dirfd)
{
	char *line;
	int rc = 0;
	pid_t pid;

	if (lines_open(dirfd, "cgroup.procs", &walk->list) < 0)
		return 0;
	while (rc == 0 && lines_next(&walk->list, &line) == 1) {
		pid = parse_pid(line);
		if (pid)	/* 0: of another pid namespace */
			rc = collapse_walk_pid(walk, pid);
	}
	lines_close(&walk->list);
	return rc;
}

struct level {
	struct collapse_walk *walk;
	int depth;
};

static int do_cgroup(struct collapse_walk *walk, int dirfd, int depth);

static int do_below(void *ctx, int dirfd, const char *name)
{
	const struct level *above = ctx;
	int fd, rc;

	if (*name == '.')
		return 0;
	fd = openat(dirfd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return 0;
	rc = do_cgroup(above->walk, fd, above->depth + 1);
	(void)close(fd);
	return rc;
}

/* One that goes away meanwhile has no more in it. */
static int do_cgroup(struct collapse_walk *walk, int dirfd, int depth)
{
	struct level level = {walk, depth};
	int rc = do_list(walk, dirfd);

	if (rc < 0 || depth == MAX_DEPTH)
		return rc;
	rc = io_each_name(dirfd, ".", do_below, &level);
	return rc == -ECANCELED ? rc : 0;
}

int collapse_walk_cgroup(struct collapse_walk *walk, int dirfd)
{
	return do_cgroup(walk, dirfd, 0);
}

static int do_process(void *ctx, int dirfd, const char *name)
{
	pid_t pid = parse_pid(name);

	(void)dirfd;
	return pid ? collapse_walk_pid(ctx, pid) : 0;
}

int collapse_walk_all(struct collapse_walk *walk)
{
	int rc = io_each_name(AT_FDCWD, "/proc", do_process, walk);

	return rc == -ECANCELED ? rc : 0;
}
