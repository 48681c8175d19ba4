/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* With a tree of our own, and a thread that does what the kernel would. */
#include "src/agent/freeze.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/stat.h>
#include <time.h>

#include "src/agent/cgroup.h"
#include "tests/tap.h"

static struct err err;
static struct freeze *freeze;
static char root[256];

/* ---- a kernel ---- */

static atomic_bool ends, sluggish;	/* sluggish: nothing freezes */
static atomic_int asked;		/* how often it saw a cgroup that is to be frozen */

static void put(const char *group, const char *file, const char *text)
{
	char name[512], fresh[520];
	int fd;

	(void)snprintf(name, sizeof(name), "%s/%s/%s", root, group, file);
	(void)snprintf(fresh, sizeof(fresh), "%s.new", name);
	fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (fd < 0 || write(fd, text, strlen(text)) < 0 || close(fd) < 0 || rename(fresh, name) < 0)
		bail("cannot write '%s'", name);
}

static char get(const char *group)
{
	char name[512], value = '?';
	int fd;

	(void)snprintf(name, sizeof(name), "%s/%s/cgroup.freeze", root, group);
	fd = open(name, O_RDONLY);
	if (fd >= 0 && read(fd, &value, 1) < 0)
		value = '!';
	if (fd >= 0)
		close(fd);
	return value;
}

static const char *const groups[] = {"web.slice", "web.slice/a", "db.slice"};

static void *be_kernel(void *arg)
{
	char state[3] = {'0', '0', '0'};

	(void)arg;
	while (!atomic_load(&ends)) {
		for (int i = 0; i < 3; i++) {
			char want = get(groups[i]);

			if (want == '1' && state[i] == '0')
				atomic_fetch_add(&asked, 1);
			if ((want != '0' && want != '1') || want == state[i])
				continue;
			if (want == '1' && atomic_load(&sluggish))
				continue;
			state[i] = want;
			put(groups[i], "cgroup.events", want == '1' ?
			    "populated 1\nfrozen 1\n" : "populated 1\nfrozen 0\n");
		}
		nanosleep(&(struct timespec){0, 1000000}, NULL);
	}
	return NULL;
}

static void make_tree(void)
{
	char name[512];

	(void)snprintf(root, sizeof(root), "%s", tap_path("cgroup"));
	mkdir(root, 0755);
	for (int i = 0; i < 3; i++) {
		(void)snprintf(name, sizeof(name), "%s/%s", root, groups[i]);
		if (mkdir(name, 0755) < 0)
			bail("cannot make '%s'", name);
		put(groups[i], "cgroup.freeze", "0");
		put(groups[i], "cgroup.events", "populated 1\nfrozen 0\n");
	}
	(void)snprintf(name, sizeof(name), "%s/bare", root);
	mkdir(name, 0755);
}

/* The kernel has seen that it is to run. */
static void await_running(const char *group)
{
	char name[512], text[64] = "";

	(void)snprintf(name, sizeof(name), "%s/%s/cgroup.events", root, group);
	while (!strstr(text, "frozen 0")) {
		int fd = open(name, O_RDONLY);

		if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
			bail("cannot read '%s'", name);
		close(fd);
		nanosleep(&(struct timespec){0, 1000000}, NULL);
	}
}

/* ---- helpers ---- */

static const char *names(json_t *takes)
{
	static char text[256];
	char *dump = json_dumps(takes, JSON_COMPACT);

	(void)snprintf(text, sizeof(text), "%s", dump);
	free(dump);
	json_decref(takes);
	return text;
}

static const char *end(const char *name, int want_rc)
{
	json_t *thawed = json_array();

	is_int(freeze_end(freeze, name, thawed, &err), want_rc, "%s is ended",
	       name ? name : "everything");
	return names(thawed);
}

static void begin(int wait_ms, int hold_ms)
{
	if (freeze_new(wait_ms, hold_ms, &freeze, &err) < 0)
		bail("%s", err.text);
}

/* ---- checks ---- */

static void test_names(void)
{
	static const char *const bad[] = {"", "/", "/sys/fs/cgroup/web.slice", "..", "../x",
					  "web.slice/..", "web.slice/../..", "./web.slice", "."};
	char plain[CGROUP_NAME_SIZE], longer[400];
	int fd;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		is_int(freeze_begin(freeze, bad[i], NULL, &err), -EINVAL, "'%s': %s", bad[i],
		       err.text);
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	is_int(cgroup_open(longer, &err), -EINVAL, "a name that is too long");
	is_int(cgroup_name("web.slice//a/", plain, &err), 0, "slashes that are too many");
	is_str(plain, "web.slice/a", "are left out");
	is_err(freeze_begin(freeze, "none.slice", NULL, &err), &err, -ENOENT,
	       "there is no cgroup 'none.slice'");
	is_err(freeze_begin(freeze, "bare", NULL, &err), &err, -ENOTSUP,
	       "cgroup 'bare' has no freezer");
	fd = cgroup_open("web.slice", &err);
	ok(fd >= 0, "a cgroup is opened");
	close(fd);
	(void)snprintf(longer, sizeof(longer), "%s/link", root);
	if (symlink("/etc", longer) == 0)
		is_int(cgroup_open("link", &err), -ENOENT, "a link is none: %s", err.text);
	is_str(names(freeze_list(freeze)), "[]", "none of these is frozen");
}

