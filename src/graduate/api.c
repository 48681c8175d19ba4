/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "src/graduate/api.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/rpc/address.h"
#include "src/rpc/httpd.h"
#include "store/base/log.h"

#define SOCKET_MODE 0660

struct api {
	struct board *board;
	struct httpd *httpd;
	char *path;
	int fd;
	bool runs;
	pthread_t thread;
};

/* ---- requests ---- */

static void get_health(struct httpd_call *call, void *ctx)
{
	struct api *api = ctx;
	struct tally *t = board_lock(api->board);
	const char *error = api->board->error;
	json_t *json = json_pack("{s:s, s:b, s:I, s:I, s:o, s:o}", "status",
				 *error ? "failing" : "ok", "enabled", t->enabled, "running",
				 (json_int_t)t->running, "scans", (json_int_t)t->scans,
				 "last_scan_seconds",
				 t->last_scan > 0 ? json_real(t->last_scan) : json_null(), "error",
				 *error ? json_string(error) : json_null());

	board_unlock(api->board);
	httpd_json(call, 200, json);
}

static void get_version(struct httpd_call *call, void *ctx)
{
	(void)ctx;
	httpd_json(call, 200, json_pack("{s:s, s:s}", "program", "lamina-graduator", "version",
					PACKAGE_VERSION));
}

static void get_metrics(struct httpd_call *call, void *ctx)
{
	struct api *api = ctx;
	struct buf text = {0};

	tally_format(board_lock(api->board), PACKAGE_VERSION, &text);
	board_unlock(api->board);
	buf_u8(&text, '\0');
	if (buf_error(&text) == 0)
		httpd_text(call, 200, TALLY_TYPE, (const char *)text.data);
	else
		httpd_fail(call, 500, "out of memory");
	buf_fini(&text);
}

static void get_decisions(struct httpd_call *call, void *ctx)
{
	struct api *api = ctx;

	(void)board_lock(api->board);
	if (api->board->decisions)
		httpd_text(call, 200, "application/json", api->board->decisions);
	else
		httpd_fail(call, 500, "out of memory");
	board_unlock(api->board);
}

static const struct httpd_route routes[] = {
	{"GET", "/health", get_health},
	{"GET", "/version", get_version},
	{"GET", "/metrics", get_metrics},
	{"GET", "/decisions", get_decisions},
	{0},
};

/* One that somebody listens on is held by another: -EBUSY. */
static int listen_at(const char *path, struct err *err)
{
	struct address address;
	int rc = address_unix(path, &address, err);

	if (rc == 0)
		rc = address_listen(&address, SOCKET_MODE, err);
	return rc == -EADDRINUSE ? -EBUSY : rc;
}

/* ---- beginning and end ---- */

int api_new(const char *path, struct board *board, struct api **ret, struct err *err)
{
	struct api *api = calloc(1, sizeof(*api));
	int rc;

	if (!api || !(api->path = strdup(path))) {
		free(api);
		return err_set(err, -ENOMEM, "out of memory");
	}
	api->board = board;
	api->fd = rc = listen_at(path, err);
	if (rc < 0) {
		api_free(api);
		return rc;
	}
	*ret = api;
	return 0;
}

static void *run(void *arg)
{
	struct api *api = arg;
	struct err err;

	if (httpd_run(api->httpd, &err) < 0)
		log_error("the API has ended: %s", err.text);
	return NULL;
}

int api_start(struct api *api, struct err *err)
{
	int rc = httpd_new(api->fd, routes, api, &api->httpd, err);

	if (rc < 0)
		return rc;
	rc = -pthread_create(&api->thread, NULL, run, api);
	if (rc < 0)
		return err_sys(err, rc, "cannot start a thread");
	api->runs = true;
	return 0;
}

void api_free(struct api *api)
{
	if (!api)
		return;
	if (api->runs) {
		httpd_stop(api->httpd);
		(void)pthread_join(api->thread, NULL);
	}
	if (api->httpd)
		httpd_free(api->httpd);
	if (api->fd >= 0) {
		close(api->fd);
		(void)unlink(api->path);
	}
	free(api->path);
	free(api);
}
