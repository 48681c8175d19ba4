/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/rpc/http.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void http_answer_fini(struct http_answer *answer)
{
	json_decref(answer->json);
	free(answer->text);
	*answer = (struct http_answer){0};
}

const char *http_answer_error(const struct http_answer *answer)
{
	const char *text = json_string_value(json_object_get(answer->json, "error"));

	return text ? text : answer->reason;
}

char *http_escape(const char *segment)
{
	char *escaped = malloc(3 * strlen(segment) + 1), *out = escaped;

	if (!escaped)
		return NULL;
	for (; *segment; segment++) {
		if (isascii((unsigned char)*segment) &&
		    (isalnum((unsigned char)*segment) || strchr("-._~", *segment)))
			*out++ = *segment;
		else
			out += sprintf(out, "%%%02X", (unsigned char)*segment);
	}
	*out = '\0';
	return escaped;
}
