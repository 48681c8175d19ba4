/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/base/io.h"
#include "store/base/clock.h"
#include "tests/fault.h"
#include "tests/tap.h"

#include <fcntl.h>
#include <sys/stat.h>

static int open_new(const char *name)
{
	int fd = open(tap_path(name), O_RDWR | O_CREAT | O_CLOEXEC, 0666);

	if (fd < 0)
		bail("cannot make a file: %s", strerror(errno));
	return fd;
}

static void test_read_write(void)
{
	int fd = open_new("rw");
	char buf[16] = "";

	is_int(io_pwrite_all(fd, "0123456789", 10, 5), 0, "pwrite");
	is_int(io_pread(fd, buf, 16, 5), 10, "pread stops at the end");
	is_mem(buf, "0123456789", 10, "with the bytes");
	is_int(io_pread(fd, buf, 16, 100), 0, "pread behind the end");
	is_int(io_pread_all(fd, buf, 10, 5), 0, "pread of what is there");
	is_int(io_pread_all(fd, buf, 11, 5), -EBADMSG, "a file too short is damage");
	is_int(io_pread_all(-1, buf, 1, 0), -EBADF, "a bad descriptor");
	is_int(io_write_all(fd, "ab", 2), 0, "write");
	is_int(io_pwrite_all(-1, "a", 1, 0), -EBADF, "pwrite to a bad descriptor");
	is_int(io_write_all(-1, "a", 1), -EBADF, "write to a bad descriptor");
	is_int(io_fsync(fd), 0, "fsync");
	is_int(io_fsync(-1), -EBADF, "fsync of a bad descriptor");
	close(fd);
}

static void test_short_and_interrupted(void)
{
	int fd = open_new("short");
	char buf[10];

	fault_arm(FAULT_PWRITE, 1, FAULT_SHORT);
	is_int(io_pwrite_all(fd, "0123456789", 10, 0), 0, "a short pwrite goes on");
	is_int(fault_count(FAULT_PWRITE), 2, "with a second call");
	fault_arm(FAULT_PWRITE, 1, EINTR);
	is_int(io_pwrite_all(fd, "0123456789", 10, 0), 0, "an interrupted pwrite too");
	fault_arm(FAULT_PREAD, 1, FAULT_SHORT);
	is_int(io_pread_all(fd, buf, 10, 0), 0, "a short pread goes on");
	is_mem(buf, "0123456789", 10, "with the bytes");
	fault_arm(FAULT_PREAD, 1, EINTR);
	is_int(io_pread_all(fd, buf, 10, 0), 0, "an interrupted pread too");
	fault_arm(FAULT_WRITE, 1, EINTR);
	is_int(io_write_all(fd, buf, 10), 0, "an interrupted write too");
	fault_arm(FAULT_WRITE, 1, FAULT_SHORT);
	is_int(io_write_all(fd, buf, 10), 0, "a short write too");
	fault_arm(FAULT_FSYNC, 1, EINTR);
	is_int(io_fsync(fd), 0, "an interrupted fsync too");
	fault_arm(FAULT_PWRITE, 1, ENOSPC);
	is_int(io_pwrite_all(fd, buf, 10, 0), -ENOSPC, "a full disk is an error");
	fault_disarm();
	close(fd);
}

static void test_mkdirs(void)
{
	char path[PATH_MAX];
	struct err err;
	struct stat st;
	int fd;

	(void)snprintf(path, sizeof(path), "%s", tap_path("a/b//c/"));
	is_int(io_mkdirs(path, 0700, &err), 0, "three directories");
	ok(stat(path, &st) == 0 && S_ISDIR(st.st_mode), "are there");
	is_int(st.st_mode & 0777, 0700, "with the mode");
	is_int(io_mkdirs(path, 0700, &err), 0, "again");
	is_int(io_mkdirs("/", 0700, &err), 0, "the root");
	is_err(io_mkdirs("", 0700, &err), &err, -EINVAL, "a directory's name is empty");
	fd = open_new("file");
	close(fd);
	(void)snprintf(path, sizeof(path), "%s", tap_path("file"));
	is_err(io_mkdirs(tap_path("file/d"), 0700, &err), &err, -ENOTDIR,
	       "cannot make directory '%s': Not a directory", path);
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	is_int(io_mkdirs(path, 0700, NULL), -ENAMETOOLONG, "a name too long as a whole or a part");
}

