/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libcurl hands over whole lines.  One without an end it keeps, up to a limit of its own (100 KiB
 * in 7.88), and then says that it has no memory, from 8.6 on that it is too large.
 */
#include "src/rpc/http-headers.h"

#include <stdlib.h>

#include "src/rpc/http.h"

#define LINE_MEMORY (1u << 20)		/* bytes; more than libcurl would have taken */
#define CODE_TOO_LARGE 100		/* CURLE_TOO_LARGE of libcurl 8.6 */

size_t http_headers_take(char *line, size_t one, size_t len, void *headers)
{
	struct http_headers *h = headers;

	(void)line;
	(void)one;
	h->len += len;
	return h->len <= HTTP_MAX_HEADERS ? len : 0;
}

static bool is_answering(const struct curl *lib, CURL *curl)
{
	curl_off_t us = 0, body = 0;

	lib->easy_getinfo(curl, CURLINFO_STARTTRANSFER_TIME_T, &us);
	lib->easy_getinfo(curl, CURLINFO_SIZE_DOWNLOAD_T, &body);
	return us > 0 && body == 0;
}

static bool is_memory(void)
{
	void *memory = malloc(LINE_MEMORY);

	free(memory);
	return memory;
}

bool http_headers_too_large(const struct http_headers *h, const struct curl *lib, CURL *curl,
			    CURLcode code)
{
	if (h->len > HTTP_MAX_HEADERS || (int)code == CODE_TOO_LARGE)
		return true;
	return code == CURLE_OUT_OF_MEMORY && is_answering(lib, curl) && is_memory();
}
