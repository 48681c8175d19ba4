/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/setup.h"
#include "tests/fault.h"
#include "tests/tap.h"

#define RUN "/run/lamina"
#define PLAIN "\"id\": \"vm1\", \"memfile\": \"/m\""

static json_t *parse(const char *text)
{
	json_error_t error;
	json_t *json = json_loads(text, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL,
				  &error);

	if (!json)
		bail("%s: %s", error.text, text);
	return json;
}

static int decode(const char *text, struct setup *ret, struct err *err)
{
	json_t *json = parse(text);
	int rc = setup_from_json(json, RUN, ret, err);

	json_decref(json);
	return rc;
}

static void good(const char *text, struct setup *ret)
{
	struct err err = {""};

	if (decode(text, ret, &err) < 0)
		bail("%s: %s", text, err.text);
}

static void refused(const char *text, const char *sentence)
{
	struct setup setup = {.id = (char *)"untouched"};
	struct err err = {""};
	int rc = decode(text, &setup, &err);

	is_err(rc, &err, -EINVAL, "%s", sentence);
	if (strcmp(setup.id, "untouched") != 0)
		ok(false, "the output is untouched: %s", text);
}

/* ---- what is taken ---- */

static void test_defaults(void)
{
	struct setup s;

	good("{" PLAIN "}", &s);
	is_str(s.id, "vm1", "its id");
	is_str(s.memfile, "/m", "its memfile");
	is_str(s.socket, RUN "/vm1.sock", "a socket in the runtime directory");
	ok(!s.trace && !s.record, "no trace, no recording");
	is_int(s.prefetch, WINDOW_ADAPTIVE, "the window adapts");
	is_int(s.prefetch_len, 2 << 20, "up to 2 MiB");
	is_int(s.on_error, SETUP_WAIT, "an unreadable page is waited for");
	ok(!s.detachable, "it cannot be detached");
	is_int(s.nholds, 0, "it holds nothing");
	is_int(s.peer_uid, -1, "nobody else may hand over");
	is_int(s.handoff_timeout_ms, 10000, "10 s for the handoff");
	setup_fini(&s);
	ok(!s.id && s.nholds == 0, "nothing is left");
	setup_fini(&s);
}

static void test_all(void)
{
	struct setup s;

	good("{\"id\": \"a.B-9_\", \"memfile\": \"/m\", \"socket\": \"/jail/s\", "
	     "\"prefetch\": \"256K\", \"trace\": \"/t\", \"record\": \"/r\", "
	     "\"on_error\": \"stop\", \"detachable\": true, \"hold\": [\"/a\", \"/b\"], "
	     "\"peer_uid\": 4294967294, \"handoff_timeout_ms\": 250}", &s);
	is_str(s.id, "a.B-9_", "its id");
	is_str(s.socket, "/jail/s", "its socket");
	is_str(s.trace, "/t", "its trace");
	is_str(s.record, "/r", "its recording");
	is_int(s.prefetch, WINDOW_FIXED, "a fixed window");
	is_int(s.prefetch_len, 256 << 10, "of 256 KiB, though it records");
	is_int(s.on_error, SETUP_STOP, "stop");
	ok(s.detachable, "detachable");
	is_int(s.nholds, 2, "two holds");
	is_str(s.hold[1], "/b", "the second");
	is_int(s.peer_uid, 4294967294, "a large uid");
	is_int(s.handoff_timeout_ms, 250, "a short timeout");
	setup_fini(&s);
}

static void test_prefetch(void)
{
	static const struct {
		const char *name;
		enum window_mode mode;
		uint64_t len;
	} all[] = {
		{"off", WINDOW_OFF, 0}, {"adaptive", WINDOW_ADAPTIVE, 2 << 20},
		{"64K", WINDOW_FIXED, 64 << 10}, {"128K", WINDOW_FIXED, 128 << 10},
		{"256K", WINDOW_FIXED, 256 << 10}, {"512K", WINDOW_FIXED, 512 << 10},
		{"1M", WINDOW_FIXED, 1 << 20}, {"2M", WINDOW_FIXED, 2 << 20},
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		char text[128];
		struct setup s;

		(void)snprintf(text, sizeof(text), "{" PLAIN ", \"prefetch\": \"%s\"}",
			       all[i].name);
		good(text, &s);
		ok(s.prefetch == all[i].mode && s.prefetch_len == all[i].len, "prefetch %s",
		   all[i].name);
		setup_fini(&s);
	}
}

