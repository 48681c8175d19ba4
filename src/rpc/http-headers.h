/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * http-headers: that what comes before an answer, or behind its body, has an end.  For http's own
 * files.
 */
#ifndef LAMINA_RPC_HTTP_HEADERS_H
#define LAMINA_RPC_HTTP_HEADERS_H

#include <stdbool.h>
#include <stddef.h>

#include "src/rpc/curl.h"

struct http_headers {
	size_t len;	/* bytes that came in one transfer, with those of "100 Continue" */
};

/* CURLOPT_HEADERFUNCTION, with struct http_headers as its data: no more than HTTP_MAX_HEADERS. */
size_t http_headers_take(char *line, size_t one, size_t len, void *headers);
/* Whether it is for these that the transfer of `curl` has ended with `code`. */
bool http_headers_too_large(const struct http_headers *h, const struct curl *lib, CURL *curl,
			    CURLcode code);

#endif
