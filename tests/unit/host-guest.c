/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/host/guest-memory.h"
#include "src/host/guest.h"
#include "store/base/io.h"
#include "store/base/proc.h"
#include "tests/tap.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const char *run;
static struct err err;
static bool torn;	/* a directory cannot be read to its end */

struct dirent *__real_readdir64(DIR *dir);
struct dirent *__wrap_readdir64(DIR *dir);
struct dirent *__wrap_readdir64(DIR *dir)
{
	struct dirent *d = __real_readdir64(dir);

	if (d || !torn)
		return d;
	errno = EIO;
	return NULL;
}

static const char *file_of(const char *name)
{
	static char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/guests/%s.json", run, name);
	return path;
}

static void put(const char *name, const char *text)
{
	(void)unlink(file_of(name));
	if (io_replace_file(AT_FDCWD, file_of(name), text, strlen(text)) < 0)
		bail("cannot write a file");
	(void)chmod(file_of(name), 0644);
}

static int write_text(const char *name, const char *text, enum guest_write how)
{
	json_t *members = json_loads(text, 0, NULL);
	int rc = guest_write(run, name, members, how, &err);

	json_decref(members);
	return rc;
}

static int load(const char *name)
{
	json_t *record = NULL;
	int rc = guest_load(run, name, &record, &err);

	json_decref(record);
	return rc;
}

static void test_names(void)
{
	char longest[GUEST_NAME_MAX + 2];

	memset(longest, 'a', sizeof(longest));
	longest[GUEST_NAME_MAX] = '\0';
	ok(guest_name_ok("web-7.b_C"), "a name");
	ok(guest_name_ok(longest), "a long one");
	longest[GUEST_NAME_MAX] = 'a';
	longest[GUEST_NAME_MAX + 1] = '\0';
	ok(!guest_name_ok(longest), "too long");
	ok(!guest_name_ok("") && !guest_name_ok(".lock") && !guest_name_ok("a/b") &&
	   !guest_name_ok("..") && !guest_name_ok("-x") && !guest_name_ok("a b"), "no names");
	is_err(load("../x"), &err, -EINVAL, "'../x' is no name for a guest: " GUEST_NAME_RULE);
}

static void test_writing(void)
{
	json_t *record = NULL;

	is_err(load("web"), &err, -ENOENT, "there is no guest 'web'");
	is_int(write_text("web", "{}", GUEST_UPDATE), -ENOENT, "nothing to update");
	is_int(write_text("web", "{\"socket\":\"/s\",\"pid\":1,\"ours\":[1]}", GUEST_CREATE), 0,
	       "one is made");
	is_err(write_text("web", "{}", GUEST_CREATE), &err, -EEXIST,
	       "there is a guest 'web' already");
	is_int(write_text("web", "{\"layer\":\"ab\",\"pid\":null}", GUEST_UPDATE), 0, "updated");
	is_int(guest_load(run, "web", &record, &err), 0, "read");
	is_str(guest_text(record, "socket"), "/s", "what was there is kept");
	is_str(guest_text(record, "layer"), "ab", "what is new is there");
	is_int(json_array_size(json_object_get(record, "ours")), 1, "unknown members are kept");
	is_int(guest_pid(record), 0, "null is no pid");
	is_str(guest_text(record, "agent"), NULL, "what is not there is no text");
	json_decref(record);
	is_int(write_text("web", "{\"socket\":7}", GUEST_UPDATE), -EBADMSG, "a wrong type");
	is_int(load("web"), 0, "changes nothing");
	is_int(write_text("web", "{\"live\":\"l\"}", GUEST_REPLACE), 0, "replaced");
	is_int(guest_load(run, "web", &record, &err), 0, "read");
	is_str(guest_text(record, "socket"), NULL, "without what was there");
	json_decref(record);
	is_int(guest_remove(run, "web", &err), 0, "removed");
	is_err(guest_remove(run, "web", &err), &err, -ENOENT, "there is no guest 'web'");
}

/* Ends under a name that looks like the state of one that runs. */
static pid_t make_zombie(void)
{
	siginfo_t info;
	pid_t child = fork();

	if (child == 0) {
		(void)prctl(PR_SET_NAME, "vm) S 1 (x");
		_exit(0);
	}
	if (waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT) < 0)
		bail("cannot wait for a child");
	return child;
}

