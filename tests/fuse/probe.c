/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * probe: what a shell cannot ask a file.  Prints "ok", an errno's name, or what
 * it found; exits with 0 unless called wrongly.
 *
 *	probe open FILE MODE		MODE: r, w, rw, trunc, append, direct
 *	probe write FILE		opens it read-write and writes a byte
 *	probe call FILE CALL		CALL: truncate, chmod, chown, utime, fallocate, xattr
 *	probe map FILE MODE HOW		opens with MODE (r, rw), maps it HOW: shared-r,
 *					shared-rw, private-rw
 *	probe runs FILE			"data 0-4096 hole 4096-8192 ..."
 *	probe seek FILE WHENCE OFF	WHENCE: data, hole
 *	probe pages FILE LIKE [BYTES]	reads BYTES (4096) at a time, compares with LIKE:
 *					"errors: 16-31" "differ: none", in pieces
 *	probe touch FILE LIKE		the same through a shared map; errors are SIGBUS
 *	probe scribble FILE LIKE	maps FILE (opened read-write) privately, checks it,
 *					writes over each page, checks that FILE is as before
 *	probe hold FILE LIKE HOW	opens (HOW: open) or also maps (HOW: map) FILE and
 *					closes it; prints "held"; after a byte of input compares
 *	probe evict FILE		drops its pages from the page cache
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define PAGE 4096u

