/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/info.h"

#include <string.h>
#include <time.h>

#include "store/attrs.h"
#include "store/base/fmt.h"
#include "store/decide.h"
#include "store/live-row.h"
#include "store/store.h"
#include "store/view.h"

void info_time(char out[32], int64_t unix_seconds)
{
	time_t t = (time_t)unix_seconds;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || !strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm))
		strcpy(out, "?");
}

const char *info_attr_name(const char *key)
{
	return strcmp(key, "lamina.fresh") ? key : "lamina.new";
}

static int no_memory(struct err *err)
{
	return err_set(err, -ENOMEM, "out of memory");
}

static const char *kind_name(const char *image)
{
	switch (layer_image_kind(image)) {
	case IMAGE_MEMFILE:
		return "memfile";
	case IMAGE_ROOTFS:
		return "rootfs";
	default:
		return "other";
	}
}

static int data_bytes(struct store *store, const struct layer *layer, const char *image,
		      uint64_t *ret, struct err *err)
{
	struct view *view;
	/* The view's reference ends below; the layer itself is not changed. */
	int rc = view_open(store, (struct layer *)layer, image, &view, err);

	if (rc < 0)
		return rc;
	rc = view_data_bytes(view, ret, err);
	view_close(view);
	return rc;
}

static int add_image(struct store *store, const struct layer *layer, const struct image *im,
		     json_t *list, struct err *err)
{
	uint64_t data;
	json_t *o;
	int rc = data_bytes(store, layer, im->name, &data, err);

	if (rc < 0)
		return rc;
	o = json_pack("{s:s, s:s, s:I, s:I, s:I}", "name", im->name, "kind", kind_name(im->name),
		      "size", (json_int_t)im->size, "frames", (json_int_t)im->nframes,
		      "data_bytes", (json_int_t)data);
	return json_array_append_new(list, o) < 0 ? no_memory(err) : 0;
}

static int images(struct store *store, const struct layer *layer, json_t *list, struct err *err)
{
	int rc = 0;

	for (unsigned i = 0; i < layer->nimages && rc == 0; i++)
		rc = add_image(store, layer, &layer->image[i], list, err);
	return rc;
}

struct tagged {
	const struct digest *id;
	json_t *list;
};

static int add_tag(void *ctx, const char *name, const struct digest *id)
{
	struct tagged *t = ctx;

	if (!digest_equal(id, t->id))
		return 0;
	return json_array_append_new(t->list, json_string(name)) < 0 ? -ENOMEM : 0;
}

static int tags(struct store *store, const struct layer *layer, json_t *list, struct err *err)
{
	struct tagged t = {.id = &layer->id, .list = list};
	int rc = decide_tag_each(store, add_tag, &t, err);

	return rc == -ENOMEM ? no_memory(err) : rc;
}

static int add_live(void *ctx, const struct live_row *row)
{
	struct tagged *t = ctx;

	if (!row->has_base || !digest_equal(&row->base, t->id))
		return 0;
	return json_array_append_new(t->list, json_string(row->name)) < 0 ? -ENOMEM : 0;
}

static int live(struct store *store, const struct layer *layer, json_t *list, struct err *err)
{
	struct tagged t = {.id = &layer->id, .list = list};
	int rc = live_row_each(store, add_live, &t, err);

	return rc == -ENOMEM ? no_memory(err) : rc;
}

static int attributes(struct store *store, const struct layer *layer, json_t *o, struct err *err)
{
	struct attrs a = {0};
	int rc = attrs_load(store, &layer->id, &a, err);

	for (size_t i = 0; i < a.n && rc == 0; i++)
		if (json_object_set_new(o, info_attr_name(a.v[i].key),
					json_string(a.v[i].value)) < 0)
			rc = no_memory(err);
	attrs_fini(&a);
	return rc;
}

static json_t *head(const struct layer *layer)
{
	char id[DIGEST_HEX_LEN], parent[DIGEST_HEX_LEN], created[32];

	fmt_hex(id, layer->id.b, DIGEST_LEN);
	fmt_hex(parent, layer->parent.b, DIGEST_LEN);
	info_time(created, layer->created);
	return json_pack("{s:s, s:s?, s:s, s:[], s:[], s:[], s:{}}", "layer", id, "parent",
			 layer->has_parent ? parent : NULL, "created", created, "tags", "live",
			 "images",
			 "attributes");
}

int info_layer(struct store *store, const struct layer *layer, json_t **ret, struct err *err)
{
	json_t *o = head(layer);
	int rc = o ? 0 : no_memory(err);

	if (rc == 0)
		rc = tags(store, layer, json_object_get(o, "tags"), err);
	if (rc == 0)
		rc = live(store, layer, json_object_get(o, "live"), err);
	if (rc == 0)
		rc = images(store, layer, json_object_get(o, "images"), err);
	if (rc == 0)
		rc = attributes(store, layer, json_object_get(o, "attributes"), err);
	if (rc < 0) {
		json_decref(o);
		return rc;
	}
	*ret = o;
	return 0;
}
