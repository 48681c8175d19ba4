/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * info: a layer as JSON, the same in `lamina show --json` and info.json.
 *
 * {"layer": hex, "parent": hex or null, "created": "2026-11-21T09:28:59Z",
 *  "tags": [...], "images": [{"name", "kind", "size", "frames", "data_bytes"}],
 *  "attributes": {...}}
 */
#ifndef LAMINA_INFO_H
#define LAMINA_INFO_H

#include <jansson.h>

#include "store/base/err.h"
#include "store/layer.h"

struct store;

int info_layer(struct store *store, const struct layer *layer, json_t **ret, struct err *err);
/* "2026-11-21T09:28:59Z" */
void info_time(char out[32], int64_t unix_seconds);

/*
 * How an attribute is called where it is shown: "lamina.new" for what commit
 * keeps as "lamina.fresh", as its own output calls it; others as they are.
 */
const char *info_attr_name(const char *key);

#endif
