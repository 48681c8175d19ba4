/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bodies and answers of reclaim, with steps that only write down that they were here; and fstrim,
 * with ioctl() caught.  Nothing of this machine is synced, dropped, compacted or trimmed.
 */
#include "src/agent/reclaim.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "src/agent/trim.h"
#include "store/base/io.h"
#include "tests/tap.h"

#define LONG "60000"

/* Shared with the children. */
static struct {
	char seen[256];		/* the steps, in their order */
	int syncs;
	int trims;		/* and what ioctl() then says */
	char trimmed[8][64];
	int answer;
} *diary;

static void note(const char *name)
{
	size_t len = strlen(diary->seen);

	(void)snprintf(diary->seen + len, sizeof(diary->seen) - len, "%s%s", len ? " " : "", name);
}

static int good(const struct step *step, struct err *err)
{
	(void)err;
	note(step->name);
	return 0;
}

static int bad(const struct step *step, struct err *err)
{
	note(step->name);
	return err_set(err, -EIO, "cannot do it");
}

static int hang(const struct step *step, struct err *err)
{
	(void)err;
	note(step->name);
	while (true)
		pause();
	return 0;
}

static struct step steps[RECLAIM_NSTEPS] = {
	{"fstrim", good, NULL, NULL},
	{"sync", good, NULL, NULL},
	{"drop_caches", good, NULL, NULL},
	{"compact_memory", good, NULL, NULL},
};

static json_t *parse(const char *text)
{
	json_t *body = json_loads(text, JSON_DECODE_ANY, NULL);

	if (!body)
		bail("not JSON: %s", text);
	return body;
}

/* The answer's results as "fstrim:done sync:killed". */
static void results_are(const char *text, const char *want)
{
	json_t *body = parse(text), *all = NULL, *one;
	char got[256] = "";
	struct err err = {""};
	size_t i;

	diary->seen[0] = '\0';
	is_int(reclaim_with(steps, body, NULL, &all, &err), 0, "%s %s", text, err.text);
	json_array_foreach(json_object_get(all, "steps"), i, one) {
		const char *result = json_string_value(json_object_get(one, "result"));

		snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%s:%s", i ? " " : "",
			 json_string_value(json_object_get(one, "step")), result);
		ok(json_real_value(json_object_get(one, "elapsed_ms")) > 0, "its time");
		ok(!json_object_get(one, "error") == !!strcmp(result, "failed"),
		   "an error if it failed");
	}
	is_str(got, want, "%s: its results", text);
	ok(json_is_real(json_object_get(all, "elapsed_ms")), "and the time of all");
	json_decref(all);
	json_decref(body);
}

static void test_skipped(void)
{
	results_are("{}", "");
	results_are("{\"sync\": 0, \"fstrim\": -5, \"drop_caches\": 0.99}", "");
	results_are("{\"sync\": null, \"fstrim\": true, \"compact_memory\": \"9\"}", "");
	results_are("{\"drop_caches\": [5], \"compact_memory\": {}}", "");
	results_are("{\"sink\": 500, \"order\": [\"sync\"]}", "");
	is_str(diary->seen, "", "none of them was begun");
	results_are("{\"sync\": 60000.7, \"drop_caches\": 1e300}", "sync:done drop_caches:done");
	results_are("{\"sync\": " LONG ", \"drop_caches\": -1e300}", "sync:done");
}

#define ALL "\"sync\":" LONG ",\"drop_caches\":" LONG \
	",\"compact_memory\":" LONG ",\"fstrim\":" LONG

static void test_order(void)
{
	results_are("{" ALL "}", "fstrim:done sync:done drop_caches:done compact_memory:done");
	is_str(diary->seen, "fstrim sync drop_caches compact_memory", "the default order");
	results_are("{" ALL ",\"order\":[\"compact_memory\",\"sync\"]}",
		    "compact_memory:done sync:done fstrim:done drop_caches:done");
	is_str(diary->seen, "compact_memory sync fstrim drop_caches", "the others come behind");
	results_are("{\"sync\":" LONG ",\"fstrim\":" LONG
		    ",\"order\":[\"drop_caches\",\"sync\",\"fstrim\",\"compact_memory\"]}",
		    "sync:done fstrim:done");
}

