/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One commit, in order: the words are checked and the inputs opened without
 * the writer's lock; under it the images are ingested (ingest.h) and the layer
 * is published (publish.h).  Until the transaction at the very end nothing is
 * visible; whatever fails before, append_abort() cuts the packs back, and what
 * a crash leaves of them the next append cuts.
 */
#include "store/commit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "store/append.h"
#include "store/base/clock.h"
#include "store/base/fmt.h"
#include "store/decide.h"
#include "store/dedup.h"
#include "store/index.h"
#include "store/ingest.h"
#include "store/inherit.h"
#include "store/layer.h"
#include "store/pipeline.h"
#include "store/publish.h"
#include "store/store.h"

#define THREADS_DEFAULT_MAX 8

struct commit {
	struct store *store;
	const struct commit_opts *opts;
	struct commit_result *result;
	double started;			/* clock_s()'s */
	size_t order[IMAGES_MAX];		/* of the images: by name */
	struct input *inputs[IMAGES_MAX];	/* in that order */
	struct ingest_image images[IMAGES_MAX];
	struct layer *parent;
	struct append append;
	bool appending;
	struct dedup *dedup;
	struct ingest ingest;
	struct layer *layer;
	struct attrs attrs;
};

/* ---- what is asked for ---- */

static int check_image(const struct commit_opts *opts, size_t i, struct err *err)
{
	const struct commit_image *image = &opts->images[i];

	if (!layer_image_name_ok(image->name))
		return err_set(err, -EINVAL, "bad image name '%s'", image->name);
	for (size_t k = 0; k < i; k++)
		if (strcmp(opts->images[k].name, image->name) == 0)
			return err_set(err, -EINVAL, "image '%s' is given twice", image->name);
	if (image->mode != INPUT_FULL && !image->source && !opts->parent)
		return err_set(err, -EINVAL, "image '%s' is a diff, but no parent is given",
			       image->name);
	return 0;
}

static int check(const struct commit_opts *opts, struct err *err)
{
	int rc = 0;

	if (opts->nimages == 0)
		return err_set(err, -EINVAL, "there is no image to commit");
	if (opts->nimages > IMAGES_MAX)
		return err_set(err, -EINVAL, "a layer has at most %u images", IMAGES_MAX);
	if (opts->tag && !decide_tag_name_ok(opts->tag))
		return err_set(err, -EINVAL, "bad tag name '%s'", opts->tag);
	for (size_t i = 0; i < opts->nimages && rc == 0; i++)
		rc = check_image(opts, i, err);
	return rc;
}

/* Insertion sort: few, and qsort() has no context. */
static void sort_images(struct commit *c)
{
	for (size_t i = 0; i < c->opts->nimages; i++) {
		const char *name = c->opts->images[i].name;
		size_t k = i;

		for (; k > 0 && strcmp(c->opts->images[c->order[k - 1]].name, name) > 0; k--)
			c->order[k] = c->order[k - 1];
		c->order[k] = i;
	}
}

static const struct commit_image *given(const struct commit *c, size_t i)
{
	return &c->opts->images[c->order[i]];
}

static int open_input(const struct commit_image *image, struct input **ret, struct err *err)
{
	int rc;

	if (!image->source)
		return input_open(image->path, image->mode, image->ranges, image->nranges, ret,
				  err);
	rc = input_from(image->source, ret, err);
	return rc < 0 ? err_wrap(err, rc, "image '%s'", image->name) : 0;
}

static int open_inputs(struct commit *c, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; i < c->opts->nimages && rc == 0; i++)
		rc = open_input(given(c, i), &c->inputs[i], err);
	return rc;
}

/* ---- under the lock ---- */

/* A look at the index costs a third of what it does alone; transactions must wait. */
static int in_snapshot(struct commit *c, int (*fn)(struct commit *c, struct err *err),
		       struct err *err)
{
	int rc = index_snapshot_begin(c->store->index, err);

	if (rc < 0)
		return rc;
	rc = fn(c, err);
	index_snapshot_end(c->store->index);
	return rc;
}

static unsigned threads(const struct commit *c)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN) - (long)c->opts->spare;
	unsigned n = c->opts->threads;

	if (n == 0)
		n = cores < 1 ? 1 : cores > THREADS_DEFAULT_MAX ? THREADS_DEFAULT_MAX :
		    (unsigned)cores;
	return n > PIPELINE_THREADS_MAX ? PIPELINE_THREADS_MAX : n;
}

