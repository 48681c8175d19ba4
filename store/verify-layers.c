/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "store/decide.h"
#include "store/index.h"
#include "store/layer.h"
#include "store/mark.h"
#include "store/store.h"
#include "store/verify-private.h"

static int layer_fault(struct verify *v, const struct digest *id, const char *reason)
{
	struct verify_item fault = {.what = "layer", .about = VERIFY_LAYER, .hurts = true};

	if (vec_push(&fault.layers, *id) < 0)
		return err_set(v->err, -ENOMEM, "out of memory");
	return verify_faults_add(v, fault, "%s", reason);
}

static int check_root(struct verify *v, const struct layer *layer)
{
	struct digest root;
	struct err err = {{0}};
	int rc = layer_root(v->store, layer, &root, &err);

	if (rc == 0)
		return digest_equal(&root, &layer->id) ? 0 :
			layer_fault(v, &layer->id, "its Merkle root differs");
	if (rc == -ENOENT || rc == -EBADMSG)
		return layer_fault(v, &layer->id, err.text);
	return err_set(v->err, rc, "%s", err.text);
}

/* Whether a fault says already that this frame does not resolve. */
static bool is_known(const struct verify *v, uint64_t fid)
{
	for (size_t i = v->faults.n; i > 0; i--)
		if (v->faults.v[i - 1].about == VERIFY_FRAME && v->faults.v[i - 1].hurts &&
		    v->faults.v[i - 1].id == fid)
			return true;
	return false;
}

static int list_frame(struct verify *v, uint64_t fid)
{
	int rc = verify_bit(&v->frames_listed, fid) ? 1 :
		verify_bit_set(v, &v->frames_listed, fid);

	if (rc != 0)
		return rc < 0 ? rc : 0;
	return vec_push(&v->frames, fid) < 0 ? err_set(v->err, -ENOMEM, "out of memory") : 0;
}

static int check_frame(struct verify *v, uint64_t fid)
{
	struct verify_item fault = {
		.what = "maps", .about = VERIFY_FRAME, .id = fid, .hurts = true,
	};
	struct err err = {{0}};
	int rc = mark_frame(v->mark, fid, &err);

	if (rc == 0)
		return list_frame(v, fid);
	if (rc != -EBADMSG)
		return err_set(v->err, rc, "%s", err.text);
	return is_known(v, fid) ? 0 : verify_faults_add(v, fault, "%s", err.text);
}

static int check_image(struct verify *v, const struct image *image)
{
	int rc = 0;

	for (size_t i = 0; i < image->frames.n; i++) {
		const struct run *run = &image->frames.v[i];

		for (uint64_t j = 0; run->addr && j < run->len && rc == 0; j++)
			if (!verify_bit(&v->frames_listed, run->addr + j))
				rc = check_frame(v, run->addr + j);
	}
	return rc;
}

/* What was found of a layer that was removed meanwhile is not a fault. */
static int drop_if_gone(struct verify *v, const struct digest *id, size_t nfaults)
{
	int there = verify_layer_exists(v, id);

	if (there != 0)
		return there < 0 ? there : 0;
	while (v->faults.n > nfaults) {
		v->faults.n--;
		vec_fini(&v->faults.v[v->faults.n].layers);
	}
	return 0;
}

static int check_layer(void *ctx, const struct layer *layer)
{
	struct verify *v = ctx;
	size_t nfaults = v->faults.n;
	int rc = check_root(v, layer);

	v->res.layers++;
	for (unsigned i = 0; i < layer->nimages && rc == 0; i++)
		rc = check_image(v, &layer->image[i]);
	if (rc == 0 && v->faults.n > nfaults)
		rc = drop_if_gone(v, &layer->id, nfaults);
	return rc;
}

/* One that points nowhere: the name is all that can be told. */
static int check_tag(void *ctx, const char *name, const struct digest *id)
{
	struct verify *v = ctx;
	struct verify_item fault = {.what = "tag", .about = VERIFY_OTHER};
	struct digest again;
	int rc = verify_layer_exists(v, id);

	if (rc != 0)
		return rc < 0 ? rc : 0;
	/* Moved or taken away between our two questions. */
	rc = decide_tag_find(v->store, name, &again, v->err);
	if (rc == -ENOENT || (rc == 0 && !digest_equal(&again, id)))
		return 0;
	return rc < 0 ? rc : verify_faults_add(v, fault, "tag '%s' names a layer that is not there",
					       name);
}

int verify_layers(struct verify *v)
{
	int rc = verify_each_layer(v, check_layer, v);

	if (rc == 0)
		rc = decide_tag_each(v->store, check_tag, v, v->err);
	v->res.frames = v->frames.n;
	return rc;
}