static void refused(const char *text, const char *why)
{
	json_t *body = parse(text), *all = NULL;
	struct err err = {""};

	diary->seen[0] = '\0';
	is_err(reclaim_with(steps, body, NULL, &all, &err), &err, -EINVAL, "%s", why);
	ok(!all && !*diary->seen, "nothing was done");
	json_decref(body);
}

static void test_refused(void)
{
	refused("[]", "the body is not an object");
	refused("5", "the body is not an object");
	refused("{" ALL ",\"order\":\"sync\"}", "'order' is no array of steps");
	refused("{" ALL ",\"order\":null}", "'order' is no array of steps");
	refused("{" ALL ",\"order\":[\"sync\",\"rm\"]}", "'order' has what is no step: "
		"\"rm\": there are fstrim, sync, drop_caches and compact_memory");
	refused("{\"order\":[7]}", "'order' has what is no step: "
		"7: there are fstrim, sync, drop_caches and compact_memory");
	refused("{" ALL ",\"order\":[\"sync\",\"sync\"]}", "'order' has 'sync' twice");
}

/* The end of one is not the end of the others. */
static void test_trouble(void)
{
	steps[0].fn = bad;
	steps[1].fn = hang;
	results_are("{\"sync\":20,\"fstrim\":" LONG ",\"drop_caches\":" LONG "}",
		    "fstrim:failed sync:killed drop_caches:done");
	ok(strstr(diary->seen, "fstrim") && strstr(diary->seen, "drop_caches"),
	   "all had their turn");
	steps[0].fn = steps[1].fn = good;
	while (waitpid(-1, NULL, 0) > 0)
		;
}

static void test_error_text(void)
{
	json_t *body = parse("{\"sync\":" LONG "}"), *all = NULL, *one;
	struct err err = {""};

	steps[1].fn = bad;
	is_int(reclaim_with(steps, body, NULL, &all, &err), 0, "one that fails");
	one = json_array_get(json_object_get(all, "steps"), 0);
	is_str(json_string_value(json_object_get(one, "error")), "cannot do it: Input/output error",
	       "says why");
	steps[1].fn = good;
	json_decref(all);
	json_decref(body);
}

static void test_cancelled(void)
{
	json_t *body = parse("{" ALL "}"), *all = NULL;
	atomic_bool cancelled = true;
	struct err err = {""};

	diary->seen[0] = '\0';
	is_int(reclaim_with(steps, body, &cancelled, &all, &err), -ECANCELED,
	       "nobody waits for it");
	ok(!all && !*diary->seen, "then nothing is done");
	json_decref(body);
}

/* ---- the real steps ---- */

void __wrap_sync(void);

void __wrap_sync(void)
{
	diary->syncs++;
}

static void test_table(void)
{
	static const char *const names[] = {"fstrim", "sync", "drop_caches", "compact_memory"};
	struct step_outcome o;

	for (int i = 0; i < RECLAIM_NSTEPS; i++)
		is_str(reclaim_steps[i].name, names[i], "%s is a step", names[i]);
	is_str(reclaim_steps[0].path, "/proc/self/mountinfo", "what is mounted");
	is_str(reclaim_steps[2].path, "/proc/sys/vm/drop_caches", "a knob");
	is_str(reclaim_steps[2].text, "3", "pages and slabs");
	is_str(reclaim_steps[3].path, "/proc/sys/vm/compact_memory", "a knob");
	ok(reclaim_steps[2].fn == step_write && reclaim_steps[3].fn == step_write, "both written");
	is_int(step_run(&reclaim_steps[1], 60000, NULL, &o), 0, "sync");
	ok(o.result == STEP_DONE && diary->syncs == 1, "is sync(2)");
}

