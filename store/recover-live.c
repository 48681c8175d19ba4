/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What was written to live images lies beside the packs and is not touched here.  What belongs
 * to nothing, or cannot be opened, is told.
 */
#include <unistd.h>

#include "store/index.h"
#include "store/base/io.h"
#include "store/live-dir.h"
#include "store/live-row.h"
#include "store/recover-private.h"
#include "store/store.h"

/* ---- rows ---- */

static int note_missing(struct recover *r, const struct live_row *row)
{
	r->res.live_lost++;
	recover_note(r, "live image '%s' cannot be opened: delta %llu is not there", row->name,
		     (unsigned long long)row->first);
	return 0;
}

static int look_at_row(void *ctx, const struct live_row *row)
{
	struct recover *r = ctx;
	int dirfd = live_dir_open(r->store, row->name), fd = dirfd;

	if (dirfd >= 0) {
		fd = live_dir_open_seq(dirfd, row->first);
		close(dirfd);
	}
	if (fd == -ENOENT)
		return note_missing(r, row);
	if (fd < 0)
		return err_sys(r->err, fd, "cannot open the directory of live image '%s'",
			       row->name);
	close(fd);
	return 0;
}

/* ---- directories ---- */

/* Removed ones are known: their directory is gc's. */
static int look_at_dir(void *ctx, int all, const char *name)
{
	struct recover *r = ctx;
	int rc = live_row_said(r->store, name, r->err), fd;

	(void)all;
	if (rc != -ENOENT || !live_row_name_ok(name))
		return rc < 0 && rc != -ENOENT ? rc : 0;
	fd = live_dir_open(r->store, name);
	if (fd < 0)
		return fd == -ENOENT || fd == -ENOTDIR ? 0 : fd;
	rc = live_dir_is_blank(fd);
	close(fd);
	if (rc != 0)
		return rc < 0 ? rc : 0;
	r->res.live_lost++;
	recover_note(r, "live image '%s' is lost: no pack knows on which layer it stands; what was "
		     "written to it stays in '%s/" LIVE_DIR "/%s'", name, r->store->path, name);
	return 0;
}

static int look_at_dirs(struct recover *r)
{
	int all = live_dir_open_all(r->store), rc;

	if (all < 0)
		return all == -ENOENT ? 0 : err_sys(r->err, all, "cannot open '%s/" LIVE_DIR "'",
						    r->store->path);
	r->err->text[0] = '\0';
	rc = io_each_name(all, ".", look_at_dir, r);
	close(all);
	if (rc < 0 && !r->err->text[0])
		(void)err_sys(r->err, rc, "cannot read '%s/" LIVE_DIR "'", r->store->path);
	return rc;
}

int recover_live_settle(struct recover *r)
{
	int rc = live_row_each(r->store, look_at_row, r, r->err);

	if (rc == 0 && r->res.live)
		rc = index_feature_add(r->store->index, FEATURE_LIVE, r->err);
	return rc < 0 ? rc : look_at_dirs(r);
}
