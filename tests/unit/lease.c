/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/lease.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
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

static void test_errors(void)
{
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
	test_errors();
	store_close(store);
	return tap_done();
}
