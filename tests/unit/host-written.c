/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A child has "guest memory" of each kind, writes into it and waits; the memfile gets exactly that.
 * Of every page of a base file the first byte is the page's number plus one, so no page is zeros.
 */
#include "src/host/written.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "store/base/clock.h"
#include "store/base/io.h"
#include "tests/tap.h"

#define PAGE 4096
#define PAGES 1024
#define LEN ((size_t)PAGES * PAGE)
#define MARK 0xee	/* what the memfile has of its own in page 900 */

static struct err err;
static struct written_count count;
static char base[PATH_MAX + 16], memfile[PATH_MAX + 16];
static atomic_bool stop;

static bool stopped(void)
{
	return stop;
}

/* ---- files ---- */

static void fill_page(unsigned char *page, size_t n)
{
	memset(page, 0, PAGE);
	page[0] = (unsigned char)(n % 255 + 1);
	page[PAGE - 1] = (unsigned char)(n / 255 + 1);
}

static void make_file(const char *path)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
	unsigned char page[PAGE];

	for (size_t n = 0; n < PAGES; n++) {
		fill_page(page, n);
		if (io_pwrite_all(fd, page, PAGE, n * PAGE) < 0)
			bail("cannot write '%s'", path);
	}
	(void)close(fd);
}

/* A copy of the base, but for page 900. */
static void make_memfile(void)
{
	unsigned char page[PAGE];
	int fd;

	make_file(memfile);
	memset(page, MARK, PAGE);
	fd = open(memfile, O_WRONLY);
	if (io_pwrite_all(fd, page, PAGE, 900 * PAGE) < 0)
		bail("cannot write '%s'", memfile);
	(void)close(fd);
}

/* "5:w 7:0 900:m": the pages of the memfile that are not the base's: written, zeros, its own. */
static const char *changes(void)
{
	static char text[4096];
	unsigned char got[PAGE], was[PAGE];
	int fd = open(memfile, O_RDONLY);
	size_t len = 0;

	text[0] = '\0';
	for (size_t n = 0; n < PAGES && len < sizeof(text) - 32; n++) {
		char kind = 'w';

		fill_page(was, n);
		if (io_pread_all(fd, got, PAGE, n * PAGE) < 0)
			bail("cannot read '%s'", memfile);
		if (!memcmp(got, was, PAGE))
			continue;
		if (got[0] == MARK)
			kind = 'm';
		else if (got[0] == 0 && !memcmp(got, got + 1, PAGE - 1))
			kind = '0';
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%zu:%c", len ? " " : "",
					n, kind);
	}
	(void)close(fd);
	return text;
}

static bool is_hole(size_t n)
{
	int fd = open(memfile, O_RDONLY);
	off_t hole = lseek(fd, (off_t)(n * PAGE), SEEK_HOLE);

	(void)close(fd);
	return hole == (off_t)(n * PAGE);
}

/* ---- the child ---- */

struct guest {
	pid_t pid;
	uint64_t addr;
	int alive;	/* it ends when this is closed */
};

static unsigned char *map(int flags, int fd)
{
	unsigned char *p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (p == MAP_FAILED)
		_exit(1);
	(void)madvise(p, LEN, MADV_NOHUGEPAGE);
	return p;
}

/* `fn` makes the memory, and returns where it is. */
static struct guest begin(unsigned char *(*fn)(void))
{
	int alive[2], at[2];
	struct guest g;
	char c;

	if (pipe2(alive, O_CLOEXEC) < 0 || pipe2(at, O_CLOEXEC) < 0)
		bail("pipe");
	g.pid = fork();
	if (g.pid == 0) {
		g.addr = (uintptr_t)fn();
		(void)close(alive[1]);
		if (write(at[1], &g.addr, sizeof(g.addr)) != sizeof(g.addr))
			_exit(1);
		_exit(read(alive[0], &c, 1) == 0 ? 0 : 1);
	}
	(void)close(alive[0]);
	(void)close(at[1]);
	g.alive = alive[1];
	if (read(at[0], &g.addr, sizeof(g.addr)) != sizeof(g.addr))
		bail("the child could not make its memory");
	(void)close(at[0]);
	return g;
}

static void end(const struct guest *g)
{
	(void)close(g->alive);
	(void)waitpid(g->pid, NULL, 0);
}

static bool all;	/* of what is asked */

static int copy_of(const struct guest *g, uint64_t len)
{
	struct written_ask ask = {.pid = g->pid, .addr = g->addr, .len = len, .memfile = memfile,
				  .stopped = stopped, .all = all};

	memset(&count, 0, sizeof(count));
	err.text[0] = '\0';
	return written_copy(&ask, &count, &err);
}

static int copy(const struct guest *g)
{
	int rc = copy_of(g, LEN);

	if (rc < 0)
		tap_diag("%s", err.text);
	return rc;
}

static void touch(const unsigned char *p, size_t n)
{
	(void)*(volatile const unsigned char *)(p + n * PAGE);
}

