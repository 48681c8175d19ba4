/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What INDEX_ROFS does and when; that it is enough where nothing can be written
 * tests/cli/read-only.sh shows.
 */
#include "store/index-private.h"
#include "tests/fault.h"
#include "tests/unit/index-fixture.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

static char path[PATH_MAX];		/* of the index of this test */

/* An index with x = 1 and a lock beside it, not open. */
static void make(const char *name)
{
	struct index *ix;
	int fd;

	(void)snprintf(path, sizeof(path), "%s", tap_path(name));
	if (mkdir(path, 0700) < 0)
		bail("mkdir");
	(void)strcat(path, "/lock");
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	if (fd < 0)
		bail("lock");
	close(fd);
	(void)strcpy(strrchr(path, '/'), "/index.db");
	ix = new_index(path);
	if (index_meta_set_u64(ix, "x", 1, &err) < 0)
		bail("set");
	index_close(ix);
}

static struct index *open_ro(void)
{
	struct index *ix;

	if (index_open(path, INDEX_ROFS, &ix, &err) < 0)
		bail("cannot open: %s", err.text);
	return ix;
}

static struct index *open_writer(void)
{
	struct index *ix;

	if (index_open(path, 0, &ix, &err) < 0)
		bail("cannot open: %s", err.text);
	return ix;
}

static void set(struct index *writer, uint64_t x)
{
	if (index_meta_set_u64(writer, "x", x, &err) < 0)
		bail("cannot write: %s", err.text);
}

static void write_and_close(uint64_t x)
{
	struct index *writer = open_writer();

	set(writer, x);
	index_close(writer);
}

static uint64_t get(struct index *ix)
{
	uint64_t x = 0;

	if (index_meta_get_u64(ix, "x", &x, &err) < 0)
		bail("cannot read: %s", err.text);
	return x;
}

static const char *beside(const char *suffix)
{
	static char name[2][PATH_MAX + 16];
	static int n;
	char *p = name[n++ % 2];

	(void)snprintf(p, sizeof(name[0]), "%s%s", path, suffix);
	return p;
}

static bool exists(const char *suffix)
{
	return access(beside(suffix), F_OK) == 0;
}

static void copy(const char *from, const char *to)
{
	char line[3 * PATH_MAX];

	(void)snprintf(line, sizeof(line), "cp '%s' '%s'", beside(from), beside(to));
	if (system(line) != 0)
		bail("cannot copy");
}

/* Until the file has been quiet for long enough. */
static bool becomes(struct index *ix, uint64_t x)
{
	for (int i = 0; i < 1000; i++) {
		if (get(ix) == x)
			return true;
		usleep(10000);
	}
	return false;
}

static void test_copied(void)
{
	struct index *ix;
	uint64_t size = 0;

	make("copied");
	ix = open_ro();
	ok(ix->copied, "an index that nobody has open is copied");
	is_int(get(ix), 1, "and read");
	ok(!exists("-wal") && !exists("-shm"), "no file is made for that");
	is_int(index_meta_set_u64(ix, "x", 2, &err), -EROFS, "it cannot be written");
	is_int(index_size(ix, &size), 0, "its size");
	ok(size > 0, "is the file's");
	is_int(index_snapshot_begin(ix, &err), 0, "a snapshot of it");
	index_snapshot_end(ix);
	index_close(ix);
}

static void test_copied_again(void)
{
	struct index *ix;
	uint64_t before = 0, after = 0;

	make("again");
	ix = open_ro();
	(void)index_data_version(ix, &before);
	write_and_close(2);
	ok(becomes(ix, 2), "a copy is made again when somebody has written");
	ok(ix->copied && !exists("-wal"), "and has gone");
	(void)index_data_version(ix, &after);
	ok(after != before, "whoever asks for changes is told");
	(void)index_data_version(ix, &before);
	is_int(after, before, "once");
	index_close(ix);
}

static void test_live(void)
{
	struct index *ix, *writer;
	uint64_t before = 0, after = 0;

	make("live");
	ix = open_ro();
	(void)index_data_version(ix, &before);
	writer = open_writer();
	is_int(get(ix), 1, "a writer comes");
	set(writer, 2);
	is_int(get(ix), 2, "what is only in its log is seen");
	ok(!ix->copied, "from now on SQLite reads the file beside it");
	(void)index_data_version(ix, &after);
	ok(after != before, "whoever asks for changes is told");
	set(writer, 3);
	is_int(get(ix), 3, "again");
	index_close(ix);
	ix = open_ro();
	ok(!ix->copied, "beside a writer nothing is copied to begin with");
	is_int(get(ix), 3, "and all is there");
	set(writer, 4);
	is_int(get(ix), 4, "as it becomes");
	index_close(ix);
	index_close(writer);
}

