/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The file is written anew as a whole, in place: it may lie where we can make
 * no other.  One that is cut short lacks its last line, and says so when it is read.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/pager/session.h"
#include "src/pager/touch.h"
#include "store/base/io.h"
#include "store/base/trace.h"

struct touch {
	int fd;
	bool begun;
	bool changed;
	uint8_t *seen;		/* a bit for each page of the memfile: a trace has it once */
	struct trace trace;
};

static int touch_new(const char *path, int flags, struct touch **ret, struct err *err)
{
	struct touch *t = calloc(1, sizeof(*t));

	if (!t)
		return err_set(err, -ENOMEM, "out of memory");
	flags |= O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW | O_NONBLOCK;
	t->fd = open(path, flags, 0640);
	if (t->fd < 0) {
		int rc = -errno;

		free(t);
		return err_sys(err, rc, "cannot record to '%s'", path);
	}
	*ret = t;
	return 0;
}

int touch_open(const char *path, struct touch **ret, struct err *err)
{
	return touch_new(path, O_TRUNC, ret, err);
}

int touch_reopen(const char *path, struct touch **ret, struct err *err)
{
	struct touch *t = NULL;
	int rc = touch_new(path, 0, &t, err);

	if (rc < 0)
		return rc;
	if (trace_load(path, &t->trace, NULL) == 0)
		t->begun = true;
	*ret = t;
	return 0;
}

void touch_free(struct touch *t)
{
	if (!t)
		return;
	trace_fini(&t->trace);
	(void)close(t->fd);
	free(t->seen);
	free(t);
}

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
	if (page / 8 <= t->trace.size / t->trace.page_size / 8 && see(t, page) &&
	    trace_add(&t->trace, page, 1) == 0)
		t->changed = true;
}

int touch_flush(struct touch *t)
{
	struct buf text = {0};
	int rc;

	if (!t || !t->changed)
		return 0;
	rc = trace_format(&t->trace, &text);
	if (rc == 0)
		rc = io_pwrite_all(t->fd, text.data, text.len, 0);
	if (rc == 0 && ftruncate(t->fd, (off_t)text.len) < 0)
		rc = -errno;
	if (rc == 0)
		t->changed = false;
	buf_fini(&text);
	return rc;
}
