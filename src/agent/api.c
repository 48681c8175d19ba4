/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "src/agent/api.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "src/agent/collapse.h"
#include "src/agent/logs.h"
#include "src/agent/reclaim.h"
#include "src/agent/resumed.h"
#include "src/agent/stats.h"
#include "store/base/fmt.h"
#include "store/base/io.h"

#define SHORT_MS 60000
#define LONG_MS 600000

static bool enter(struct api *api, struct httpd_call *call)
{
	if (!front_admits(api->front, call))
		return false;
	logs_add(LOGS_DEBUG, "%s %.200s", httpd_method(call), httpd_path(call));
	return true;
}

/* ---- what is known at once ---- */

static void get_health(struct httpd_call *call, void *ctx)
{
	if (enter(ctx, call))
		httpd_json(call, 200, json_pack("{s:s}", "status", "ok"));
}

/* null: this kernel has none. */
static json_t *proactiveness(void)
{
	char *text, *end;
	json_t *json;
	size_t len;
	long value;

	if (io_read_file(AT_FDCWD, "/proc/sys/vm/compaction_proactiveness", 64, &text, &len) < 0)
		return json_null();
	value = strtol(text, &end, 10);
	json = end == text ? json_null() : json_integer(value);
	free(text);
	return json;
}

/* What a caller may ask for: nothing else of it is remembered. */
static json_t *features(void)
{
	json_t *list = json_pack("[s,s,s,s,s]", "freeze", "logs", "reclaim", "resumed", "stats");

	if (collapse_possible())
		(void)json_array_insert_new(list, 0, json_string("collapse"));
	return list;
}

static void get_version(struct httpd_call *call, void *ctx)
{
	struct api *api = ctx;

	if (enter(api, call))
		httpd_json(call, 200,
			   json_pack("{s:s, s:i, s:o, s:o, s:o}", "version", PACKAGE_VERSION,
				     "api", API_NUMBER, "features", features(), "frozen",
				     freeze_list(api->freeze), "compaction_proactiveness",
				     proactiveness()));
}

/* "", "1" and "true", or "0" and "false"; -EINVAL. */
static int take_bool(const char *value)
{
	if (!value || !strcmp(value, "0") || !strcmp(value, "false"))
		return 0;
	return !*value || !strcmp(value, "1") || !strcmp(value, "true") ? 1 : -EINVAL;
}

static void get_logs(struct httpd_call *call, void *ctx)
{
	static const char *const names[] = {"follow", "since", NULL};
	const char *since = httpd_query(call, "since"), *other = httpd_query_other(call, names);
	int go_on = take_bool(httpd_query(call, "follow"));
	uint64_t seq = 0;

	if (!enter(ctx, call))
		return;
	front_tell_refused(((struct api *)ctx)->front);
	if (other)
		httpd_fail(call, 400, "there is no parameter '%s'", other);
	else if (go_on < 0)
		httpd_fail(call, 400, "'follow' is to be 1 or 0");
	else if (since && fmt_parse_u64(since, &seq) < 0)
		httpd_fail(call, 400, "'since' is to be the number of a line");
	else
		follow_start(((struct api *)ctx)->follow, call, seq, go_on);
}

/* ---- what takes its time ---- */

static int run_stats(void *ctx, const json_t *body, const atomic_bool *cancelled, json_t **ret,
		     struct err *err)
{
	(void)ctx;
	(void)body;
	(void)cancelled;
	return stats_read(ret, err);
}

static int run_reclaim(void *ctx, const json_t *body, const atomic_bool *cancelled, json_t **ret,
		       struct err *err)
{
	(void)ctx;
	return reclaim_run(body, cancelled, ret, err);
}

static int run_collapse(void *ctx, const json_t *body, const atomic_bool *cancelled, json_t **ret,
			struct err *err)
{
	(void)ctx;
	return collapse_run(body, cancelled, ret, err);
}

/* *ret stays NULL where there is none. */
static int take_cgroup(const json_t *body, const char **ret, struct err *err)
{
	const json_t *name = json_object_get(body, "cgroup");

	if (name && !json_is_string(name))
		return err_set(err, -EINVAL, "'cgroup' is to be the name of one");
	*ret = json_string_value(name);
	return 0;
}

