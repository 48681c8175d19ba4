/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/guard.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/tap.h"

#define GIB (UINT64_C(1) << 30)

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(tap_path(path), "we");

	if (!f || fputs(text, f) < 0 || fclose(f) != 0)
		bail("cannot write '%s'", path);
}

static int ask(uint64_t min_available, double max_pressure, struct err *err)
{
	struct guard guard = {min_available, max_pressure};

	return guard_check_in(&guard, tap_path("meminfo"), tap_path("pressure"), err);
}

static void available(void)
{
	struct err err;

	write_file("meminfo", "MemTotal:       24683900 kB\nMemFree:           10000 kB\n"
			      "MemAvailable:    2097152 kB\n");
	is_int(ask(0, 0, &err), 0, "no limits");
	is_int(ask(2 * GIB, 0, &err), 0, "just enough memory");
	is_int(ask(2 * GIB + 1, 0, &err), -EAGAIN, "a byte less than wanted");
	is_int(ask(3 * GIB, 0, &err), -EAGAIN, "less memory than wanted");
	is_str(err.text, "the host has 2.0 GiB of memory available, 3.0 GiB are to be left",
	       "in words");
	write_file("meminfo", "MemTotal:       24683900 kB\n");
	is_int(ask(GIB, 0, &err), -ENODATA, "a file that does not say");
	ok(strstr(err.text, "cannot find MemAvailable in '") && strstr(err.text, "/meminfo': "),
	   "is not taken for enough: %s", err.text);
	write_file("meminfo", "MemAvailable: much\n");
	is_int(ask(GIB, 0, &err), -ENODATA, "nor is one that says it in words");
	remove(tap_path("meminfo"));
	is_int(ask(GIB, 0, &err), -ENOENT, "nor one that is not there");
}

static void pressure(void)
{
	struct err err;

	write_file("pressure", "some avg10=12.50 avg60=1.00 avg300=0.00 total=1\n"
			       "full avg10=99.00 avg60=0.00 avg300=0.00 total=1\n");
	is_int(ask(0, 12.5, &err), 0, "no more pressure than may be");
	is_int(ask(0, 12.4, &err), -EAGAIN, "more than may be");
	is_str(err.text, "the host's memory pressure is 12.50 %, at most 12.40 % may be",
	       "in words");
	write_file("pressure", "some avg60=1.00\n");
	is_int(ask(0, 1, &err), 0, "a kernel that does not tell");
	remove(tap_path("pressure"));
	is_int(ask(0, 1, &err), 0, "or has no such file");
}

static void real(void)
{
	struct guard any = {1, 100}, none = {UINT64_MAX, 0};
	struct err err;

	is_int(guard_check(&any, &err), 0, "this host has a byte");
	is_int(guard_check(&none, &err), -EAGAIN, "and less than an address space");
}

int main(void)
{
	available();
	pressure();
	real();
	return tap_done();
}
