/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "src/graduate/api.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "src/rpc/httpd.h"
#include "store/base/log.h"

#define BACKLOG 64
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

/* ---- the socket ---- */

/* Whether there is somebody to whom the name belongs. */
static bool is_live(const struct sockaddr_un *addr)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool live = fd >= 0 && (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 ||
				errno == EAGAIN);

	if (fd >= 0)
		close(fd);
	return live;
}

static int clear_place(const struct sockaddr_un *addr, struct err *err)
{
	const char *path = addr->sun_path;
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : err_sys(err, -errno, "cannot listen on '%s'", path);
	if (!S_ISSOCK(st.st_mode))
		return err_set(err, -EEXIST, "cannot listen on '%s': it is there and no socket",
			       path);
	if (is_live(addr))
		return err_set(err, -EBUSY, "somebody listens on '%s' already", path);
	return unlink(path) < 0 ? err_sys(err, -errno, "cannot remove '%s'", path) : 0;
}

/* Until listen() nobody gets in, whatever the mode is. */
static int listen_at(const char *path, struct err *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd, rc;

	if (strlen(path) >= sizeof(addr.sun_path))
		return err_set(err, -ENAMETOOLONG,
			       "'%s': the path of a socket has at most %zu characters", path,
			       sizeof(addr.sun_path) - 1);
	strcpy(addr.sun_path, path);
	rc = clear_place(&addr, err);
	if (rc < 0)
		return rc;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(err, -errno, "cannot make a socket");
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 &&
	    chmod(path, SOCKET_MODE) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	rc = err_sys(err, -errno, "cannot listen on '%s'", path);
	close(fd);
	return rc;
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
