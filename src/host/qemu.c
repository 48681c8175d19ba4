/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/host/qemu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/host/qemu-memory.h"
#include "src/host/qemu-state.h"
#include "src/host/qmp.h"
#include "src/host/written.h"

#define MAX_STATUS 32

struct qemu {
	struct hyper hyper;
	struct qmp *qmp;
};

static struct qmp *qmp_of(struct hyper *h)
{
	return ((struct qemu *)h)->qmp;
}

static int qemu_open(const struct hyper_target *to, struct hyper **ret, struct err *err)
{
	struct qemu *q = calloc(1, sizeof(*q));
	int rc;

	if (!q)
		return err_sys(err, -ENOMEM, "cannot speak to QEMU at '%s'", to->socket);
	rc = qmp_open(to, &q->qmp, err);
	if (rc < 0) {
		free(q);
		return rc;
	}
	if (to->unfinished)
		qemu_state_undo(q->qmp);
	q->hyper = (struct hyper){&qemu_ops, to};
	*ret = &q->hyper;
	return 0;
}

static void qemu_close(struct hyper *h)
{
	if (!h)
		return;
	qmp_close(qmp_of(h));
	free(h);
}

/* ---- states ---- */

enum hyper_state qemu_parse_state(const char *status)
{
	static const struct {
		const char *status;
		enum hyper_state state;
	} known[] = {
		{"inmigrate", HYPER_NEW}, {"prelaunch", HYPER_NEW},
		{"running", HYPER_RUNNING},
		{"paused", HYPER_PAUSED}, {"postmigrate", HYPER_PAUSED},
		{"save-vm", HYPER_PAUSED}, {"finish-migrate", HYPER_PAUSED},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (!strcmp(status, known[i].status))
			return known[i].state;
	return HYPER_OTHER;
}

/* Its word for the state, and the state. */
static int ask_status(struct hyper *h, char ret[MAX_STATUS], struct err *err)
{
	const char *status;
	json_t *answer;
	int rc = qmp_ask(qmp_of(h), "query-status", NULL, &answer, err);

	if (rc < 0)
		return rc;
	status = json_string_value(json_object_get(answer, "status"));
	if (status)
		(void)snprintf(ret, MAX_STATUS, "%s", status);
	else
		rc = qmp_strange(qmp_of(h), "query-status", err);
	json_decref(answer);
	return rc < 0 ? rc : (int)qemu_parse_state(ret);
}

static int wrong_state(struct hyper *h, const char *status, const char *what, struct err *err)
{
	return err_set(err, -EBUSY, "the guest of QEMU at '%s' is in state '%s': it cannot be %s",
		       h->to->socket, status, what);
}

static int qemu_pause(struct hyper *h, struct err *err)
{
	char status[MAX_STATUS];
	int rc = ask_status(h, status, err);

	if (rc == HYPER_RUNNING) {
		rc = qmp_ask(qmp_of(h), "stop", NULL, NULL, err);
		if (rc >= 0)
			rc = ask_status(h, status, err);
	}
	if (rc < 0 || rc == HYPER_PAUSED)
		return rc < 0 ? rc : 0;
	return wrong_state(h, status, "paused", err);
}

/* One that waits for a load would run with nothing in it. */
static int qemu_resume(struct hyper *h, struct err *err)
{
	char status[MAX_STATUS];
	int rc = ask_status(h, status, err);

	if (rc == HYPER_PAUSED || (rc == HYPER_NEW && strcmp(status, "inmigrate") != 0)) {
		rc = qmp_ask(qmp_of(h), "cont", NULL, NULL, err);
		if (rc >= 0)
			rc = ask_status(h, status, err);
	}
	if (rc < 0 || rc == HYPER_RUNNING)
		return rc < 0 ? rc : 0;
	return wrong_state(h, status, "resumed", err);
}

/* ---- facts ---- */

static int ask_balloon(struct hyper *h, bool *ret, struct err *err)
{
	int rc = qmp_ask(qmp_of(h), "query-balloon", NULL, NULL, err);

	*ret = rc >= 0;
	return rc == -EREMOTEIO || rc == -ENOTSUP ? 0 : rc;
}

/* What cannot be found out is not so. */
static int ask_memory(struct hyper *h, struct hyper_facts *ret, struct err *err)
{
	struct qemu_memory memory = {.len = 0};
	int rc = qemu_memory_find(qmp_of(h), &memory, err);

	ret->memory = memory.len;
	ret->dirty = rc >= 0 && written_is_told(ret->pid, memory.addr, memory.len, NULL) > 0;
	return rc == -ENOTSUP || rc == -EREMOTEIO ? 0 : rc;
}

static int qemu_facts(struct hyper *h, struct hyper_facts *ret, struct err *err)
{
	const struct qmp *q = qmp_of(h);
	struct hyper_facts facts = {.pid = qmp_pid(q), .uid = qmp_uid(q)};
	char status[MAX_STATUS];
	int rc = ask_status(h, status, err);

	if (rc < 0)
		return rc;
	facts.state = (enum hyper_state)rc;
	(void)snprintf(facts.version, sizeof(facts.version), "%s", qmp_version(qmp_of(h)));
	rc = ask_balloon(h, &facts.balloon, err);
	if (rc >= 0)
		rc = ask_memory(h, &facts, err);
	if (rc >= 0)
		*ret = facts;
	return rc < 0 ? rc : 0;
}

static int qemu_drain(struct hyper *h, int ms, struct hyper_drained *ret, struct err *err)
{
	(void)ms;
	(void)ret;
	return err_set(err, -ENOTSUP, "QEMU at '%s' has no free page hinting that the host "
		       "can start", h->to->socket);
}

/* ---- snapshots ---- */

static int save_memory(struct hyper *h, const struct qemu_memory *memory,
		       const struct hyper_snapshot *what, struct hyper_saved *ret, struct err *err)
{
	struct written_ask ask = {
		.pid = qmp_pid(qmp_of(h)), .addr = memory->addr, .len = memory->len,
		.memfile = what->memfile, .all = what->full, .idle_ms = h->to->timeout_ms,
		.stopped = h->to->stopped,
	};
	struct written_count count = {0};
	int rc = written_copy(&ask, &count, err);

	ret->memory = count.data;
	ret->diff = !count.all;
	return rc == -ESRCH ? err_set(err, rc, "QEMU at '%s' has ended", h->to->socket) : rc;
}

static int save(struct hyper *h, const struct hyper_snapshot *what, bool migrated,
		struct hyper_saved *ret, struct err *err)
{
	struct qemu_memory memory;
	int rc = qemu_memory_find(qmp_of(h), &memory, err), fd;

