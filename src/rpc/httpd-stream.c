/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Answers in pieces.  What waits to be taken lies in the output buffer of the connection, whose
 * length is what a limit is compared with.  To somebody of HTTP/1.0 the pieces go as they are,
 * and the connection's end is theirs; to a HEAD go the headers alone.
 */
#include <event2/http.h>

#include "src/rpc/httpd-call.h"

static size_t waiting(const struct httpd_call *call)
{
	return evbuffer_get_length(bufferevent_get_output(call->conn->bev));
}

int httpd_stream_begin(struct httpd_call *call, const char *type, size_t limit)
{
	if (!call->conn)
		return -EPIPE;
	if (!httpd_set_header(call, "Content-Type", type))
		return -ENOMEM;
	call->stream_limit = limit ? limit : 1;
	httpd_conn_stream(call->conn);
	evhttp_send_reply_start(call->req, 200, NULL);
	return 0;
}

int httpd_stream_send(struct httpd_call *call, const char *text, size_t len)
{
	struct evbuffer *piece;
	int rc = 0;

	if (!call->conn)
		return -EPIPE;
	if (len > call->stream_limit || waiting(call) > call->stream_limit - len)
		return -ENOBUFS;
	piece = evbuffer_new();
	if (!piece || evbuffer_add(piece, text, len) < 0)
		rc = -ENOMEM;
	else
		evhttp_send_reply_chunk(call->req, piece);
	if (piece)
		evbuffer_free(piece);
	return rc;
}

void httpd_stream_on_taken(struct httpd_call *call, void (*fn)(void *arg), void *arg)
{
	call->taken = fn;
	call->taken_arg = arg;
}

/* Without anything left to write evhttp goes on to the next request at once, and reads again. */
void httpd_stream_end(struct httpd_call *call)
{
	struct evhttp_request *req = call->req;
	struct httpd_conn *conn = call->conn;

	httpd_call_free(call);
	if (!conn) {
		evhttp_request_free(req);
		return;
	}
	conn->call = NULL;
	bufferevent_disable(conn->bev, EV_READ);
	httpd_conn_streamed(conn);
	evhttp_send_reply_end(req);
}