static void test_record(void)
{
	struct setup s;

	good("{" PLAIN ", \"record\": \"/r\"}", &s);
	is_int(s.prefetch, WINDOW_OFF, "what records has no window");
	is_int(s.prefetch_len, 0, "of no length");
	setup_fini(&s);
	good("{" PLAIN ", \"prefetch\": \"adaptive\", \"record\": \"/r\"}", &s);
	is_int(s.prefetch, WINDOW_ADAPTIVE, "unless it is asked for");
	setup_fini(&s);
}

static void test_on_error(void)
{
	struct setup s;

	good("{" PLAIN ", \"on_error\": \"poison\"}", &s);
	is_int(s.on_error, SETUP_POISON, "poison");
	setup_fini(&s);
	is_str(setup_on_error_name(SETUP_WAIT), "wait", "the name of wait");
	is_str(setup_on_error_name(SETUP_POISON), "poison", "of poison");
	is_str(setup_on_error_name(SETUP_STOP), "stop", "of stop");
}

/* What was written says everything, and is the same when it was read again. */
static void same_again(const char *text, const char *want)
{
	json_t *json, *again, *wanted = parse(want);
	struct setup s, t;
	struct err err = {""};

	good(text, &s);
	json = setup_to_json(&s);
	ok(json_equal(json, wanted), "written: %s", want);
	if (setup_from_json(json, "/elsewhere", &t, &err) < 0)
		bail("%s", err.text);
	again = setup_to_json(&t);
	ok(json_equal(json, again), "and read and written again");
	json_decref(again);
	json_decref(json);
	json_decref(wanted);
	setup_fini(&s);
	setup_fini(&t);
}

static void test_to_json(void)
{
	same_again("{" PLAIN "}",
		   "{" PLAIN ", \"socket\": \"/run/lamina/vm1.sock\", \"prefetch\": \"adaptive\", "
		   "\"on_error\": \"wait\", \"detachable\": false, \"hold\": [], "
		   "\"peer_uid\": -1, \"handoff_timeout_ms\": 10000}");
	same_again("{" PLAIN ", \"record\": \"/r\", \"hold\": [\"/h\"], \"peer_uid\": 0}",
		   "{" PLAIN ", \"socket\": \"/run/lamina/vm1.sock\", \"prefetch\": \"off\", "
		   "\"record\": \"/r\", \"on_error\": \"wait\", \"detachable\": false, "
		   "\"hold\": [\"/h\"], \"peer_uid\": 0, \"handoff_timeout_ms\": 10000}");
	same_again("{" PLAIN ", \"trace\": \"/t\", \"prefetch\": \"1M\", \"socket\": \"/s\", "
		   "\"on_error\": \"stop\", \"detachable\": true}",
		   "{" PLAIN ", \"socket\": \"/s\", \"prefetch\": \"1M\", \"trace\": \"/t\", "
		   "\"on_error\": \"stop\", \"detachable\": true, \"hold\": [], "
		   "\"peer_uid\": -1, \"handoff_timeout_ms\": 10000}");
}

/* ---- what is refused ---- */

static void test_missing(void)
{
	refused("[]", "a session is to be a JSON object");
	refused("null", "a session is to be a JSON object");
	refused("{}", "'id' is missing");
	refused("{\"memfile\": \"/m\"}", "'id' is missing");
	refused("{\"id\": \"x\"}", "'memfile' is missing");
}

static void test_unknown(void)
{
	refused("{" PLAIN ", \"prefech\": \"2M\"}", "'prefech' is no field of a session");
	refused("{" PLAIN ", \"\": 1}", "'' is no field of a session");
	refused("{" PLAIN ", \"Id\": 1}", "'Id' is no field of a session");
	refused("{" PLAIN ", \"a\\n\\u007fb\": 1}", "'a??b' is no field of a session");
	refused("{" PLAIN ", \"0123456789012345678901234567890123456789"
		"01234567890123456789012\\u20ac9\": 1}",
		"'012345678901234567890123456789012345678901234567890123456789012...' "
		"is no field of a session");
}

