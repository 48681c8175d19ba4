/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a pager says of one session, and what that comes to; where nobody answers. */
#include "src/graduate/scan.h"
#include "tests/tap.h"

#include <sys/stat.h>

static struct rules_session got;

static int read_session(const char *text)
{
	static json_t *json;		/* ids are borrowed */

	json_decref(json);
	json = json_loads(text, JSON_DECODE_ANY, NULL);
	if (!json)
		bail("no JSON: %s", text);
	got = (struct rules_session){.number = 77};
	return scan_session(json, &got);
}

static void test_whole(void)
{
	is_int(read_session("{\"id\":\"vm1\",\"number\":3,\"state\":\"serving\",\"pid\":42,"
			    "\"age_seconds\":1.5,\"detachable\":true}"), 1, "a session");
	is_str(got.id, "vm1", "its id");
	is_int(got.number, 3, "number");
	is_int(got.state, RULES_SERVING, "state");
	is_int(got.pid, 42, "process");
	ok(got.has_age, "it has an age");
	is_int(got.age_ns, 1500000000, "in nanoseconds");
	ok(got.detachable, "it is detachable");
}

static void test_states(void)
{
	static const struct {
		const char *word;
		int rc;
		enum rules_state state;
	} states[] = {
		{"waiting", 1, RULES_WAITING}, {"serving", 1, RULES_SERVING},
		{"completing", 1, RULES_COMPLETING}, {"levitating", 1, RULES_OTHER},
		{"graduated", 0, 0}, {"failed", 0, 0}, {"gone", 0, 0},
	};
	char text[128];

	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		(void)snprintf(text, sizeof(text), "{\"id\":\"a\",\"number\":5,\"state\":\"%s\"}",
			       states[i].word);
		is_int(read_session(text), states[i].rc, "%s", states[i].word);
		if (states[i].rc)
			is_int(got.state, states[i].state, "is known as that");
		is_int(got.number, 5, "its number is told in any case");
	}
}

static void test_little(void)
{
	is_int(read_session("{\"id\":\"a\",\"number\":1,\"state\":\"waiting\",\"pid\":null,"
			    "\"age_seconds\":null}"), 1, "what is not known yet is null");
	ok(!got.has_age && !got.detachable && got.pid == 0, "and unknown");
	is_int(read_session("{\"id\":\"a\",\"number\":1,\"state\":\"serving\",\"pid\":-4,"
			    "\"age_seconds\":-1,\"detachable\":1}"), 1, "nonsense");
	ok(!got.has_age && !got.detachable && got.pid == 0, "is not believed");
	is_int(read_session("{\"id\":\"a\",\"number\":1,\"state\":\"serving\","
			    "\"pid\":99999999999,\"age_seconds\":\"5\"}"), 1, "more of it");
	ok(!got.has_age && got.pid == 0, "neither");
	(void)read_session("{\"id\":\"a\",\"number\":1,\"state\":\"serving\","
			   "\"age_seconds\":1e300}");
	is_int(got.age_ns, UINT64_C(1000000000) * 1000000000, "an age has a limit");
}

static void test_refusals(void)
{
	static const char *const bad[] = {
		"{}", "[]", "7", "{\"id\":\"a\",\"number\":1}",
		"{\"id\":\"a\",\"state\":\"serving\"}",
		"{\"number\":1,\"state\":\"serving\"}",
		"{\"id\":\"\",\"number\":1,\"state\":\"serving\"}",
		"{\"id\":7,\"number\":1,\"state\":\"serving\"}",
		"{\"id\":\"a\",\"number\":0,\"state\":\"serving\"}",
		"{\"id\":\"a\",\"number\":-1,\"state\":\"serving\"}",
		"{\"id\":\"a\",\"number\":1.5,\"state\":\"serving\"}",
		"{\"id\":\"a\",\"number\":1,\"state\":null}",
	};
	char id[257], text[512];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		is_int(read_session(bad[i]), -EBADMSG, "%s", bad[i]);
		ok(!got.id && got.number == 77, "leaves the output untouched");
	}
	for (int len = 255; len <= 256; len++) {
		memset(id, 'x', (size_t)len);
		id[len] = '\0';
		(void)snprintf(text, sizeof(text),
			       "{\"id\":\"%s\",\"number\":1,\"state\":\"serving\"}", id);
		is_int(read_session(text), len == 255 ? 1 : -EBADMSG, "an id of %d", len);
	}
}

static void test_nobody(void)
{
	struct scan scan = {.npagers = 99};
	struct err err = {""};

	is_int(scan_take(tap_path("none"), 1000, &scan, &err), 0, "no directory");
	ok(scan.npagers == 0 && scan.sessions.n == 0, "has nobody in it");
	scan_fini(&scan);
	scan_fini(&scan);
	if (mkdir(tap_path("root"), 0755) < 0 ||
	    symlink("/nosuch", tap_path("root/pager.sock")) < 0)
		bail("cannot make a directory");
	is_int(scan_take(tap_path("root"), 1000, &scan, &err), 0, "a socket that leads nowhere");
	if (is_int(scan.npagers, 1, "is a pager")) {
		const struct scan_pager *p = &scan.pagers[0];

		ok(!p->version && !p->is.version && p->sessions == 0, "that does not answer");
		is_err(p->code, &p->err, -ENOENT, "there is no socket '%s/root/pager.sock'",
		       tap_tmpdir());
		ok(scan_has_ended(p), "it has ended");
	}
	scan_fini(&scan);
	ok(!scan_has_ended(&(struct scan_pager){.code = -ETIMEDOUT}), "one that hangs has not");
	ok(!scan_has_ended(&(struct scan_pager){.code = 0}), "nor has one that answers");
}

int main(void)
{
	test_whole();
	test_states();
	test_little();
	test_refusals();
	test_nobody();
	return tap_done();
}
