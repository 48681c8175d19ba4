/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Mappings of this process, and of a child. */
#include "store/base/maps.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/tap.h"

#define PAGE 4096

static struct maps maps;

/* The one in which `addr` is; false: none. */
static bool find(pid_t pid, unsigned what, const void *addr, struct maps_region *ret)
{
	uint64_t at = (uintptr_t)addr;
	int rc = maps_open(pid, what, &maps);
	bool found = false;

	if (!is_int(rc, 0, "mappings of %d", (int)pid))
		return false;
	while (!found && (rc = maps_next(&maps, ret)) == 1)
		found = ret->start <= at && at < ret->end;
	maps_close(&maps);
	ok(rc >= 0, "are read");
	return found;
}

static char *map(size_t len, int prot, int flags, int fd, off_t off)
{
	char *p = mmap(NULL, len, prot, flags, fd, off);

	if (p == MAP_FAILED)
		bail("mmap: %s", strerror(errno));
	return p;
}

static void test_anonymous(void)
{
	char *p = map(16 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct maps_region r;

	(void)mprotect(p + 4 * PAGE, 8 * PAGE, PROT_READ | PROT_WRITE);
	memset(p + 4 * PAGE, 1, 3 * PAGE);
	ok(find(0, 0, p + 4 * PAGE, &r), "anonymous memory");
	ok(r.start == (uintptr_t)p + 4 * PAGE && r.end == r.start + 8 * PAGE, "its bounds");
	is_int(r.prot, PROT_READ | PROT_WRITE, "read and written");
	ok(!r.shared && r.ino == 0 && r.dev == 0, "private, no file");
	is_str(r.path, "", "no name");
	ok(maps_anonymous(&r), "so it is anonymous");
	is_int(r.rss + r.swap + r.flags, 0, "no details unless they are asked for");
	ok(find(0, MAPS_DETAIL, p + 4 * PAGE, &r), "with details");
	is_int(r.rss + r.swap, 3 * PAGE, "three pages of it are there");
	ok(find(0, 0, p, &r) && r.prot == 0, "what is closed to us");
	munmap(p, 16 * PAGE);
	ok(!find(0, 0, p, &r) || r.start != (uintptr_t)p, "unmapped: it is there no more");
}

static void test_file(void)
{
	int fd = open(tap_path("a file\nwith a newline"), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	struct maps_region r;
	struct stat st;
	char *p, *s;

	if (fd < 0 || ftruncate(fd, 8 * PAGE) < 0 || fstat(fd, &st) < 0)
		bail("cannot make a file");
	p = map(2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 3 * PAGE);
	s = map(PAGE, PROT_READ, MAP_SHARED, fd, 0);
	for (unsigned what = 0; what <= MAPS_DETAIL; what++) {
		ok(find(0, what, p, &r), "a private mapping of a file");
		ok(r.ino == st.st_ino && r.off == 3 * PAGE && !r.shared, "file, offset, private");
		ok(r.path[0] == '/' && strstr(r.path, "/a file\\012with a newline"), "path '%s'",
		   r.path);
		ok(!maps_anonymous(&r), "is not anonymous");
		ok(find(0, what, s, &r) && r.shared && r.prot == PROT_READ, "a shared one");
	}
	munmap(p, 2 * PAGE);
	munmap(s, PAGE);
	close(fd);
}

static void test_shared_anonymous(void)
{
	char *p = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct maps_region r;

	ok(find(0, 0, p, &r) && r.shared && !maps_anonymous(&r), "shared memory is not anonymous");
	munmap(p, PAGE);
}

static void test_flags(void)
{
	char *p = map(8 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct maps_region r;

	if (madvise(p, 4 << 20, MADV_NOHUGEPAGE) < 0) {
		tap_skip("no transparent huge pages here");
		return;
	}
	ok(find(0, MAPS_DETAIL, p, &r) && r.flags & MAPS_NOHUGE, "no huge pages wanted");
	ok(find(0, MAPS_DETAIL, p + (4 << 20), &r) && !(r.flags & MAPS_NOHUGE), "beside it, none");
	(void)madvise(p, 4 << 20, MADV_HUGEPAGE);
	ok(find(0, MAPS_DETAIL, p, &r) && r.flags & MAPS_HUGE && !(r.flags & MAPS_NOHUGE),
	   "wanted");
	munmap(p, 8 << 20);
}

/* Many, read through a small buffer: each once, in order. */
static void test_many(void)
{
	const int n = 1000;
	char *p = map(2 * n * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct maps_region r;
	uint64_t before = 0;
	int seen = 0, rc = 0;

	for (int i = 0; i < n; i++)
		(void)mprotect(p + 2 * i * PAGE, PAGE, PROT_READ);
	is_int(maps_open(0, MAPS_DETAIL, &maps), 0, "many mappings");
	while ((rc = maps_next(&maps, &r)) == 1 && r.start >= before) {
		seen += r.prot == PROT_READ && r.end == r.start + PAGE &&
			r.start >= (uintptr_t)p && r.start < (uintptr_t)p + 2 * n * PAGE;
		before = r.end;
	}
	maps_close(&maps);
	is_int(rc, 0, "are read to the end, in order");
	is_int(seen, n, "all of them");
	munmap(p, 2 * n * PAGE);
}

static void test_others(void)
{
	struct maps_region r;
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			pause();
	ok(find(pid, MAPS_DETAIL, &maps, &r), "a child's");
	is_int(maps_open(pid, 0, &maps), 0, "opened before it ends");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	is_int(maps_next(&maps, &r), 0, "it has none then");
	maps_close(&maps);
	is_int(maps_open(pid, 0, &maps), -ESRCH, "nor is it there");
	if (access("/proc/2/maps", R_OK) == 0 && getuid() == 0) {
		int rc = maps_open(2, 0, &maps);

		ok(rc == -ESRCH || maps_next(&maps, &r) >= 0, "what the second process is is fine");
		if (rc == 0)
			maps_close(&maps);
	}
}

int main(void)
{
	test_anonymous();
	test_file();
	test_shared_anonymous();
	test_flags();
	test_many();
	test_others();
	return tap_done();
}
