/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * out: JSON on stdout, indented by two, keys in the order in which they were
 * set, numbers with all their digits.  A long array goes out element by element
 * and is never held whole.  That stdout could not be written is found at the end,
 * by out_close().
 */
#ifndef LAMINA_CLI_OUT_H
#define LAMINA_CLI_OUT_H

#include <jansson.h>
#include <stdbool.h>

#include "store/base/err.h"
#include "store/digest.h"

/* Prints one value and a newline; takes it.  NULL is -ENOMEM: building it failed. */
int out_json(json_t *value, struct err *err);

/* The same as text, malloc'd, without the newline; leaves the value.  NULL: out of memory. */
char *out_text(json_t *value);

struct out_array {
	unsigned depth;		/* of the brackets: 0 is a bare array */
	bool any;
};

void out_array_begin(struct out_array *a, unsigned depth);	/* "[" */
void out_array_next(struct out_array *a);	/* "," if need be, newline, indent */
int out_array_add(struct out_array *a, json_t *item, struct err *err);	/* takes it */
void out_array_end(struct out_array *a);			/* "]", no newline */

json_t *out_sentence(const char *sentence);	/* a text; NULL: out of memory */
/* The whole answer of what failed before it had one: {"error": sentence}.  Not behind any other. */
void out_error(const char *sentence);

json_t *out_id(const struct digest *id);

/* Flushes stdout; -errno if anything that was printed did not arrive. */
int out_close(void);

#endif