static int write_meanwhile(void *ctx, const struct index_pack *p)
{
	(void)p;
	write_and_close(2);
	usleep(100000);		/* old enough to be copied; the outcome is the same without */
	is_int(get(ctx), 1, "within a walk nothing changes");
	return 0;
}

static void test_in_use(void)
{
	struct index *ix, *writer;
	struct index_pack pack = {.number = 1, .end = 64};

	make("in-use");
	writer = open_writer();
	if (index_pack_put(writer, &pack, &err) < 0)
		bail("put");
	index_close(writer);
	ix = open_ro();
	is_int(index_pack_each(ix, write_meanwhile, ix, &err), 0, "a walk");
	ok(becomes(ix, 2), "after it the change is seen");
	is_int(index_snapshot_begin(ix, &err), 0, "a snapshot");
	write_and_close(3);
	usleep(100000);
	is_int(get(ix), 2, "stays as it is");
	index_snapshot_end(ix);
	ok(becomes(ix, 3), "until it ends");
	index_close(ix);
}

static int take_lock(void)
{
	char name[PATH_MAX];
	int fd;

	(void)snprintf(name, sizeof(name), "%s", path);
	(void)strcpy(strrchr(name, '/'), "/lock");
	fd = open(name, O_RDWR);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		bail("cannot lock");
	return fd;
}

static void test_locked(void)
{
	struct index *ix, *old;
	int fd;

	make("locked");
	old = open_ro();
	fd = take_lock();
	is_err(index_open(path, INDEX_ROFS | INDEX_NOWAIT, &ix, &err), &err, -EBUSY,
	       "index '%s' is being changed by somebody else", path);
	write_and_close(2);
	is_int(get(old), 1, "a copy that cannot be made again is used as it is");
	close(fd);
	ok(becomes(old, 2), "until the writer has gone");
	index_close(old);
}

static void test_log(void)
{
	struct index *ix, *writer;

	make("log");
	writer = open_writer();
	set(writer, 7);
	copy("-wal", "-wal.kept");
	copy("-shm", "-shm.kept");
	copy("", ".kept");
	index_close(writer);
	copy(".kept", "");
	copy("-wal.kept", "-wal");
	is_err(index_open(path, INDEX_ROFS, &ix, &err), &err, -EROFS,
	       "index '%s' is on a read-only file system, and its log has to be moved into it: "
	       "open the store once where it can be written", path);
	copy("-shm.kept", "-shm");
	ix = open_ro();
	is_int(get(ix), 7, "a log that a killed writer left is read");
	index_close(ix);
	ok(exists("-wal"), "and stays");
	(void)unlink(beside("-shm"));
	if (truncate(beside("-wal"), 0) < 0)
		bail("truncate");
	ix = open_ro();
	ok(ix->copied, "an empty one is as good as none");
	is_int(get(ix), 1, "nothing was in it");
	index_close(ix);
	copy("-wal.kept", "-wal");
	copy("-shm.kept", "-shm");
	if (truncate(beside("-wal"), 32) < 0)
		bail("truncate");
	ix = open_ro();
	is_int(get(ix), 1, "and so is a header alone");
	index_close(ix);
}

static void test_no_lock(void)
{
	struct index *ix;
	char name[PATH_MAX];

	make("no-lock");
	(void)snprintf(name, sizeof(name), "%s", path);
	(void)strcpy(strrchr(name, '/'), "/lock");
	(void)unlink(name);
	ix = open_ro();
	is_int(get(ix), 1, "a store without a lock has no writer");
	ok(access(name, F_OK) < 0, "and gets none");
	index_close(ix);
}

static void write_index(const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		bail("write");
	close(fd);
}

static void test_errors(void)
{
	struct index *ix;

	make("errors");
	usleep(100000);
	fault_arm(FAULT_PREAD, 1, EIO);
	is_err(index_open(path, INDEX_ROFS, &ix, &err), &err, -EIO,
	       "cannot read index '%s': Input/output error", path);
	fault_arm(FAULT_OPEN, 2, EACCES);
	is_err(index_open(path, INDEX_ROFS, &ix, &err), &err, -EACCES,
	       "cannot open index '%s': Permission denied", path);
	fault_disarm();
	write_index("");
	is_err(index_open(path, INDEX_ROFS, &ix, &err), &err, -EBADMSG,
	       "index '%s' is damaged: the file is empty", path);
	write_index("some text, of more than sixteen bytes");
	is_err(index_open(path, INDEX_ROFS, &ix, &err), &err, -EMEDIUMTYPE,
	       "'%s' is not a lamina index", path);
	(void)unlink(path);
	is_err(index_open(path, INDEX_ROFS, &ix, &err), &err, -ENOENT,
	       "cannot open index '%s': No such file or directory", path);
}

int main(void)
{
	test_copied();
	test_copied_again();
	test_live();
	test_in_use();
	test_locked();
	test_log();
	test_no_lock();
	test_errors();
	return tap_done();
}