static enum input_mode mode_of(const struct commit_image *image, const struct image *parent)
{
	if (!image->source)
		return image->mode;
	return parent ? INPUT_DIFF : INPUT_FULL;
}

static int open_image(struct commit *c, size_t i, struct err *err)
{
	const struct commit_image *image = given(c, i);
	const struct image *parent = c->parent ? layer_image(c->parent, image->name) : NULL;
	enum input_mode mode = mode_of(image, parent);

	if (mode != INPUT_FULL && !parent)
		return err_set(err, -EINVAL, "image '%s' is a diff, but the parent has no such "
			       "image", image->name);
	if (parent && input_dirty_from(c->inputs[i], parent->size) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	c->images[i] = (struct ingest_image){.name = image->name, .mode = mode,
					     .in = c->inputs[i], .parent = parent};
	return 0;
}

/* Frames of the parent's image that the layer may get without their being read. */
static uint64_t inherited_frames(const struct commit *c, const struct image *parent)
{
	uint64_t n = parent->nframes;

	for (size_t i = 0; i < c->opts->nimages; i++) {
		const struct ingest_image *image = &c->images[i];

		if (image->parent != parent)
			continue;
		n = image->mode == INPUT_FULL ? 0 :
		    (input_size(image->in) + FRAME_SIZE - 1) >> FRAME_SHIFT;
	}
	return n;
}

static int check_inherited(struct commit *c, struct err *err)
{
	uint64_t nframes[IMAGES_MAX];

	if (!c->parent)
		return 0;
	for (unsigned i = 0; i < c->parent->nimages; i++)
		nframes[i] = inherited_frames(c, &c->parent->image[i]);
	return inherit_check(c->store, c->parent, nframes, err);
}

static int open_images(struct commit *c, struct err *err)
{
	int rc = 0;

	if (c->opts->parent)
		rc = layer_open(c->store, c->opts->parent, &c->parent, err);
	if (rc < 0)
		return err_wrap(err, rc, "cannot commit upon this parent");
	for (size_t i = 0; i < c->opts->nimages && rc == 0; i++)
		rc = open_image(c, i, err);
	return rc < 0 ? rc : check_inherited(c, err);
}

static int prepare(struct commit *c, struct err *err)
{
	int rc = dedup_new(c->store, DEDUP_BUDGET, &c->dedup);

	if (rc < 0)
		return err_sys(err, rc, "cannot prepare the commit");
	if (c->opts->dry_run)
		return 0;
	rc = append_begin(c->store, 0, &c->append, err);
	c->appending = rc == 0;
	return rc;
}

static int ingest(struct commit *c, struct err *err)
{
	c->ingest = (struct ingest){
		.store = c->store, .append = c->appending ? &c->append : NULL,
		.dedup = c->dedup, .parent = c->parent, .images = c->images,
		.nimages = c->opts->nimages, .threads = threads(c),
		.progress = &c->opts->progress,
	};
	return ingest_run(&c->ingest, err);
}

/* ---- the layer ---- */

static struct image *add_image(struct layer *l, const char *name, uint64_t size)
{
	struct image *image = &l->image[l->nimages++];

	(void)strcpy(image->name, name);
	image->size = size;
	image->nframes = (size + FRAME_SIZE - 1) >> FRAME_SHIFT;
	return image;
}

/* Takes the frames. */
static void add_new(struct layer *l, struct ingest_image *from)
{
	struct image *image = add_image(l, from->name, input_size(from->in));

	image->frames = from->frames;
	from->frames = (struct runs){0};
}

static int add_inherited(struct layer *l, const struct image *from)
{
	struct image *image = add_image(l, from->name, from->size);
	int rc = 0;

	for (size_t i = 0; i < from->frames.n && rc == 0; i++)
		rc = runs_add(&image->frames, from->frames.v[i].addr, from->frames.v[i].len);
	return rc;
}

/* The new images and those of the parent that are not given, by name. */
static int merge_images(struct commit *c, struct layer *l, struct err *err)
{
	size_t i = 0, k = 0, n = c->opts->nimages, m = c->parent ? c->parent->nimages : 0;
	int rc = 0;

	while (rc == 0 && (i < n || k < m)) {
		int order = i == n ? 1 : k == m ? -1 :
			    strcmp(c->images[i].name, c->parent->image[k].name);

		if (l->nimages == IMAGES_MAX)
			return err_set(err, -EINVAL, "a layer has at most %u images", IMAGES_MAX);
		if (order > 0)
			rc = add_inherited(l, &c->parent->image[k]);
		else
			add_new(l, &c->images[i]);
		i += order <= 0;
		k += order >= 0;
	}
	return rc < 0 ? err_set(err, rc, "out of memory") : 0;
}

static int make_layer(struct commit *c, struct err *err)
{
	struct layer *l = calloc(1, sizeof(*l));

	if (!l)
		return err_set(err, -ENOMEM, "out of memory");
	c->layer = l;
	l->refs = 1;
	l->algo = c->store->params.digest;
	l->created = time(NULL);
	l->has_parent = c->parent != NULL;
	if (c->parent)
		l->parent = c->parent->id;
	return merge_images(c, l, err);
}

/* ---- what is told of it ---- */

static double seconds(const struct commit *c)
{
	return clock_s() - c->started;
}

static void add_counts(struct commit_counts *sum, const struct commit_counts *c)
{
	sum->pages += c->pages;
	sum->zero += c->zero;
	sum->same += c->same;
	sum->known += c->known;
	sum->fresh += c->fresh;
	sum->read_bytes += c->read_bytes;
	sum->frames += c->frames;
	sum->frames_touched += c->frames_touched;
	sum->stored_bytes += c->stored_bytes;
}

static void fill_counts(const struct commit *c, struct commit_result *r)
{
	*r = (struct commit_result){.nimages = c->opts->nimages};
	for (size_t i = 0; i < r->nimages; i++) {
		r->image[c->order[i]] = c->images[i].counts;
		add_counts(&r->total, &c->images[i].counts);
	}
}

static int set_theirs(struct commit *c, const struct attrs *theirs)
{
	int rc = 0;

	for (size_t i = 0; theirs && i < theirs->n && rc == 0; i++)
		rc = attrs_set(&c->attrs, theirs->v[i].key, theirs->v[i].value);
	return rc;
}

static int set_attrs(struct commit *c, const struct commit_counts *n)
{
	const struct {
		const char *key;
		uint64_t value;
	} numbers[] = {
		{"lamina.pages", n->pages}, {"lamina.zero", n->zero}, {"lamina.same", n->same},
		{"lamina.known", n->known}, {"lamina.fresh", n->fresh},
		{"lamina.frames", n->frames}, {"lamina.frames_touched", n->frames_touched},
		{"lamina.read_bytes", n->read_bytes}, {"lamina.stored_bytes", n->stored_bytes},
	};
	char text[32];
	int rc = set_theirs(c, c->opts->attrs);

	if (rc == 0)
		rc = set_theirs(c, c->opts->first_attrs);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]) && rc == 0; i++)
		rc = attrs_set_u64(&c->attrs, numbers[i].key, numbers[i].value);
	(void)snprintf(text, sizeof(text), "%.3f", seconds(c));
	return rc < 0 ? rc : attrs_set(&c->attrs, "lamina.seconds", text);
}

