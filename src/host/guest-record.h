/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* guest-record: what the JSON of a guest's record may be.  For guest's own files. */
#ifndef LAMINA_HOST_GUEST_RECORD_H
#define LAMINA_HOST_GUEST_RECORD_H

#include <jansson.h>
#include <stddef.h>

#include "store/base/err.h"

/* -EBADMSG with a sentence: known members are of their type, length and words, or null. */
int guest_record_check(const char *name, const json_t *record, struct err *err);
/* The same of a file's text; *ret is the caller's. */
int guest_record_decode(const char *name, const char *text, size_t len, json_t **ret,
			struct err *err);

#endif
