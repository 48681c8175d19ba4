/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/host/pause-settings.h"
#include "store/base/conf.h"
#include "store/base/io.h"
#include "tests/tap.h"

#include <fcntl.h>

static struct pause_settings s;
static struct err err;

/* What `text` as lamina.conf says of `guest`, with `wishes`. */
static int load(const char *text, const char *guest, const struct pause_wishes *wishes)
{
	const char *path = tap_path("lamina.conf");
	struct conf *conf = NULL;
	int rc;

	if (io_replace_file(AT_FDCWD, path, text, strlen(text)) < 0)
		bail("cannot write a file");
	pause_settings_fini(&s);
	rc = conf_open(path, &conf, &err);
	if (rc == 0)
		rc = pause_settings_load(conf, guest, wishes, &s, &err);
	conf_free(conf);
	return rc;
}

static const struct pause_wishes none;

static void is_reclaim(const char *want, const char *what)
{
	char *got = s.reclaim ? json_dumps(s.reclaim, JSON_COMPACT | JSON_SORT_KEYS) : NULL;

	is_str(got, want, "%s", what);
	free(got);
}

static void test_defaults(void)
{
	is_int(load("", "web", &none), 0, "an empty file");
	ok(!s.reclaim && !s.collapse && !s.freeze && !s.drain_ms && !s.leave && !s.metrics_file,
	   "all is off");
	is_int(s.agent_timeout_ms, 3000, "agent_timeout");
	is_int(s.freeze_timeout_ms, 5000, "freeze_timeout");
	is_int(s.collapse_timeout_ms, 10000, "collapse_timeout");
	is_int(s.snapshot_timeout_ms, 300000, "snapshot_timeout");
	is_int(load("[reclaim]\nsync = 500\n", "web", &none), 0, "[reclaim] alone");
	ok(!s.reclaim, "asks for nothing");
	is_int(load("[pause]\nreclaim = true\n", "web", &none), 0, "a reclaim, and no caps");
	is_reclaim("{\"compact_memory\":1000,\"drop_caches\":200,\"fstrim\":500,\"sync\":500}",
		   "has its own");
	is_int(s.reclaim_ms, 2200, "the sum");
	is_int(load("[pause]\nreclaim = true\n[reclaim]\nsync = 0\n", "web", &none), 0,
	       "with what is to be left out");
	ok(!s.reclaim, "there is nothing");
}

static void test_values(void)
{
	is_int(load("[pause]\nreclaim = yes\ncollapse = true\nfreeze = a.slice\ndrain = 1500\n"
		    "leave = on\nmetrics_file = /m\nagent_timeout = 1s\nfreeze_timeout = 20ms\n"
		    "collapse_timeout = 2m\nsnapshot_timeout = 0\n[reclaim]\nsync = 500\n"
		    "fstrim = 0\ncompact_memory = 10\norder = sync, compact_memory\n",
		    "web", &none), 0, "all of it");
	is_reclaim("{\"compact_memory\":10,\"order\":[\"sync\",\"compact_memory\"],\"sync\":500}",
		   "reclaim, without what is 0");
	is_int(s.reclaim_ms, 510, "the sum");
	ok(s.compacts && s.collapse && s.leave, "switches");
	is_str(s.freeze, "a.slice", "freeze");
	is_str(s.metrics_file, "/m", "metrics_file");
	is_int(s.drain_ms, PAUSE_DRAIN_MAX_MS, "as long as can be");
	is_int(s.agent_timeout_ms, 1000, "agent_timeout");
	is_int(s.snapshot_timeout_ms, 0, "no end");
}

static void test_guests(void)
{
	static const char text[] =
		"[pause]\ncollapse = true\ndrain = 1\n"
		"[guest web-*]\ndrain = 2\nfreeze = web\n"
		"[guest *-7]\ndrain = 3\nreclaim = true\nsync = 7\n"
		"[guest web-8]\ncollapse = false\n";

	is_int(load(text, "db", &none), 0, "one that no section fits");
	ok(s.collapse && s.drain_ms == 1 && !s.freeze, "has what is said of all");
	is_int(load(text, "web-7", &none), 0, "one that two fit");
	is_int(s.drain_ms, 3, "has the last one's");
	is_str(s.freeze, "web", "and what only the first says");
	is_reclaim("{\"sync\":7}", "and keys of [reclaim]");
	is_int(load(text, "web-8", &none), 0, "another one");
	ok(!s.collapse && s.drain_ms == 2, "has its own");
}

static void test_wishes(void)
{
	static const char text[] = "[pause]\ncollapse = true\ndrain = 10\nfreeze = x\n"
				   "reclaim = true\nmetrics_file = /m\n[reclaim]\nsync = 1\n";
	const struct pause_wishes bare = {.bare = true}, some = {.bare = true, .drain = "5"};
	const struct pause_wishes more = {.reclaim = "{\"fstrim\":3}", .freeze = "", .drain = "0",
					  .leave = true, .metrics_file = ""};

	is_int(load(text, "web", &bare), 0, "nothing");
	ok(!s.collapse && !s.drain_ms && !s.freeze && !s.reclaim, "is done");
	is_int(load(text, "web", &some), 0, "nothing but");
	is_int(s.drain_ms, 5, "what is asked for");
	is_int(load(text, "web", &more), 0, "what is asked for");
	is_reclaim("{\"fstrim\":3}", "wins");
	ok(!s.freeze && !s.drain_ms && !s.metrics_file && s.leave && s.collapse,
	   "and what is not stays");
}