static void test_self(void)
{
	static const char v2[] = "0::/system.slice/agent.service\n";
	static const char both[] = "12:memory:/x\n1:name=systemd:/y\n0::/user.slice\n";

	ok(cgroup_lists(v2, "system.slice"), "the agent's slice has it");
	ok(cgroup_lists(v2, "system.slice/agent.service"), "so has its own cgroup");
	ok(!cgroup_lists(v2, "system.slice/agent"), "not one whose name begins so");
	ok(!cgroup_lists(v2, "system.slice/agent.service/below"), "nor one below");
	ok(!cgroup_lists(v2, "web.slice"), "nor another");
	ok(cgroup_lists(both, "user.slice"), "where version 1 is there, too");
	ok(!cgroup_lists(both, "x"), "its paths count for nothing");
	ok(cgroup_lists("4:memory:/x\n", "web.slice"), "one who does not know says yes");
	ok(cgroup_lists("", "web.slice"), "also to nothing");
}

static void test_freeze(void)
{
	is_int(freeze_begin(freeze, "web.slice/", NULL, &err), 0, "a cgroup is frozen");
	is_int(get("web.slice"), '1', "as the kernel sees it");
	is_str(names(freeze_list(freeze)), "[\"web.slice\"]", "and is listed");
	is_int(freeze_begin(freeze, "web.slice", NULL, &err), 0, "again");
	is_int(freeze_begin(freeze, "db.slice", NULL, &err), 0, "another");
	is_str(names(freeze_list(freeze)), "[\"web.slice\",\"db.slice\"]", "both are listed once");
	is_str(end("web.slice", 0), "[\"web.slice\"]", "which says so");
	is_int(get("web.slice"), '0', "it runs");
	is_int(get("db.slice"), '1', "the other does not");
	is_str(end(NULL, 0), "[\"db.slice\"]", "which was the only one");
	is_int(get("db.slice"), '0', "now it runs");
	is_str(end(NULL, 0), "[]", "nothing is left to thaw");
	is_str(end("none", -ENOENT), "[]", "a cgroup that is not there");
	is_str(end("..", -EINVAL), "[]", "a bad name");
}

/* Somebody else froze it, as an agent before this one. */
static void test_stranger(void)
{
	put("web.slice", "cgroup.freeze", "1");
	for (int i = 0; i < 5000 && strcmp(end("web.slice", 0), "[\"web.slice\"]") != 0; i++)
		nanosleep(&(struct timespec){0, 1000000}, NULL);
	is_int(get("web.slice"), '0', "what another froze is thawed by its name");
}

static void test_gone(void)
{
	char name[512], away[512];

	is_int(freeze_begin(freeze, "db.slice", NULL, &err), 0, "a cgroup is frozen");
	(void)snprintf(name, sizeof(name), "%s/db.slice", root);
	(void)snprintf(away, sizeof(away), "%s/away", root);
	is_int(rename(name, away), 0, "and goes");
	is_str(end(NULL, 0), "[]", "that is no failure, and no thawing");
	is_str(names(freeze_list(freeze)), "[]", "it is forgotten");
	is_int(rename(away, name), 0, "it is back");
	put("db.slice", "cgroup.freeze", "0");
}

static atomic_bool cancelled;

struct call {
	const char *name;
	int rc;
};

static void *freeze_it(void *arg)
{
	struct call *call = arg;

	call->rc = freeze_begin(freeze, call->name, &cancelled, NULL);
	return NULL;
}

/* A call that waits for what does not come. */
static pthread_t begin_call(struct call *call)
{
	pthread_t thread;
	int before = atomic_load(&asked);

	atomic_store(&cancelled, false);
	if (pthread_create(&thread, NULL, freeze_it, call))
		bail("no thread");
	while (atomic_load(&asked) == before)
		nanosleep(&(struct timespec){0, 1000000}, NULL);
	return thread;
}

