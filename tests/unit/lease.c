/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/lease.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "store/store.h"
#include "tests/fault.h"
#include "tests/tap.h"

static struct err err;
static struct store *store;
static const struct digest id = {.b = {0xab, 0xcd, 0xef}};
static const struct digest other = {.b = {1}};

static const char *lease_path(void)
{
	return tap_path("store/leases/"
			"abcdef0000000000000000000000000000000000000000000000000000000000");
}

static void setup(void)
{
	struct store_params params;

	store_params_default(&params);
	if (store_init(tap_path("store"), &params, &err) < 0 ||
	    store_open(tap_path("store"), NULL, &store, &err) < 0)
		bail("no store: %s", err.text);
}

static void test_take(void)
{
	int pids[4] = {0}, a, b;

	is_int(lease_held(store, &id), 0, "nobody reads");
	is_int(lease_holders(store, &id, pids, 4), 0, "so nobody is named");
	ok(access(lease_path(), F_OK) < 0, "and looking makes no file");
	a = lease_take(store, &id, &err);
	ok(a >= 0, "a lease");
	ok(fcntl(a, F_GETFD) & FD_CLOEXEC, "is not inherited by other programs");
	is_int(lease_held(store, &id), 1, "is held, by this process too");
	is_int(lease_held(store, &other), 0, "on one layer only");
	b = lease_take(store, &id, &err);
	ok(b >= 0, "two readers share it");
	is_int(lease_take_exclusive(store, &id), -EBUSY, "and keep gc away");
	close(a);
	is_int(lease_held(store, &id), 1, "until the last one");
	close(b);
	is_int(lease_held(store, &id), 0, "has gone");
}

static void test_exclusive(void)
{
	int fd = lease_take_exclusive(store, &id);

	ok(fd >= 0, "gc takes it when nobody reads");
	is_int(lease_held(store, &id), 1, "and has it alone");
	lease_remove(store, &id, fd);
	ok(access(lease_path(), F_OK) < 0, "then removes it");
	is_int(lease_held(store, &id), 0, "for good");
}

/* A child that holds a lease until it is killed. */
static pid_t reader(void)
{
	int ready[2];
	char c;
	pid_t pid;

	if (pipe(ready) < 0)
		bail("pipe");
	pid = fork();
	if (pid == 0) {
		if (lease_take(store, &id, NULL) < 0)
			_exit(1);
		(void)!write(ready[1], "x", 1);
		for (;;)
			pause();
	}
	close(ready[1]);
	if (pid < 0 || read(ready[0], &c, 1) != 1)
		bail("no child");
	close(ready[0]);
	return pid;
}

static bool listed(const int *pids, int n, pid_t pid)
{
	for (int i = 0; i < n; i++)
		if (pids[i] == pid)
			return true;
	return false;
}

static void test_holders(void)
{
	pid_t a = reader(), b = reader();
	int pids[8], n;

	is_int(lease_held(store, &id), 1, "two processes read");
	n = lease_holders(store, &id, pids, 8);
	is_int(n, 2, "two are named");
	ok(listed(pids, n, a) && listed(pids, n, b), "the right ones");
	pids[1] = -5;
	is_int(lease_holders(store, &id, pids, 1), 2, "all are counted");
	is_int(pids[1], -5, "when there is room for fewer");
	is_int(lease_holders(store, &other, pids, 8), 0, "another layer has none");
	kill(a, SIGKILL);
	kill(b, SIGKILL);
	(void)waitpid(a, NULL, 0);
	(void)waitpid(b, NULL, 0);
	is_int(lease_held(store, &id), 0, "a killed reader holds nothing");
}

/*
 * gc removes the file between a reader's open and its lock: the reader must
 * end with a lock on the file that others will find.
 */
static void test_race(void)
{
	int gc = lease_take_exclusive(store, &id), fd, status;
	struct stat locked, named;
	pid_t pid;

	if (gc < 0)
		bail("no exclusive lease");
	pid = fork();
	if (pid == 0) {
		close(gc);	/* a lock lasts until its last descriptor is closed */
		fd = lease_take(store, &id, NULL);
		if (fd < 0 || fstat(fd, &locked) < 0 || stat(lease_path(), &named) < 0)
			_exit(2);
		_exit(locked.st_ino == named.st_ino ? 0 : 3);
	}
	usleep(50000);	/* enough for it to wait in flock; the outcome is the same without */
	lease_remove(store, &id, gc);
	if (waitpid(pid, &status, 0) < 0)
		bail("waitpid");
	is_int(WEXITSTATUS(status), 0, "a reader that met gc holds the file by that name");
}

/* As a reader sees it who can make no file. */
static int take_read_only(const struct digest *what)
{
	int fd;

	store->read_only = true;
	fd = lease_take(store, what, &err);
	store->read_only = false;
	return fd;
}