static void test_mistyped(void)
{
	refused("{\"id\": 1, \"memfile\": \"/m\"}", "'id' is to be a string");
	refused("{\"id\": \"x\", \"memfile\": null}", "'memfile' is to be a string");
	refused("{" PLAIN ", \"socket\": {}}", "'socket' is to be a string");
	refused("{" PLAIN ", \"trace\": false}", "'trace' is to be a string");
	refused("{" PLAIN ", \"record\": []}", "'record' is to be a string");
	refused("{" PLAIN ", \"prefetch\": 65536}", "'prefetch' is to be a string");
	refused("{" PLAIN ", \"on_error\": null}", "'on_error' is to be a string");
	refused("{" PLAIN ", \"detachable\": 1}", "'detachable' is to be true or false");
	refused("{" PLAIN ", \"detachable\": \"true\"}", "'detachable' is to be true or false");
	refused("{" PLAIN ", \"hold\": \"/x\"}", "'hold' is to be an array of at most 16 paths");
	refused("{" PLAIN ", \"hold\": [\"/x\", 7]}", "'hold[1]' is to be a string");
}

static void test_numbers(void)
{
	static const char *const uids[] = {"\"0\"", "1.0", "-2", "4294967295", "null"};
	static const char *const times[] = {"0", "-1", "3600001", "true"};
	char text[128];

	for (size_t i = 0; i < sizeof(uids) / sizeof(*uids); i++) {
		(void)snprintf(text, sizeof(text), "{" PLAIN ", \"peer_uid\": %s}", uids[i]);
		refused(text, "'peer_uid' is to be an integer from -1 to 4294967294");
	}
	for (size_t i = 0; i < sizeof(times) / sizeof(*times); i++) {
		(void)snprintf(text, sizeof(text), "{" PLAIN ", \"handoff_timeout_ms\": %s}",
			       times[i]);
		refused(text, "'handoff_timeout_ms' is to be an integer from 1 to 3600000");
	}
}

static void test_ids(void)
{
	static const char *const bad[] = {"", ".", "..", ".x", "a/b", "a b", "\xc3\xa9",
		"01234567890123456789012345678901234567890123456789012345678901234"};
	char text[256], want[256];
	struct setup s;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		bool is_long = strlen(bad[i]) > 64;

		(void)snprintf(text, sizeof(text), "{\"id\": \"%s\", \"memfile\": \"/m\"}", bad[i]);
		(void)snprintf(want, sizeof(want),
			       "'id' is to be 1 to 64 letters, digits, '.', '_' or '-', "
			       "the first not a '.': not '%.64s%s'", bad[i], is_long ? "..." : "");
		refused(text, want);
	}
	(void)snprintf(text, sizeof(text), "{\"id\": \"%s\", \"memfile\": \"/m\"}", bad[7] + 1);
	good(text, &s);
	is_int(strlen(s.id), 64, "64 letters are good");
	setup_fini(&s);
	refused("{\"id\": \"a\\u0000b\", \"memfile\": \"/m\"}", "'id' has a NUL in it");
}

static char *long_path(const char *name, size_t len)
{
	static char text[8192];
	int n = snprintf(text, sizeof(text), "{\"id\": \"vm1\", %s\"%s\": \"/",
			 strcmp(name, "memfile") ? "\"memfile\": \"/m\", " : "", name);

	memset(text + n, 'x', len - 1);
	(void)snprintf(text + n + len - 1, sizeof(text) - (size_t)n - len, "\"}");
	return text;
}

static void test_paths(void)
{
	static const char *const names[] = {"memfile", "trace", "record"};
	char want[128];
	struct setup s;

	refused("{\"id\": \"x\", \"memfile\": \"m\"}",
		"'memfile' is to be an absolute path, not 'm'");
	refused("{" PLAIN ", \"socket\": \"\"}", "'socket' is to be an absolute path, not ''");
	refused("{" PLAIN ", \"hold\": [\"a\"]}", "'hold[0]' is to be an absolute path, not 'a'");
	refused("{" PLAIN ", \"trace\": \"/a\\u0000b\"}", "'trace' has a NUL in it");
	refused("{" PLAIN ", \"record\": \"/m\"}", "'record' would overwrite the memfile");
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		(void)snprintf(want, sizeof(want), "'%s' is longer than 4095 bytes", names[i]);
		refused(long_path(names[i], 4096), want);
	}
	good(long_path("trace", 4095), &s);
	is_int(strlen(s.trace), 4095, "4095 bytes are good");
	setup_fini(&s);
	refused(long_path("socket", 108), "'socket' is longer than 107 bytes");
	good(long_path("socket", 107), &s);
	is_int(strlen(s.socket), 107, "107 bytes are good for a socket");
	setup_fini(&s);
}