static void is_asked(const char *json, const char *want)
{
	const struct pause_wishes w = {.reclaim = json};

	is_int(load("", "web", &w), 0, "%s", json);
	is_reclaim(want, want ? want : "is nothing");
}

static void test_json(void)
{
	is_asked("{}", NULL);
	is_asked("{\"sync\":0}", NULL);
	is_asked("{\"sync\":-5,\"fstrim\":0.99,\"drop_caches\":\"9\",\"compact_memory\":null}",
		 NULL);
	is_asked("{\"sync\":true,\"order\":[\"sync\"]}", NULL);
	is_asked("{\"sync\":1.9,\"fstrim\":[1]}", "{\"sync\":1}");
	is_asked("{\"sync\":1e300}", "{\"sync\":600000}");
	is_asked("{\"sync\":5,\"order\":[\"sync\",\"fstrim\"]}",
		 "{\"order\":[\"sync\",\"fstrim\"],\"sync\":5}");
	is_asked("{\"sync\":5,\"order\":[]}", "{\"sync\":5}");
}

static void is_refused(const char *text, const char *sentence)
{
	is_int(load(text, "web", &none), -EINVAL, "%s", text);
	ok(strstr(err.text, sentence), "is told: %s", err.text);
}

static void is_no_order(const char *json, const char *sentence)
{
	const struct pause_wishes wishes = {.reclaim = json};

	is_err(load("", "web", &wishes), &err, -EINVAL, "--reclaim: %s", sentence);
}

static void test_bad_order(void)
{
	const char *there = ": there are fstrim, sync, drop_caches and compact_memory";
	char sentence[128];

	is_no_order("{\"sync\":5,\"order\":7}", "'order' is no array of steps");
	is_no_order("{\"order\":\"sync\"}", "'order' is no array of steps");
	is_no_order("{\"sync\":5,\"order\":[\"sync\",\"sync\"]}", "'order' has 'sync' twice");
	(void)snprintf(sentence, sizeof(sentence), "'order' has what is no step: \"other\"%s",
		       there);
	is_no_order("{\"sync\":5,\"order\":[\"sync\",\"other\"]}", sentence);
	(void)snprintf(sentence, sizeof(sentence), "'order' has what is no step: 7%s", there);
	is_no_order("{\"order\":[7]}", sentence);
	is_refused("[reclaim]\norder = sync later\n", ":2: order in section [reclaim]: "
		   "'sync later' is not words of");
	is_refused("[reclaim]\norder = sync fstrim sync\n", ":2: order in section [reclaim]: "
		   "'sync fstrim sync' is not words of fstrim, sync, drop_caches and "
		   "compact_memory, each at most once");
}

static void test_bad(void)
{
	const struct pause_wishes json = {.reclaim = "{x"}, array = {.reclaim = "[]"};
	const struct pause_wishes step = {.reclaim = "{\"defrag\":1}"}, drain = {.drain = "-1"};

	is_refused("[pause]\ncollapse = maybe\n",
		   ":2: collapse in section [pause]: 'maybe' is not");
	is_refused("[guest web]\ncollapse = maybe\n", ":2: collapse in section [guest web]: ");
	is_refused("[guest w*]\nsync = x\n", "sync in section [guest w*]: 'x' is not a number");
	is_refused("[reclaim]\nsync = 600001\n", "'600001' is not");
	is_refused("[pause]\nagent_timeout = 0\n", "'0' is not a duration above 0");
	is_refused("[pause]\ndrain = soon\n", "'soon' is not");
	is_refused("[pause]\ndrain = 5000\n", ":2: drain in section [pause]: '5000' is not "
		   "a number of milliseconds from 0 to 1500");
	is_refused("[pause]\ndrian = 1\n", "unknown key 'drian'");
	is_refused("[guest web]\nsocket = 1\n", "unknown key 'socket'");
	is_int(load("", "web", &json), -EINVAL, "no JSON");
	ok(!strncmp(err.text, "--reclaim: ", 11), "is --reclaim's");
	is_err(load("", "web", &array), &err, -EINVAL,
	       "--reclaim: what is to be reclaimed is no JSON object");
	is_int(load("", "web", &step), -EINVAL, "a step that is not known");
	is_err(load("", "web", &drain), &err, -EINVAL,
	       "--drain: '-1' is no number of milliseconds from 0 to 1500");
}

int main(void)
{
	test_defaults();
	test_values();
	test_guests();
	test_wishes();
	test_json();
	test_bad();
	test_bad_order();
	pause_settings_fini(&s);
	return tap_done();
}