static void write_page(unsigned char *p, size_t n)
{
	memset(p + n * PAGE, 0x77, PAGE);
}

/* ---- a private mapping of a file ---- */

static unsigned char *private_memory(void)
{
	unsigned char *p = map(MAP_PRIVATE, open(base, O_RDWR));

	write_page(p, 3);
	for (size_t n = 10; n < 13; n++)
		write_page(p, n);
	memset(p + 100 * PAGE, 0, PAGE);	/* zeros */
	memset(p + 101 * PAGE, 0, PAGE);
	p[50 * PAGE] = p[50 * PAGE] + 0;	/* its own, but the same */
	touch(p, 900);	/* what it only read is not put over what the memfile has */
	write_page(p, 512);
	p[1023 * PAGE + PAGE - 1] = 0x55;	/* one byte, the last */
	/* In pieces, as NUMA policies and userfaultfds leave it. */
	(void)mprotect(p + 11 * PAGE, PAGE, PROT_READ);
	(void)mprotect(p + 600 * PAGE, 8 * PAGE, PROT_NONE);
	return p;
}

static void test_private(void)
{
	struct guest g = begin(private_memory);

	make_memfile();
	is_int(copy(&g), 0, "private memory");
	is_str(changes(), "3:w 10:w 11:w 12:w 100:0 101:0 512:w 900:m 1023:w",
	       "exactly what was written has come");
	is_int(count.data, 6 * PAGE, "its bytes are counted");
	is_int(count.zeros, 2 * PAGE, "and zeros apart");
	ok(is_hole(100), "which are a hole");
	ok(!count.in_place, "it is not the memfile itself");
	is_int(copy(&g), 0, "a second time");
	is_int(count.data, 0, "nothing is written that is there already");
	is_int(count.zeros, 2 * PAGE - 2 * PAGE, "nor punched");
	is_int(written_is_told(g.pid, g.addr, LEN, &err), 1, "what it wrote can be told");
	end(&g);
}

/* Page 900 of the memfile is another one's. */
static void test_all(void)
{
	struct guest g = begin(private_memory);

	make_memfile();
	ok(copy(&g) == 0 && !count.all, "what the process has not of its own is not read");
	all = true;
	is_int(copy(&g), 0, "unless all is asked for");
	is_str(changes(), "3:w 10:w 11:w 12:w 100:0 101:0 512:w 1023:w",
	       "then the memfile is what the process has, whatever it was");
	is_int(count.data, PAGE, "what differs is written, and no more");
	ok(count.all, "which is told");
	all = false;
	end(&g);
}

static unsigned char *swapped_memory(void)
{
	unsigned char *p = map(MAP_PRIVATE, open(base, O_RDWR));

	for (size_t n = 20; n < 30; n++)
		write_page(p, n);
	(void)madvise(p + 20 * PAGE, 10 * PAGE, MADV_PAGEOUT);	/* without swap: does nothing */
	return p;
}

static void test_swapped(void)
{
	struct guest g = begin(swapped_memory);

	make_memfile();
	is_int(copy(&g), 0, "memory that was swapped out, where there is swap");
	is_str(changes(), "20:w 21:w 22:w 23:w 24:w 25:w 26:w 27:w 28:w 29:w 900:m", "comes, too");
	end(&g);
}

/* ---- without a file ---- */

static unsigned char *anonymous_memory(void)
{
	unsigned char *p = map(MAP_PRIVATE | MAP_ANONYMOUS, -1);

	write_page(p, 1);
	write_page(p, 2);
	touch(p, 5);
	fill_page(p + 700 * PAGE, 700);	/* what the memfile has */
	return p;
}

static void test_anonymous(void)
{
	struct guest g = begin(anonymous_memory);
	unsigned char got[PAGE];
	int fd;

	make_memfile();
	is_int(copy(&g), 0, "anonymous memory");
	fd = open(memfile, O_RDONLY);
	is_int(count.data, 2 * PAGE, "what is the same is not written");
	is_int(count.zeros, LEN - 3 * PAGE, "what is not there is zeros");
	is_int(lseek(fd, 0, SEEK_DATA), PAGE, "data begin where they were written");
	is_int(lseek(fd, PAGE, SEEK_HOLE), 3 * PAGE, "and end there");
	is_int(lseek(fd, 3 * PAGE, SEEK_DATA), 700 * PAGE, "what was the same is there");
	ok(pread(fd, got, PAGE, 2 * PAGE) == PAGE && got[17] == 0x77, "with its contents");
	(void)close(fd);
	is_int(copy(&g), 0, "a second time");
	is_int(count.zeros, 0, "a hole is not punched");
	is_int(written_is_told(g.pid, g.addr, LEN, &err), 0, "what it wrote cannot be told");
	end(&g);
}

static bool can_page;