static void test_unfreezable(void)
{
	struct call call = {"web.slice/a", 0};
	pthread_t thread;

	await_running("web.slice");
	atomic_store(&sluggish, true);
	is_err(freeze_begin(freeze, "web.slice", NULL, &err), &err, -ETIMEDOUT,
	       "cgroup 'web.slice' was not frozen within 300 ms");
	is_int(get("web.slice"), '0', "and runs");
	freeze_free(freeze);
	begin(0, 0);
	thread = begin_call(&call);
	is_err(freeze_begin(freeze, "web.slice/a", NULL, &err), &err, -EBUSY,
	       "cgroup 'web.slice/a' is being frozen by another call");
	is_str(names(freeze_list(freeze)), "[]", "one that waits is not frozen");
	atomic_store(&cancelled, true);
	pthread_join(thread, NULL);
	is_int(call.rc, -ECANCELED, "a call is cancelled");
	is_int(get("web.slice/a"), '0', "its cgroup runs");
	thread = begin_call(&call);
	is_str(end(NULL, 0), "[\"web.slice/a\"]", "which includes one that is waited for");
	pthread_join(thread, NULL);
	is_int(call.rc, -ECANCELED, "whose call is told");
	is_int(get("web.slice/a"), '0', "and which runs");
	atomic_store(&sluggish, false);
}

static void test_held(void)
{
	struct pollfd p = {.events = POLLIN};
	json_t *thawed = json_array();

	freeze_free(freeze);
	begin(0, 200);
	p.fd = freeze_fd(freeze);
	is_int(poll(&p, 1, 0), 0, "nothing is held");
	is_int(freeze_begin(freeze, "web.slice", NULL, &err), 0, "one is frozen");
	is_int(poll(&p, 1, 60000), 1, "it is held for too long");
	freeze_expire(freeze, thawed);
	is_str(names(thawed), "[\"web.slice\"]", "and thawed");
	is_int(get("web.slice"), '0', "it runs");
	is_int(poll(&p, 1, 300), 0, "the timer is quiet then");
	is_int(freeze_begin(freeze, "web.slice", NULL, &err), 0, "one is frozen");
	is_str(end(NULL, 0), "[\"web.slice\"]", "and thawed in time");
	is_int(poll(&p, 1, 300), 0, "which leaves nothing to expire");
	is_int(freeze_begin(freeze, "web.slice", NULL, &err), 0, "one is frozen");
	freeze_free(freeze);
	is_int(get("web.slice"), '0', "whoever goes lets go of it");
	freeze_free(NULL);
}

static const char *adopted(void)
{
	json_t *list = json_array();

	freeze_adopt(freeze, list);
	return names(list);
}

/* One that is never asked to end anything is as good as killed. */
static void test_adopted(void)
{
	struct pollfd p = {.events = POLLIN};
	struct freeze *killed;

	begin(0, 200);
	is_int(freeze_begin(freeze, "web.slice/a", NULL, &err), 0, "one is frozen");
	killed = freeze;
	begin(0, 0);
	is_str(adopted(), "[\"web.slice/a\"]", "and taken up");
	is_str(adopted(), "[]", "once");
	p.fd = freeze_fd(freeze);
	is_int(poll(&p, 1, 60000), 1, "for as long as it would have been held");
	freeze_expire(freeze, NULL);
	is_int(get("web.slice/a"), '0', "it runs");
	is_str(adopted(), "[]", "and is not taken up again");
	freeze_free(freeze);
	freeze_free(killed);
	put("web.slice", "cgroup.freeze", "1");
	begin(0, 0);
	is_str(adopted(), "[]", "what another program has frozen is not ours");
	freeze_free(freeze);
	is_int(get("web.slice"), '1', "and stays so");
	put("web.slice", "cgroup.freeze", "0");
}

/* More than there is room for. */
static void test_many(void)
{
	char name[16];
	int rc = 0, n = 0;

	begin(0, 0);
	for (; rc == 0 && n <= FREEZE_MAX; n++) {
		(void)snprintf(name, sizeof(name), "many%d", n);
		(void)snprintf(err.text, sizeof(err.text), "%s/%s", root, name);
		mkdir(err.text, 0755);
		put(name, "cgroup.freeze", "0");
		put(name, "cgroup.events", "frozen 1\n");
		rc = freeze_begin(freeze, name, NULL, &err);
	}
	is_err(rc, &err, -EBUSY, "16 cgroups are frozen: no more at a time");
	is_int(n, FREEZE_MAX + 1, "and not fewer");
	freeze_free(freeze);
	is_int(get("many0") + get("many15"), '0' + '0', "all are let go of");
	is_int(get("many16"), '0', "the last was never touched");
}

int main(void)
{
	pthread_t kernel;

	if (cgroup_has_self("web.slice"))
		tap_skip_all("no cgroups of version 2 here");
	make_tree();
	cgroup_set_root(root);
	if (pthread_create(&kernel, NULL, be_kernel, NULL))
		bail("no thread");
	begin(300, 0);
	test_self();
	freeze_free(freeze);
	begin(0, 0);
	test_names();
	test_freeze();
	test_stranger();
	test_gone();
	freeze_free(freeze);
	begin(300, 0);
	test_unfreezable();
	test_held();
	test_adopted();
	test_many();
	atomic_store(&ends, true);
	pthread_join(kernel, NULL);
	return tap_done();
}