static void test_pids(void)
{
	json_t *record = json_pack("{s:i}", "pid", (int)getpid());
	pid_t child = make_zombie();
	uint64_t start;

	is_int(guest_pid(record), getpid(), "one that lives");
	if (proc_start(getpid(), &start) < 0)
		bail("no /proc");
	json_object_set_new(record, "pid_start", json_integer((json_int_t)start));
	is_int(guest_pid(record), getpid(), "of which it is known when it began");
	json_object_set_new(record, "pid_start", json_integer((json_int_t)start - 1));
	is_int(guest_pid(record), 0, "a later one of that number is another");
	json_object_del(record, "pid_start");
	json_object_set_new(record, "pid", json_integer(child));
	is_int(guest_pid(record), 0, "one that has ended, and nobody waited for");
	(void)waitpid(child, NULL, 0);
	is_int(guest_pid(record), 0, "one that has ended");
	json_object_set_new(record, "pid", json_integer(-1));
	is_int(guest_pid(record), 0, "everybody is nobody");
	json_decref(record);
}

/* Behind what is wrong with it. */
#define CURE " ('%s/guests/a.json'): 'lamina guest rm a' forgets it, then 'lamina guest add', or " \
	"--hypervisor and --socket, say what runs it", run

static void test_hostile(void)
{
	static char large[GUEST_RECORD_MAX + 100];

	put("a", "{\"name\":\"b\"}");
	is_err(load("a"), &err, -EBADMSG, "the record of guest 'a' is another one's: 'b'"
	       CURE);
	put("a", "[]");
	is_int(load("a"), -EBADMSG, "an array");
	put("a", "{\"name\":\"a\"");
	is_int(load("a"), -EBADMSG, "cut off");
	put("a", "{\"name\":\"a\",\"name\":\"a\"}");
	is_int(load("a"), -EBADMSG, "a member twice");
	put("a", "{\"name\":\"a\",\"command\":[1]}");
	is_int(load("a"), -EBADMSG, "a command of numbers");
	put("a", "{\"name\":\"a\",\"pid\":\"1\"}");
	is_err(load("a"), &err, -EBADMSG, "the record of guest 'a' has a 'pid' of the wrong type"
	       CURE);
	memset(large, ' ', sizeof(large) - 1);
	put("a", large);
	is_err(load("a"), &err, -EBADMSG, "the record of guest 'a' is too large"
	       CURE);
	put("a", "{\"name\":\"a\"}");
	is_int(load("a"), 0, "a good one");
	(void)chmod(file_of("a"), 0666);
	is_err(load("a"), &err, -EBADMSG, "the record of guest 'a' can be written by others"
	       CURE);
	(void)unlink(file_of("a"));
	(void)symlink("/etc/passwd", file_of("a"));
	is_err(load("a"), &err, -EBADMSG, "the record of guest 'a' is a symbolic link"
	       CURE);
	is_int(write_text("a", "{}", GUEST_UPDATE), -EBADMSG, "nor written through");
	(void)unlink(file_of("a"));
	(void)mkfifo(file_of("a"), 0600);
	is_err(load("a"), &err, -EBADMSG, "the record of guest 'a' is no regular file"
	       CURE);
	is_int(write_text("a", "{}", GUEST_REPLACE), 0, "but replaced");
	is_int(load("a"), 0, "by a good one");
}

struct seen {
	char names[100];
	int bad;
};

static int see(void *ctx, const struct guest_seen *one)
{
	struct seen *seen = ctx;

	strcat(seen->names, one->name);
	seen->bad += one->record ? 0 : one->code == -EBADMSG;
	return 0;
}

static void test_each(void)
{
	struct seen seen = {"", 0};

	put("c", "{");
	(void)write_text("b", "{}", GUEST_REPLACE);
	is_int(guest_each(run, see, &seen, &err), 0, "all of them");
	is_str(seen.names, "abc", "in order");
	is_int(seen.bad, 1, "with one that cannot be read");
	is_int(guest_each("/nonexistent", see, &seen, &err), 0, "of none there are none");
	torn = true;
	seen = (struct seen){"", 0};
	is_err(guest_each(run, see, &seen, &err), &err, -EIO,
	       "cannot read '%s/guests': %s", run, strerror(EIO));
	is_str(seen.names, "", "a part is not taken for all of them");
	torn = false;
}

static void read_memory(const char *name, struct guest_memory *ret, int want, const char *what)
{
	json_t *record = NULL;

	*ret = (struct guest_memory){.pid = 0};
	if (guest_load(run, name, &record, &err) < 0)
		bail("no record: %s", err.text);
	is_int(guest_memory_get(record, ret), want, "%s", what);
	json_decref(record);
}

static bool is_same(const struct guest_memory *a, const struct guest_memory *b)
{
	json_t *x = guest_memory_json(a), *y = guest_memory_json(b);
	bool same = json_equal(x, y);

	json_decref(x);
	json_decref(y);
	return same;
}

