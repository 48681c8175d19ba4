/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/rpc/httpd-page.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PAGE_MAX 2048	/* with its headers, and a "100 Continue" in front of it */
#define END "\r\n\r\n"
#define BODY END "<HTML>"

/* Where the answer itself begins. */
static char *skip_continue(char *text)
{
	char *end = strncmp(text, "HTTP/1.1 100 ", 13) == 0 ? strstr(text, END) : NULL;

	return end ? end + strlen(END) : text;
}

static void say(char *out, size_t size, const char *line, const struct httpd_limits *limits)
{
	const char *gap = strchr(line, ' ');
	int status = gap ? atoi(gap) : 0;

	if (status == 400)
		(void)snprintf(out, size, "this is no request of HTTP, or its headers have more "
			       "than %zu bytes", limits->max_headers);
	else if (status == 413)
		(void)snprintf(out, size, "the body has more than %zu bytes, or its chunks are "
			       "malformed", limits->max_body);
	else if (status == 417)
		(void)snprintf(out, size, "of 'Expect' only '100-continue' is known");
	else
		(void)snprintf(out, size, "this cannot be answered: %.64s", gap ? gap + 1 : "");
}

static bool is_of_body(const char *line)
{
	return strncasecmp(line, "Content-", 8) == 0;
}

static int add(struct evbuffer *to, char *head, const struct httpd_limits *limits)
{
	char sentence[160], *rest = head, *line;

	for (bool first = true; (line = strsep(&rest, "\n")); first = false) {
		line[strcspn(line, "\r")] = '\0';
		if (first)
			say(sentence, sizeof(sentence), line, limits);
		if (!is_of_body(line) && evbuffer_add_printf(to, "%s\r\n", line) < 0)
			return -ENOMEM;
	}
	return evbuffer_add_printf(to, "Content-Type: application/json\r\nContent-Length: %zu" END
				   "{\"error\":\"%s\"}",
				   strlen(sentence) + strlen("{\"error\":\"\"}"), sentence);
}

/* It is never empty meanwhile, which would end the answer.  Its beginning is the bufferevent's. */
static void replace(struct evbuffer *output, size_t len, struct evbuffer *by)
{
	if (evbuffer_add_buffer(output, by) < 0)
		return;
	(void)evbuffer_unfreeze(output, 1);
	(void)evbuffer_drain(output, len);
	(void)evbuffer_freeze(output, 1);
}

void httpd_page_rewrite(struct evbuffer *output, const struct httpd_limits *limits)
{
	size_t len = evbuffer_get_length(output);
	char text[PAGE_MAX + 1], *head, *body;
	struct evbuffer *json;

	if (len > PAGE_MAX || evbuffer_copyout(output, text, len) != (ev_ssize_t)len)
		return;
	text[len] = '\0';
	head = skip_continue(text);
	body = strstr(head, BODY);
	json = body ? evbuffer_new() : NULL;
	if (!json)
		return;
	*body = '\0';
	if (evbuffer_add(json, text, (size_t)(head - text)) == 0 && add(json, head, limits) >= 0)
		replace(output, len, json);
	evbuffer_free(json);
}