static void test_read_only(void)
{
	int pids[4] = {0}, a, b;

	(void)unlink(lease_path());
	a = take_read_only(&id);
	ok(a >= 0, "a lease where there is no file");
	ok(access(lease_path(), F_OK) < 0, "makes none");
	is_int(lease_held(store, &id), 1, "it is held");
	is_int(lease_held(store, &other), 1, "for every layer");
	is_int(lease_holders(store, &other, pids, 4), 1, "its holder");
	is_int(pids[0], getpid(), "is named");
	is_int(lease_take_exclusive(store, &id), -EBUSY, "it keeps gc away");
	b = lease_take(store, &other, &err);
	ok(b >= 0, "but no reader");
	close(b);
	close(a);
	is_int(lease_held(store, &id), 0, "until it ends");
	b = lease_take(store, &id, &err);
	a = take_read_only(&id);
	ok(a >= 0 && b >= 0, "a lease where there is a file");
	close(b);
	is_int(lease_held(store, &id), 1, "is on that");
	is_int(lease_held(store, &other), 0, "and nothing else");
	close(a);
	is_int(lease_held(store, &id), 0, "until it ends");
	b = lease_take_exclusive(store, &id);
	ok(b >= 0, "gc takes it");
	lease_remove(store, &id, b);
}

/*
 * The file is made after it was looked for and before the directory is locked:
 * the reader must not think that gc will see its lock.
 */
static void test_read_only_race(void)
{
	int ready[2], dir = open(tap_path("store/leases"), O_RDONLY | O_DIRECTORY), gc, status;
	struct stat locked, named;
	pid_t pid;
	char c = 0;

	if (dir < 0 || flock(dir, LOCK_EX) < 0 || pipe(ready) < 0)
		bail("no lock");
	pid = fork();
	if (pid == 0) {
		close(dir);
		(void)!write(ready[1], "x", 1);
		gc = take_read_only(&id);
		if (gc < 0 || fstat(gc, &locked) < 0 || stat(lease_path(), &named) < 0)
			_exit(2);
		_exit(locked.st_ino == named.st_ino ? 0 : 3);
	}
	(void)!read(ready[0], &c, 1);
	usleep(50000);	/* enough for it to wait in flock; the outcome is the same without */
	gc = open(lease_path(), O_RDWR | O_CREAT, 0600);
	close(dir);
	if (waitpid(pid, &status, 0) < 0)
		bail("waitpid");
	is_int(WEXITSTATUS(status), 0, "a reader that met gc holds the file, not the directory");
	close(gc);
	(void)unlink(lease_path());
	close(ready[0]);
	close(ready[1]);
}

/* In the place of libc's: so often somebody else has the lock for an instant. */
static int testers;

int flock(int fd, int how)
{
	if (how == (LOCK_EX | LOCK_NB) && testers > 0) {
		testers--;
		errno = EWOULDBLOCK;
		return -1;
	}
	return (int)syscall(SYS_flock, fd, how);
}

static void test_file_held(void)
{
	int fd = lease_take(store, &id, &err);

	is_int(lease_file_held(store, &id), 1, "a reader has the file");
	is_int(lease_file_held(store, &other), 0, "of one layer only");
	close(fd);
	is_int(lease_file_held(store, &id), 0, "until it goes");
	testers = 3;
	is_int(lease_file_held(store, &id), 0, "who only looks is no reader");
	is_int(testers, 0, "and is met");
	(void)unlink(lease_path());
	is_int(lease_file_held(store, &id), 0, "nor is anybody where there is no file");
	fd = take_read_only(&id);
	is_int(lease_held(store, &id), 1, "the directory's lock is every layer's");
	is_int(lease_file_held(store, &id), 0, "and no file's");
	close(fd);
}

static void test_errors(void)
{
	fault_arm(FAULT_OPEN, 1, EACCES);
	is_int(lease_file_held(store, &id), -EACCES, "who may not look is told that");
	fault_arm(FAULT_OPEN, 1, EMFILE);
	is_err(lease_take(store, &id, &err), &err, -EMFILE,
	       "cannot take a lease on layer abcdef000000: Too many open files");
	fault_arm(FAULT_OPEN, 1, EACCES);
	is_int(lease_held(store, &id), -EACCES, "who may not look is told");
	fault_arm(FAULT_OPEN, 1, EINTR);
	is_int(lease_held(store, &id), 0, "an interruption is not an error");
	fault_disarm();
}

int main(void)
{
	setup();
	test_take();
	test_exclusive();
	test_holders();
	test_race();
	test_read_only();
	test_read_only_race();
	test_file_held();
	test_errors();
	store_close(store);
	return tap_done();
}
