/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/moment.h"

#include <errno.h>
#include <string.h>

#include "store/attrs.h"
#include "store/layer.h"

static bool has_bytes(const struct layer *layer, const char *name)
{
	const struct image *image = layer_image(layer, name);

	return image && image->size > 0;
}

bool moment_resumes(const struct layer *layer)
{
	return has_bytes(layer, "memfile") && has_bytes(layer, "state");
}

int moment_is_unknown(struct store *store, const struct digest *id, struct err *err)
{
	struct attrs attrs;
	const char *moment;
	int rc = attrs_load(store, id, &attrs, err);

	if (rc < 0)
		return rc;
	moment = attrs_get(&attrs, MOMENT_ATTR);
	rc = moment && strcmp(moment, MOMENT_UNKNOWN) == 0;
	attrs_fini(&attrs);
	return rc;
}

/* 1: it can be resumed. */
static int judge(struct store *store, const struct layer *layer, struct err *err)
{
	int unknown = moment_is_unknown(store, &layer->id, err);

	return unknown < 0 ? unknown : !unknown && moment_resumes(layer);
}

int moment_below(struct store *store, const struct layer *layer, struct digest *ret,
		 struct err *err)
{
	struct digest at = layer->parent;
	bool more = layer->has_parent;
	struct layer *below;
	int rc = 0;

	while (rc == 0 && more) {
		rc = layer_peek(store, &at, &below, err);
		if (rc < 0)
			return rc == -ENOENT ? 0 : rc;
		rc = judge(store, below, err);
		*ret = below->id;
		at = below->parent;
		more = below->has_parent;
		layer_unref(below);
	}
	return rc;
}
