/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The file is written anew as a whole: beside the old one, which is there until the
 * new one is whole.  What is no regular file is written in place, and so is one in a
 * directory where we can make no other; cut short, it lacks its last line, and says so
 * when it is read.  Before there is anything to write nothing is written: what is
 * there may be an older recording, or the very trace that is replayed.
 *
 * The next worker goes on with what this one wrote, if that is what it finds.  So the
 * state says which files we have written: the new one is noted before it gets its
 * name, with the one before it, and a kill in between leaves one of the two.  What
 * was touched since the last writing is not lost but for its order: the pages' states
 * tell which ones were asked for.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/pager/session.h"
#include "src/pager/touch.h"
#include "store/base/io.h"
#include "store/base/trace.h"

struct touch {
	char *path;
	char *beside;		/* where the next one is written */
	struct state_head *head;
	bool begun;
	bool changed;
	uint8_t *seen;		/* a bit for each page of the memfile: a trace has it once */
	struct trace trace;
};

/* ---- the file ---- */

/* Of an earlier life there may be a part. */
static int make_beside(const struct touch *t)
{
	int fd;

	(void)unlink(t->beside);
	fd = open(t->beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
	return fd < 0 ? -errno : fd;
}

static int open_in_place(const struct touch *t)
{
	int fd = open(t->path, O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW | O_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

/* Who may read and write the old file, may the new one. */
static void copy_mode(int fd, const struct stat *st)
{
	struct stat now;

	if (fstat(fd, &now) == 0 && (now.st_uid != st->st_uid || now.st_gid != st->st_gid))
		(void)!fchown(fd, st->st_uid, st->st_gid);
	(void)fchmod(fd, st->st_mode & 0777);
}

/* A file to write to, and whether it is beside the one that it will be; -errno. */
static int open_for(const struct touch *t, bool *ret_beside)
{
	struct stat st;
	bool there = lstat(t->path, &st) == 0;
	int fd;

	*ret_beside = !there || S_ISREG(st.st_mode);
	if (!*ret_beside)
		return open_in_place(t);
	fd = make_beside(t);
	if (fd >= 0 && there)
		copy_mode(fd, &st);
	if (there && (fd == -EACCES || fd == -EPERM)) {
		*ret_beside = false;
		fd = open_in_place(t);
	}
	return fd;
}

static void note_file(const struct touch *t, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return;
	t->head->recording[0] = t->head->recording[1];
	t->head->recording[1] = (struct state_file){st.st_dev, st.st_ino};
}

static bool is_ours(const struct touch *t)
{
	struct stat st;

	if (lstat(t->path, &st) < 0 || !S_ISREG(st.st_mode))
		return false;
	for (int i = 0; i < 2; i++) {
		const struct state_file *file = &t->head->recording[i];

		if (file->dev == st.st_dev && file->ino == st.st_ino)
			return true;
	}
	return false;
}

static int write_text(const struct touch *t, const struct buf *text)
{
	bool beside;
	int fd = open_for(t, &beside), rc;

	if (fd < 0)
		return fd;
	rc = io_pwrite_all(fd, text->data, text->len, 0);
	if (rc == 0 && !beside && ftruncate(fd, (off_t)text->len) < 0)
		rc = -errno;
	if (rc == 0)
		note_file(t, fd);
	if (close(fd) < 0 && rc == 0)
		rc = -errno;
	if (rc == 0 && beside && rename(t->beside, t->path) < 0)
		rc = -errno;
	if (rc < 0 && beside)
		(void)unlink(t->beside);
	return rc;
}

/* ---- its life ---- */

static int set_paths(struct touch *t, const char *path, const char *id)
{
	const char *name = strrchr(path, '/');
	int dir = name ? (int)(name + 1 - path) : 0;

	t->path = strdup(path);
	if (asprintf(&t->beside, "%.*s.%s.recording", dir, path, id) < 0)
		t->beside = NULL;
	return t->path && t->beside ? 0 : -ENOMEM;
}

static int touch_new(const char *path, struct state *state, struct touch **ret, struct err *err)
{
	struct touch *t = calloc(1, sizeof(*t));

	if (!t || set_paths(t, path, state->head->id) < 0) {
		touch_free(t);
		return err_set(err, -ENOMEM, "out of memory");
	}
	t->head = state->head;
	*ret = t;
	return 0;
}

int touch_open(const char *path, struct state *state, struct touch **ret, struct err *err)
{
	struct touch *t = NULL;
	bool beside = false;
	int rc = touch_new(path, state, &t, err), fd;

	if (rc < 0)
		return rc;
	fd = open_for(t, &beside);
	if (fd < 0) {
		touch_free(t);
		return err_sys(err, fd, "cannot record to '%s'", path);
	}
	(void)close(fd);
	if (beside)
		(void)unlink(t->beside);
	*ret = t;
	return 0;
}

int touch_reopen(const char *path, struct state *state, struct touch **ret, struct err *err)
{
	struct touch *t = NULL;
	int rc = touch_new(path, state, &t, err);

	if (rc < 0)
		return rc;
	t->begun = is_ours(t) && trace_load(path, &t->trace, NULL) == 0;
	*ret = t;
	return 0;
}

void touch_free(struct touch *t)
{
	if (!t)
		return;
	trace_fini(&t->trace);
	free(t->path);
	free(t->beside);
	free(t->seen);
	free(t);
}

/* ---- what was touched ---- */

static bool see(struct touch *t, uint64_t page)
{
	uint8_t bit = (uint8_t)(1u << page % 8);
	bool before = t->seen[page / 8] & bit;

	t->seen[page / 8] |= bit;
	return !before;
}

static void see_all(struct touch *t)
{
	for (size_t i = 0; i < t->trace.n; i++)
		for (uint64_t k = 0; k < t->trace.v[i].count; k++)
			(void)see(t, t->trace.v[i].first + k);
}

void touch_begin(struct touch *t, uint32_t page_size, uint64_t memfile_size)
{
	if (!t)
		return;
	if (!t->begun || t->trace.page_size != page_size || t->trace.size != memfile_size) {
		trace_fini(&t->trace);
		trace_init(&t->trace, page_size, memfile_size);
	}
	free(t->seen);
	t->seen = calloc(1, memfile_size / page_size / 8 + 1);
	t->begun = t->seen;		/* without memory there is no recording */
	if (t->begun)
		see_all(t);
}

void touch_note(struct session *s, uint64_t page)
{
	struct touch *t = s->touch;
	const struct region *r;
	uint64_t off;

	if (!t || !t->begun)
		return;
	r = session_region(s, page);
	off = region_offset(r, page);
	page = off / t->trace.page_size;
	if (page / 8 > t->trace.size / t->trace.page_size / 8 || !see(t, page) ||
	    trace_add(&t->trace, page, 1) < 0)
		return;
	if (!t->changed)
		loop_tick_in(s->env->loop, TOUCH_FLUSH_MS);
	t->changed = true;
}

/* Pages of that state that were asked for. */
static void note_all(struct session *s, enum state_page state)
{
	struct state_want want = {STATE_PAGE | STATE_AHEAD, (uint8_t)state, UINT64_MAX};
	uint64_t end = s->state->head->npages, n;

	for (uint64_t page = 0; page < end; page += n) {
		page = state_next(s->state, page, end, want, &n);
		for (uint64_t i = 0; i < n; i++)
			touch_note(s, page + i);
	}
}

void touch_catch_up(struct session *s)
{
	if (!s->touch || !s->touch->begun)
		return;
	note_all(s, STATE_PRESENT);
	note_all(s, STATE_FILLING);
}

int touch_flush(struct touch *t)
{
	struct buf text = {0};
	int rc;

	if (!t || !t->changed)
		return 0;
	rc = trace_format(&t->trace, &text);
	if (rc == 0)
		rc = write_text(t, &text);
	if (rc == 0)
		t->changed = false;
	buf_fini(&text);
	return rc;
}
