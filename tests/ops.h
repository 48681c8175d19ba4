/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ops: what a process may be doing when something goes wrong: a store to begin
 * with, the operations, and what must be true afterwards.  For the sweeps and
 * the crash tests, which go through every point of each.
 *
 * The store has four generations in three packs; the first two were removed
 * and wait for gc, and pack 1 has little that is live.  A fifth is the
 * commit's.  Live image "old" stands on the fourth, with a page that was written.
 */
#ifndef LAMINA_TESTS_OPS_H
#define LAMINA_TESTS_OPS_H

#include "store/base/io.h"
#include "store/gc.h"
#include "store/live-dir.h"
#include "store/live.h"
#include "store/recover.h"
#include "store/verify.h"
#include "tests/series.h"

struct ops {
	struct series base;		/* closed; its layers are the model of every run */
	struct series run;		/* the copy that is operated on */
	struct series_layer fifth;	/* what the commit commits */
};

struct op {
	const char *name;
	int (*run)(struct ops *o, struct err *err);	/* opens the store itself */
};

TAP_FN int ops_commit(struct ops *o, struct err *err)
{
	int rc = store_open(o->run.path, NULL, &o->run.store, err);

	if (rc < 0)
		return rc;
	rc = series_commit_files(&o->run, &o->fifth, &o->run.layer[3], "fifth", err);
	store_close(o->run.store);
	return rc;
}

TAP_FN int ops_gc_with(struct ops *o, struct gc_opts opts, struct err *err)
{
	struct gc_result r;
	int rc = store_open(o->run.path, NULL, &o->run.store, err);

	if (rc < 0)
		return rc;
	rc = gc_run(o->run.store, &opts, &r, err);
	store_close(o->run.store);
	return rc;
}

TAP_FN int ops_gc(struct ops *o, struct err *err)
{
	return ops_gc_with(o, (struct gc_opts){0}, err);
}

TAP_FN int ops_repack(struct ops *o, struct err *err)
{
	return ops_gc_with(o, (struct gc_opts){.repack = true, .ratio = 1.1}, err);
}

TAP_FN int ops_verify(struct ops *o, struct err *err)
{
	struct verify_opts opts = {.deep = true};
	struct verify_result r;
	int rc = store_open(o->run.path, NULL, &o->run.store, err);

	if (rc < 0)
		return rc;
	rc = verify_run(o->run.store, &opts, &r, err);
	store_close(o->run.store);
	return rc;
}

TAP_FN int ops_recover(struct ops *o, struct err *err)
{
	struct recover_opts opts = {0};
	struct recover_result r;

	return recover_run(o->run.path, &opts, &r, err);
}

TAP_FN int ops_remove(struct ops *o, struct err *err)
{
	int rc = store_open(o->run.path, NULL, &o->run.store, err);

	if (rc < 0)
		return rc;
	rc = decide_remove(o->run.store, &o->run.layer[2].id, true, 0, err);
	store_close(o->run.store);
	return rc;
}

TAP_FN int ops_live_make(struct ops *o, struct err *err)
{
	struct live_size more = {"data", PAGE_SIZE};
	struct live_new what = {"new", &o->run.layer[3].id, &more, 1};
	int rc = store_open(o->run.path, NULL, &o->run.store, err);

	if (rc < 0)
		return rc;
	rc = live_create(o->run.store, &what, 0, err);
	store_close(o->run.store);
	return rc;
}

TAP_FN int ops_live_remove(struct ops *o, struct err *err)
{
	int rc = store_open(o->run.path, NULL, &o->run.store, err);

	if (rc < 0)
		return rc;
	rc = live_remove(o->run.store, "old", 0, err);
	store_close(o->run.store);
	return rc;
}

/*
 * Each run costs a store: where everything is slow, only every so many calls
 * are tried.  OPS_STEP says otherwise.
 */
TAP_FN unsigned long ops_step(void)
{
	const char *step = getenv("OPS_STEP"), *sanitized = getenv("LAMINA_SANITIZED");
	unsigned long n = 1;

	if (getenv("LAMINA_VALGRIND"))
		n = 11;
	else if (sanitized && *sanitized)
		n = 3;
	if (step)
		n = strtoul(step, NULL, 0);
	if (n > 1)
		tap_diag("only every %lu. call (OPS_STEP)", n);
	return n ? n : 1;
}

/* The store as it was before. */
TAP_FN void ops_fresh(struct ops *o)
{
	char line[4 * PATH_MAX];

	(void)snprintf(line, sizeof(line), "rm -rf '%s' && cp -a '%s' '%s'", o->run.path,
		       o->base.path, o->run.path);
	if (system(line) != 0)
		bail("%s", line);
	memcpy(o->run.layer, o->base.layer, sizeof(o->run.layer));
	o->run.n = o->base.n;
	o->run.store = NULL;
}

TAP_FN void ops_init_live(struct series *s)
{
	struct live_new what = {.name = "old", .from = &s->layer[3].id};
	struct delta_place place = {.store = s->store, .name = "rootfs", .seq = 1};
	int fd;
	uint8_t page[PAGE_SIZE];
	struct delta *d;
	struct err err;

	series_must(live_create(s->store, &what, 0, &err), &err, "live_create");
	fd = live_dir_open(s->store, "old");
	place.dirfd = live_dir_open_seq(fd, 1);
	series_must(delta_open(&place, 0, &d, &err), &err, "delta_open");
	series_page(77, page);
	series_must(delta_write(d, page, 3, 1, &err), &err, "delta_write");
	series_must(delta_sync(d, &err), &err, "delta_sync");
	delta_unref(d);
	close(place.dirfd);
	close(fd);
}