static void test_memory(void)
{
	struct guest_memory m = {.has_layer = true, .layer = {{7}}}, got, other;

	m.mark = (struct live_mark){.store = {1, 255}, .name = "disk", .created = 5,
				    .inode = UINT64_MAX, .born = -1, .delta = 3,
				    .written = INT64_MAX};
	is_int(guest_memory_process(getpid(), &m), 0, "which process we are");
	is_int(guest_memory_process(0, &other), -ESRCH, "0 is none");
	(void)write_text("m1", "{}", GUEST_REPLACE);
	(void)write_text("m2", "{\"socket\":\"s\"}", GUEST_REPLACE);
	(void)write_text("m3", "{}", GUEST_REPLACE);
	read_memory("m1", &got, -ENOENT, "nothing is known of a guest's memory");
	is_int(guest_memory_put(run, "m1", &m, &err), 0, "what is");
	read_memory("m1", &got, 0, "is kept");
	ok(is_same(&got, &m), "as it was");
	other = m;
	other.pid++;
	other.has_layer = false;
	other.layer = (struct digest){{0}};
	(void)guest_memory_put(run, "m2", &m, &err);
	(void)guest_memory_put(run, "m3", &other, &err);
	is_int(guest_memory_withdraw(run, &m, &err), 0, "of a process it is withdrawn");
	read_memory("m1", &got, -ENOENT, "from one record");
	read_memory("m2", &got, -ENOENT, "and another");
	read_memory("m3", &got, 0, "not that of another process");
	ok(is_same(&got, &other), "which has no layer");
	other.space++;
	other.pid++;
	is_int(guest_memory_withdraw(run, &other, &err), 0,
	       "one that has that number elsewhere and began then");
	read_memory("m3", &got, -ENOENT, "may be it");
	(void)guest_memory_put(run, "m3", &m, &err);
	is_int(guest_memory_withdraw(run, NULL, &err), 0, "any");
	read_memory("m3", &got, -ENOENT, "may be one that is not known");
	(void)write_text("m1", "{\"memory\":{\"pid\":0}}", GUEST_UPDATE);
	read_memory("m1", &got, -EBADMSG, "what says nothing");
	is_int(write_text("m1", "{\"memory\":[]}", GUEST_UPDATE), -EBADMSG, "what is none");
	is_int(guest_memory_put(run, "m9", &m, &err), -ENOENT, "a guest without a record has none");
	for (int i = 1; i <= 3; i++)
		(void)guest_remove(run, (const char *[]){"m1", "m2", "m3"}[i - 1], &err);
}

static void test_hold_process(void)
{
	struct guest_held held = {0}, again = {0}, other = {0};

	is_int(guest_hold_process(run, 4711, "lamina pause", &held, &err), 0, "a process is held");
	is_err(guest_hold_process(run, 4711, "lamina pause", &again, &err), &err, -EBUSY,
	       "process %d (lamina pause) works on process 4711, the hypervisor", getpid());
	ok(guest_is_held(&held) && !guest_is_held(&again), "once");
	is_int(guest_hold_process(run, 4712, "lamina pause", &other, &err), 0, "and another one");
	guest_let_go(run, &again);
	guest_let_go(run, &held);
	guest_let_go(run, &other);
	ok(!guest_is_held(&held) && !guest_is_held(&other), "they are let go");
	is_int(guest_hold_process(run, 4711, "lamina pause", &held, &err), 0, "for the next");
	guest_let_go(run, &held);
}

static void test_hold(void)
{
	int a = guest_hold(run, "web", "lamina resume", &err), status;
	pid_t child;

	ok(a >= 0, "held, without a record");
	is_err(guest_hold(run, "web", "lamina pause", &err), &err, -EBUSY,
	       "process %d (lamina resume) works on guest 'web'", getpid());
	close(a);
	a = guest_hold(run, "web", "lamina resume", &err);
	ok(a >= 0, "let go");
	(void)write_text("web", "{}", GUEST_REPLACE);
	is_err(guest_remove(run, "web", &err), &err, -EBUSY,
	       "process %d (lamina resume) works on guest 'web'", getpid());
	close(a);
	is_int(guest_remove(run, "web", &err), 0, "it is removed when nobody does");
	child = fork();
	if (child == 0)
		_exit(guest_hold(run, "web", "lamina resume", &err) >= 0 ? 0 : 1);
	(void)waitpid(child, &status, 0);
	is_int(status, 0, "and its name is free");
}

