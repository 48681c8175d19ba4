/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/touch.h"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "store/base/trace.h"
#include "tests/unit/session-fixture.h"

#define NPAGES 64

static struct err err;

static void is_trace(const char *path, const char *want, const char *name)
{
	struct trace t = {0};
	char text[1024] = "";

	if (trace_load(path, &t, &err) < 0)
		(void)snprintf(text, sizeof(text), "%s", err.text);
	for (size_t i = 0; i < t.n; i++)
		(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%d+%d ",
			       (int)t.v[i].first, (int)t.v[i].count);
	is_str(text, want, "%s", name);
	trace_fini(&t);
}

static void forget_files(struct rig *rig)
{
	memset(rig->s.state->head->recording, 0, sizeof(rig->s.state->head->recording));
}

static void is_there(const char *path, bool want, const char *name)
{
	is_int(access(path, F_OK) == 0, want, "%s", name);
}

/* What is in the directory beside what the test itself has made. */
static unsigned names(void)
{
	DIR *dir = opendir(tap_tmpdir());
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void open_again(struct rig *rig, const char *path)
{
	if (touch_reopen(path, rig->s.state, &rig->s.touch, &err) < 0)
		bail("%s", err.text);
	touch_begin(rig->s.touch, PAGE, NPAGES * PAGE);
	touch_catch_up(&rig->s);
}

static void test_record(struct rig *rig, const char *path)
{
	unsigned before = names();

	is_int(touch_open(path, rig->s.state, &rig->s.touch, &err), 0, "a recording");
	touch_note(&rig->s, 1);
	touch_begin(rig->s.touch, PAGE, NPAGES * PAGE);
	is_int(touch_flush(rig->s.touch), 0, "nothing is written");
	is_int(names(), before, "and no file is there");
	touch_note(&rig->s, 9);
	touch_note(&rig->s, 3);
	touch_note(&rig->s, 4);
	touch_note(&rig->s, 9);
	touch_note(&rig->s, 63);
	is_int(touch_flush(rig->s.touch), 0, "it is written");
	is_trace(path, "9+1 3+2 63+1 ", "each page once, in order");
	is_int(names(), before + 1, "as one file");
	touch_free(rig->s.touch);
}

/* The next worker: what has been recorded is there. */
static void test_go_on(struct rig *rig, const char *path)
{
	open_again(rig, path);
	touch_note(&rig->s, 3);
	touch_note(&rig->s, 0);
	is_int(touch_flush(rig->s.touch), 0, "it goes on");
	is_trace(path, "9+1 3+2 63+1 0+1 ", "with what was there");
	touch_free(rig->s.touch);
	is_int(touch_reopen(path, rig->s.state, &rig->s.touch, &err), 0, "of another memfile");
	touch_begin(rig->s.touch, PAGE, 2 * NPAGES * PAGE);
	touch_note(&rig->s, 3);
	is_int(touch_flush(rig->s.touch), 0, "it is written");
	is_trace(path, "3+1 ", "without");
	touch_free(rig->s.touch);
}

/* What the former worker had not written: in order of pages, but none that nobody asked for. */
static void test_catch_up(struct rig *rig, const char *path)
{
	struct state *state = rig->s.state;

	(void)unlink(path);
	forget_files(rig);
	is_int(touch_open(path, state, &rig->s.touch, &err), 0, "a recording");
	touch_begin(rig->s.touch, PAGE, NPAGES * PAGE);
	touch_note(&rig->s, 9);
	touch_note(&rig->s, 7);
	(void)touch_flush(rig->s.touch);
	touch_note(&rig->s, 40);
	touch_free(rig->s.touch);	/* as a kill -9 */
	state_set(state, 9, STATE_PRESENT);
	state_set(state, 40, STATE_PRESENT);
	state_set(state, 5, STATE_PRESENT | STATE_TRACED);
	state_set(state, 41, STATE_PRESENT | STATE_AHEAD);
	state_set(state, 2, STATE_FILLING);
	state_set(state, 1, STATE_FILLING | STATE_AHEAD);
	state_set(state, 6, STATE_REMOVED);
	open_again(rig, path);
	is_int(touch_flush(rig->s.touch), 0, "the next worker");
	is_trace(path, "9+1 7+1 5+1 40+1 2+1 ", "adds what has been asked for");
	touch_free(rig->s.touch);
	for (uint64_t page = 0; page < NPAGES; page++)
		state_set(state, page, STATE_MISSING);
}

/* A file that is there is another session's recording, or a trace, as long as we wrote none. */
static void test_older(struct rig *rig, const char *path)
{
	struct stat st;

	forget_files(rig);
	if (chmod(path, 0604) < 0)
		bail("chmod");
	is_int(touch_open(path, rig->s.state, &rig->s.touch, &err), 0, "a recording over a file");
	is_trace(path, "9+1 7+1 5+1 40+1 2+1 ", "leaves it as it is");
	touch_free(rig->s.touch);
	open_again(rig, path);
	is_int(touch_flush(rig->s.touch), 0, "the next worker has nothing of it");
	touch_note(&rig->s, 11);
	is_int(touch_flush(rig->s.touch), 0, "and writes");
	is_trace(path, "11+1 ", "what is its own");
	is_int(stat(path, &st) == 0 ? st.st_mode & 0777 : 0, 0604, "with the old one's mode");
	touch_free(rig->s.touch);
}

/* A kill between the note of a new file and its name, or of a part of it. */
static void test_killed(struct rig *rig, const char *path)
{
	struct state_file *file = rig->s.state->head->recording;
	char part[PATH_MAX];

	(void)snprintf(part, sizeof(part), "%s/.rig.recording", tap_tmpdir());
	if (symlink("recording", part) < 0)
		bail("symlink");
	file[0] = file[1];
	file[1].ino = 1;
	open_again(rig, path);
	touch_note(&rig->s, 12);
	is_int(touch_flush(rig->s.touch), 0, "cut short while it wrote");
	is_trace(path, "11+2 ", "the file before counts");
	is_there(part, false, "and what was left goes");
	touch_free(rig->s.touch);
}

static int try_open(struct rig *rig, const char *path)
{
	struct touch *t = NULL;
	int rc = touch_open(path, rig->s.state, &t, &err);

	touch_free(t);
	return rc;
}

static void test_errors(struct rig *rig)
{
	const char *dir = tap_tmpdir(), *link = tap_path("link"), *none = tap_path("none/x");

	is_err(try_open(rig, dir), &err, -EISDIR, "cannot record to '%s': %s", dir,
	       strerror(EISDIR));
	is_err(try_open(rig, none), &err, -ENOENT, "cannot record to '%s': %s", none,
	       strerror(ENOENT));
	if (symlink("recording", link) < 0)
		bail("symlink");
	is_err(try_open(rig, link), &err, -ELOOP, "cannot record to '%s': %s", link,
	       strerror(ELOOP));
	touch_free(NULL);
	is_int(touch_flush(NULL), 0, "no recording is fine");
	if (touch_open("/dev/full", rig->s.state, &rig->s.touch, &err) < 0) {
		tap_skip("no /dev/full");
		return;
	}
	touch_begin(rig->s.touch, PAGE, NPAGES * PAGE);
	touch_note(&rig->s, 3);
	is_int(touch_flush(rig->s.touch), -ENOSPC, "no room for it");
	touch_free(rig->s.touch);
}

/* In a child without rights, in a directory that is not its own: 0 if it records to `path`. */
static int stranger(struct rig *rig, const char *path)
{
	if (setgid(65534) < 0 || setuid(65534) < 0)
		return 2;
	if (touch_open(path, rig->s.state, &rig->s.touch, &err) < 0)
		return 3;
	touch_begin(rig->s.touch, PAGE, NPAGES * PAGE);
	touch_note(&rig->s, 20);
	return touch_flush(rig->s.touch) < 0 ? 4 : 0;
}

static void test_in_place(struct rig *rig, const char *path)
{
	int status = -1;
	pid_t pid;

	if (geteuid() != 0) {
		tap_skip("not root");
		return;
	}
	if (chmod(path, 0666) < 0 || chmod(tap_tmpdir(), 0755) < 0)
		bail("chmod");
	pid = fork();
	if (pid == 0)
		_exit(stranger(rig, path));
	(void)waitpid(pid, &status, 0);
	is_int(status, 0, "where no other file can be made it is written in place");
	is_trace(path, "20+1 ", "as a whole");
}

int main(void)
{
	const char *path = strdup(tap_path("recording"));
	struct rig rig;

	rig_open(&rig, NPAGES, false);
	test_record(&rig, path);
	test_go_on(&rig, path);
	test_catch_up(&rig, path);
	test_older(&rig, path);
	test_killed(&rig, path);
	test_in_place(&rig, path);
	test_errors(&rig);
	rig_close(&rig);
	free((char *)path);
	return tap_done();
}
