/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Manifests: bytes are refused, or are a layer whose images are in order and
 * which survives being written again.  A layer made by a recipe is damaged in
 * one place, so that the fields behind the first are reached.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/layer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_images(const struct layer *layer)
{
	if (layer->nimages < 1 || layer->nimages > IMAGES_MAX)
		abort();
	for (unsigned i = 0; i < layer->nimages; i++) {
		const struct image *im = &layer->image[i];

		if (!layer_image_name_ok(im->name) || im->frames.count != im->nframes)
			abort();
		if (im->nframes != (im->size + FRAME_SIZE - 1) / FRAME_SIZE)
			abort();
		if (layer_image(layer, im->name) != im)
			abort();
	}
}

static void check_again(const struct layer *layer)
{
	struct buf out = {0}, twice = {0};
	struct layer *back;
	struct rd rd;

	layer_encode(layer, &out);
	rd_init(&rd, out.data, out.len);
	if (layer_decode(&rd, layer->seq, &back) < 0)
		abort();
	layer_encode(back, &twice);
	if (out.len != twice.len || memcmp(out.data, twice.data, out.len) != 0)
		abort();
	layer_unref(back);
	buf_fini(&out);
	buf_fini(&twice);
}

static void use(const uint8_t *data, size_t len)
{
	struct layer *layer;
	struct rd rd;

	rd_init(&rd, data, len);
	if (layer_decode(&rd, 1, &layer) < 0)
		return;
	check_images(layer);
	check_again(layer);
	layer_unref(layer);
}

static void add_image(struct layer *layer, struct rd *rd)
{
	struct image *im = &layer->image[layer->nimages];
	uint64_t nframes = rd_u8(rd);

	(void)snprintf(im->name, sizeof(im->name), "disk%02u", layer->nimages);
	im->size = nframes * FRAME_SIZE;
	im->nframes = nframes;
	while (im->frames.count < nframes) {
		uint64_t left = nframes - im->frames.count, n = 1 + rd_u8(rd) % 8;
		uint64_t fid = rd_u16(rd);

		if (runs_add(&im->frames, fid, n < left ? n : left) < 0)
			abort();
	}
	layer->nimages++;
}

static void use_recipe(const uint8_t *data, size_t len)
{
	struct layer *layer = calloc(1, sizeof(*layer));
	struct buf out = {0};
	struct rd rd;
	unsigned n;
	size_t at;

	rd_init(&rd, data, len);
	n = rd_u8(&rd) % 4 + 1;
	at = rd_u16(&rd);
	if (!layer)
		abort();
	layer->refs = 1;
	layer->algo = DIGEST_SHA256;
	while (layer->nimages < n)
		add_image(layer, &rd);
	layer_encode(layer, &out);
	use(out.data, out.len);
	out.data[at % out.len] ^= (uint8_t)(1 + len % 255);
	use(out.data, out.len);
	layer_unref(layer);
	buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	use(data, len);
	use_recipe(data, len);
	return 0;
}
