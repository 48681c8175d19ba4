/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/host/errand.h"

#include <string.h>
#include <sys/socket.h>

#include "store/base/aside.h"
#include "store/base/clock.h"
#include "store/base/fmt.h"

#define TELL_MS 100

struct report {
	bool done;
	int rc;
	uint64_t count[3];
	struct err err;
};

/* ---- the child ---- */

static void send_report(const struct errand *e, const struct report *report)
{
	(void)send(e->fd, report, sizeof(*report), MSG_NOSIGNAL);
}

void errand_tell(struct errand *e)
{
	static const struct report alive;

	if (clock_ms() - e->told_ms < TELL_MS)
		return;
	send_report(e, &alive);
	e->told_ms = clock_ms();
}

static void go(int fd, void *arg)
{
	struct report report = {.done = true};
	struct errand *e = arg;

	e->fd = fd;
	report.rc = e->fn(e, &report.err);
	memcpy(report.count, e->count, sizeof(report.count));
	send_report(e, &report);
}

/* ---- who sent it ---- */

static int given_up(const struct errand *e, const struct aside *child, int rc, struct err *err)
{
	int ms = e->idle_ms > 0 ? e->idle_ms : ERRAND_IDLE_MS;
	char time[FMT_SIZE_LEN];
	char fate[ASIDE_FATE_LEN];

	/* Ctrl-C ends the child, too. */
	if (rc == -EPIPE && e->stopped && e->stopped())
		rc = -ECANCELED;
	switch (rc) {
	case -ECANCELED:
		return err_set(err, rc, "stopped while '%s' was worked on", e->path);
	case -ETIMEDOUT:
		return err_set(err, rc, "'%s' hangs, for %s now: does the daemon of its mount run?",
			       e->path, fmt_duration(time, ms / 1e3));
	case -EPIPE:
		return err_set(err, -EIO, "the process that works on '%s' %s", e->path,
			       aside_fate(child, fate));
	default:
		return err_sys(err, rc, "cannot work on '%s'", e->path);
	}
}

static int hear(struct errand *e, const struct aside *child, struct err *err)
{
	uint64_t idle = (uint64_t)(e->idle_ms > 0 ? e->idle_ms : ERRAND_IDLE_MS);
	struct report report = {0};
	int rc = 0;

	while (rc == 0 && !report.done)
		rc = aside_await(child, &report, sizeof(report), clock_ms() + idle, e->stopped);
	if (rc < 0)
		return given_up(e, child, rc, err);
	if (report.rc < 0)
		return err_set(err, report.rc, "%s", report.err.text);
	memcpy(e->count, report.count, sizeof(e->count));
	return 0;
}

int errand_run(struct errand *e, struct err *err)
{
	struct aside_work work = {go, e, e->keep, e->nkeep};
	struct aside child;
	int rc = aside_begin(&work, &child);

	if (rc < 0)
		return err_sys(err, rc, "cannot start a process");
	rc = hear(e, &child, err);
	aside_end(&child);
	return rc;
}
