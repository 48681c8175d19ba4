/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/sparse.h"

#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/base/io.h"

#define PIECE (1u << 20)

/* A file in the making. */
struct making {
	struct sparse *s;
	struct view *view;
	char *tmp;		/* its name until it is whole */
	int fd;
	uint8_t *piece;		/* PIECE bytes */
	uint64_t total;		/* bytes of data */
};

static int tell(struct making *m, struct err *err)
{
	int rc = progress_tell(m->s->progress, "export", PROGRESS_BYTES, m->s->data, m->total);

	return rc < 0 ? err_set(err, rc, "interrupted") : 0;
}

static int copy_piece(struct making *m, uint64_t off, size_t len, struct err *err)
{
	int64_t n = view_pread(m->view, m->piece, len, off, err);
	int rc;

	if (n < 0)
		return (int)n;
	rc = io_pwrite_all(m->fd, m->piece, (size_t)n, off);
	if (rc < 0)
		return err_sys(err, rc, "cannot write '%s'", m->s->path);
	m->s->data += (uint64_t)n;
	return tell(m, err);
}

static int copy_run(struct making *m, const struct view_run *run, struct err *err)
{
	uint64_t off = run->off, end = run->off + run->len;
	int rc = 0;

	while (rc == 0 && off < end) {
		/* Pieces end where the image's frames do. */
		uint64_t len = PIECE - off % PIECE;

		if (len > end - off)
			len = end - off;
		rc = copy_piece(m, off, (size_t)len, err);
		off += len;
	}
	return rc;
}

static int copy(struct making *m, struct err *err)
{
	uint64_t size = view_size(m->view), off = 0;
	struct view_run run;
	int rc = 0;

	if (ftruncate(m->fd, (off_t)size) < 0)
		rc = err_sys(err, -errno, "cannot write '%s'", m->s->path);
	while (rc == 0 && off < size) {
		rc = view_next_run(m->view, off, &run, err);
		if (rc == 0 && run.data)
			rc = copy_run(m, &run, err);
		if (rc == 0)
			off = run.off + run.len;
	}
	if (rc == 0) {
		rc = io_fsync(m->fd);
		if (rc < 0)
			rc = err_sys(err, rc, "cannot write '%s'", m->s->path);
	}
	return rc;
}

static int place(const struct making *m, struct err *err)
{
	const char *path = m->s->path;
	int rc = renameat2(AT_FDCWD, m->tmp, AT_FDCWD, path, m->s->replace ? 0 : RENAME_NOREPLACE);

	/* Not every file system knows NOREPLACE; link(2) never replaces either. */
	if (rc < 0 && errno == EINVAL && !m->s->replace) {
		rc = link(m->tmp, path);
		if (rc == 0)
			(void)unlink(m->tmp);
	}
	return rc < 0 ? err_sys(err, -errno, "cannot make '%s'", path) : 0;
}

static int sync_dir(const char *path, struct err *err)
{
	char *copied = strdup(path);
	int rc = copied ? io_fsync_dir(AT_FDCWD, dirname(copied)) : -ENOMEM;

	free(copied);
	return rc < 0 ? err_sys(err, rc, "cannot make '%s' durable", path) : 0;
}

static int make(struct making *m, struct err *err)
{
	int rc = view_data_bytes(m->view, &m->total, err);

	/* Whoever is told may catch signals from now on: before there is a file to leave. */
	if (rc == 0)
		rc = tell(m, err);
	if (rc < 0)
		return rc;
	m->fd = mkostemp(m->tmp, O_CLOEXEC);
	if (m->fd < 0)
		return err_sys(err, -errno, "cannot write '%s'", m->s->path);
	rc = copy(m, err);
	if (close(m->fd) < 0 && rc == 0)
		rc = err_sys(err, -errno, "cannot write '%s'", m->s->path);
	if (rc == 0)
		rc = place(m, err);
	if (rc < 0)
		(void)unlink(m->tmp);
	return rc < 0 ? rc : sync_dir(m->s->path, err);
}

int sparse_write(struct sparse *s, struct view *view, struct err *err)
{
	struct making m = {.s = s, .view = view, .piece = malloc(PIECE)};
	int rc;

	if (asprintf(&m.tmp, "%s.tmp.XXXXXX", s->path) < 0)
		m.tmp = NULL;
	if (m.tmp && m.piece)
		rc = make(&m, err);
	else
		rc = err_set(err, -ENOMEM, "cannot write '%s': out of memory", s->path);
	free(m.tmp);
	free(m.piece);
	return rc;
}
