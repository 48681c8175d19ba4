/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/rpc/reclaim-order.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Trimmed first: what sync writes then goes to where nothing is left to trim. */
const char *const reclaim_order_steps[RECLAIM_ORDER_NSTEPS] = {
	"fstrim", "sync", "drop_caches", "compact_memory",
};

int reclaim_order_find(const char *name)
{
	for (int i = 0; name && i < RECLAIM_ORDER_NSTEPS; i++)
		if (!strcmp(reclaim_order_steps[i], name))
			return i;
	return -1;
}

static int refuse(const json_t *word, struct err *err)
{
	char *text = json_dumps(word, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
	int rc = err_set(err, -EINVAL, "'order' has what is no step: %.64s: there are "
			 RECLAIM_ORDER_WORDS, text ? text : "?");

	free(text);
	return rc;
}

int reclaim_order_parse(const json_t *order, int ret[RECLAIM_ORDER_NSTEPS], struct err *err)
{
	bool named[RECLAIM_ORDER_NSTEPS] = {false};
	int n = 0;

	if (order && !json_is_array(order))
		return err_set(err, -EINVAL, "'order' is no array of steps");
	for (size_t i = 0; i < json_array_size(order); i++) {
		const json_t *word = json_array_get(order, i);
		int step = reclaim_order_find(json_string_value(word));

		if (step < 0)
			return refuse(word, err);
		if (named[step])
			return err_set(err, -EINVAL, "'order' has '%s' twice",
				       reclaim_order_steps[step]);
		named[step] = true;
		ret[n++] = step;
	}
	for (int i = 0; i < RECLAIM_ORDER_NSTEPS; i++)
		if (!named[i])
			ret[n++] = i;
	return 0;
}
