/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/touch.h"

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

static void test_record(struct rig *rig, const char *path)
{
	is_int(touch_open(path, &rig->s.touch, &err), 0, "a recording");
	touch_note(&rig->s, 1);
	touch_begin(rig->s.touch, PAGE, NPAGES * PAGE);
	is_int(touch_flush(rig->s.touch), 0, "nothing is written");
	is_int(access(path, F_OK), 0, "but the file is there");
	touch_note(&rig->s, 9);
	touch_note(&rig->s, 3);
	touch_note(&rig->s, 4);
	touch_note(&rig->s, 9);
	touch_note(&rig->s, 63);
	is_int(touch_flush(rig->s.touch), 0, "it is written");
	is_trace(path, "9+1 3+2 63+1 ", "each page once, in order");
	touch_free(rig->s.touch);
}

/* The next worker: what has been recorded is there. */
static void test_go_on(struct rig *rig, const char *path)
{
	is_int(touch_reopen(path, &rig->s.touch, &err), 0, "it goes on");
	touch_begin(rig->s.touch, PAGE, NPAGES * PAGE);
	touch_note(&rig->s, 3);
	touch_note(&rig->s, 0);
	is_int(touch_flush(rig->s.touch), 0, "it is written");
	is_trace(path, "9+1 3+2 63+1 0+1 ", "with what was there");
	touch_free(rig->s.touch);
	is_int(touch_reopen(path, &rig->s.touch, &err), 0, "of another memfile");
	touch_begin(rig->s.touch, PAGE, 2 * NPAGES * PAGE);
	touch_note(&rig->s, 3);
	is_int(touch_flush(rig->s.touch), 0, "it is written");
	is_trace(path, "3+1 ", "without");
	touch_free(rig->s.touch);
}

static void test_errors(struct rig *rig)
{
	const char *dir = tap_tmpdir(), *link = tap_path("link");

	is_err(touch_open(dir, &rig->s.touch, &err), &err, -EISDIR, "cannot record to '%s': %s",
	       dir, strerror(EISDIR));
	if (symlink("recording", link) < 0)
		bail("symlink");
	is_err(touch_open(link, &rig->s.touch, &err), &err, -ELOOP, "cannot record to '%s': %s",
	       link, strerror(ELOOP));
	if (touch_open("/dev/full", &rig->s.touch, &err) < 0) {
		tap_skip("no /dev/full");
		return;
	}
	touch_begin(rig->s.touch, PAGE, NPAGES * PAGE);
	touch_note(&rig->s, 3);
	is_int(touch_flush(rig->s.touch), -ENOSPC, "no room for it");
	touch_free(rig->s.touch);
	touch_free(NULL);
	is_int(touch_flush(NULL), 0, "no recording is fine");
}

int main(void)
{
	const char *path = strdup(tap_path("recording"));
	struct rig rig;

	rig_open(&rig, NPAGES, false);
	test_record(&rig, path);
	test_go_on(&rig, path);
	test_errors(&rig);
	rig_close(&rig);
	free((char *)path);
	return tap_done();
}