static void die(const char *what)
{
	fprintf(stderr, "probe: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void answer(int rc)
{
	puts(rc < 0 ? strerrorname_np(errno) : "ok");
}

static int flags_of(const char *mode)
{
	static const struct {
		const char *name;
		int flags;
	} modes[] = {
		{"r", O_RDONLY}, {"w", O_WRONLY}, {"rw", O_RDWR}, {"trunc", O_RDWR | O_TRUNC},
		{"append", O_RDWR | O_APPEND}, {"direct", O_RDONLY | O_DIRECT},
	};

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (!strcmp(modes[i].name, mode))
			return modes[i].flags | O_CLOEXEC;
	errno = EINVAL;
	die(mode);
	return 0;
}

static int must_open(const char *path, const char *mode)
{
	int fd = open(path, flags_of(mode));

	if (fd < 0)
		die(path);
	return fd;
}

static size_t size_of(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		die("fstat");
	return (size_t)st.st_size;
}

static uint8_t *must_map(int fd, int prot, int flags)
{
	uint8_t *p = mmap(NULL, size_of(fd), prot, flags, fd, 0);

	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

static int do_call(const char *path, const char *call)
{
	struct timespec times[2] = {{1, 0}, {1, 0}};
	int fd;

	if (!strcmp(call, "truncate"))
		return truncate(path, 0);
	if (!strcmp(call, "chmod"))
		return chmod(path, 0777);
	if (!strcmp(call, "chown"))
		return chown(path, 1, 1);
	if (!strcmp(call, "utime"))
		return utimensat(AT_FDCWD, path, times, 0);
	if (!strcmp(call, "xattr"))
		return setxattr(path, "user.x", "y", 1, 0);
	fd = must_open(path, "rw");
	return fallocate(fd, 0, 0, 4096);
}

static void do_map(const char *path, const char *mode, const char *how)
{
	int fd = must_open(path, mode);
	int prot = strstr(how, "rw") ? PROT_READ | PROT_WRITE : PROT_READ;
	int flags = strstr(how, "shared") ? MAP_SHARED : MAP_PRIVATE;

	answer(mmap(NULL, PAGE, prot, flags, fd, 0) == MAP_FAILED ? -1 : 0);
}

static void do_runs(const char *path)
{
	int fd = must_open(path, "r");
	off_t off = 0, end, size = (off_t)size_of(fd);

	while (off < size) {
		bool data = lseek(fd, off, SEEK_DATA) == off;

		end = lseek(fd, off, data ? SEEK_HOLE : SEEK_DATA);
		if (end < 0)
			end = size;
		printf("%s %jd-%jd ", data ? "data" : "hole", (intmax_t)off, (intmax_t)end);
		off = end;
	}
	puts("end");
}

static void do_seek(const char *path, const char *whence, const char *off)
{
	int fd = must_open(path, "r");
	off_t to = lseek(fd, strtoll(off, NULL, 0), whence[0] == 'd' ? SEEK_DATA : SEEK_HOLE);

	if (to < 0)
		answer(-1);
	else
		printf("%jd\n", (intmax_t)to);
}

/* --- piece by piece --- */

/* Numbers in ascending order, as "16-31,40". */
struct list {
	char text[4096];
	size_t len;
	size_t first, next;	/* the run that is not in `text` yet, if next > 0 */
};

static void list_flush(struct list *l)
{
	if (l->next == 0)
		return;
	l->len += (size_t)snprintf(l->text + l->len, sizeof(l->text) - l->len, "%s%zu",
				   l->len ? "," : "", l->first);
	if (l->len < sizeof(l->text) && l->next - l->first > 1)
		l->len += (size_t)snprintf(l->text + l->len, sizeof(l->text) - l->len, "-%zu",
					   l->next - 1);
	if (l->len >= sizeof(l->text))
		l->len = sizeof(l->text) - 1;
}

static void list_add(struct list *l, size_t n)
{
	if (l->next != n || n == 0) {
		list_flush(l);
		l->first = n;
	}
	l->next = n + 1;
}

static const char *list_end(struct list *l)
{
	list_flush(l);
	return l->len ? l->text : "none";
}

static void report(struct list *errors, struct list *differ)
{
	printf("errors: %s\ndiffer: %s\n", list_end(errors), list_end(differ));
}

static void do_pages(const char *path, const char *like, size_t piece)
{
	static struct list errors, differ;
	int fd = must_open(path, "r"), likefd = must_open(like, "r");
	size_t size = size_of(fd);
	uint8_t *a = aligned_alloc(PAGE, (piece + PAGE - 1) / PAGE * PAGE), *b = malloc(piece);

	if (!a || !b || size != size_of(likefd))
		die("sizes");
	for (size_t off = 0; off < size; off += piece) {
		size_t want = size - off < piece ? size - off : piece;
		ssize_t n = pread(fd, a, piece, (off_t)off);

		if (n < 0)
			list_add(&errors, off / piece);
		else if ((size_t)n != want || pread(likefd, b, want, (off_t)off) != n ||
			 memcmp(a, b, want) != 0)
			list_add(&differ, off / piece);
	}
	report(&errors, &differ);
	free(a);
	free(b);
}

static sigjmp_buf on_bus;

static void take_bus(int sig)
{
	(void)sig;
	siglongjmp(on_bus, 1);
}

static bool page_differs(const uint8_t *a, const uint8_t *b, size_t left)
{
	return memcmp(a, b, left < PAGE ? left : PAGE) != 0;
}

static void compare_mapped(const uint8_t *a, const uint8_t *b, size_t size)
{
	static struct list errors, differ;

	signal(SIGBUS, take_bus);
	for (volatile size_t off = 0; off < size; off += PAGE) {
		if (sigsetjmp(on_bus, 1))
			list_add(&errors, off / PAGE);
		else if (page_differs(a + off, b + off, size - off))
			list_add(&differ, off / PAGE);
	}
	report(&errors, &differ);
}

static void do_touch(const char *path, const char *like)
{
	int fd = must_open(path, "r"), likefd = must_open(like, "r");

	if (size_of(fd) != size_of(likefd))
		die("sizes");
	compare_mapped(must_map(fd, PROT_READ, MAP_SHARED),
		       must_map(likefd, PROT_READ, MAP_SHARED), size_of(fd));
}

static void do_scribble(const char *path, const char *like)
{
	int fd = must_open(path, "rw"), other = must_open(path, "r"), likefd = must_open(like, "r");
	uint8_t *ours = must_map(fd, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	uint8_t *want = must_map(likefd, PROT_READ, MAP_SHARED);
	size_t size = size_of(fd);

	printf("before: %s\n", memcmp(ours, want, size) ? "differs" : "same");
	memset(ours, 0xa5, size);
	if (msync(ours, size, MS_SYNC) < 0)
		die("msync");
	printf("others: %s\n",
	       memcmp(must_map(other, PROT_READ, MAP_SHARED), want, size) ? "differ" : "same");
	printf("ours: %s\n", ours[0] == 0xa5 && ours[size - 1] == 0xa5 ? "kept" : "lost");
}

static void do_hold(const char *path, const char *like, const char *how)
{
	int fd = must_open(path, "r"), likefd = must_open(like, "r");
	size_t size = size_of(fd);
	uint8_t *map = NULL, *want = must_map(likefd, PROT_READ, MAP_SHARED);
	char byte;

	if (!strcmp(how, "map")) {
		map = must_map(fd, PROT_READ, MAP_SHARED);
		close(fd);
	}
	puts("held");
	fflush(stdout);
	(void)!read(STDIN_FILENO, &byte, 1);
	if (!map)
		map = must_map(fd, PROT_READ, MAP_SHARED);
	compare_mapped(map, want, size);
}

static void do_evict(const char *path)
{
	int fd = must_open(path, "r");

	errno = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	answer(errno ? -1 : 0);
}

static int run(int n, char **arg)
{
	if (n == 3 && !strcmp(arg[0], "open"))
		answer(open(arg[1], flags_of(arg[2])));
	else if (n == 2 && !strcmp(arg[0], "write"))
		answer((int)pwrite(must_open(arg[1], "rw"), "x", 1, 0));
	else if (n == 3 && !strcmp(arg[0], "call"))
		answer(do_call(arg[1], arg[2]));
	else if (n == 4 && !strcmp(arg[0], "map"))
		do_map(arg[1], arg[2], arg[3]);
	else if (n == 2 && !strcmp(arg[0], "runs"))
		do_runs(arg[1]);
	else if (n == 4 && !strcmp(arg[0], "seek"))
		do_seek(arg[1], arg[2], arg[3]);
	else if (n >= 3 && n <= 4 && !strcmp(arg[0], "pages"))
		do_pages(arg[1], arg[2], n == 4 ? strtoul(arg[3], NULL, 0) : PAGE);
	else if (n == 3 && !strcmp(arg[0], "touch"))
		do_touch(arg[1], arg[2]);
	else if (n == 3 && !strcmp(arg[0], "scribble"))
		do_scribble(arg[1], arg[2]);
	else if (n == 4 && !strcmp(arg[0], "hold"))
		do_hold(arg[1], arg[2], arg[3]);
	else if (n == 2 && !strcmp(arg[0], "evict"))
		do_evict(arg[1]);
	else
		return 2;
	return 0;
}

int main(int argc, char **argv)
{
	int status = run(argc - 1, argv + 1);

	if (status)
		fputs("probe: wrong arguments, see its source\n", stderr);
	return status;
}
