/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/rpc/pagers.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "tests/unit/wire.h"

#define PATIENT_MS 20000
#define HASTY_MS 300

static struct err err;
static struct pagers found;

/* ---- versions ---- */

static int sign(int n)
{
	return (n > 0) - (n < 0);
}

static void test_versions(void)
{
	static const struct {
		const char *a, *b;
		int order;
	} cases[] = {
		{"1.2.3", "1.2.3", 0}, {"1.2.4", "1.2.3", 1}, {"1.10", "1.9", 1},
		{"2", "10", -1}, {"1", "1.0.0", 0}, {"1.0.1", "1", 1},
		{"01.2", "1.02", 0}, {"0.1.0", "0.1.0-rc1", 1}, {"0.1.0", "0.1.0~rc1", 1},
		{"1.0-rc2", "1.0-rc10", -1}, {"1.0-rc.2", "1.0-rc.10", -1},
		{"1.0-alpha", "1.0-beta", -1}, {"1.0-rc1", "0.9", 1}, {"1.0-rc1", "1-rc1", 0},
		{"1.0+git1", "1.0+git2", 0}, {"1.0-rc1+a", "1.0-rc1+b", 0},
		{"1.0+a-rc1", "1.0", 0}, {"1.0-rc1", "1.0+x", -1},
		{"99999999999999999999", "100000000000000000000", -1},
		{"1.2b", "1.2a", 1}, {"1.2a", "1.2", 1}, {"", "0", 0}, {"", "1", -1},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		is_int(sign(pagers_version_cmp(cases[i].a, cases[i].b)), cases[i].order,
		       "'%s' and '%s'", cases[i].a, cases[i].b);
		is_int(sign(pagers_version_cmp(cases[i].b, cases[i].a)), -cases[i].order,
		       "and the other way round");
	}
}

/* ---- what a host may have ---- */

static struct fake {
	struct served served;
	const char *program;
	const char *version;
	bool draining;
	int sessions;
	int health_status;
} fakes[5];

static void get_version(struct httpd_call *call, void *ctx)
{
	const struct fake *f = ctx;

	httpd_json(call, 200, json_pack("{s:s, s:s?}", "program", f->program, "version",
					f->version));
}

static void get_health(struct httpd_call *call, void *ctx)
{
	const struct fake *f = ctx;

	if (f->health_status)
		httpd_fail(call, f->health_status, "not well");
	else
		httpd_json(call, 200, json_pack("{s:b, s:i}", "draining", f->draining,
						"sessions", f->sessions));
}

static const struct httpd_route routes[] = {
	{"GET", "/version", get_version},
	{"GET", "/health", get_health},
	{0},
};

static const char *root_path(const char *name)
{
	char below[128];

	(void)snprintf(below, sizeof(below), "root/%s", name);
	return tap_path(below);
}

static void make_dir(const char *name)
{
	if (mkdir(root_path(name), 0755) < 0)
		bail("mkdir: %s", strerror(errno));
}

/* The first member of a struct fake is what wire.h gives the handlers. */
static void serve(struct fake *f, const char *name)
{
	(void)snprintf(f->served.path, sizeof(f->served.path), "%s", root_path(name));
	if (!f->program)
		f->program = "lamina-pager";
	f->served.fd = wire_listen(f->served.path, 16);
	if (httpd_new(f->served.fd, routes, f, &f->served.h, &err) < 0)
		bail("no server: %s", err.text);
	wire_start(&f->served);
}

static void end(struct fake *f)
{
	wire_stop(&f->served);
	wire_free(&f->served);
	(void)unlink(f->served.path);
}

static const struct pagers_entry *entry_of(const char *name)
{
	for (size_t i = 0; i < found.n; i++)
		if (strcmp(found.v[i].socket, root_path(name)) == 0)
			return &found.v[i];
	return NULL;
}

static void is_silent(const char *name, int timeout_ms, int code, const char *why)
{
	const struct pagers_entry *e;

	if (!is_int(pagers_find(tap_path("root"), timeout_ms, &found, &err), 0, "found"))
		return;
	e = entry_of(name);
	if (ok(e, "%s is listed", name)) {
		ok(!e->version && !e->outdated, "as silent");
		is_err(e->code, &e->err, code, "%s", why);
	}
	ok(!pagers_newest(&found), "it is no newest one");
	pagers_fini(&found);
}

/* ---- one directory ---- */

static void test_nobody(void)
{
	is_int(pagers_find(tap_path("root"), PATIENT_MS, &found, &err), 0, "no directory");
	is_int(found.n, 0, "has no pagers");
	ok(!pagers_newest(&found), "and no newest");
	(void)mkdir(tap_path("root"), 0755);
	is_int(pagers_find(tap_path("root"), PATIENT_MS, &found, &err), 0, "an empty one");
	is_int(found.n, 0, "has none either");
	pagers_fini(&found);
	(void)close(open(tap_path("file"), O_CREAT | O_WRONLY, 0644));
	found.n = 77;
	is_err(pagers_find(tap_path("file"), PATIENT_MS, &found, &err), &err, -ENOTDIR,
	       "cannot look for pagers in '%s': Not a directory", tap_path("file"));
	is_int(found.n, 77, "nothing is touched then");
	found = (struct pagers){0};
}