/* Page 7 came from the pager, 8 too and was written to then; all others are missing. */
static unsigned char *paged_memory(void)
{
	unsigned char *p = map(MAP_PRIVATE | MAP_ANONYMOUS, -1), page[PAGE];
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register reg = {{(uintptr_t)p, LEN}, UFFDIO_REGISTER_MODE_MISSING, 0};

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) < 0 || ioctl(fd, UFFDIO_REGISTER, &reg) < 0)
		_exit(1);
	for (size_t n = 7; n < 9; n++) {
		struct uffdio_copy put = {(uintptr_t)p + n * PAGE, (uintptr_t)page, PAGE, 0, 0};

		fill_page(page, n);
		if (ioctl(fd, UFFDIO_COPY, &put) < 0)
			_exit(1);
	}
	write_page(p, 8);
	return p;
}

static void test_paged(void)
{
	struct guest g;

	if (!can_page) {
		tap_skip("no userfaultfd");
		return;
	}
	g = begin(paged_memory);
	make_memfile();
	is_int(copy(&g), 0, "memory that is paged");
	is_str(changes(), "8:w 900:m", "what is missing is the memfile's");
	is_int(count.data, PAGE, "and what came from the pager is not written");
	end(&g);
}

/* ---- shared ---- */

static unsigned char *memory_in_place(void)
{
	unsigned char *p = map(MAP_SHARED, open(memfile, O_RDWR));

	write_page(p, 4);
	return p;
}

static void test_in_place(void)
{
	struct guest g;

	make_memfile();
	g = begin(memory_in_place);
	is_int(copy(&g), 0, "memory that is the memfile");
	ok(count.in_place, "is told to be");
	is_int(count.data + count.zeros, 0, "nothing is to be done");
	is_str(changes(), "4:w 900:m", "all is there");
	end(&g);
}

static unsigned char *memory_elsewhere(void)
{
	int fd = memfd_create("ram", MFD_CLOEXEC);
	unsigned char *p;

	if (ftruncate(fd, (off_t)LEN) < 0)
		_exit(1);
	p = map(MAP_SHARED, fd);
	for (size_t n = 0; n < PAGES; n++)
		if (n < 40 || n >= 45)
			fill_page(p + n * PAGE, n);
	write_page(p, 30);
	memset(p + 31 * PAGE, 0, PAGE);
	(void)close(fd);
	return p;
}

static void test_elsewhere(void)
{
	struct guest g = begin(memory_elsewhere);

	make_memfile();
	is_int(copy(&g), 0, "memory that others share");
	is_str(changes(), "30:w 31:0 40:0 41:0 42:0 43:0 44:0", "all of it has come");
	is_int(count.data, 2 * PAGE, "as far as it differs");
	is_int(count.zeros, 6 * PAGE, "with its zeros");
	end(&g);
}

/* ---- trouble ---- */

static void test_trouble(void)
{
	struct guest g = begin(private_memory), gone = g;

	make_memfile();
	is_err(copy_of(&g, LEN - PAGE), &err, -EINVAL,
	       "'%s' has %zu bytes, the guest's memory has %zu", memfile, LEN, LEN - PAGE);
	gone.addr = PAGE;
	is_err(copy_of(&gone, LEN), &err, -ENOTSUP,
	       "process %d has not the guest's memory where it is said to be", (int)g.pid);
	is_int(written_is_told(g.pid, PAGE, LEN, &err), -ENOTSUP, "nor can be told what it wrote");
	is_int(copy_of(&g, 0), -EINVAL, "no memory");
	gone.addr = g.addr + 1;
	is_int(copy_of(&gone, LEN), -EINVAL, "half a page");
	gone.addr = UINT64_MAX - PAGE + 1;
	is_int(copy_of(&gone, LEN), -EINVAL, "an address that overflows");
	stop = true;
	is_err(copy_of(&g, LEN), &err, -ECANCELED, "stopped while '%s' was worked on", memfile);
	stop = false;
	(void)unlink(memfile);
	is_err(copy_of(&g, LEN), &err, -ENOENT, "cannot open '%s': %s", memfile, strerror(ENOENT));
	if (mkfifo(memfile, 0600) < 0)
		bail("no fifo");
	is_int(copy_of(&g, LEN), -EINVAL, "a fifo is no memfile");
	(void)unlink(memfile);
	make_memfile();
	end(&g);
	is_int(copy_of(&g, LEN), -ESRCH, "a process that has ended");
}

static bool find_userfaultfd(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0)
		(void)close(fd);
	return fd >= 0;
}

int main(void)
{
	(void)snprintf(base, sizeof(base), "%s/base", tap_tmpdir());
	(void)snprintf(memfile, sizeof(memfile), "%s/memfile", tap_tmpdir());
	can_page = find_userfaultfd();
	make_file(base);
	test_private();
	test_all();
	test_swapped();
	test_anonymous();
	test_paged();
	test_in_place();
	test_elsewhere();
	test_trouble();
	return tap_done();
}
