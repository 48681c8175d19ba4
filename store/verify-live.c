/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Live images: their layer is there, and their deltas can be opened.  No layer is hurt by what is
 * not, only what was written to the live image.  What may have been committed, folded or removed
 * meanwhile is asked again before it is believed.
 */
#include <stdio.h>
#include <unistd.h>

#include "store/base/fmt.h"
#include "store/base/io.h"
#include "store/live-dir.h"
#include "store/live.h"
#include "store/store.h"
#include "store/verify-private.h"

#define NAME_BYTES 6		/* of a layer's id */

static int tell(struct verify *v, const char *name, const char *why)
{
	struct verify_item fault = {.what = "live", .about = VERIFY_OTHER};

	return verify_faults_add(v, fault, "live image '%s': %s", name, why);
}

/* Whether the row says what it said before: 1, 0 or -errno. */
static int is_as_it_was(struct verify *v, const struct live_row *row)
{
	struct live_row now;
	int rc = live_row_get(v->store, row->name, &now, v->err);

	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	return now.first == row->first && now.created == row->created;
}

static int check_base(struct verify *v, const struct live_row *row)
{
	char why[64], hex[2 * NAME_BYTES + 1];
	int rc = row->has_base ? verify_layer_exists(v, &row->base) : 1;

	if (rc != 0)
		return rc < 0 ? rc : 0;
	rc = is_as_it_was(v, row);
	if (rc <= 0)
		return rc;
	(void)snprintf(why, sizeof(why), "its layer %s is not there",
		       fmt_hex(hex, row->base.b, NAME_BYTES));
	return tell(v, row->name, why);
}

/* The sentence names it. */
static int check_deltas(struct verify *v, const struct live_row *row)
{
	struct verify_item fault = {.what = "live", .about = VERIFY_OTHER};
	struct live_info info;
	struct err why;
	int rc = live_info(v->store, row->name, &info, &why);

	if (rc == 0 || rc == -ENOENT)
		return 0;
	if (rc == -ENOMEM)
		return err_set(v->err, rc, "out of memory");
	return verify_faults_add(v, fault, "%s", why.text);
}

static int check_row(void *ctx, const struct live_row *row)
{
	struct verify *v = ctx;
	int rc = check_base(v, row);

	return rc < 0 ? rc : check_deltas(v, row);
}

/* What was written to one that is no more known is nobody's, until somebody looks at it. */
static int check_dir(void *ctx, int all, const char *name)
{
	struct verify *v = ctx;
	int rc = live_row_said(v->store, name, NULL), fd;

	(void)all;
	if (rc != -ENOENT || !live_row_name_ok(name))
		return 0;
	fd = live_dir_open(v->store, name);
	if (fd < 0)
		return 0;
	rc = live_dir_is_blank(fd);
	close(fd);
	/* It was being made. */
	if (rc != 0 || live_row_said(v->store, name, NULL) != -ENOENT)
		return 0;
	return tell(v, name, "it is lost: nothing says on which layer it stands, and what was "
		    "written to it is left");
}

static int check_dirs(struct verify *v)
{
	int all = live_dir_open_all(v->store), rc;

	if (all < 0)
		return all == -ENOENT ? 0 : err_sys(v->err, all, "cannot open '%s/" LIVE_DIR "'",
						    v->store->path);
	rc = io_each_name(all, ".", check_dir, v);
	close(all);
	return rc < 0 ? err_sys(v->err, rc, "cannot look through '%s/" LIVE_DIR "'",
				v->store->path) : 0;
}

int verify_live(struct verify *v)
{
	struct verify_item fault = {.what = "live", .about = VERIFY_OTHER};
	struct err why = {{0}};
	int rc = live_row_each(v->store, check_row, v, &why);

	if (rc == -EBADMSG && why.text[0])
		rc = verify_faults_add(v, fault, "%s", why.text);
	else if (rc < 0 && why.text[0])
		(void)err_set(v->err, rc, "%s", why.text);
	return rc < 0 ? rc : check_dirs(v);
}