static int publish(struct commit *c, struct commit_result *r, struct err *err)
{
	struct publish p = {.store = c->store, .append = c->ingest.append,
			    .emit = &c->ingest.emit, .layer = c->layer, .attrs = &c->attrs,
			    .tag = c->opts->tag, .also = c->opts->also};
	int rc = set_attrs(c, &r->total);

	if (rc < 0)
		return err_sys(err, rc, "cannot keep the layer's attributes");
	rc = publish_run(&p, err);
	if (rc < 0)
		return rc;
	r->id = c->layer->id;
	r->existed = p.existed;
	r->stored_bytes = p.existed ? 0 : c->appending ? c->append.bytes : c->ingest.emit.bytes;
	return 0;
}

/* ---- a layer that was there ---- */

static int too_much(const struct digest *id, struct err *err)
{
	char hex[DIGEST_HEX_LEN];

	return err_set(err, -EINVAL, "layer %.12s was there already, and what is to be kept with "
		       "it would be more than %u KiB", fmt_hex(hex, id->b, DIGEST_LEN),
		       META_MAX >> 10);
}

/* 1 if that changes anything. */
static int merge_attrs(struct attrs *to, const struct attrs *from)
{
	int rc = 0, changed = 0;

	for (size_t i = 0; i < from->n && rc == 0; i++) {
		const char *old = attrs_get(to, from->v[i].key);

		if (old && strcmp(old, from->v[i].value) == 0)
			continue;
		changed = 1;
		rc = attrs_set(to, from->v[i].key, from->v[i].value);
	}
	return rc < 0 ? rc : changed;
}

