/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One fault is armed at a time.  Counters are atomic: several threads may call.
 * The wrappers issue system calls themselves, not through __real_*, because
 * the libc names are also defined here, for the shared libraries.
 */
#include "tests/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static unsigned long counts[FAULT_NKINDS];
static int armed_kind = -1;
static unsigned long armed_n;
static bool armed_from;
static int armed_action;
static pid_t armed_pid;
static bool struck;

static const char *const kind_names[FAULT_NKINDS] = {
	[FAULT_MALLOC] = "malloc", [FAULT_PREAD] = "pread", [FAULT_PWRITE] = "pwrite",
	[FAULT_WRITE] = "write", [FAULT_FSYNC] = "fsync", [FAULT_FTRUNCATE] = "ftruncate",
	[FAULT_RENAME] = "rename", [FAULT_UNLINK] = "unlink", [FAULT_OPEN] = "open",
	[FAULT_MKDIR] = "mkdir", [FAULT_FALLOCATE] = "fallocate",
	[FAULT_SENDMSG] = "sendmsg",
	[FAULT_LIB_FSYNC] = "lib-fsync", [FAULT_LIB_PWRITE] = "lib-pwrite",
	[FAULT_LIB_FTRUNCATE] = "lib-ftruncate", [FAULT_LIB_UNLINK] = "lib-unlink",
	[FAULT_CHANGE] = "change",
};

void fault_reset(void)
{
	for (int i = 0; i < FAULT_NKINDS; i++)
		__atomic_store_n(&counts[i], 0, __ATOMIC_SEQ_CST);
	struck = false;
}

static void arm(enum fault_kind kind, unsigned long n, int error, bool from)
{
	fault_reset();
	armed_n = n;
	armed_from = from;
	armed_action = error;
	armed_pid = getenv("LAMINA_FAULT_CHILDREN") ? 0 : getpid();
	armed_kind = (int)kind;
}

void fault_arm(enum fault_kind kind, unsigned long n, int error)
{
	arm(kind, n, error, false);
}

void fault_arm_from(enum fault_kind kind, unsigned long n, int error)
{
	arm(kind, n, error, true);
}

void fault_disarm(void)
{
	armed_kind = -1;
}

unsigned long fault_count(enum fault_kind kind)
{
	return __atomic_load_n(&counts[kind], __ATOMIC_SEQ_CST);
}

bool fault_struck(void)
{
	return struck;
}

static void die(void)
{
	kill(getpid(), SIGKILL);
	for (;;)
		pause();
}

/* Counts one call; whether the armed fault is for it. */
static bool hit(enum fault_kind kind)
{
	unsigned long n = __atomic_add_fetch(&counts[kind], 1, __ATOMIC_SEQ_CST);

	if ((int)kind != armed_kind || (armed_pid && armed_pid != getpid()))
		return false;
	if (n != armed_n && !(armed_from && n > armed_n))
		return false;
	struck = true;
	if (armed_action == FAULT_KILL)
		die();
	if (armed_action == FAULT_STOP)
		raise(SIGSTOP);
	return armed_action != FAULT_STOP;
}

static bool changes_disk(enum fault_kind kind)
{
	return kind != FAULT_MALLOC && kind != FAULT_PREAD && kind != FAULT_OPEN &&
	       kind != FAULT_SENDMSG;
}

/* 0: go on.  Otherwise what to do: an errno, or a FAULT_* other than KILL and STOP. */
static int fault(enum fault_kind kind)
{
	bool now = hit(kind);

	if (changes_disk(kind) && hit(FAULT_CHANGE))
		now = true;
	return now ? armed_action : 0;
}

/* For calls that move no bytes: -1 and errno, or `rc` of the call itself. */
#define PLAIN(kind, call)					\
	({							\
		int action_ = fault(kind);			\
		long rc_ = -1;					\
		if (action_ > 0)				\
			errno = action_;			\
		else						\
			rc_ = (call);				\
		if (action_ == FAULT_KILL_AFTER || action_ == FAULT_TORN) \
			die();					\
		rc_;						\
	})

