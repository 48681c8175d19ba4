/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/fault.h"
#include "tests/unit/source-fixture.h"

static uint8_t want[64 * PAGE];

/* ---- files ---- */

/* How many of the file's first 64 pages. */
static unsigned cached(int fd)
{
	void *map = mmap(NULL, sizeof(buf), PROT_NONE, MAP_PRIVATE, fd, 0);
	unsigned char there[sizeof(buf) / PAGE] = {0};
	unsigned n = 0;

	if (map == MAP_FAILED || (mincore(map, sizeof(buf), there) < 0 && errno != ENOMEM))
		bail("cannot ask what is cached");
	for (size_t i = 0; i < sizeof(there); i++)
		n += there[i] & 1;
	munmap(map, sizeof(buf));
	return n;
}

/* What was written or read just before is not dropped at the first attempt, always. */
static bool forget_cache(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool any = true;

	for (unsigned i = 0; i < 1000 && any; i++) {
		if (fd < 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0)
			bail("cannot drop what is cached of '%s'", path);
		any = cached(fd) > 0;
		if (any)
			usleep(1000);
	}
	close(fd);
	return !any;
}

/* ---- opening ---- */

static int try_open(const char *path, struct err *err)
{
	struct source *s = NULL;
	int rc = source_open(path, &s, err);

	if (rc < 0 && s)
		ok(false, "the output is untouched");
	source_close(s);
	return rc;
}

static void test_refused(void)
{
	unsigned before = descriptors();
	const char *path = tap_path("none");
	struct err err;

	is_err(try_open(path, &err), &err, -ENOENT,
	       "cannot open '%s': No such file or directory", path);
	is_err(try_open(tap_tmpdir(), &err), &err, -EISDIR, "'%s' is a directory", tap_tmpdir());
	path = make("empty", 0, 0);
	is_err(try_open(path, &err), &err, -EINVAL, "'%s' is empty", path);
	path = tap_path("fifo");
	if (mkfifo(path, 0600) < 0)
		bail("no fifo");
	is_err(try_open(path, &err), &err, -EMEDIUMTYPE,
	       "'%s' is neither a file nor a block device", path);
	is_err(try_open("/dev/zero", &err), &err, -EMEDIUMTYPE,
	       "'/dev/zero' is neither a file nor a block device");
	is_int(descriptors(), before, "no descriptor is left");
	source_close(NULL);
}

static void test_faults_of_open(void)
{
	const char *path = make("plain", PAGE, 0);
	struct err err;

	for (unsigned long n = 1; n <= 2; n++) {
		fault_arm(FAULT_MALLOC, n, ENOMEM);
		is_err(try_open(path, &err), &err, -ENOMEM, "cannot open '%s': out of memory",
		       path);
		fault_disarm();
	}
	fault_arm(FAULT_OPEN, 1, EMFILE);
	is_err(try_open(path, &err), &err, -EMFILE, "cannot open '%s': Too many open files", path);
	fault_disarm();
}

/* ---- reading ---- */

static void test_plain(void)
{
	const char *path = make("plain", 40 * PAGE, 1);
	struct source *s = open_source(path);

	is_int(source_size(s), 40 * PAGE, "its size");
	is_str(source_path(s), path, "its path");
	memset(want, 4, PAGE);
	memset(want + PAGE, 5, PAGE);
	is_int(source_read(s, buf, 2 * PAGE, 3 * PAGE), 0, "two pages are read");
	is_mem(buf, want, 2 * PAGE, "the right ones");
	memset(buf, 0xee, sizeof(buf));
	is_int(source_try(s, buf, 2 * PAGE, 3 * PAGE), 0, "what is cached is there at once");
	is_mem(buf, want, 2 * PAGE, "the same bytes");
	is_int(source_read(s, buf, 0, 0), 0, "nothing is read");
	is_int(source_try(s, buf, 0, 0), 0, "nothing is there at once");
	is_int(source_read(s, buf, PAGE, 40 * PAGE), -ENODATA, "nothing is behind the end");
	is_int(source_try(s, buf, 2 * PAGE, 39 * PAGE), -ENODATA, "nor partly behind it");
	is_int(source_read(s, buf, PAGE, UINT64_MAX - 100), -ENODATA, "nor far away");
	source_close(s);
}

