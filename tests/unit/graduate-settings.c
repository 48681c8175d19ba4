/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/graduate/settings.h"
#include "store/base/io.h"
#include "tests/fault.h"
#include "tests/tap.h"

#include <fcntl.h>

static char path[PATH_MAX];

static void put(const char *text)
{
	if (io_replace_file(AT_FDCWD, path, text, strlen(text)) < 0)
		bail("cannot write a file");
}

static void is_socket(const struct settings *s, const char *want)
{
	char *got = settings_socket(s);

	is_str(got, want, "where the API is");
	free(got);
}

static void test_defaults(void)
{
	struct settings s;
	struct err err = {""};

	put("");
	is_int(settings_load(path, &s, &err), 0, "an empty file");
	ok(!s.enabled, "not enabled");
	is_int(s.min_session_age_ms, 600000, "min_session_age");
	is_int(s.max_concurrent, 1, "max_concurrent");
	is_int(s.max_active_sessions, 0, "max_active_sessions");
	is_int(s.scan_interval_ms, 60000, "scan_interval");
	is_int(s.completion_timeout_ms, 600000, "completion_timeout");
	is_int(s.failure_backoff_ms, 300000, "failure_backoff");
	ok(s.rate == 0 && s.min_available == 0 && !(s.max_pressure > 0), "no throttle");
	is_str(s.runtime_dir, RUNSTATEDIR "/lamina", "runtime_dir");
	is_str(s.metrics_socket, NULL, "metrics_socket");
	is_socket(&s, RUNSTATEDIR "/lamina/graduator.sock");
	settings_fini(&s);
	settings_fini(&s);
}

static void test_values(void)
{
	struct settings s;
	struct err err = {""};

	put("[store]\npath = /x\n[pager]\nthreads = 2\n[graduation]\nenabled = yes\n"
	    "min_session_age = 30s\nmax_concurrent = 64\nmax_active_sessions = 12\n"
	    "scan_interval = 1ms\ncompletion_timeout = 1h\nfailure_backoff = 0\nrate = 100M\n"
	    "min_available = 2G\nmax_pressure = 12.5\nruntime_dir = /r\nmetrics_socket = /m\n");
	is_int(settings_load(path, &s, &err), 0, "a file with all of it");
	ok(s.enabled, "enabled");
	is_int(s.min_session_age_ms, 30000, "min_session_age");
	is_int(s.max_concurrent, 64, "max_concurrent");
	is_int(s.max_active_sessions, 12, "max_active_sessions");
	is_int(s.scan_interval_ms, 1, "scan_interval");
	is_int(s.completion_timeout_ms, 3600000, "completion_timeout");
	is_int(s.failure_backoff_ms, 0, "failure_backoff");
	is_int(s.rate, 100 << 20, "rate");
	is_int(s.min_available, INT64_C(2) << 30, "min_available");
	ok(s.max_pressure > 12.4 && s.max_pressure < 12.6, "max_pressure");
	is_str(s.runtime_dir, "/r", "runtime_dir");
	is_str(s.metrics_socket, "/m", "metrics_socket");
	is_socket(&s, "/m");
	settings_fini(&s);
}

static void refused(const char *line, const char *want)
{
	struct settings s = {.max_concurrent = 77};
	struct err err = {""};
	char text[256];

	(void)snprintf(text, sizeof(text), "[gc]\n[graduation]\nmetrics_socket = /m\n%s\n", line);
	put(text);
	is_err(settings_load(path, &s, &err), &err, -EINVAL, "%s:4: %s", path, want);
	is_int(s.max_concurrent, 77, "the output is untouched");
}

static void test_refusals(void)
{
	refused("enabled = maybe", "enabled in section [graduation]: 'maybe' is not true or false");
	refused("min_session_age = 10 minutes",
		"min_session_age in section [graduation]: '10 minutes' is not a duration of at "
		"most 3650d");
	refused("min_session_age = 3651d",
		"min_session_age in section [graduation]: '3651d' is not a duration of at most "
		"3650d");
	refused("max_concurrent = 0",
		"max_concurrent in section [graduation]: '0' is not a number from 1 to 64");
	refused("max_concurrent = 65",
		"max_concurrent in section [graduation]: '65' is not a number from 1 to 64");
	refused("max_active_sessions = -1",
		"max_active_sessions in section [graduation]: '-1' is not a number from 0 to "
		"1000000");
	refused("scan_interval = 0",
		"scan_interval in section [graduation]: '0' is not a duration above 0, at most "
		"3650d");
	refused("completion_timeout = 0s",
		"completion_timeout in section [graduation]: '0s' is not a duration above 0, at "
		"most 3650d");
	refused("rate = fast", "rate in section [graduation]: 'fast' is not a size");
	refused("max_pressure = 101",
		"max_pressure in section [graduation]: '101' is not a number from 0 to 100");
	refused("max_pressure = nan",
		"max_pressure in section [graduation]: 'nan' is not a number from 0 to 100");
	refused("runtime_dir = here",
		"runtime_dir in section [graduation]: 'here' is not an absolute path");
	refused("concurrent = 1", "unknown key 'concurrent' in section [graduation]");
	refused("metrics_socket = /n",
		"key 'metrics_socket' of section [graduation] was given in line 3 already");
	refused("[graduator]", "unknown section [graduator]");
}

static void test_places(void)
{
	struct settings s;
	struct err err = {""};

	is_err(settings_load(tap_path("none"), &s, &err), &err, -ENOENT,
	       "cannot open '%s/none': No such file or directory", tap_tmpdir());
	put("[graduation]\nmax_concurrent = 9\n");
	(void)setenv("LAMINA_CONF", path, 1);
	is_int(settings_load(NULL, &s, &err), 0, "LAMINA_CONF");
	is_int(s.max_concurrent, 9, "is read");
	settings_fini(&s);
	(void)setenv("LAMINA_CONF", "/nonesuch", 1);
	is_err(settings_load(NULL, &s, &err), &err, -ENOENT,
	       "cannot open '/nonesuch': No such file or directory");
}

static void test_no_memory(void)
{
	struct settings s;
	struct err err;
	int rc = -ENOMEM;

	put("[graduation]\nruntime_dir = /r\nmetrics_socket = /m\n");
	for (unsigned long n = 1; n < 100 && rc < 0; n++) {
		fault_arm(FAULT_MALLOC, n, ENOMEM);
		rc = settings_load(path, &s, &err);
		fault_disarm();
		if (rc < 0)
			is_int(rc, -ENOMEM, "allocation %lu fails: %s", n, err.text);
	}
	is_int(rc, 0, "in the end it is read");
	settings_fini(&s);
}

int main(void)
{
	(void)snprintf(path, sizeof(path), "%s", tap_path("conf"));
	test_defaults();
	test_values();
	test_refusals();
	test_places();
	test_no_memory();
	return tap_done();
}
