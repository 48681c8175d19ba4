/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A promise is {"pages": N, "regions": [[ADDRESS, SIZE], ...]} in a file whose name says
 * whose it is: the number of the process; when it started, so that a later process of that
 * number is another one; where its memory begins, for it may have several guests.  It is
 * written as "new" and renamed, and removed by whoever finds that the process has ended.  A
 * file of ours that cannot be understood is an error, not nothing: somebody may rely on it.
 *
 * The directory is locked (flock) from the first look to the last write, by
 * everybody; nobody but the pager's user may open it.
 *
 * What is outstanding is asked for before the pool is: a page that is taken in between
 * is missing from the pool and counted as promised.
 */
#include "src/pager/promised.h"

#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/pager/pool.h"
#include "store/base/io.h"
#include "store/base/proc.h"

#define HUGE_LEN (UINT64_C(2) << 20)
#define NAME_LEN 64
#define FILE_MAX 16384		/* bytes; REGIONS_MAX regions are about 3000 */
#define ADDRESS_MAX ((json_int_t)1 << 52)
#define NEW "new"
#define PRESENT (UINT64_C(1) << 63)	/* in a page's word of pagemap */

/* ---- processes ---- */

struct process {
	pid_t pid;
	uint64_t start;		/* in the kernel's ticks since it booted */
};

struct owner {
	struct process p;
	unsigned long long addr;
};

static int look_at(pid_t pid, struct process *ret)
{
	ret->pid = pid;
	return proc_start(pid, &ret->start);
}

static bool has_ended(const struct process *p)
{
	struct process now;
	int rc = look_at(p->pid, &now);

	return rc == -ESRCH || (rc == 0 && now.start != p->start);
}

static void name_of(const struct owner *o, char out[NAME_LEN])
{
	(void)snprintf(out, NAME_LEN, "%d-%" PRIu64 "-%llx", (int)o->p.pid, o->p.start, o->addr);
}

static int name_guest(const struct promised_guest *guest, char out[NAME_LEN])
{
	struct owner o = {.addr = guest->nregions ? guest->regions[0].addr : 0};
	int rc = guest->pid > 0 ? look_at(guest->pid, &o.p) : -ESRCH;

	if (rc == 0)
		name_of(&o, out);
	return rc;
}

static bool parse_name(const char *name, struct owner *ret)
{
	char again[NAME_LEN];

	if (sscanf(name, "%d-%" SCNu64 "-%llx", &ret->p.pid, &ret->p.start, &ret->addr) != 3 ||
	    ret->p.pid <= 0)
		return false;
	name_of(ret, again);
	return !strcmp(name, again);
}

/* ---- the directory ---- */

static int open_dir(const char *runtime_dir)
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s/promised", runtime_dir), fd;

	if (n < 0 || (size_t)n >= sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT && mkdir(path, 0700) == 0)
		fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int promised_prepare(const char *runtime_dir, struct err *err)
{
	int dir = open_dir(runtime_dir);

	if (dir < 0)
		return err_sys(err, dir, "cannot use '%s/promised'", runtime_dir);
	close(dir);
	return 0;
}

static int lock_dir(const char *runtime_dir)
{
	int dir = open_dir(runtime_dir), rc;

	if (dir < 0)
		return dir;
	do
		rc = flock(dir, LOCK_EX);
	while (rc < 0 && errno == EINTR);
	if (rc == 0)
		return dir;
	rc = -errno;
	close(dir);
	return rc;
}

/* ---- a promise, locked ---- */

static char *encode(const struct promised_guest *guest)
{
	json_t *regions = json_array();
	json_t *json = json_pack("{s:I, s:o}", "pages", (json_int_t)guest->pages, "regions",
				 regions);
	char *text;
	int rc = json ? 0 : -1;

	for (uint32_t i = 0; rc == 0 && i < guest->nregions; i++)
		if (guest->regions[i].page_size == HUGE_LEN)
			rc = json_array_append_new(regions,
				json_pack("[I, I]", (json_int_t)guest->regions[i].addr,
					  (json_int_t)guest->regions[i].size));
	text = rc == 0 ? json_dumps(json, JSON_COMPACT) : NULL;
	json_decref(json);
	return text;
}

static int write_promise(int dir, const char *name, const struct promised_guest *guest)
{
	char *text = encode(guest);
	int fd = -1, rc = text ? 0 : -ENOMEM;

	if (rc == 0) {
		fd = openat(dir, NEW, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
		rc = fd < 0 ? -errno : io_write_all(fd, text, strlen(text));
	}
	if (fd >= 0)
		close(fd);
	if (rc == 0 && renameat(dir, NEW, dir, name) < 0)
		rc = -errno;
	if (rc < 0)
		(void)unlinkat(dir, NEW, 0);
	free(text);
	return rc;
}

static int read_promise(int dir, const char *name, json_t **ret)
{
	char text[FILE_MAX];
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	const json_t *pages, *regions;
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = io_pread(fd, text, sizeof(text), 0);
	close(fd);
	if (n < 0)
		return (int)n;
	*ret = json_loadb(text, (size_t)n, JSON_REJECT_DUPLICATES, NULL);
	pages = json_object_get(*ret, "pages");
	regions = json_object_get(*ret, "regions");
	if (json_is_integer(pages) && json_integer_value(pages) >= 0 && json_is_array(regions))
		return 0;
	json_decref(*ret);
	return -EBADMSG;
}

/* Huge pages of one region that are not there; UINT64_MAX: it cannot be known. */
static uint64_t count_absent(int pagemap, const json_t *region)
{
	json_int_t addr, size;
	uint64_t n = 0, word;

	if (json_unpack((json_t *)region, "[I, I!]", &addr, &size) < 0 || addr < 0 || size <= 0 ||
	    addr > ADDRESS_MAX || size > ADDRESS_MAX || (addr | size) & (json_int_t)(HUGE_LEN - 1))
		return UINT64_MAX;
	for (uint64_t at = (uint64_t)addr; at < (uint64_t)(addr + size); at += HUGE_LEN) {
		if (io_pread(pagemap, &word, sizeof(word), at / 4096 * sizeof(word)) !=
		    (ssize_t)sizeof(word))
			return UINT64_MAX;
		n += !(word & PRESENT);
	}
	return n;
}

static uint64_t absent_of(const struct process *p, const json_t *regions)
{
	char path[64];
	uint64_t n = 0, more = UINT64_MAX;
	size_t i = 0;
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)p->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return UINT64_MAX;
	while (i < json_array_size(regions)) {
		more = count_absent(fd, json_array_get(regions, i++));
		if (more == UINT64_MAX)
			break;
		n += more;
	}
	close(fd);
	return more == UINT64_MAX ? more : n;
}