static void test_cold(void)
{
	const char *path = make("cold", 40 * PAGE, 1);
	struct source *s = open_source(path);

	if (!forget_cache(path)) {
		tap_skip("what is cached cannot be dropped here");
		source_close(s);
		return;
	}
	is_int(source_try(s, buf, 4 * PAGE, 16 * PAGE), -EAGAIN,
	       "what is not cached is not there at once");
	is_int(source_read(s, buf, 4 * PAGE, 16 * PAGE), 0, "it is read");
	is_int(source_try(s, buf, 4 * PAGE, 16 * PAGE), 0, "and is there from then on");
	is_int(source_read(s, buf, PAGE, 30 * PAGE), 0, "one page is read");
	is_int(source_try(s, buf, 8 * PAGE, 30 * PAGE), -EAGAIN, "eight are not there");
	source_close(s);
}

/* WILLNEED returns before the disk does. */
static void test_warm(void)
{
	const char *path = make("warm", 64 * PAGE, 1);
	struct source *s = open_source(path);
	bool dropped = forget_cache(path);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	source_warm(s, 0, UINT64_MAX);
	source_warm(s, 64 * PAGE, 1);
	for (unsigned i = 0; i < 20000 && cached(fd) < 64; i++)
		usleep(1000);
	ok(cached(fd) == 64, "what was to be warmed is there soon%s",
	   dropped ? "" : " (it was before)");
	is_int(source_try(s, buf, 64 * PAGE, 0), 0, "at once");
	is_int(buf[63 * PAGE], 64, "to its last page");
	close(fd);
	source_close(s);
}

static void test_odd_size(void)
{
	struct source *s = open_source(make("odd", 2 * PAGE + 100, 7));
	bool hole = true;
	uint64_t len;

	is_int(source_size(s), 2 * PAGE + 100, "a size that is no multiple of a page");
	memset(want, 0, sizeof(want));
	memset(want, 8, PAGE);
	memset(want + PAGE, 9, 100);
	is_int(source_read(s, buf, 2 * PAGE, PAGE), 0, "its last page is read whole");
	is_mem(buf, want, 2 * PAGE, "with zeros behind the end");
	memset(buf, 0xee, sizeof(buf));
	is_int(source_try(s, buf, 2 * PAGE, PAGE), 0, "at once, too");
	is_mem(buf, want, 2 * PAGE, "the same");
	is_int(source_read(s, buf, 50, 2 * PAGE + 200), 0, "the zeros alone");
	is_mem(buf, want + 2 * PAGE, 50, "are zeros");
	is_int(source_read(s, buf, PAGE + 1, 2 * PAGE), -ENODATA, "and no byte more");
	is_int(source_run(s, PAGE, UINT64_MAX, &hole, &len), 0, "its last run");
	ok(!hole && len == 2 * PAGE, "ends with the page");
	is_int(source_run(s, 3 * PAGE, PAGE, &hole, &len), -ENODATA, "nothing is behind it");
	source_close(s);
}

/* A file that has become shorter: never zeros. */
static void test_truncated(void)
{
	const char *path = make("short", 40 * PAGE, 1);
	struct source *s = open_source(path);
	bool hole;
	uint64_t len;

	is_int(source_read(s, buf, 40 * PAGE, 0), 0, "it is whole at first");
	cut(path, 20 * PAGE + 10);
	is_int(source_read(s, buf, PAGE, 19 * PAGE), 0, "what is left is read");
	is_int(source_read(s, buf, PAGE, 20 * PAGE), -ENODATA, "a page that was cut is not");
	ok(source_try(s, buf, PAGE, 20 * PAGE) < 0, "nor at once");
	is_int(source_read(s, buf, PAGE, 30 * PAGE), -ENODATA, "nor one that is gone");
	is_int(source_try(s, buf, PAGE, 30 * PAGE), -ENODATA, "nor that at once");
	is_int(source_read(s, buf, 2 * PAGE, 19 * PAGE), -ENODATA, "nor half of a read");
	is_int(source_run(s, 30 * PAGE, PAGE, &hole, &len), -ENODATA, "it is no hole");
	is_int(source_run(s, 10 * PAGE, UINT64_MAX, &hole, &len), 0, "what is left is data");
	ok(!hole && len == 11 * PAGE, "up to there");
	cut(path, 50 * PAGE);
	is_int(source_read(s, buf, PAGE, 30 * PAGE), 0, "once it is long again it is read");
	source_close(s);
}