static void test_read_file(void)
{
	char *text = NULL;
	size_t len = 0;
	int fd = open_new("small");

	is_int(io_read_file(AT_FDCWD, tap_path("none"), 10, &text, &len), -ENOENT, "no file");
	is_int(io_read_file(AT_FDCWD, tap_path("small"), 10, &text, &len), 0, "an empty file");
	is_str(text, "", "is the empty string");
	free(text);
	text = NULL;
	is_int(io_write_all(fd, "0123456789", 10), 0, "ten bytes");
	is_int(io_read_file(AT_FDCWD, tap_path("small"), 10, &text, &len), 0, "fit a limit of ten");
	is_str(text, "0123456789", "and are read");
	is_int(len, 10, "with their length");
	free(text);
	text = NULL;
	is_int(io_read_file(AT_FDCWD, tap_path("small"), 9, &text, NULL), -EFBIG,
	       "and not one of nine");
	ok(text == NULL, "the output is untouched");
	is_int(io_read_file(AT_FDCWD, "/proc/self/status", 1 << 20, &text, NULL), 0,
	       "a file without a size");
	free(text);
	close(fd);
}

static void test_replace_file(void)
{
	char *text;

	is_int(io_replace_file(AT_FDCWD, tap_path("r"), "one", 3), 0, "a new file");
	is_int(io_replace_file(AT_FDCWD, tap_path("r"), "two", 3), 0, "is replaced");
	for (int kind = 0; kind < 4; kind++) {
		static const enum fault_kind kinds[] = {
			FAULT_OPEN, FAULT_WRITE, FAULT_FSYNC, FAULT_RENAME};

		fault_arm(kinds[kind], 1, EIO);
		is_int(io_replace_file(AT_FDCWD, tap_path("r"), "three", 5), -EIO,
		       "step %d fails", kind);
		fault_disarm();
		if (io_read_file(AT_FDCWD, tap_path("r"), 99, &text, NULL) < 0)
			bail("cannot read back");
		is_str(text, "two", "the old contents stay");
		free(text);
		ok(access(tap_path("r.tmp"), F_OK) < 0, "nothing is left over");
	}
	is_int(io_replace_file(AT_FDCWD, tap_path("no/r"), "x", 1), -ENOENT, "no directory");
	is_int(io_fsync_dir(AT_FDCWD, tap_tmpdir()), 0, "a directory is synced");
	is_int(io_fsync_dir(AT_FDCWD, tap_path("r")), -ENOTDIR, "a file is none");
}

static void is_absolute(const char *path, const char *want)
{
	char *got = io_absolute(path);

	is_str(got, want, "'%s'", path);
	free(got);
}

struct names {
	unsigned n;
	unsigned stop_at;
};

static int take_name(void *ctx, int dirfd, const char *name)
{
	struct names *names = ctx;
	struct stat st;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || *name == '.')
		return -EUCLEAN;
	return ++names->n == names->stop_at ? 7 : unlinkat(dirfd, name, 0);
}

static void test_each_name(void)
{
	struct names all = {0}, two = {.stop_at = 2};
	int dirfd, i;

	for (i = 0; i < 3; i++) {
		static const char *const names[] = {"each/a", "each/b", "each/c"};

		(void)mkdir(tap_path("each"), 0777);
		close(open_new(names[i]));
	}
	dirfd = open(tap_path("."), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	is_int(io_each_name(dirfd, "each", take_name, &two), 7, "until it has had enough");
	is_int(two.n, 2, "after two");
	is_int(io_each_name(dirfd, "each", take_name, &all), 0, "the names in a directory");
	is_int(all.n, 2, "those that are left");
	is_int(io_each_name(dirfd, "each", take_name, &all), 0, "none");
	is_int(io_each_name(dirfd, "no", take_name, &all), -ENOENT, "no directory");
	close(open_new("file"));
	is_int(io_each_name(dirfd, "file", take_name, &all), -ENOTDIR, "a file");
	close(dirfd);
}

static void test_absolute(void)
{
	char *here = getcwd(NULL, 0);

	is_absolute("/a/b", "/a/b");
	is_absolute("/", "/");
	if (chdir("/dev") < 0)
		bail("cannot go elsewhere");
	is_absolute("a/b", "/dev/a/b");
	is_absolute(".", "/dev/.");
	if (!here || chdir(here) < 0)
		bail("cannot come back");
	free(here);
}

static void test_lock(void)
{
	int fd = open_new("lock"), other = open_new("lock");

	is_int(io_lock_until(fd, 0), 0, "a lock that nobody has");
	is_int(io_lock_until(other, 0), -EBUSY, "that somebody has");
	is_int(io_lock_until(other, clock_ms() + 30), -EBUSY, "and keeps");
	close(fd);
	is_int(io_lock_until(other, 0), 0, "ends with its descriptor");
	is_int(io_lock_until(fd, 0), -EBADF, "which has none then");
	close(other);
}

int main(void)
{
	test_read_write();
	test_short_and_interrupted();
	test_mkdirs();
	test_read_file();
	test_replace_file();
	test_each_name();
	test_absolute();
	test_lock();
	return tap_done();
}