static void test_words(void)
{
	refused("{" PLAIN ", \"prefetch\": \"4M\"}",
		"'prefetch' is to be off, adaptive, 64K, 128K, 256K, 512K, 1M or 2M, not '4M'");
	refused("{" PLAIN ", \"prefetch\": \"\"}",
		"'prefetch' is to be off, adaptive, 64K, 128K, 256K, 512K, 1M or 2M, not ''");
	refused("{" PLAIN ", \"on_error\": \"panic\"}",
		"'on_error' is to be wait, poison or stop, not 'panic'");
}

static void test_holds(void)
{
	char text[256] = "{" PLAIN ", \"hold\": [\"/0\"";
	struct setup s;

	for (unsigned i = 1; i < SETUP_HOLDS_MAX; i++)
		(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), ", \"/%u\"", i);
	memcpy(text + strlen(text), "]}", 3);
	good(text, &s);
	is_int(s.nholds, 16, "16 holds are good");
	is_str(s.hold[15], "/15", "the last of them");
	setup_fini(&s);
	memcpy(strchr(text, ']'), ", \"/16\"]}", 10);
	refused(text, "'hold' is to be an array of at most 16 paths");
}

static void test_runtime_dir(void)
{
	json_t *json = parse("{\"id\": \"0123456789012345678901234567890123456789012345678901234567"
			     "89012\", \"memfile\": \"/m\"}");
	struct setup s;
	struct err err = {""};

	is_err(setup_from_json(json, "/a/rather/long/runtime/directory/of/some/host", &s, &err),
	       &err, -EINVAL,
	       "the socket's path in '/a/rather/long/runtime/directory/of/some/host' would be "
	       "longer than 107 bytes: give a shorter 'id', or 'socket'");
	json_decref(json);
}

/* ---- without memory ---- */

static void test_no_memory(void)
{
	json_t *json = parse("{" PLAIN ", \"trace\": \"/t\", \"hold\": [\"/a\", \"/b\"]}");
	struct setup s = {0};
	struct err err = {""};
	unsigned long n;
	int rc = -ENOMEM;

	for (n = 1; n < 100 && rc < 0; n++) {
		fault_arm(FAULT_MALLOC, n, ENOMEM);
		rc = setup_from_json(json, RUN, &s, &err);
		fault_disarm();
		if (rc < 0)
			is_err(rc, &err, -ENOMEM, "a session cannot be set up: out of memory");
	}
	ok(rc == 0 && n > 5, "in the end it is set up");
	setup_fini(&s);
	json_decref(json);
}

static unsigned long allocations_left;

static void *scarce_malloc(size_t size)
{
	return allocations_left-- > 0 ? malloc(size) : NULL;
}

static void test_no_memory_for_json(void)
{
	json_t *json = NULL;
	struct setup s;
	unsigned long n;

	good("{" PLAIN ", \"trace\": \"/t\", \"hold\": [\"/a\", \"/b\"]}", &s);
	for (n = 0; n < 1000 && !json; n++) {
		allocations_left = n;
		json_set_alloc_funcs(scarce_malloc, free);
		json = setup_to_json(&s);
		json_set_alloc_funcs(malloc, free);
	}
	ok(json && n > 10, "nothing or all is written, whichever allocation fails");
	json_decref(json);
	setup_fini(&s);
}

int main(void)
{
	test_defaults();
	test_all();
	test_prefetch();
	test_record();
	test_on_error();
	test_to_json();
	test_missing();
	test_unknown();
	test_mistyped();
	test_numbers();
	test_ids();
	test_paths();
	test_words();
	test_holds();
	test_runtime_dir();
	test_no_memory();
	test_no_memory_for_json();
	return tap_done();
}