	if (rc < 0)
		return rc;
	fd = qemu_state_take(qmp_of(h), &memory, migrated, err);
	if (fd < 0)
		return fd;
	rc = save_memory(h, &memory, what, ret, err);
	if (rc >= 0)
		rc = qemu_state_write(h->to, fd, what->state, &ret->state, err);
	(void)close(fd);
	return rc;
}

static int qemu_snapshot(struct hyper *h, const struct hyper_snapshot *what,
			 struct hyper_saved *ret, struct err *err)
{
	struct hyper_saved saved = {0};
	char status[MAX_STATUS];
	int rc = ask_status(h, status, err);

	if (rc < 0)
		return rc;
	if (rc != HYPER_PAUSED)
		return wrong_state(h, status, "saved", err);
	rc = save(h, what, !strcmp(status, "postmigrate"), &saved, err);
	if (rc >= 0)
		*ret = saved;
	return rc;
}

/* ---- loading ---- */

static int settle(struct hyper *h, bool run, struct err *err)
{
	return run ? qemu_resume(h, err) : qemu_pause(h, err);
}

static int qemu_load(struct hyper *h, const struct hyper_load *what, struct err *err)
{
	char status[MAX_STATUS];
	int rc = ask_status(h, status, err), fd;

	if (rc < 0)
		return rc;
	if (rc != HYPER_NEW)
		return wrong_state(h, status, "loaded", err);
	fd = qemu_state_read(h->to, what->state, err);
	if (fd < 0)
		return fd;
	rc = qemu_state_give(qmp_of(h), fd, err);
	(void)close(fd);
	return rc < 0 ? rc : settle(h, what->run, err);
}

const struct hyper_ops qemu_ops = {
	.name = "qemu",
	.open = qemu_open,
	.close = qemu_close,
	.facts = qemu_facts,
	.pause = qemu_pause,
	.resume = qemu_resume,
	.drain = qemu_drain,
	.snapshot = qemu_snapshot,
	.load = qemu_load,
};