/* For calls that move `len` bytes; `len` is halved for short and torn. */
#define MOVE(kind, len, call)					\
	({							\
		int action2_ = fault(kind);			\
		long rc2_ = -1;					\
		if (action2_ == FAULT_SHORT || action2_ == FAULT_TORN) \
			(len) = ((len) + 1) / 2;		\
		if (action2_ > 0)				\
			errno = action2_;			\
		else						\
			rc2_ = (call);				\
		if (action2_ == FAULT_KILL_AFTER || action2_ == FAULT_TORN) \
			die();					\
		rc2_;						\
	})

/* ---- memory ---- */

#define DECLARE(type, name, ...)	\
	type __wrap_##name(__VA_ARGS__);	\
	type __real_##name(__VA_ARGS__)

DECLARE(void *, malloc, size_t);
DECLARE(void *, calloc, size_t, size_t);
DECLARE(void *, realloc, void *, size_t);
DECLARE(void *, reallocarray, void *, size_t, size_t);
DECLARE(void *, aligned_alloc, size_t, size_t);
DECLARE(int, posix_memalign, void **, size_t, size_t);
DECLARE(char *, strdup, const char *);
DECLARE(char *, strndup, const char *, size_t);

static bool no_memory(void)
{
	if (fault(FAULT_MALLOC) == 0)
		return false;
	errno = ENOMEM;
	return true;
}

void *__wrap_malloc(size_t size)
{
	return no_memory() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return no_memory() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	return no_memory() ? NULL : __real_realloc(p, size);
}

void *__wrap_reallocarray(void *p, size_t n, size_t size)
{
	return no_memory() ? NULL : __real_reallocarray(p, n, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
	return no_memory() ? NULL : __real_aligned_alloc(alignment, size);
}

int __wrap_posix_memalign(void **ret, size_t alignment, size_t size)
{
	return no_memory() ? ENOMEM : __real_posix_memalign(ret, alignment, size);
}

char *__wrap_strdup(const char *s)
{
	return no_memory() ? NULL : __real_strdup(s);
}

char *__wrap_strndup(const char *s, size_t n)
{
	return no_memory() ? NULL : __real_strndup(s, n);
}

/* ---- bytes ---- */

/* Each body serves the plain name and the one that large-file builds call. */
#define BOTH(type, name, params, args)		\
	type __wrap_##name params;		\
	type __wrap_##name##64 params;		\
	type __wrap_##name##64 params { return __wrap_##name args; }

BOTH(ssize_t, pread, (int fd, void *buf, size_t len, off_t off), (fd, buf, len, off))
BOTH(ssize_t, pwrite, (int fd, const void *buf, size_t len, off_t off), (fd, buf, len, off))
BOTH(ssize_t, preadv, (int fd, const struct iovec *iov, int n, off_t off), (fd, iov, n, off))
BOTH(ssize_t, pwritev, (int fd, const struct iovec *iov, int n, off_t off), (fd, iov, n, off))
BOTH(int, ftruncate, (int fd, off_t len), (fd, len))
BOTH(int, fallocate, (int fd, int mode, off_t off, off_t len), (fd, mode, off, len))

ssize_t __wrap_pread(int fd, void *buf, size_t len, off_t off)
{
	return MOVE(FAULT_PREAD, len, syscall(SYS_pread64, fd, buf, len, off));
}

ssize_t __wrap_pwrite(int fd, const void *buf, size_t len, off_t off)
{
	return MOVE(FAULT_PWRITE, len, syscall(SYS_pwrite64, fd, buf, len, off));
}

/* A vector is cut to its first half (at least one element). */
ssize_t __wrap_preadv(int fd, const struct iovec *iov, int n, off_t off)
{
	return MOVE(FAULT_PREAD, n, syscall(SYS_preadv, fd, iov, (long)n, off, 0L));
}

ssize_t __wrap_pwritev(int fd, const struct iovec *iov, int n, off_t off)
{
	return MOVE(FAULT_PWRITE, n, syscall(SYS_pwritev, fd, iov, (long)n, off, 0L));
}

DECLARE(ssize_t, write, int, const void *, size_t);
DECLARE(ssize_t, writev, int, const struct iovec *, int);

ssize_t __wrap_write(int fd, const void *buf, size_t len)
{
	return MOVE(FAULT_WRITE, len, __real_write(fd, buf, len));
}

ssize_t __wrap_writev(int fd, const struct iovec *iov, int n)
{
	return MOVE(FAULT_WRITE, n, __real_writev(fd, iov, n));
}

DECLARE(ssize_t, sendmsg, int, const struct msghdr *, int);

ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	return PLAIN(FAULT_SENDMSG, __real_sendmsg(fd, msg, flags));
}

