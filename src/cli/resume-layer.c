/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/resume-layer.h"

#include <errno.h>
#include <stdio.h>

#include "src/cli/cli.h"
#include "store/layer.h"
#include "store/moment.h"

static int check_images(struct cli *cli, const char *name, const struct layer *layer)
{
	static const char *const needs[] = {"memfile", "state"};

	for (size_t i = 0; i < sizeof(needs) / sizeof(*needs); i++)
		if (!layer_image(layer, needs[i]))
			return err_set(&cli->err, -ENOENT, "layer '%s' has no image '%s': no guest "
				       "can be resumed from it", name, needs[i]);
	return 0;
}

/* What goes on from a mixture goes wrong sooner or later, and nobody knows why. */
static int check_moment(struct cli *cli, const char *name, const struct layer *layer)
{
	char id[CLI_ID_LEN], instead[64] = "no layer below it can be resumed either";
	struct digest below;
	int rc = moment_is_unknown(cli->store, &layer->id, &cli->err);

	if (rc <= 0)
		return rc;
	rc = moment_below(cli->store, layer, &below, &cli->err);
	if (rc < 0)
		return rc;
	if (rc > 0)
		(void)snprintf(instead, sizeof(instead), "resume layer %s, which it stands on",
			       cli_id(id, &below));
	return err_set(&cli->err, -EINVAL, "it is not known that memory, state and disk of layer "
		       "'%s' are of one moment ('lamina live commit' made it): %s, or give "
		       "--any-moment", name, instead);
}

int resume_layer_check(struct cli *cli, const char *name, const struct layer *layer,
		       bool any_moment)
{
	int rc = check_images(cli, name, layer);

	return rc < 0 || any_moment ? rc : check_moment(cli, name, layer);
}