static int add_attrs(struct commit *c, const struct digest *id, struct err *err)
{
	struct attrs all;
	int rc = attrs_load(c->store, id, &all, err);

	if (rc < 0)
		return rc;
	rc = merge_attrs(&all, c->opts->attrs);
	if (rc == -EINVAL)
		rc = too_much(id, err);
	else if (rc < 0)
		rc = err_set(err, rc, "out of memory");
	else if (rc > 0)
		rc = decide_attrs(c->store, id, &all, 0, err);
	attrs_fini(&all);
	return rc;
}

static int decide_also(struct commit *c, const struct digest *id, struct err *err)
{
	struct index_decision d;
	int rc = c->opts->also->decision(c->opts->also->ctx, id, &d, err);

	return rc < 0 ? rc : decide_write(c->store, &d, 1, err);
}

/* It is not made once more, but what is said of it counts. */
static int decide_again(struct commit *c, const struct digest *id, struct attrs *ret_old,
			struct err *err)
{
	bool more = c->opts->attrs && c->opts->attrs->n;
	int rc = more ? attrs_load(c->store, id, ret_old, err) : 0;

	if (rc == 0 && more && !c->opts->dry_run)
		rc = add_attrs(c, id, err);
	if (rc == 0 && c->opts->tag && !c->opts->dry_run)
		rc = decide_tag(c->store, c->opts->tag, id, 0, err);
	if (rc == 0 && c->opts->also && !c->opts->dry_run)
		rc = decide_also(c, id, err);
	return rc;
}

static void end_append(struct commit *c, bool good)
{
	if (!c->appending)
		return;
	c->appending = false;
	if (good)
		append_end(&c->append);
	else
		append_abort(&c->append);
}

/* Takes the old attributes if somebody wants them. */
static void finish(struct commit *c, struct commit_result *r, struct attrs *old)
{
	if (!c->opts->dry_run)
		index_checkpoint(c->store->index);
	r->seconds = seconds(c);
	*c->result = *r;
	if (!c->opts->old_attrs)
		return;
	*c->opts->old_attrs = *old;
	*old = (struct attrs){0};
}

static int commit_locked(struct commit *c, struct err *err)
{
	struct attrs old = {0};
	struct commit_result r;
	int rc = in_snapshot(c, open_images, err);

	if (rc == 0)
		rc = prepare(c, err);
	if (rc == 0)
		rc = in_snapshot(c, ingest, err);
	if (rc == 0)
		rc = make_layer(c, err);
	if (rc < 0)
		return rc;
	fill_counts(c, &r);
	rc = publish(c, &r, err);
	if (rc < 0)
		return rc;
	end_append(c, !r.existed);
	if (r.existed)
		rc = decide_again(c, &r.id, &old, err);
	if (rc == 0)
		finish(c, &r, &old);
	attrs_fini(&old);
	return rc;
}

static void fini(struct commit *c)
{
	end_append(c, false);
	ingest_fini(&c->ingest);
	dedup_free(c->dedup);
	layer_unref(c->layer);
	layer_unref(c->parent);
	attrs_fini(&c->attrs);
	for (size_t i = 0; i < c->opts->nimages; i++)
		input_close(c->inputs[i]);
}

static int commit_alone(struct commit *c, struct err *err)
{
	bool taken;
	int rc = store_lock_too(c->store, "commit", c->opts->lock_wait_ms, &taken, err);

	if (rc < 0)
		return rc;
	rc = commit_locked(c, err);
	end_append(c, false);
	store_unlock_too(c->store, taken);
	return rc;
}

static int commit(struct commit *c, struct err *err)
{
	int rc;

	sort_images(c);
	rc = open_inputs(c, err);
	if (rc == 0)
		rc = commit_alone(c, err);
	fini(c);
	return rc;
}

int commit_run(struct store *store, const struct commit_opts *opts, struct commit_result *ret,
	       struct err *err)
{
	struct commit *c;
	int rc = check(opts, err);

	if (rc < 0)
		return rc;
	c = calloc(1, sizeof(*c));
	if (!c)
		return err_set(err, -ENOMEM, "out of memory");
	c->store = store;
	c->opts = opts;
	c->result = ret;
	c->started = clock_s();
	rc = commit(c, err);
	free(c);
	return rc;
}
