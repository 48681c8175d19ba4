/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qmp: a client of QEMU's monitor, over its unix socket.
 *
 *	qmp_open(&to, &q, &err);
 *	qmp_ask(q, "query-status", NULL, &answer, &err);
 *	qmp_close(q);
 *
 * Every call blocks, at most to->timeout_ms (0: QMP_TIMEOUT_MS), and asks to->stopped ten times
 * a second.  One thread.  A command that was given up (-ETIMEDOUT, -ECANCELED) may still be
 * done; its late answer is skipped, as events are.  QEMU serves one client at a time.
 *
 * Errors are those of hyper.h; -ENOTSUP: this QEMU has no such command.
 */
#ifndef LAMINA_HOST_QMP_H
#define LAMINA_HOST_QMP_H

#include <jansson.h>
#include <sys/types.h>

#include "src/host/hyper.h"
#include "store/base/err.h"

#define QMP_TIMEOUT_MS 30000
#define QMP_GREETING_MS 5000	/* a QEMU that nobody else speaks to greets at once */
#define QMP_MAX_OBJECT (4u << 20)	/* bytes of one answer or event: -EPROTO above */

struct qmp;

/*
 * Connects, and is greeted: both in QMP_GREETING_MS, or to->timeout_ms where that is less.  `to`
 * is borrowed until qmp_close().
 */
int qmp_open(const struct hyper_target *to, struct qmp **ret, struct err *err);
/* NULL is fine. */
void qmp_close(struct qmp *q);

/* "7.2.22", of the greeting; the process that listens on the socket, and its user, of hyper.h. */
const char *qmp_version(const struct qmp *q);
pid_t qmp_pid(const struct qmp *q);
uid_t qmp_uid(const struct qmp *q);
/* How long a call waits. */
int qmp_timeout_ms(const struct qmp *q);
/* The socket's path, for sentences. */
const char *qmp_name(const struct qmp *q);

/*
 * `args` is an object and is taken, failure included; NULL: none.  `ret` may be NULL; else it
 * is the caller's to json_decref().
 */
int qmp_ask(struct qmp *q, const char *command, json_t *args, json_t **ret, struct err *err);
/* The same; the descriptor `fd` goes with it, for getfd and add-fd.  It stays the caller's. */
int qmp_ask_fd(struct qmp *q, const char *command, json_t *args, int fd, json_t **ret,
	       struct err *err);

/* -EPROTO: the answer to `command` is not what QEMU's is. */
int qmp_strange(const struct qmp *q, const char *command, struct err *err);

/*
 * Undoes what a command has begun, even if we were stopped meanwhile: waits two seconds, is not
 * stopped, and does not say how it went.
 */
void qmp_undo(struct qmp *q, const char *command, json_t *args);

/*
 * Sleeps `ms`, or until `fd` (-1: none) is ready for `events` of poll(2).  1: it is ready; 0:
 * the time is over; -ECANCELED.
 */
int qmp_rest(const struct qmp *q, int ms, int fd, short events);

#endif