static void test_hold_live(void)
{
	const struct guest_live_at web = {1, 2, "web"}, other = {1, 3, "web"}, bad = {1, 2, "a/b"};
	struct guest_held a = {0}, b = {0}, c = {0};

	is_int(guest_hold_live(run, &web, "lamina resume of guest 'a'", &a, &err), 0,
	       "a live image is held");
	is_err(guest_hold_live(run, &web, "lamina resume of guest 'b'", &b, &err), &err, -EBUSY,
	       "process %d (lamina resume of guest 'a') works on live image 'web': --live names "
	       "another", getpid());
	is_int(guest_hold_live(run, &other, "lamina resume of guest 'b'", &b, &err), 0,
	       "and one of its name in another store");
	is_int(guest_hold_live(run, &bad, "lamina resume of guest 'b'", &c, &err), -EINVAL,
	       "not what is no name");
	guest_let_go(run, &a);
	guest_let_go(run, &b);
	guest_let_go(run, &c);
	is_int(guest_hold_live(run, &web, "lamina resume of guest 'b'", &a, &err), 0,
	       "it is let go");
	guest_let_go(run, &a);
	guest_let_go(run, &a);
}

static void test_hold_socket(void)
{
	const struct guest_socket_at at = {1, 2, "a.sock"}, other = {1, 3, "a.sock"};
	const struct guest_socket_at deep = {1, 2, "not/yet/a.sock"};
	struct guest_held a = {0}, b = {0}, c = {0};

	is_int(guest_hold_socket(run, &at, "lamina resume of guest 'a'", &a, &err), 0,
	       "a socket is held");
	is_err(guest_hold_socket(run, &at, "lamina resume of guest 'b'", &b, &err), &err, -EBUSY,
	       "process %d (lamina resume of guest 'a') works on socket 'a.sock': --socket names "
	       "another", getpid());
	is_int(guest_hold_socket(run, &other, "lamina resume of guest 'b'", &b, &err), 0,
	       "and one of its name elsewhere");
	is_int(guest_hold_socket(run, &deep, "lamina resume of guest 'c'", &c, &err), 0,
	       "and one below it");
	guest_let_go(run, &b);
	guest_let_go(run, &c);
	guest_let_go(run, &a);
	is_int(guest_hold_socket(run, &at, "lamina resume of guest 'b'", &a, &err), 0,
	       "it is let go");
	guest_let_go(run, &a);
}

static void test_drop(void)
{
	char lock[PATH_MAX];

	(void)snprintf(lock, sizeof(lock), "%s/guests/drop.lock", run);
	guest_drop(run, "drop", guest_hold(run, "drop", "lamina resume", &err));
	ok(access(lock, F_OK) < 0, "of a name without a record no lock is left");
	is_int(write_text("drop", "{}", GUEST_CREATE), 0, "a record");
	guest_drop(run, "drop", guest_hold(run, "drop", "lamina resume", &err));
	ok(access(lock, F_OK) == 0, "of another it is");
	is_int(guest_remove(run, "drop", &err), 0, "until that is removed");
	ok(access(lock, F_OK) < 0, "with it");
}

/* Who is killed holds nothing, and what it wrote is not said of the next one. */
static void test_hold_killed(void)
{
	int fd, tell[2], status;
	pid_t child;

	if (pipe(tell) < 0)
		bail("no pipe");
	child = fork();
	if (child == 0) {
		fd = guest_hold(run, "web", "lamina pause", &err);
		(void)!write(tell[1], "", 1);
		(void)pause();
		_exit(fd < 0);
	}
	(void)!read(tell[0], &status, 1);
	is_err(guest_hold(run, "web", "lamina resume", &err), &err, -EBUSY,
	       "process %d (lamina pause) works on guest 'web'", child);
	(void)kill(child, SIGKILL);
	(void)waitpid(child, &status, 0);
	fd = open(tap_path("guests/web.lock"), O_RDWR | O_CLOEXEC);
	is_int(flock(fd, LOCK_EX | LOCK_NB), 0, "who was killed has let go");
	is_err(guest_hold(run, "web", "lamina resume", &err), &err, -EBUSY,
	       "process %d (another lamina) works on guest 'web'", getpid());
	close(fd);
	close(tell[0]);
	close(tell[1]);
}

/* Two who write at once lose nothing of each other. */
static void test_together(void)
{
	enum { N = 20 };
	json_t *record = NULL;
	pid_t child;
	char text[40];

	(void)write_text("two", "{}", GUEST_REPLACE);
	child = fork();
	for (int i = 0; i < N; i++) {
		(void)snprintf(text, sizeof(text), "{\"%c%d\":1}", child ? 'p' : 'c', i);
		(void)write_text("two", text, GUEST_UPDATE);
	}
	if (child == 0)
		_exit(0);
	(void)waitpid(child, NULL, 0);
	is_int(guest_load(run, "two", &record, &err), 0, "after both");
	is_int(json_object_size(record), 2 * N + 1, "all is there");
	json_decref(record);
}

int main(void)
{
	run = tap_tmpdir();
	test_names();
	test_writing();
	test_pids();
	test_hostile();
	test_each();
	test_hold();
	test_hold_process();
	test_hold_live();
	test_hold_socket();
	test_drop();
	test_hold_killed();
	test_memory();
	test_together();
	return tap_done();
}