static int run_freeze(void *ctx, const json_t *body, const atomic_bool *cancelled, json_t **ret,
		      struct err *err)
{
	struct api *api = ctx;
	const char *name = NULL;
	int rc = take_cgroup(body, &name, err);

	if (rc == 0 && !name)
		rc = err_set(err, -EINVAL, "'cgroup' is missing: what is to be frozen");
	if (rc == 0)
		rc = freeze_begin(api->freeze, name, cancelled, err);
	if (rc < 0)
		return rc;
	*ret = json_pack("{s:s, s:b}", "cgroup", name, "frozen", 1);
	return *ret ? 0 : err_set(err, -ENOMEM, "out of memory");
}

/* Whoever froze it does not know, and will not thaw it. */
static void unfreeze(void *ctx, const json_t *ret)
{
	struct api *api = ctx;
	const char *name = json_string_value(json_object_get(ret, "cgroup"));
	struct err err;

	if (freeze_end(api->freeze, name, NULL, &err) < 0)
		logs_add(LOGS_ERROR, "%s", err.text);
}

static int run_thaw(void *ctx, const json_t *body, const atomic_bool *cancelled, json_t **ret,
		    struct err *err)
{
	struct api *api = ctx;
	json_t *thawed = json_array();
	const char *name = NULL;
	int rc = take_cgroup(body, &name, err);

	(void)cancelled;
	if (rc == 0)
		rc = freeze_end(api->freeze, name, thawed, err);
	if (rc < 0) {
		json_decref(thawed);
		return rc;
	}
	*ret = json_pack("{s:o}", "thawed", thawed);
	return *ret ? 0 : err_set(err, -ENOMEM, "out of memory");
}

static int run_resumed(void *ctx, const json_t *body, const atomic_bool *cancelled, json_t **ret,
		       struct err *err)
{
	(void)cancelled;
	return resumed_run(((struct api *)ctx)->freeze, body, ret, err);
}

static const struct job_kind stats = {
	.name = "stats", .max_ms = SHORT_MS, .run = run_stats,
};
static const struct job_kind reclaim = {
	.name = "reclaim", .alone = true, .max_ms = LONG_MS, .run = run_reclaim,
};
static const struct job_kind collapse = {
	.name = "collapse", .alone = true, .max_ms = LONG_MS, .run = run_collapse,
};
static const struct job_kind freeze = {
	.name = "freeze", .max_ms = SHORT_MS, .run = run_freeze, .unheard = unfreeze,
};
static const struct job_kind thaw = {
	.name = "thaw", .urgent = true, .max_ms = SHORT_MS, .run = run_thaw,
};
static const struct job_kind resumed = {
	.name = "resumed", .urgent = true, .max_ms = SHORT_MS, .run = run_resumed,
};

static void start(struct api *api, struct httpd_call *call, const struct job_kind *kind)
{
	if (enter(api, call))
		job_start(api->jobs, call, kind);
}

static void get_stats(struct httpd_call *call, void *ctx)
{
	start(ctx, call, &stats);
}

static void post_reclaim(struct httpd_call *call, void *ctx)
{
	start(ctx, call, &reclaim);
}

static void post_collapse(struct httpd_call *call, void *ctx)
{
	start(ctx, call, &collapse);
}

static void post_freeze(struct httpd_call *call, void *ctx)
{
	start(ctx, call, &freeze);
}

static void post_thaw(struct httpd_call *call, void *ctx)
{
	start(ctx, call, &thaw);
}

static void post_resumed(struct httpd_call *call, void *ctx)
{
	start(ctx, call, &resumed);
}

const struct httpd_route api_routes[] = {
	{"GET", "/health", get_health},
	{"GET", "/version", get_version},
	{"GET", "/stats", get_stats},
	{"GET", "/logs", get_logs},
	{"POST", "/reclaim", post_reclaim},
	{"POST", "/collapse", post_collapse},
	{"POST", "/freeze", post_freeze},
	{"POST", "/thaw", post_thaw},
	{"POST", "/resumed", post_resumed},
	{0},
};