static void test_faults_of_read(void)
{
	struct source *s = open_source(make("faulty", 8 * PAGE, 1));

	fault_arm(FAULT_PREAD, 1, EIO);
	is_int(source_read(s, buf, PAGE, 0), -EIO, "what the kernel says is passed on");
	fault_arm(FAULT_PREAD, 1, EINTR);
	is_int(source_read(s, buf, PAGE, 0), 0, "an interrupted read goes on");
	fault_arm(FAULT_PREAD, 1, FAULT_SHORT);
	memset(buf, 0xee, sizeof(buf));
	is_int(source_read(s, buf, 2 * PAGE, 0), 0, "a short one goes on");
	ok(fault_struck(), "(it was short)");
	fault_disarm();
	ok(buf[0] == 1 && buf[2 * PAGE - 1] == 2, "to the end");
	source_close(s);
}

static void test_words(void)
{
	is_str(source_strerror(-ENODATA), "the file has become too short", "of ENODATA");
	is_str(source_strerror(-ENOTCONN), "the daemon of its file system is gone", "of ENOTCONN");
	is_str(source_strerror(-EIO), "Input/output error", "of others, what libc says");
}

/* ---- holes ---- */

static void run_is(struct source *s, uint64_t off, uint64_t max, bool want_hole, uint64_t want_len)
{
	bool hole = false;
	uint64_t len = 0;
	int rc = source_run(s, off, max, &hole, &len);

	ok(rc == 0 && hole == want_hole && len == want_len, "page %u: %u pages of %s",
	   (unsigned)(off / PAGE), (unsigned)(want_len / PAGE), want_hole ? "hole" : "data");
	if (rc != 0 || hole != want_hole || len != want_len)
		tap_diag("got %d, %s, %llu bytes", rc, hole ? "hole" : "data",
			 (unsigned long long)len);
}

/* Pages 10 to 19 and a byte of page 30, of 2^20; the last page is cut. */
static void fill_sparse(int fd)
{
	memset(want, 5, sizeof(want));
	if (ftruncate(fd, ((off_t)PAGE << 20) - 100) < 0 ||
	    io_pwrite_all(fd, want, 10 * PAGE, 10 * PAGE) < 0 ||
	    io_pwrite_all(fd, want, 1, 30 * PAGE + 77) < 0)
		bail("cannot make a sparse file");
}

static void check_sparse(struct source *s)
{
	const uint64_t end = (uint64_t)PAGE << 20;

	run_is(s, 0, UINT64_MAX, true, 10 * PAGE);
	run_is(s, 0, 3 * PAGE, true, 3 * PAGE);
	run_is(s, 9 * PAGE, UINT64_MAX, true, PAGE);
	run_is(s, 10 * PAGE, UINT64_MAX, false, 10 * PAGE);
	run_is(s, 12 * PAGE, 2 * PAGE, false, 2 * PAGE);
	run_is(s, 20 * PAGE, UINT64_MAX, true, 10 * PAGE);
	run_is(s, 30 * PAGE, UINT64_MAX, false, PAGE);
	run_is(s, 31 * PAGE, UINT64_MAX, true, end - 31 * PAGE);
	run_is(s, end - PAGE, UINT64_MAX, true, PAGE);
	memset(want, 0, PAGE);
	is_int(source_read(s, buf, PAGE, end - PAGE), 0, "a hole can be read");
	is_mem(buf, want, PAGE, "and is zero");
}

