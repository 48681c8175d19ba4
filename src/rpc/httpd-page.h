/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * httpd-page: what libevent answers by itself, to a request that never becomes a call.  For
 * httpd's own files.
 */
#ifndef LAMINA_RPC_HTTPD_PAGE_H
#define LAMINA_RPC_HTTPD_PAGE_H

#include <event2/buffer.h>

#include "src/rpc/httpd.h"

/*
 * Makes of the page of HTML in `output`, of a bufferevent, {"error": "..."} with the same status.
 * Before any of it is written.  Whatever else is there, or without memory, it stays as it is.
 */
void httpd_page_rewrite(struct evbuffer *output, const struct httpd_limits *limits);

#endif
