/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The fault injection itself: it would be a pity if tests passed because nothing failed. */
#include "tests/fault.h"
#include "tests/tap.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>

static int open_new(const char *name)
{
	int fd = open(tap_path(name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

	if (fd < 0)
		bail("cannot make a file: %s", strerror(errno));
	return fd;
}

static void test_nth(void)
{
	int fd = open_new("nth");

	fault_arm(FAULT_PWRITE, 2, ENOSPC);
	is_int(pwrite(fd, "a", 1, 0), 1, "the first call works");
	ok(!fault_struck(), "nothing has struck");
	is_int(pwrite(fd, "a", 1, 1), -1, "the second fails");
	is_int(errno, ENOSPC, "with the errno");
	ok(fault_struck(), "and is known to have struck");
	is_int(pwrite(fd, "a", 1, 1), 1, "the third works");
	is_int(fault_count(FAULT_PWRITE), 3, "three were counted");
	fault_arm_from(FAULT_FSYNC, 2, EIO);
	is_int(fsync(fd), 0, "a first fsync");
	is_int(fdatasync(fd), -1, "all that follow fail");
	is_int(fsync(fd), -1, "and go on failing");
	fault_disarm();
	is_int(fsync(fd), 0, "until the disarm");
	close(fd);
}

static void test_kinds(void)
{
	char *p;
	int fd;

	fault_arm(FAULT_MALLOC, 1, ENOMEM);
	p = strdup("x");
	ok(p == NULL, "strdup is an allocation");
	free(p);
	fault_arm(FAULT_RENAME, 1, EIO);
	is_int(rename(tap_path("a"), tap_path("b")), -1, "rename");
	is_int(errno, EIO, "is renameat");
	fault_arm(FAULT_OPEN, 1, EMFILE);
	fd = open(tap_path("nth"), O_RDONLY | O_CLOEXEC);
	is_int(fd, -1, "open");
	is_int(errno, EMFILE, "fails as told");
	fault_arm(FAULT_CHANGE, 2, EROFS);
	is_int(mkdir(tap_path("d"), 0700), 0, "one change");
	is_int(unlink(tap_path("d")), -1, "the second, of another kind");
	is_int(errno, EROFS, "fails");
	fault_disarm();
}

static void test_short(void)
{
	int fd = open_new("short");
	char buf[4];

	fault_arm(FAULT_PWRITE, 1, FAULT_SHORT);
	is_int(pwrite(fd, "abcd", 4, 0), 2, "half is written");
	fault_arm(FAULT_PREAD, 1, FAULT_SHORT);
	is_int(pread(fd, buf, 2, 0), 1, "half is read");
	fault_disarm();
	close(fd);
}

/* How a child ends that does one pwrite of "abcd" under a fault. */
static bool child_is_killed(int fd, int action)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		fault_arm(FAULT_PWRITE, 1, action);
		_exit(pwrite(fd, "abcd", 4, 0) < 0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		bail("cannot fork");
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static void test_kill(void)
{
	static const struct {
		int action;
		off_t want;
		const char *name;
	} cases[] = {
		{FAULT_KILL, 0, "kill: before the write"},
		{FAULT_TORN, 2, "torn: in the middle of it"},
		{FAULT_KILL_AFTER, 4, "killed: after it"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int fd = open_new("kill");
		struct stat st;

		ok(child_is_killed(fd, cases[i].action), "%s", cases[i].name);
		is_int(fstat(fd, &st), 0, "the file is there");
		is_int(st.st_size, cases[i].want, "with that much in it");
		close(fd);
	}
}

static void test_stop(void)
{
	int fd = open_new("stop"), status;
	struct stat st;
	pid_t pid = fork();

	if (pid == 0) {
		fault_arm(FAULT_PWRITE, 2, FAULT_STOP);
		_exit(pwrite(fd, "ab", 2, 0) != 2 || pwrite(fd, "cd", 2, 2) != 2);
	}
	if (pid < 0 || waitpid(pid, &status, WUNTRACED) != pid)
		bail("cannot fork");
	ok(WIFSTOPPED(status), "stop: before the write");
	ok(fstat(fd, &st) == 0 && st.st_size == 2, "the first one was made");
	kill(pid, SIGCONT);
	ok(waitpid(pid, &status, 0) == pid && status == 0, "then it goes on");
	ok(fstat(fd, &st) == 0 && st.st_size == 4, "with the write");
	close(fd);
}

static int insert(sqlite3 *db)
{
	return sqlite3_exec(db, "INSERT INTO t VALUES (1)", NULL, NULL, NULL);
}

static void test_library(void)
{
	unsigned long n;
	sqlite3 *db;

	if (sqlite3_open(tap_path("db"), &db) != SQLITE_OK ||
	    sqlite3_exec(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
			     "CREATE TABLE t (x)", NULL, NULL, NULL) != SQLITE_OK)
		bail("no SQLite: %s", sqlite3_errmsg(db));
	fault_reset();
	is_int(insert(db), SQLITE_OK, "an insert");
	n = fault_count(FAULT_LIB_FSYNC);
	ok(n > 0, "SQLite's %lu fsyncs are seen", n);
	ok(fault_count(FAULT_LIB_PWRITE) > 0, "and its writes");
	is_int(fault_count(FAULT_FSYNC) + fault_count(FAULT_PWRITE), 0, "and are not ours");
	ok(fault_count(FAULT_CHANGE) >= n, "but changes");
	fault_arm(FAULT_LIB_FSYNC, 1, EIO);
	is_int(insert(db), SQLITE_IOERR, "its fsync can fail");
	fault_disarm();
	sqlite3_close(db);
}

int main(void)
{
	test_nth();
	test_kinds();
	test_short();
	test_kill();
	test_stop();
	test_library();
	return tap_done();
}