static void test_sparse(void)
{
	const char *path = tap_path("sparse");
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct source *s;
	bool hole;
	uint64_t len;

	fill_sparse(fd);
	s = open_source(path);
	check_sparse(s);
	cut(path, 1000 * PAGE);
	is_int(source_run(s, 100 * PAGE, UINT64_MAX, &hole, &len), -ENODATA,
	       "a file that was cut has no last hole");
	source_close(s);
	close(fd);
}

/* tmpfs knows no RWF_NOWAIT. */
static void test_memfd(void)
{
	int fd = memfd_create("source", MFD_CLOEXEC);
	char path[64];
	struct source *s;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fill_sparse(fd);
	s = open_source(path);
	check_sparse(s);
	memset(want, 5, PAGE);
	is_int(source_try(s, buf, PAGE, 12 * PAGE), 0, "a page that is there is there at once");
	is_mem(buf, want, PAGE, "the right one");
	is_int(source_try(s, buf, 2 * PAGE, 19 * PAGE), -EAGAIN, "a hole is not");
	source_close(s);
	close(fd);
}

/* In a child without rights: 0 if it is told nothing, and reads nevertheless. */
static int stranger(const char *path)
{
	struct source *s;
	int rc;

	if (setgid(65534) < 0 || setuid(65534) < 0)
		return 2;
	s = open_source(path);
	rc = source_try(s, buf, PAGE, 500 * PAGE);
	if (rc != -EAGAIN)
		return 3;
	return source_read(s, buf, PAGE, 12 * PAGE) == 0 && buf[0] == 5 ? 0 : 4;
}

/* Linux tells a stranger that all is in memory. */
static void test_stranger(void)
{
	char path[] = "/dev/shm/lamina-test.XXXXXX";
	int fd, status = -1;
	pid_t pid;

	if (geteuid() != 0) {
		tap_skip("not root: cannot become a stranger");
		return;
	}
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0) {
		tap_skip("no /dev/shm");
		return;
	}
	fill_sparse(fd);
	(void)fchmod(fd, 0644);
	pid = fork();
	if (pid == 0)
		_exit(stranger(path));
	(void)waitpid(pid, &status, 0);
	is_int(status, 0, "who may not know what is cached is not told that all is");
	(void)unlink(path);
	close(fd);
}

/* ---- a block device ---- */

static bool losetup(const char *path, char dev[64])
{
	char command[PATH_MAX + 64];
	FILE *out;
	bool got;

	(void)snprintf(command, sizeof(command), "losetup -f --show -r '%s' 2>/dev/null", path);
	out = popen(command, "r");
	got = out && fscanf(out, "%63s", dev) == 1;
	if (out)
		(void)pclose(out);
	return got;
}

static void test_block_device(void)
{
	const char *path = make("disk", 16 * PAGE, 1);
	char dev[64], command[128];
	struct source *s;
	struct err err = {""};

	if (geteuid() != 0 || !losetup(path, dev)) {
		tap_skip("no loop device can be made here");
		return;
	}
	s = open_source(dev);
	is_int(source_size(s), 16 * PAGE, "the size of a block device");
	is_int(source_read(s, buf, 2 * PAGE, 14 * PAGE), 0, "its last pages");
	ok(buf[0] == 15 && buf[2 * PAGE - 1] == 16, "are the file's");
	is_int(source_try(s, buf, 2 * PAGE, 14 * PAGE), 0, "they are there at once then");
	is_int(source_read(s, buf, PAGE, 16 * PAGE), -ENODATA, "nothing is behind them");
	run_is(s, 0, UINT64_MAX, false, 16 * PAGE);
	run_is(s, 15 * PAGE, UINT64_MAX, false, PAGE);
	is_int(source_reopen(s, &err), 0, "it is opened again");
	source_close(s);
	(void)snprintf(command, sizeof(command), "losetup -d %s", dev);
	if (system(command) != 0)
		tap_diag("%s is left", dev);
}

int main(void)
{
	test_refused();
	test_faults_of_open();
	test_plain();
	test_cold();
	test_warm();
	test_odd_size();
	test_truncated();
	test_faults_of_read();
	test_words();
	test_sparse();
	test_memfd();
	test_stranger();
	test_block_device();
	return tap_done();
}