/* ---- all promises, locked ---- */

struct look {
	const char *own;	/* whose is not counted */
	bool taken;		/* what was taken since is asked for, and does not count */
	uint64_t ret_pages;
	char bad[NAME_LEN];	/* the file that is an error's cause */
};

static int add(int dir, const struct owner *o, const char *name, struct look *look)
{
	json_t *json;
	uint64_t pages, absent;
	int rc = read_promise(dir, name, &json);

	if (rc < 0) {
		name_of(o, look->bad);
		return rc;
	}
	pages = (uint64_t)json_integer_value(json_object_get(json, "pages"));
	absent = look->taken ? absent_of(&o->p, json_object_get(json, "regions")) : UINT64_MAX;
	look->ret_pages += pages < absent ? pages : absent;
	json_decref(json);
	return 0;
}

static int add_other(void *ctx, int dir, const char *name)
{
	struct look *look = ctx;
	struct owner o;

	if (!parse_name(name, &o) || !strcmp(name, look->own))
		return 0;
	if (!has_ended(&o.p))
		return add(dir, &o, name, look);
	(void)unlinkat(dir, name, 0);
	return 0;
}

/* What is promised to others. */
static int add_up(int dir, struct look *look)
{
	look->ret_pages = 0;
	return io_each_name(dir, ".", add_other, look);
}

/* ---- from outside ---- */

struct pool {
	uint64_t free;
	uint64_t others;	/* of these, or beyond them, promised to others */
};

static uint64_t spare(const struct pool *pool)
{
	return pool->free > pool->others ? pool->free - pool->others : 0;
}

/* Who has taken what is looked at only where that may matter. */
static int look_for(int dir, const char *own, uint64_t pages, struct pool *ret, struct look *look)
{
	int rc = 0;

	*look = (struct look){.own = own};
	do {
		rc = add_up(dir, look);
		if (rc < 0)
			return rc;
		ret->others = look->ret_pages;
		ret->free = pool_free();
		if (look->taken || !ret->others)
			break;
		look->taken = true;
	} while (spare(ret) < pages);
	return 0;
}

static int too_few(const struct promised_guest *guest, const struct pool *pool, struct err *err)
{
	return err_set(err, -ENOMEM, "the guest lacks %" PRIu64 " huge pages; %" PRIu64
		       " huge pages are free, and %" PRIu64 " are promised to other guests",
		       guest->pages, pool->free, pool->others);
}

static int settle(int dir, const char *name, const struct promised_guest *guest, bool all,
		  struct err *err)
{
	struct promised_guest some = *guest;
	struct look look;
	struct pool pool;
	int rc = look_for(dir, name, guest->pages, &pool, &look);

	if (rc == -EBADMSG)
		return err_set(err, rc, "'promised/%s' of the runtime directory is not what a "
			       "pager writes", look.bad);
	if (rc < 0)
		return err_sys(err, rc, "cannot look at the huge pages promised to guests");
	if (spare(&pool) < guest->pages && (all || pool.others))
		return too_few(guest, &pool, err);
	if (some.pages > spare(&pool))
		some.pages = spare(&pool);
	rc = write_promise(dir, name, &some);
	return rc < 0 ? err_sys(err, rc, "cannot note the huge pages promised to the guest") : 0;
}

static int promise(const char *runtime_dir, const struct promised_guest *guest, bool all,
		   struct err *err)
{
	char name[NAME_LEN];
	int dir, rc;

	if (guest->pages == 0) {
		promised_drop(runtime_dir, guest);
		return 0;
	}
	if (name_guest(guest, name) < 0)
		return err_set(err, -ENOMEM, "the guest lacks %" PRIu64 " huge pages, and its "
			       "process, to which they would be promised, cannot be seen in /proc",
			       guest->pages);
	dir = lock_dir(runtime_dir);
	if (dir < 0)
		return err_sys(err, dir, "cannot use '%s/promised'", runtime_dir);
	rc = settle(dir, name, guest, all, err);
	close(dir);
	return rc;
}

int promised_all(const char *runtime_dir, const struct promised_guest *guest, struct err *err)
{
	return promise(runtime_dir, guest, true, err);
}

int promised_some(const char *runtime_dir, const struct promised_guest *guest, struct err *err)
{
	return promise(runtime_dir, guest, false, err);
}

void promised_drop(const char *runtime_dir, const struct promised_guest *guest)
{
	char name[NAME_LEN];
	int dir;

	if (name_guest(guest, name) < 0)
		return;		/* of one that has ended, whoever looks next removes it */
	dir = lock_dir(runtime_dir);
	if (dir < 0)
		return;
	(void)unlinkat(dir, name, 0);
	close(dir);
}
