/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/rpc/digits.h"

#include <stdio.h>
#include <stdlib.h>

#define DIGITS_MIN 15	/* no number has more of them than it was given */
#define DIGITS_MAX 17	/* every number comes back the same */

static unsigned of_number(double d)
{
	char text[64];
	unsigned n = DIGITS_MIN;

	for (; n < DIGITS_MAX; n++) {
		(void)snprintf(text, sizeof(text), "%.*g", (int)n, d);
		if (strtod(text, NULL) == d)
			break;
	}
	return n;
}

unsigned digits_of(json_t *value)
{
	unsigned n = json_is_real(value) ? of_number(json_real_value(value)) : DIGITS_MIN;
	const char *key;
	json_t *part;
	size_t i;

	json_object_foreach(value, key, part) {
		unsigned more = digits_of(part);

		n = more > n ? more : n;
	}
	json_array_foreach(value, i, part) {
		unsigned more = digits_of(part);

		n = more > n ? more : n;
	}
	return n;
}
