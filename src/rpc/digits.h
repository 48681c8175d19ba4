/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* digits: how JSON's numbers are written, for JSON_REAL_PRECISION(). */
#ifndef LAMINA_RPC_DIGITS_H
#define LAMINA_RPC_DIGITS_H

#include <jansson.h>

/* How many it takes that no number in `value` is another one when it is read, 15 to 17. */
unsigned digits_of(json_t *value);

#endif
