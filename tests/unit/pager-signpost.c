/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/signpost.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "src/pager/unixsock.h"
#include "tests/tap.h"

static struct err err;
static char where[PATH_MAX];

static int listen_at(const char *name)
{
	int fd = unixsock_replace(tap_path(name), SOCK_STREAM, 0600, &err);

	if (fd < 0)
		bail("%s", err.text);
	return fd;
}

static int put(const char *name)
{
	return signpost_put(tap_tmpdir(), tap_path(name), &err);
}

static bool leads_to(const char *name)
{
	return signpost_read(tap_tmpdir(), where) && !strcmp(where, tap_path(name));
}

static bool is_there(const char *name)
{
	struct stat st;

	return lstat(tap_path(name), &st) == 0;
}

static void test_up_and_down(void)
{
	int fd = listen_at("api");

	strcpy(where, "as before");
	ok(!signpost_read(tap_tmpdir(), where), "there is none");
	is_str(where, "as before", "and nothing is said");
	is_int(put("api"), 0, "put");
	ok(leads_to("api"), "it leads there");
	is_int(put("api"), 0, "put again");
	signpost_remove(tap_tmpdir(), tap_path("other"));
	ok(leads_to("api"), "another's is left");
	signpost_remove(tap_tmpdir(), tap_path("api"));
	ok(!is_there("pager.sock") && is_there("api"), "removed, alone");
	signpost_remove(tap_tmpdir(), tap_path("api"));
	close(fd);
}

static void test_own_socket(void)
{
	int fd = listen_at("pager.sock");

	is_int(put("pager.sock"), 0, "the socket that is there itself");
	ok(!signpost_read(tap_tmpdir(), where), "needs none");
	is_int(link(tap_path("pager.sock"), tap_path("name")), 0, "nor");
	is_int(put("name"), 0, "by another name");
	ok(!signpost_read(tap_tmpdir(), where), "is it changed");
	signpost_remove(tap_tmpdir(), tap_path("pager.sock"));
	ok(is_there("pager.sock"), "or removed");
	close(fd);
	(void)unlink(tap_path("name"));
}

/* Of the test before, its socket is still there, and dead. */
static void test_stale(void)
{
	int fd;

	is_int(put("api"), 0, "in place of a dead socket");
	ok(leads_to("api"), "which is gone");
	fd = listen_at("new");
	is_int(put("new"), 0, "in place of a link to a dead socket");
	ok(leads_to("new"), "which is gone");
	(void)unlink(tap_path("new"));
	close(fd);
	fd = listen_at("api");
	is_int(put("api"), 0, "in place of one to nothing");
	ok(leads_to("api"), "which is gone");
	close(fd);
}

static void test_live(void)
{
	int fd = listen_at("theirs"), full[8];

	is_int(put("theirs"), 0, "of somebody");
	is_err(put("mine"), &err, -EBUSY,
	       "cannot lead from '%s' to '%s': another one answers there",
	       tap_path("pager.sock"), tap_path("mine"));
	ok(leads_to("theirs"), "is left");
	(void)listen(fd, 0);
	for (int i = 0; i < 8; i++)
		full[i] = unixsock_connect(tap_path("theirs"), SOCK_STREAM | SOCK_NONBLOCK);
	is_int(full[7], -EAGAIN, "who is busy");
	is_int(put("mine"), -EBUSY, "is alive, too");
	for (int i = 0; i < 8; i++)
		if (full[i] >= 0)
			close(full[i]);
	close(fd);
	(void)unlink(tap_path("pager.sock"));
	fd = listen_at("pager.sock");
	is_int(put("mine"), -EBUSY, "nor is a socket replaced that lives");
	ok(!signpost_read(tap_tmpdir(), where), "it is there");
	close(fd);
	(void)unlink(tap_path("pager.sock"));
}

static void test_other_files(void)
{
	(void)close(open(tap_path("pager.sock"), O_CREAT | O_WRONLY, 0644));
	is_err(put("mine"), &err, -EEXIST,
	       "cannot lead from '%s' to '%s': it is there and no socket",
	       tap_path("pager.sock"), tap_path("mine"));
	ok(is_there("pager.sock"), "a file stays");
	(void)unlink(tap_path("pager.sock"));
	is_err(signpost_put(tap_path("nosuch"), "/x", &err), &err, -ENOENT,
	       "cannot lead from '%s/pager.sock' to '/x': No such file or directory",
	       tap_path("nosuch"));
}

static void test_clear(void)
{
	(void)!symlink("nowhere", tap_path("pager.sock"));
	signpost_clear(tap_tmpdir(), tap_path("mine"));
	ok(is_there("pager.sock"), "who listens elsewhere needs no room");
	signpost_clear(tap_tmpdir(), tap_path("pager.sock"));
	ok(!is_there("pager.sock"), "who listens there does");
	(void)close(listen_at("pager.sock"));
	signpost_clear(tap_tmpdir(), tap_path("pager.sock"));
	ok(is_there("pager.sock"), "a socket is no signpost");
	(void)unlink(tap_path("pager.sock"));
}

int main(void)
{
	test_up_and_down();
	test_own_socket();
	test_stale();
	test_live();
	test_other_files();
	test_clear();
	return tap_done();
}
