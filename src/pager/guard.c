/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/guard.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "store/base/fmt.h"

#define MEMINFO "/proc/meminfo"
#define PRESSURE "/proc/pressure/memory"

/* The number behind `word` in the file's first line that begins with `line`. */
static int find_number(const char *path, const char *line, const char *word, double *ret)
{
	FILE *file = fopen(path, "re");
	char text[256];
	int rc = -ENODATA;

	if (!file)
		return -errno;
	while (rc == -ENODATA && fgets(text, sizeof(text), file)) {
		const char *at = strncmp(text, line, strlen(line)) == 0 ? strstr(text, word) : NULL;

		if (at && sscanf(at + strlen(word), "%lf", ret) == 1)
			rc = 0;
	}
	(void)fclose(file);
	return rc;
}

static int check_available(const struct guard *guard, const char *meminfo, struct err *err)
{
	char have[FMT_SIZE_LEN], want[FMT_SIZE_LEN];
	double kib;
	int rc = find_number(meminfo, "MemAvailable:", "MemAvailable:", &kib);

	if (rc < 0)
		return err_sys(err, rc, "cannot find MemAvailable in '%s'", meminfo);
	if (kib * 1024 >= (double)guard->min_available)
		return 0;
	return err_set(err, -EAGAIN, "the host has %s of memory available, %s are to be left",
		       fmt_size(have, (uint64_t)kib * 1024), fmt_size(want, guard->min_available));
}

static int check_pressure(const struct guard *guard, const char *pressure, struct err *err)
{
	double percent = 0;
	int rc = find_number(pressure, "some ", "avg10=", &percent);

	if (rc < 0 || percent <= guard->max_pressure)
		return 0;
	return err_set(err, -EAGAIN,
		       "the host's memory pressure is %.2f %%, at most %.2f %% may be", percent,
		       guard->max_pressure);
}

int guard_check_in(const struct guard *guard, const char *meminfo, const char *pressure,
		   struct err *err)
{
	int rc = guard->min_available ? check_available(guard, meminfo, err) : 0;

	if (rc == 0 && guard->max_pressure > 0)
		rc = check_pressure(guard, pressure, err);
	return rc;
}

int guard_check(const struct guard *guard, struct err *err)
{
	return guard_check_in(guard, MEMINFO, PRESSURE, err);
}