int __wrap_ftruncate(int fd, off_t len)
{
	return (int)PLAIN(FAULT_FTRUNCATE, syscall(SYS_ftruncate, fd, len));
}

int __wrap_fallocate(int fd, int mode, off_t off, off_t len)
{
	return (int)PLAIN(FAULT_FALLOCATE, syscall(SYS_fallocate, fd, mode, off, len));
}

int __wrap_fsync(int fd);
int __wrap_fdatasync(int fd);
int __wrap_syncfs(int fd);

int __wrap_fsync(int fd)
{
	return (int)PLAIN(FAULT_FSYNC, syscall(SYS_fsync, fd));
}

int __wrap_fdatasync(int fd)
{
	return (int)PLAIN(FAULT_FSYNC, syscall(SYS_fdatasync, fd));
}

int __wrap_syncfs(int fd)
{
	return (int)PLAIN(FAULT_FSYNC, syscall(SYS_syncfs, fd));
}

/* ---- names ---- */

int __wrap_rename(const char *from, const char *to);
int __wrap_renameat(int fromfd, const char *from, int tofd, const char *to);
int __wrap_renameat2(int fromfd, const char *from, int tofd, const char *to, unsigned flags);
int __wrap_unlink(const char *path);
int __wrap_unlinkat(int dirfd, const char *path, int flags);
int __wrap_rmdir(const char *path);
int __wrap_mkdir(const char *path, mode_t mode);
int __wrap_mkdirat(int dirfd, const char *path, mode_t mode);

int __wrap_renameat2(int fromfd, const char *from, int tofd, const char *to, unsigned flags)
{
	return (int)PLAIN(FAULT_RENAME, syscall(SYS_renameat2, fromfd, from, tofd, to, flags));
}

int __wrap_renameat(int fromfd, const char *from, int tofd, const char *to)
{
	return __wrap_renameat2(fromfd, from, tofd, to, 0);
}

