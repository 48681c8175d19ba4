/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The index that is to be replaced, where it can be read.  It says for certain
 * which store this is, and which layers there were: what the packs have lost
 * as a whole nothing else could name.  It is opened for reading only, so that
 * whatever becomes of this run, its file and its log stay as they are.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "store/decide.h"
#include "store/index.h"
#include "store/recover-private.h"
#include "store/store.h"

static int add_layer(void *ctx, const struct index_layer *l)
{
	struct recover *r = ctx;

	return vec_push(&r->old.layers, l->id);
}

static int read_all(struct recover *r, struct index *ix, struct err *err)
{
	struct store old = {.index = ix};
	int rc = index_check_writable(ix, err);

	if (rc == 0)
		rc = store_meta_get(ix, r->old.uuid, &r->old.params, err);
	if (rc == 0)
		rc = index_meta_get_u64(ix, "next_seq", &r->old.next_seq, err);
	if (rc == 0)
		r->old.known = true;
	if (rc == 0)
		rc = decide_layer_each(&old, add_layer, r, err);
	return rc;
}

/* What only says that this index is of no use here, or else the reason to stop. */
static int judge(struct recover *r, int rc, const struct err *why)
{
	if (rc == -ENOMEM)
		return err_set(r->err, rc, "out of memory");
	if (rc == -EPROTONOSUPPORT || rc == -EBUSY || rc == -EACCES)
		return err_set(r->err, rc, "%s", why->text);
	recover_note(r, "%s: %s", r->old.known ? "the old index is read in part" :
		     "the old index is not asked", why->text);
	return 0;
}

int recover_old_read(struct recover *r)
{
	struct err why = {{0}};
	struct index *ix = NULL;
	struct stat st;
	char *path;
	int rc;

	if (fstatat(r->store->dirfd, "index.db", &st, 0) < 0)
		return 0;
	if (asprintf(&path, "%s/index.db", r->store->path) < 0)
		return err_set(r->err, -ENOMEM, "out of memory");
	rc = index_open(path, INDEX_READ, &ix, &why);
	free(path);
	if (rc == 0)
		rc = read_all(r, ix, &why);
	index_close(ix);
	r->res.compared = rc == 0;
	return rc < 0 ? judge(r, rc, &why) : 0;
}

void recover_old_fini(struct recover *r)
{
	vec_fini(&r->old.layers);
}
