/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * resume-layer: whether a guest can be resumed from a layer.
 */
#ifndef LAMINA_CLI_RESUME_LAYER_H
#define LAMINA_CLI_RESUME_LAYER_H

#include <stdbool.h>

struct cli;
struct layer;

/*
 * `name`: as it was given.  -ENOENT: it lacks an image; -EINVAL, unless `any_moment`: it is not
 * known to be of one moment (store/moment.h); the sentence says which one below it can be resumed.
 */
int resume_layer_check(struct cli *cli, const char *name, const struct layer *layer,
		       bool any_moment);

#endif
