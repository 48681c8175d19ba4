/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * writer: what writes to a file in the mount.  Prints "ok", an errno's name, or what it found.
 *
 *	writer put FILE HOW OFF LEN BYTE	HOW: write, append, direct (O_DIRECT), shared (a
 *						mapping, msynced), private (a mapping), unsynced
 *						(a shared mapping that is unmapped)
 *	writer fallocate FILE MODE OFF LEN	MODE: alloc, keep, punch, zero, zerokeep, collapse
 *	writer fsync FILE
 *	writer model FILE MODEL SEED COUNT	random calls on both; they must answer the same and
 *						leave the same bytes; SEED 0: a random one
 *	writer count FILE SLOTS READY STOP	writes a counter into each page of SLOTS in turn
 *						until STOP is there; makes READY after a round;
 *						prints the last
 *	writer dump MEMFILE FILE HOW		maps MEMFILE and brings what is there to FILE;
 *						HOW: write, or shared (a mapping)
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096u
#define MODEL_MAX (6u << 20)
#define PIECE_MAX (300u << 10)

static void die(const char *what)
{
	fprintf(stderr, "writer: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void answer(int rc)
{
	puts(rc < 0 ? strerrorname_np(errno) : "ok");
}

static int must_open(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

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

static void *buffer(size_t len, int byte)
{
	void *p = aligned_alloc(PAGE, (len + PAGE - 1) / PAGE * PAGE);

	if (!p)
		die("memory");
	return memset(p, byte, len);
}

/* --- one call --- */

static int write_all(int fd, const char *buf, size_t len, off_t off)
{
	while (len > 0) {
		ssize_t n = pwrite(fd, buf, len, off);

		if (n < 0)
			return -1;
		buf += n;
		off += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Through a mapping of the pages that [off, off + len) touches. */
static int store(int fd, const char *how, const char *buf, size_t len, off_t off)
{
	off_t first = off / PAGE * PAGE;
	size_t all = len + (size_t)(off - first);
	int flags = !strcmp(how, "private") ? MAP_PRIVATE : MAP_SHARED;
	char *p = mmap(NULL, all, PROT_READ | PROT_WRITE, flags, fd, first);
	int rc = 0;

	if (p == MAP_FAILED)
		return -1;
	memcpy(p + (off - first), buf, len);
	if (!strcmp(how, "shared"))
		rc = msync(p, all, MS_SYNC);
	return munmap(p, all) < 0 ? -1 : rc;
}

static int put(const char *path, const char *how, size_t const range[2], int byte)
{
	int extra = !strcmp(how, "append") ? O_APPEND : !strcmp(how, "direct") ? O_DIRECT : 0;
	int fd = must_open(path, O_RDWR | extra), rc;
	char *buf = buffer(range[1], byte);

	if (strchr("wad", how[0]))
		rc = write_all(fd, buf, range[1], (off_t)range[0]);
	else
		rc = store(fd, how, buf, range[1], (off_t)range[0]);
	free(buf);
	if (close(fd) < 0)
		rc = -1;
	return rc;
}

static int mode_of(const char *name)
{
	static const struct {
		const char *name;
		int mode;
	} modes[] = {
		{"alloc", 0}, {"keep", FALLOC_FL_KEEP_SIZE},
		{"punch", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE},
		{"zero", FALLOC_FL_ZERO_RANGE},
		{"zerokeep", FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE},
		{"collapse", FALLOC_FL_COLLAPSE_RANGE},
	};

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (!strcmp(modes[i].name, name))
			return modes[i].mode;
	errno = EINVAL;
	die(name);
	return 0;
}

/* --- against an ordinary file --- */

struct pair {
	int fd[2];		/* FILE, MODEL */
	int direct;		/* FILE, with O_DIRECT */
	char *piece;
};

static size_t any(size_t below)
{
	return (size_t)random() % below;
}

/* A range that often begins or ends at a page, and is often small. */
static void any_range(size_t *off, size_t *len)
{
	*off = any(MODEL_MAX - PIECE_MAX);
	*len = 1 + any(any(3) ? 3 * PAGE : PIECE_MAX - PAGE);
	if (any(2))
		*off &= ~(size_t)(PAGE - 1);
	if (any(2))
		*len = (*len + PAGE - 1) & ~(size_t)(PAGE - 1);
}

static int both(const char *what, int rc_a, int errno_a, int rc_b)
{
	if ((rc_a < 0) == (rc_b < 0) && (rc_a >= 0 || errno_a == errno))
		return 0;
	printf("%s: %s, want %s\n", what, rc_a < 0 ? strerrorname_np(errno_a) : "ok",
	       rc_b < 0 ? strerrorname_np(errno) : "ok");
	return -1;
}

static int do_write(struct pair *p, size_t off, size_t len)
{
	int fd = p->fd[0], rc, saved;

	for (size_t i = 0; i < len; i++)
		p->piece[i] = (char)random();
	if (off % PAGE == 0 && len % PAGE == 0 && any(2))
		fd = p->direct;
	rc = write_all(fd, p->piece, len, (off_t)off);
	saved = errno;
	return both("write", rc, saved, write_all(p->fd[1], p->piece, len, (off_t)off));
}

static int do_store(struct pair *p, size_t off, size_t len)
{
	const char *how = any(2) ? "shared" : "unsynced";
	size_t size = size_of(p->fd[1]);

	if (off >= size)
		return 0;
	if (len > size - off)
		len = size - off;
	memset(p->piece, (int)random(), len);
	if (store(p->fd[0], how, p->piece, len, (off_t)off) < 0)
		return both("store", -1, errno, 0);
	return store(p->fd[1], how, p->piece, len, (off_t)off);
}

static int do_fallocate(struct pair *p, size_t off, size_t len)
{
	static const char *const names[] = {"alloc", "keep", "punch", "punch", "zero", "zerokeep"};
	const char *name = names[any(6)];
	int rc = fallocate(p->fd[0], mode_of(name), (off_t)off, (off_t)len), saved = errno;

	return both(name, rc, saved, fallocate(p->fd[1], mode_of(name), (off_t)off, (off_t)len));
}

static int do_truncate(struct pair *p, size_t off)
{
	int rc = ftruncate(p->fd[0], (off_t)off), saved = errno;

	return both("truncate", rc, saved, ftruncate(p->fd[1], (off_t)off));
}

static int do_read(struct pair *p, size_t off, size_t len)
{
	char *like = buffer(len, 0);
	bool direct = off % PAGE == 0 && len % PAGE == 0 && any(2);
	ssize_t a = pread(direct ? p->direct : p->fd[0], p->piece, len, (off_t)off);
	ssize_t b = pread(p->fd[1], like, len, (off_t)off);
	int rc = a == b && (a <= 0 || !memcmp(p->piece, like, (size_t)a)) ? 0 : -1;

	if (rc < 0)
		printf("read of %zu at %zu: %zd, want %zd, or bytes differ\n", len, off, a, b);
	free(like);
	return rc;
}

static int do_one(struct pair *p)
{
	size_t off, len;

	any_range(&off, &len);
	switch (any(12)) {
	case 0:
		return any(3) ? 0 : do_truncate(p, off);
	case 1:
	case 2:
		return do_fallocate(p, off, len);
	case 3:
	case 4:
		return do_store(p, off, len);
	case 5:
		return fsync(p->fd[0]);
	case 6:
	case 7:
	case 8:
		return do_read(p, off, len);
	default:
		return do_write(p, off, len);
	}
}

static bool differ(struct pair *p)
{
	size_t size = size_of(p->fd[1]);
	char *a = buffer(MODEL_MAX, 1), *b = buffer(MODEL_MAX, 2);
	bool bad = size_of(p->fd[0]) != size;

	if (pread(p->fd[0], a, MODEL_MAX, 0) != (ssize_t)size ||
	    pread(p->fd[1], b, MODEL_MAX, 0) != (ssize_t)size)
		bad = true;
	bad = bad || memcmp(a, b, size) != 0;
	free(a);
	free(b);
	return bad;
}

static void do_model(const char *file, const char *model, unsigned seed, unsigned long count)
{
	struct pair p = {{must_open(file, O_RDWR), must_open(model, O_RDWR)},
			 must_open(file, O_RDWR | O_DIRECT), buffer(PIECE_MAX + PAGE, 0)};
	unsigned long i = 0;

	if (!seed)
		seed = (unsigned)time(NULL) ^ (unsigned)getpid();
	srandom(seed);
	while (i < count && do_one(&p) == 0)
		i++;
	if (i < count)
		printf("call %lu, seed %u\n", i, seed);
	else if (differ(&p))
		printf("files differ, seed %u\n", seed);
	else
		puts("ok");
	free(p.piece);
}

/* --- beside others --- */

static void do_count(const char *file, size_t slots, const char *ready, const char *stop)
{
	int fd = must_open(file, O_RDWR);
	uint64_t n = 0;

	while (access(stop, F_OK) < 0) {
		n++;
		for (size_t i = 0; i < slots; i++)
			if (pwrite(fd, &n, sizeof(n), (off_t)(i * PAGE)) != sizeof(n))
				die("pwrite");
		if (n == 1)
			close(must_open(ready, O_RDWR | O_CREAT | O_TRUNC));
	}
	printf("%ju\n", (uintmax_t)n);
}

static void do_dump(const char *memfile, const char *file, const char *how)
{
	int in = must_open(memfile, O_RDONLY), out = must_open(file, O_RDWR), rc;
	size_t size = size_of(in);
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, in, 0);

	if (memory == MAP_FAILED)
		die("mmap");
	rc = !strcmp(how, "shared") ? store(out, how, memory, size, 0)
				    : write_all(out, memory, size, 0);
	answer(rc < 0 ? -1 : fsync(out));
}

static unsigned long number(const char *text)
{
	return strtoul(text, NULL, 0);
}

static int run(int n, char **arg)
{
	if (n == 6 && !strcmp(arg[0], "put"))
		answer(put(arg[1], arg[2], (size_t[]){number(arg[3]), number(arg[4])},
			   (int)number(arg[5])));
	else if (n == 5 && !strcmp(arg[0], "fallocate"))
		answer(fallocate(must_open(arg[1], O_RDWR), mode_of(arg[2]), (off_t)number(arg[3]),
				 (off_t)number(arg[4])));
	else if (n == 2 && !strcmp(arg[0], "fsync"))
		answer(fsync(must_open(arg[1], O_RDWR)));
	else if (n == 5 && !strcmp(arg[0], "model"))
		do_model(arg[1], arg[2], (unsigned)number(arg[3]), number(arg[4]));
	else if (n == 5 && !strcmp(arg[0], "count"))
		do_count(arg[1], number(arg[2]), arg[3], arg[4]);
	else if (n == 4 && !strcmp(arg[0], "dump"))
		do_dump(arg[1], arg[2], arg[3]);
	else
		return 2;
	return 0;
}

int main(int argc, char **argv)
{
	int status = run(argc - 1, argv + 1);

	if (status)
		fputs("writer: wrong arguments, see its source\n", stderr);
	return status;
}