static void test_one(void)
{
	struct fake *f = &fakes[0];
	char cwd[PATH_MAX];

	f->version = "1.2.3";
	f->sessions = 7;
	serve(f, "pager.sock");
	if (!getcwd(cwd, sizeof(cwd)) || chdir(tap_tmpdir()) < 0)
		bail("no working directory");
	is_int(pagers_find("root/", PATIENT_MS, &found, &err), 0, "one, by a relative path");
	if (chdir(cwd) < 0)
		bail("no way back");
	if (is_int(found.n, 1, "is one")) {
		is_str(found.v[0].socket, root_path("pager.sock"), "its socket is absolute");
		is_str(found.v[0].version, "1.2.3", "its version");
		is_int(found.v[0].sessions, 7, "its sessions");
		is_int(found.v[0].code, 0, "it answers");
		ok(!found.v[0].draining && !found.v[0].outdated, "it is the newest");
		ok(pagers_newest(&found) == found.v, "and is found as that");
	}
	pagers_fini(&found);
	f->draining = true;
	(void)pagers_find(tap_path("root"), PATIENT_MS, &found, &err);
	ok(found.n == 1 && found.v[0].draining, "a draining one");
	ok(!pagers_newest(&found), "takes no new sessions");
	pagers_fini(&found);
	end(f);
	f->draining = false;
}

static void test_silent(void)
{
	char why[512];
	int fd = wire_listen(root_path("pager.sock"), 1);

	(void)snprintf(why, sizeof(why), "'%s' gave no answer in time", root_path("pager.sock"));
	is_silent("pager.sock", HASTY_MS, -ETIMEDOUT, why);
	close(fd);
	(void)snprintf(why, sizeof(why), "nobody listens on '%s'", root_path("pager.sock"));
	is_silent("pager.sock", PATIENT_MS, -ECONNREFUSED, why);
	(void)unlink(root_path("pager.sock"));
	(void)close(open(root_path("pager.sock"), O_CREAT | O_WRONLY, 0644));
	is_silent("pager.sock", PATIENT_MS, -ECONNREFUSED, why);
	(void)unlink(root_path("pager.sock"));
	(void)!symlink("nowhere", root_path("pager.sock"));
	(void)snprintf(why, sizeof(why), "there is no socket '%s'", root_path("pager.sock"));
	is_silent("pager.sock", PATIENT_MS, -ENOENT, why);
	(void)unlink(root_path("pager.sock"));
}

static void test_strangers(void)
{
	static const struct fake strangers[] = {
		{.program = "lamina-fuse", .version = "1.0"},
		{.program = "lamina-pager"},
		{.program = "lamina-pager", .version = ""},
		{.program = "lamina-pager", .version = "../../etc"},
		{.program = "lamina-pager", .version = "1.0\033[2J"},
		{.program = "lamina-pager", .version = "-1"},
		{.program = "lamina-pager", .version = "1.0", .health_status = 500},
	};
	char why[512];

	(void)snprintf(why, sizeof(why), "what answers at '%s' is no pager",
		       root_path("pager.sock"));
	for (size_t i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++) {
		fakes[0] = strangers[i];
		serve(&fakes[0], "pager.sock");
		is_silent("pager.sock", PATIENT_MS, -EPROTO, why);
		end(&fakes[0]);
	}
}

/* ---- several ---- */

static void is_nth(size_t i, const char *name, const char *version, bool outdated)
{
	if (!ok(i < found.n, "there are %zu", i + 1))
		return;
	is_str(found.v[i].socket, root_path(name), "%zu: its socket", i);
	is_str(found.v[i].version, version, "%zu: its version", i);
	is_int(found.v[i].outdated, outdated, "%zu: outdated or not", i);
}

static void serve_several(void)
{
	static const struct fake several[] = {
		{.version = "0.9.0", .sessions = 3},
		{.version = "0.10.0", .draining = true},
		{.version = "0.10.0"},
		{.version = "0.10.0-rc1"},
	};

	memcpy(fakes, several, sizeof(several));
	make_dir("pager-b");
	make_dir("pager-c");
	make_dir("pager-d");
	serve(&fakes[0], "pager.sock");
	serve(&fakes[1], "pager-c/pager.sock");
	serve(&fakes[2], "pager-d/pager.sock");
	serve(&fakes[3], "pager-b/pager.sock");
}

