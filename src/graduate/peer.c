/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/graduate/peer.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/rpc/http.h"

/* ---- the lock: of the open file, as flock(2) has it, but F_OFD_GETLK can look at it ---- */

static int open_lock(const char *dir, int flags, struct err *err)
{
	char *path;
	int fd;

	if (asprintf(&path, "%s/graduator.lock", dir) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	fd = open(path, flags | O_CLOEXEC, 0600);
	if (fd < 0)
		fd = err_sys(err, -errno, "cannot open '%s'", path);
	free(path);
	return fd;
}

int peer_lock(const char *runtime_dir, struct err *err)
{
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int fd = open_lock(runtime_dir, O_RDWR | O_CREAT, err), rc;

	if (fd < 0 || fcntl(fd, F_OFD_SETLK, &whole) == 0)
		return fd;
	if (errno == EAGAIN || errno == EACCES)
		rc = err_set(err, -EBUSY, "another lamina-graduator runs for '%s'", runtime_dir);
	else
		rc = err_sys(err, -errno, "cannot lock '%s/graduator.lock'", runtime_dir);
	close(fd);
	return rc;
}

bool peer_runs(const char *runtime_dir)
{
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	struct err err;
	int fd = open_lock(runtime_dir, O_RDONLY, &err);
	bool held;

	if (fd < 0)
		return false;
	held = fcntl(fd, F_OFD_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;
	close(fd);
	return held;
}

/* ---- what it has under way ---- */

static bool is_text(const json_t *json, const char *name, const char *text)
{
	const char *value = json_string_value(json_object_get(json, name));

	return value && strcmp(value, text) == 0;
}

/* What it was about to begin at its last scan has begun, if it is on its way now. */
static bool is_its(const json_t *decisions, const struct rules_session *s)
{
	const json_t *d;
	size_t i;

	json_array_foreach(decisions, i, d)
		if (json_integer_value(json_object_get(d, "number")) == (json_int_t)s->number &&
		    is_text(d, "session", s->id) && is_text(d, "pager", s->pager->socket))
			return is_text(d, "reason", "running") || is_text(d, "reason", "graduate");
	return false;
}

static int begin_all(const json_t *decisions, const struct scan *scan, struct memory *memory)
{
	int rc = 0;

	for (size_t i = 0; i < scan->sessions.n && rc == 0; i++) {
		const struct rules_session *s = &scan->sessions.v[i];
		const struct memory_key key = rules_key(s);

		if (s->state == RULES_COMPLETING && is_its(decisions, s))
			rc = memory_begin(memory, &key, s->pid);
	}
	return rc;
}

int peer_ask(const char *socket, int timeout_ms, const struct scan *scan, struct memory *memory,
	     struct err *err)
{
	const struct http_target to = {.socket = socket, .timeout_ms = timeout_ms};
	const json_t *decisions;
	struct http_answer answer;
	int rc = http_request(&to, "GET", "/decisions", NULL, &answer, err);

	if (rc < 0)
		return rc;
	decisions = json_object_get(answer.json, "decisions");
	if (answer.status != 200 || !json_is_array(decisions))
		rc = err_set(err, -EPROTO, "what answers at '%s' is no lamina-graduator", socket);
	else if (begin_all(decisions, scan, memory) < 0)
		rc = err_set(err, -ENOMEM, "out of memory");
	http_answer_fini(&answer);
	return rc;
}