/* What would have been trimmed: the path of the descriptor. */
int __wrap_ioctl(int fd, unsigned long request, ...);

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	char link[64], path[512] = "";

	if (request != FITRIM || diary->trims == 8)
		abort();
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if (readlink(link, path, sizeof(path) - 1) < 0)
		abort();
	snprintf(diary->trimmed[diary->trims++], 64, "%s", strrchr(path, '/'));
	errno = diary->answer;
	return diary->answer ? -1 : 0;
}

static const char *listing(const char *format, ...)
{
	const char *path = tap_path("mountinfo");
	char text[16384];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	if (io_replace_file(AT_FDCWD, path, text, strlen(text)) < 0)
		bail("cannot write a list");
	diary->trims = 0;
	diary->answer = 0;
	return path;
}

/* As in mountinfo, with `dev` for what this test's files are on. */
#define LINE "27 1 %u:%u / %s/%s rw,relatime shared:1 - ext4 /dev/vda rw,discard\n"

static void test_trim(void)
{
	const char *dir = tap_tmpdir();
	struct err err = {""};
	struct stat st;
	unsigned a, b;

	mkdir(tap_path("one"), 0777);
	mkdir(tap_path("two words"), 0777);
	if (stat(dir, &st) < 0 || major(st.st_dev) == 0) {
		tap_skip("the temporary directory is on no block device");
		return;
	}
	a = major(st.st_dev);
	b = minor(st.st_dev);
	is_int(trim_all(listing(LINE LINE, a, b, dir, "two\\040words", a, b, dir, "one"), &err), 0,
	       "two mounts of a device");
	is_int(diary->trims, 1, "are trimmed once");
	is_str(diary->trimmed[0], "/two words", "where it is mounted first");
	is_int(trim_all(listing("1 1 %u:%u / %s/one ro,relatime - ext4 /dev/vda rw\n"
				"1 1 %u:%u / %s/one rw,relatime - ext4 /dev/vda ro\n"
				"1 1 0:21 / /proc rw,relatime - proc proc rw\n"
				"1 1 0:22 / %s/one rw - tmpfs /dev/null rw\n"
				"1 1 %u:%u / %s/none rw - ext4 /dev/vda rw\n", a, b, dir, a, b, dir,
				dir, a, b, dir), &err), 0,
	       "read-only, no block device, gone meanwhile");
	is_int(diary->trims, 0, "are passed over");
	is_int(trim_all(listing(LINE LINE, a, b + 1, dir, "one", a, b, dir, "one"), &err), 0,
	       "a file system under another");
	is_int(diary->trims, 1, "is not mistaken for it");
	is_int(trim_all(listing("no such line\n\n- - -\n1 1 %u:%u / /\n" LINE, a, b, a, b, dir,
				"one"), &err), 0, "lines that are none");
	is_int(diary->trims, 1, "do not hide others");
}

static void test_trim_errors(void)
{
	const char *dir = tap_tmpdir(), *list;
	struct err err = {""};
	struct stat st;

	is_err(trim_all(tap_path("absent"), &err), &err, -ENOENT, "cannot open '%s'",
	       tap_path("absent"));
	if (stat(dir, &st) < 0 || major(st.st_dev) == 0)
		return;
	list = listing(LINE, major(st.st_dev), minor(st.st_dev), dir, "one");
	diary->answer = EOPNOTSUPP;
	is_int(trim_all(list, &err), 0, "what cannot trim is passed over");
	diary->answer = EIO;
	is_err(trim_all(list, &err), &err, -EIO, "cannot trim '%s'", tap_path("one"));
}

int main(void)
{
	diary = mmap(NULL, sizeof(*diary), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	test_skipped();
	test_order();
	test_refused();
	test_trouble();
	test_error_text();
	test_cancelled();
	test_table();
	test_trim();
	test_trim_errors();
	return tap_done();
}