TAP_FN void ops_init(struct ops *o, uint64_t seed)
{
	struct series *s = &o->base;
	struct err err;

	/* Nothing here loses power: a disk would only be slow. */
	if (!getenv("TMPDIR") && access("/dev/shm", W_OK) == 0)
		setenv("TMPDIR", "/dev/shm", 1);
	series_init(s, "base", seed);
	for (size_t i = 0; i < 4; i++) {
		(void)series_commit(s, i - 1, i ? 15 : 25, i == 3 ? "fourth" : NULL);
		if (i == 0 || i == 2)
			series_new_pack(s);
	}
	series_must(decide_tag(s->store, "third", &s->layer[2].id, 0, &err), &err, "tag");
	series_remove(s, 0);
	series_remove(s, 1);
	ops_init_live(s);
	o->fifth = s->layer[3];
	series_change(s, &o->fifth, 20);
	store_close(s->store);
	s->store = NULL;
	o->run = *s;
	series_names(&o->run, "run");
	series_write_files(&o->run, &o->fifth);
	/* Its name does not depend on when it is committed. */
	ops_fresh(o);
	series_must(ops_commit(o, &err), &err, "commit");
}

/* ---- afterwards ---- */

TAP_FN bool ops_is_shown(struct ops *o, const struct digest *id)
{
	struct layer *layer;
	int rc = layer_open(o->run.store, id, &layer, NULL);

	if (rc == 0)
		layer_unref(layer);
	return rc == 0;
}

TAP_FN uint64_t ops_faults(struct ops *o)
{
	struct verify_opts opts = {.deep = true};
	struct verify_result r;
	struct err err;

	series_must(verify_run(o->run.store, &opts, &r, &err), &err, "verify");
	return r.faults;
}

TAP_FN int ops_count_row(void *ctx, const struct index_pack *row)
{
	(void)row;
	++*(size_t *)ctx;
	return 0;
}

/* What is there is whole, and nothing else is there: NULL, or why not. */
TAP_FN const char *ops_look(struct ops *o)
{
	struct digest id;
	const char *wrong = series_check(&o->run);

	if (wrong)
		return wrong;
	if (ops_faults(o))
		return "verify finds faults";
	if (decide_tag_find(o->run.store, "fourth", &id, NULL) < 0 ||
	    !digest_equal(&id, &o->run.layer[3].id))
		return "a tag is gone";
	return NULL;
}

TAP_FN int ops_count_file(void *ctx, int dirfd, const char *name)
{
	(void)dirfd;
	(void)name;
	++*(size_t *)ctx;
	return 0;
}

TAP_FN int ops_count_live(void *ctx, const struct live_row *row)
{
	(void)row;
	++*(size_t *)ctx;
	return 0;
}

/* What was written to "old" is there unless it was removed, and gc has left nothing else. */
TAP_FN const char *ops_look_live(struct ops *o, const struct op *op)
{
	struct store *store = o->run.store;
	size_t files = 0, rows = 0;
	struct live_info info;
	int all = live_dir_open_all(store);
	struct err err;

	series_must(io_each_name(all, ".", ops_count_file, &files), NULL, "live/");
	series_must(live_row_each(store, ops_count_live, &rows, &err), &err, "live_row_each");
	close(all);
	if (files != rows)
		return "gc leaves files of live images that nobody knows";
	if (live_info(store, "old", &info, &err) < 0)
		return op->run == ops_live_remove ? NULL : "a live image is gone";
	return info.image[1].written == 1 ? NULL : "what was written to a live image is gone";
}

/* gc and commit work, and gc leaves no pack that the index does not know. */
TAP_FN const char *ops_go_on(struct ops *o)
{
	struct gc_opts opts = {.repack = true, .ratio = 1.1};
	struct gc_result r;
	size_t rows = 0;
	struct err err;
	const char *wrong;

	series_must(gc_run(o->run.store, &opts, &r, &err), &err, "gc afterwards");
	wrong = ops_look(o);
	if (wrong)
		return wrong;
	series_must(index_pack_each(o->run.store->index, ops_count_row, &rows, &err), &err, "rows");
	if (series_packs(&o->run) != rows)
		return "gc leaves packs that nobody knows";
	if (!ops_is_shown(o, &o->fifth.id)) {
		o->run.layer[o->run.n] = o->fifth;
		series_must(series_try_commit(&o->run, &o->run.layer[o->run.n++],
					      &o->run.layer[3], NULL, &err), &err, "commit");
	}
	return ops_look(o);
}

/*
 * After `op` failed, was killed, or worked.  Its layer may be there or not, but
 * if it is it is whole; of the others only what it removed may be gone.
 */
TAP_FN const char *ops_check(struct ops *o, const struct op *op)
{
	const char *wrong;

	series_open(&o->run);
	if (op->run == ops_commit && ops_is_shown(o, &o->fifth.id))
		o->run.layer[o->run.n++] = o->fifth;
	if (op->run == ops_remove && !ops_is_shown(o, &o->run.layer[2].id))
		o->run.layer[2].removed = true;
	wrong = ops_look(o);
	if (!wrong)
		wrong = ops_go_on(o);
	if (!wrong)
		wrong = ops_look_live(o, op);
	store_close(o->run.store);
	return wrong;
}

#endif

