/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/agent/resumed.h"

#include <time.h>

#include "src/agent/logs.h"

/* *ret stays as it is where there is none. */
static int take_now(const json_t *body, double *ret, struct err *err)
{
	const json_t *now = json_object_get(body, "now");
	double seconds = json_number_value(now);

	if (!now)
		return 0;
	if (!json_is_number(now) || !(seconds >= RESUMED_NOW_MIN && seconds < RESUMED_NOW_MAX))
		return err_set(err, -EINVAL, "'now' is to be seconds since 1970, of the years 2020 "
			       "to 2199");
	*ret = seconds;
	return 0;
}

static double seconds_of(const struct timespec *ts)
{
	return (double)ts->tv_sec + (double)ts->tv_nsec / 1e9;
}

static int set_clock(double now, double *ret_step_ms, struct err *err)
{
	struct timespec then = {.tv_sec = (time_t)now}, before;

	then.tv_nsec = (long)((now - (double)then.tv_sec) * 1e9);
	if (clock_gettime(CLOCK_REALTIME, &before) < 0 || clock_settime(CLOCK_REALTIME, &then) < 0)
		return err_sys(err, -errno, "cannot set the clock");
	*ret_step_ms = (now - seconds_of(&before)) * 1000;
	logs_add(LOGS_INFO, "the clock was set: a step of %.3f s", *ret_step_ms / 1000);
	return 0;
}

int resumed_run(struct freeze *freeze, const json_t *body, json_t **ret, struct err *err)
{
	json_t *thawed = json_array();
	double now = 0, step_ms = 0;
	int rc = freeze_end(freeze, NULL, thawed, err), clock_rc;

	clock_rc = take_now(body, &now, rc ? NULL : err);
	if (clock_rc == 0 && now > 0)
		clock_rc = set_clock(now, &step_ms, rc ? NULL : err);
	if (rc == 0)
		rc = clock_rc;
	if (rc < 0) {
		json_decref(thawed);
		return rc;
	}
	logs_add(LOGS_INFO, "resumed; %zu thawed", json_array_size(thawed));
	*ret = json_pack("{s:o, s:f}", "thawed", thawed, "clock_step_ms", step_ms);
	return *ret ? 0 : err_set(err, -ENOMEM, "out of memory");
}
