/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The pages of this process and of a child, by PAGEMAP_SCAN and by entries. */
#include "store/base/pagemap.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "tests/tap.h"

#define PAGE PAGEMAP_PAGE
#define THERE (PAGEMAP_PRESENT | PAGEMAP_SWAPPED)

static struct pagemap pm;
static bool can_scan, sees_frames;

static const char *how(void)
{
	return pm.entries ? "entries" : "scan";
}

static bool knows_all(void)
{
	return !pm.entries || sees_frames;
}

static char *map(size_t len, int flags, int fd)
{
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | flags, fd, 0);

	if (p == MAP_FAILED)
		bail("mmap: %s", strerror(errno));
	return p;
}

/* Runs as text: "2-5:PA 9-10:P", pages counted from `base`. */
struct text {
	const char *base;
	size_t len;
	char text[4096];
	int stop_after;
};

static int append(void *ctx, const struct pagemap_run *run)
{
	struct text *t = ctx;
	uint64_t base = (uintptr_t)t->base;

	t->len += (size_t)snprintf(t->text + t->len, sizeof(t->text) - t->len,
				   "%s%d-%d:%s%s%s%s", t->len ? " " : "",
				   (int)((run->start - base) / PAGE),
				   (int)((run->end - base) / PAGE),
				   run->flags & THERE ? "P" : "",
				   run->flags & PAGEMAP_FILE ? "F" : "",
				   run->flags & PAGEMAP_ZERO ? "Z" : "",
				   run->flags & PAGEMAP_HUGE ? "H" : "");
	return --t->stop_after == 0 ? 77 : 0;
}

static struct pagemap_query query(const char *p, size_t pages, unsigned any, unsigned none)
{
	return (struct pagemap_query){(uintptr_t)p, (uintptr_t)p + pages * PAGE, any, none};
}

static void runs_are(const char *p, const struct pagemap_query *q, const char *want,
		     const char *what)
{
	struct text t = {.base = p};

	is_int(pagemap_each(&pm, q, append, &t), 0, "%s: %s", how(), what);
	is_str(t.text, want, "%s: its runs", what);
}

static void test_anonymous(void)
{
	char *p = map(2000 * PAGE, MAP_ANONYMOUS, -1);
	struct pagemap_query q = query(p, 2000, THERE, 0);
	struct text t = {.base = p, .stop_after = 1};

	(void)madvise(p, 2000 * PAGE, MADV_NOHUGEPAGE);
	runs_are(p, &q, "", "nothing written, nothing there");
	memset(p, 1, PAGE);
	memset(p + 10 * PAGE, 1, 700 * PAGE);
	p[1999 * PAGE] = 1;
	runs_are(p, &q, "0-1:P 10-710:P 1999-2000:P", "what was written is there, joined");
	q = query(p + 600 * PAGE, 20, THERE, 0);
	runs_are(p, &q, "600-620:P", "a part of it");
	q = query(p, 2000, THERE, 0);
	is_int(pagemap_each(&pm, &q, append, &t), 77, "who asks can stop it");
	is_str(t.text, "0-1:P", "after the first");
	munmap(p, 2000 * PAGE);
}

static void test_zero(void)
{
	volatile char *p = map(64 * PAGE, MAP_ANONYMOUS, -1);
	struct pagemap_query q = query((char *)p, 64, THERE, 0);

	(void)madvise((char *)p, 64 * PAGE, MADV_NOHUGEPAGE);
	for (int i = 8; i < 16; i++)
		(void)p[i * PAGE];
	p[12 * PAGE] = 1;
	if (!knows_all()) {
		tap_skip("frame numbers are not shown to us");
	} else {
		runs_are((char *)p, &q, "8-12:PZ 12-13:P 13-16:PZ", "read, and written between");
		q.none = PAGEMAP_ZERO;
		runs_are((char *)p, &q, "12-13:P", "without the page of zeros");
	}
	munmap((char *)p, 64 * PAGE);
}