int __wrap_rename(const char *from, const char *to)
{
	return __wrap_renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int __wrap_unlinkat(int dirfd, const char *path, int flags)
{
	return (int)PLAIN(FAULT_UNLINK, syscall(SYS_unlinkat, dirfd, path, flags));
}

int __wrap_unlink(const char *path)
{
	return __wrap_unlinkat(AT_FDCWD, path, 0);
}

int __wrap_rmdir(const char *path)
{
	return __wrap_unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

int __wrap_mkdirat(int dirfd, const char *path, mode_t mode)
{
	return (int)PLAIN(FAULT_MKDIR, syscall(SYS_mkdirat, dirfd, path, mode));
}

int __wrap_mkdir(const char *path, mode_t mode)
{
	return __wrap_mkdirat(AT_FDCWD, path, mode);
}

static int open_at(int dirfd, const char *path, int flags, mode_t mode)
{
	return (int)PLAIN(FAULT_OPEN, syscall(SYS_openat, dirfd, path, flags, mode));
}

#define MODE_ARG(flags)					\
	({						\
		mode_t mode_ = 0;			\
		va_list ap_;				\
		va_start(ap_, flags);			\
		if ((flags) & (O_CREAT | __O_TMPFILE))	\
			mode_ = va_arg(ap_, mode_t);	\
		va_end(ap_);				\
		mode_;					\
	})

int __wrap_open(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_openat(int dirfd, const char *path, int flags, ...);
int __wrap_openat64(int dirfd, const char *path, int flags, ...);

int __wrap_open(const char *path, int flags, ...)
{
	return open_at(AT_FDCWD, path, flags, MODE_ARG(flags));
}

int __wrap_open64(const char *path, int flags, ...)
{
	return open_at(AT_FDCWD, path, flags, MODE_ARG(flags));
}

int __wrap_openat(int dirfd, const char *path, int flags, ...)
{
	return open_at(dirfd, path, flags, MODE_ARG(flags));
}

int __wrap_openat64(int dirfd, const char *path, int flags, ...)
{
	return open_at(dirfd, path, flags, MODE_ARG(flags));
}

/*
 * ---- the same names, as shared libraries call them ----
 * (With 64-bit offsets these define pwrite64 and ftruncate64.)
 */

int fsync(int fd)
{
	return (int)PLAIN(FAULT_LIB_FSYNC, syscall(SYS_fsync, fd));
}

int fdatasync(int fd)
{
	return (int)PLAIN(FAULT_LIB_FSYNC, syscall(SYS_fdatasync, fd));
}

ssize_t pwrite(int fd, const void *buf, size_t len, off_t off)
{
	return MOVE(FAULT_LIB_PWRITE, len, syscall(SYS_pwrite64, fd, buf, len, off));
}

int ftruncate(int fd, off_t len)
{
	return (int)PLAIN(FAULT_LIB_FTRUNCATE, syscall(SYS_ftruncate, fd, len));
}

int unlink(const char *path)
{
	return (int)PLAIN(FAULT_LIB_UNLINK, syscall(SYS_unlinkat, AT_FDCWD, path, 0));
}

/* ---- from the environment ---- */

static const struct {
	const char *name;
	int action;
} actions[] = {
	{"kill", FAULT_KILL}, {"killed", FAULT_KILL_AFTER}, {"short", FAULT_SHORT},
	{"torn", FAULT_TORN}, {"stop", FAULT_STOP}, {"EIO", EIO}, {"ENOSPC", ENOSPC},
	{"ENOMEM", ENOMEM}, {"EINTR", EINTR}, {"EDQUOT", EDQUOT}, {"EROFS", EROFS},
	{"EMFILE", EMFILE}, {"EACCES", EACCES},
};

static int find_kind(const char *text, size_t len)
{
	for (int i = 0; i < FAULT_NKINDS; i++)
		if (strlen(kind_names[i]) == len && !strncmp(kind_names[i], text, len))
			return i;
	return -1;
}

static const int *find_action(const char *text)
{
	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
		if (!strcmp(actions[i].name, text))
			return &actions[i].action;
	return NULL;
}

static bool arm_from_text(const char *text)
{
	const char *colon = strchr(text, ':');
	const int *action;
	unsigned long n;
	char *end;
	int kind;
	bool from;

	if (!colon)
		return false;
	kind = find_kind(text, (size_t)(colon - text));
	n = strtoul(colon + 1, &end, 10);
	from = *end == '+';
	end += from;
	action = *end == ':' ? find_action(end + 1) : NULL;
	if (kind < 0 || n == 0 || !action)
		return false;
	arm((enum fault_kind)kind, n, *action, from);
	return true;
}

static void __attribute__((constructor)) read_environment(void)
{
	const char *text = getenv("LAMINA_FAULT");

	if (!text || arm_from_text(text))
		return;
	fprintf(stderr, "fault: bad LAMINA_FAULT '%s'\n", text);
	_exit(99);
}

static void __attribute__((destructor)) write_counts(void)
{
	const char *path = getenv("LAMINA_FAULT_COUNT");
	unsigned long now[FAULT_NKINDS];
	FILE *file;

	if (!path)
		return;
	memcpy(now, counts, sizeof(now));
	file = fopen(path, "ae");
	if (!file)
		return;
	for (int i = 0; i < FAULT_NKINDS; i++)
		fprintf(file, "%s %lu\n", kind_names[i], now[i]);
	fclose(file);
}