static void test_order(void)
{
	(void)pagers_find(tap_path("root"), PATIENT_MS, &found, &err);
	is_int(found.n, 4, "all are found");
	is_nth(0, "pager-c/pager.sock", "0.10.0", false);
	is_nth(1, "pager-d/pager.sock", "0.10.0", false);
	is_nth(2, "pager-b/pager.sock", "0.10.0-rc1", true);
	is_nth(3, "pager.sock", "0.9.0", true);
	ok(found.n == 4 && pagers_newest(&found) == &found.v[1],
	   "the newest is not one that drains");
	pagers_fini(&found);
}

/* Those that hang are asked at the same time: all of them are within a timeout or few. */
static void test_silent_beside(void)
{
	char name[32];
	int fd[40];

	for (int i = 0; i < 40; i++) {
		(void)snprintf(name, sizeof(name), "pager-hang%02d", i);
		make_dir(name);
		(void)snprintf(name, sizeof(name), "pager-hang%02d/pager.sock", i);
		fd[i] = wire_listen(root_path(name), 1);
	}
	(void)pagers_find(tap_path("root"), 2000, &found, &err);
	is_int(found.n, 44, "beside those that hang");
	is_nth(0, "pager-c/pager.sock", "0.10.0", false);
	is_nth(3, "pager.sock", "0.9.0", true);
	for (size_t i = 4; i < found.n; i++)
		if (found.v[i].version || !strstr(found.v[i].err.text, "no answer in time"))
			ok(false, "%s is silent: %s", found.v[i].socket, found.v[i].err.text);
	is_nth(4, "pager-hang00/pager.sock", NULL, false);
	pagers_fini(&found);
	for (int i = 0; i < 40; i++) {
		close(fd[i]);
		(void)snprintf(name, sizeof(name), "pager-hang%02d/pager.sock", i);
		(void)unlink(root_path(name));
	}
}

static void test_same(void)
{
	(void)!symlink("pager-d", root_path("pager-now"));
	make_dir("pager-a");
	(void)!symlink("../pager-b/pager.sock", root_path("pager-a/pager.sock"));
	(void)pagers_find(tap_path("root"), PATIENT_MS, &found, &err);
	is_int(found.n, 4, "one that has two names is listed once");
	is_nth(2, "pager-a/pager.sock", "0.10.0-rc1", true);
	pagers_fini(&found);
}

/* A directory that is opened tells inotify. */
static void test_nothing_else(void)
{
	static const char *const others[] = {"mnt", "xpager-1", "pager"};
	char events[4096];
	int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		make_dir(others[i]);
		(void)close(wire_listen(tap_path("away"), 1));
		(void)rename(tap_path("away"),
			     root_path(i == 0 ? "mnt/pager.sock" :
				       i == 1 ? "xpager-1/pager.sock" : "pager/pager.sock"));
		if (inotify_add_watch(watch, root_path(others[i]), IN_OPEN | IN_ACCESS) < 0)
			bail("inotify: %s", strerror(errno));
	}
	(void)close(open(root_path("pager-file"), O_CREAT | O_WRONLY, 0644));
	(void)pagers_find(tap_path("root"), PATIENT_MS, &found, &err);
	is_int(found.n, 4, "what has another name is no pager");
	ok(read(watch, events, sizeof(events)) < 0 && errno == EAGAIN, "nor is it opened");
	pagers_fini(&found);
	close(watch);
}

/* ---- one that hangs up ---- */

struct rude {
	int fd;
	int times;		/* that it does */
};

static void *hang_up(void *arg)
{
	struct rude *r = arg;

	for (int i = 0; i < r->times; i++) {
		int fd = accept(r->fd, NULL, NULL);

		if (fd >= 0)
			close(fd);
	}
	close(r->fd);
	return NULL;
}

/* The end of a pager that is being asked: connections are cut, then nobody listens. */
static void test_hangs_up(void)
{
	struct rude rude = {.times = 2};
	const struct pagers_entry *e;
	pthread_t thread;

	rude.fd = wire_listen(root_path("pager.sock"), 16);
	if (pthread_create(&thread, NULL, hang_up, &rude))
		bail("no thread");
	is_int(pagers_find(tap_path("root"), PATIENT_MS, &found, &err), 0, "one that ends now");
	pthread_join(thread, NULL);
	e = entry_of("pager.sock");
	if (ok(e, "is listed")) {
		is_err(e->code, &e->err, -ECONNREFUSED, "nobody listens on '%s'", e->socket);
		ok(pagers_has_ended(e->code), "as one that has ended");
	}
	pagers_fini(&found);
	(void)unlink(root_path("pager.sock"));
	ok(!pagers_has_ended(-ECONNRESET) && !pagers_has_ended(-ETIMEDOUT), "others have not");
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	test_versions();
	test_nobody();
	test_one();
	test_silent();
	test_strangers();
	serve_several();
	test_order();
	test_silent_beside();
	test_same();
	test_nothing_else();
	for (int i = 0; i < 4; i++)
		end(&fakes[i]);
	test_hangs_up();
	return tap_done();
}