/* What `lamina pause` asks of QEMU. */
static void test_private_file(void)
{
	int fd = open(tap_path("file"), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	struct pagemap_query written;
	volatile char *p;

	if (fd < 0 || ftruncate(fd, 64 * PAGE) < 0)
		bail("cannot make a file");
	p = map(64 * PAGE, 0, fd);
	(void)madvise((char *)p, 64 * PAGE, MADV_RANDOM);
	written = query((char *)p, 64, THERE, PAGEMAP_FILE);
	runs_are((char *)p, &written, "", "of a file nothing is written at first");
	for (int i = 0; i < 64; i++)
		(void)p[i * PAGE];
	runs_are((char *)p, &written, "", "nor when all was read");
	p[5 * PAGE] = 1;
	memset((char *)p + 20 * PAGE, 1, 3 * PAGE);
	runs_are((char *)p, &written, "5-6:P 20-23:P", "what was written");
	(void)madvise((char *)p + 5 * PAGE, PAGE, MADV_DONTNEED);
	runs_are((char *)p, &written, "20-23:P", "given back to the file");
	written = query((char *)p, 64, PAGEMAP_FILE, 0);
	(void)p[5 * PAGE];
	runs_are((char *)p, &written, "0-20:PF 23-64:PF", "what is the file's");
	munmap((char *)p, 64 * PAGE);
	close(fd);
}

/* A huge page between small ones; false where the kernel gives none. */
static bool make_huge(char *window)
{
	if (madvise(window, PAGEMAP_WINDOW, MADV_HUGEPAGE) < 0)
		return false;
	memset(window, 1, PAGEMAP_WINDOW);
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
	return madvise(window, PAGEMAP_WINDOW, MADV_COLLAPSE) == 0;
}

static char *windows(char *p)
{
	return (char *)(((uintptr_t)p + PAGEMAP_WINDOW - 1) & -(uintptr_t)PAGEMAP_WINDOW);
}

static void test_huge(void)
{
	char *all = map(4 * PAGEMAP_WINDOW, MAP_ANONYMOUS, -1), *p = windows(all);
	struct pagemap_query q = query(p, 3 * 512, THERE, 0);

	(void)madvise(all, 4 * PAGEMAP_WINDOW, MADV_NOHUGEPAGE);
	memset(p + 500 * PAGE, 1, 12 * PAGE);
	if (!knows_all()) {
		tap_skip("frame numbers are not shown to us");
	} else if (!make_huge(p + PAGEMAP_WINDOW)) {
		tap_skip("no huge page to be had");
	} else {
		p[1024 * PAGE] = 1;
		runs_are(p, &q, "500-512:P 512-1024:PH 1024-1025:P", "a huge page");
		q = query(p, 1024, PAGEMAP_HUGE, 0);
		runs_are(p, &q, "512-1024:PH", "that alone");
		q = query(p + 520 * PAGE, 10, PAGEMAP_HUGE, 0);
		runs_are(p, &q, "520-530:PH", "a part of it");
	}
	munmap(all, 4 * PAGEMAP_WINDOW);
}

static void test_find(void)
{
	size_t pages = pm.entries ? 100000 : (size_t)1 << 30;
	char *p = map(pages * PAGE, MAP_ANONYMOUS | MAP_NORESERVE, -1);
	struct pagemap_query q = query(p, pages, THERE, 0);
	struct pagemap_run run = {7, 7, 7};

	(void)madvise(p, pages * PAGE, MADV_NOHUGEPAGE);
	is_int(pagemap_find(&pm, &q, &run), 0, "%s: in much of nothing there is none", how());
	is_int(run.start, 7, "and the answer is left as it was");
	p[(pages - 3) * PAGE] = 1;
	p[(pages - 2) * PAGE] = 1;
	is_int(pagemap_find(&pm, &q, &run), 1, "%s: near the end there is one", how());
	ok(run.start == q.end - 3 * PAGE && run.end > run.start && run.end <= q.end - PAGE,
	   "there");
	ok(run.flags & PAGEMAP_PRESENT, "present");
	q.start = run.start + PAGE;
	ok(pagemap_find(&pm, &q, &run) == 1 && run.start == q.end - 2 * PAGE, "and the next");
	q.start = run.start + PAGE;
	is_int(pagemap_find(&pm, &q, &run), 0, "and no more");
	munmap(p, pages * PAGE);
}

/* More runs than the kernel is asked for at once. */
static void test_many(void)
{
	char *p = map(4000 * PAGE, MAP_ANONYMOUS, -1);
	struct pagemap_query q = query(p, 4000, THERE, 0);
	struct pagemap_run run = {0};
	int n = 0;

	(void)madvise(p, 4000 * PAGE, MADV_NOHUGEPAGE);
	for (int i = 0; i < 4000; i += 4)
		p[i * PAGE] = 1;
	while (pagemap_find(&pm, &q, &run) == 1 &&
	       run.start == (uintptr_t)p + 4 * PAGE * (unsigned)n) {
		n++;
		q.start = run.end;
	}
	is_int(n, 1000, "%s: a thousand runs, one by one", how());
	munmap(p, 4000 * PAGE);
}

static int count(void *ctx, const struct pagemap_run *run)
{
	*(uint64_t *)ctx += (run->end - run->start) / PAGE;
	return 0;
}

static void test_bad(void)
{
	char *p = map(16 * PAGE, MAP_ANONYMOUS, -1);
	struct pagemap_query q = query(p, 16, THERE, PAGEMAP_PRESENT);
	uint64_t n = 0;

	is_int(pagemap_each(&pm, &q, count, &n), -EINVAL, "%s: wanted and unwanted", how());
	q = query(p, 16, 0, 0);
	is_int(pagemap_each(&pm, &q, count, &n), -EINVAL, "nothing wanted");
	q = query(p + 1, 1, THERE, 0);
	is_int(pagemap_each(&pm, &q, count, &n), -EINVAL, "not whole pages");
	q = (struct pagemap_query){(uintptr_t)p + PAGE, (uintptr_t)p, THERE, 0};
	is_int(pagemap_each(&pm, &q, count, &n), -EINVAL, "the end before the start");
	q = query(p, 0, THERE, 0);
	is_int(pagemap_each(&pm, &q, count, &n), 0, "nothing at all is fine");
	munmap(p, 16 * PAGE);
	q = query(p, 16, THERE, 0);
	is_int(pagemap_each(&pm, &q, count, &n), 0, "what is not mapped has no pages");
	is_int(n, 0, "none was told");
}

/* Stopped, as a guest that was paused; then gone. */
static void test_child(bool entries)
{
	char *p = map(64 * PAGE, MAP_ANONYMOUS, -1);
	struct pagemap_query q = query(p, 64, THERE, 0);
	struct pagemap other;
	uint64_t n = 0;
	struct err err;
	pid_t pid;

	(void)madvise(p, 64 * PAGE, MADV_NOHUGEPAGE);
	pid = fork();
	if (pid == 0) {
		memset(p + 3 * PAGE, 1, 5 * PAGE);
		raise(SIGSTOP);
		_exit(0);
	}
	waitpid(pid, NULL, WUNTRACED);
	is_int(pagemap_open(pid, &other, &err), 0, "a child");
	other.entries |= entries;
	is_int(pagemap_each(&other, &q, count, &n), 0, "is read");
	is_int(n, 5, "has written what we have not");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	is_int(pagemap_each(&other, &q, count, &n), -ESRCH,
	       "ended: it is not said to have nothing");
	is_int(pagemap_find(&other, &q, &(struct pagemap_run){0}), -ESRCH, "nor is it found");
	pagemap_close(&other);
	is_err(pagemap_open(pid, &other, &err), &err, -ESRCH,
	       "cannot open '/proc/%d/pagemap': No such process", (int)pid);
	munmap(p, 64 * PAGE);
}

static void test_all(bool entries)
{
	struct err err;

	is_int(pagemap_open(0, &pm, &err), 0, "this process");
	pm.entries = entries;
	test_anonymous();
	test_zero();
	test_private_file();
	test_huge();
	test_find();
	test_many();
	test_bad();
	test_child(entries);
	pagemap_close(&pm);
	pagemap_close(&pm);
}

/* Which flags can be known, from what the kernel lets us see. */
static void look(void)
{
	static volatile char byte = 1;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;
	struct err err;

	byte = 2;
	if (fd < 0 || pread(fd, &entry, 8, (off_t)((uintptr_t)&byte / PAGE * 8)) != 8)
		tap_skip_all("no /proc/self/pagemap");
	close(fd);
	sees_frames = entry << 9;
	if (pagemap_open(0, &pm, &err) < 0)
		bail("%s", err.text);
	can_scan = !pm.entries;
	pagemap_close(&pm);
}

int main(void)
{
	look();
	if (can_scan)
		test_all(false);
	else
		tap_skip("no PAGEMAP_SCAN (Linux 6.7)");
	test_all(true);
	return tap_done();
}
