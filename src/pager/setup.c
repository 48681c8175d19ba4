/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One table says which fields there are; each has a function that takes its value. */
#include "src/pager/setup.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "store/base/fmt.h"

#define HANDOFF_TIMEOUT_MS 10000
#define HANDOFF_TIMEOUT_MAX_MS 3600000
#define SOCKET_MAX (sizeof(((struct sockaddr_un *)0)->sun_path) - 1)
#define SHOWN_MAX 64

/* A field, its value, and where they go. */
struct given {
	const char *name;
	const json_t *value;
	struct setup *setup;
};

static const char *const on_error_names[] = {
	[SETUP_WAIT] = "wait", [SETUP_POISON] = "poison", [SETUP_STOP] = "stop",
};

static const struct {
	const char *name;
	enum window_mode mode;
	uint64_t len;
} prefetches[] = {
	{"off", WINDOW_OFF, 0},
	{"adaptive", WINDOW_ADAPTIVE, WINDOW_MAX},
	{"64K", WINDOW_FIXED, UINT64_C(64) << 10},
	{"128K", WINDOW_FIXED, UINT64_C(128) << 10},
	{"256K", WINDOW_FIXED, UINT64_C(256) << 10},
	{"512K", WINDOW_FIXED, UINT64_C(512) << 10},
	{"1M", WINDOW_FIXED, UINT64_C(1) << 20},
	{"2M", WINDOW_FIXED, WINDOW_MAX},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

const char *setup_on_error_name(enum setup_on_error on_error)
{
	return on_error_names[on_error];
}

void setup_fini(struct setup *setup)
{
	free(setup->id);
	free(setup->memfile);
	free(setup->socket);
	free(setup->trace);
	free(setup->record);
	for (unsigned i = 0; i < setup->nholds; i++)
		free(setup->hold[i]);
	*setup = (struct setup){.peer_uid = -1};
}

/* ---- values ---- */

struct shown {
	char text[SHOWN_MAX + 8];
};

/* What a peer wrote, for a sentence: bounded, printable, cut between characters. */
static const char *show(const char *text, struct shown *out)
{
	size_t len = strlen(text), n = len < SHOWN_MAX ? len : SHOWN_MAX;

	while (n < len && n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
		n--;
	(void)snprintf(out->text, sizeof(out->text), "%.*s%s", (int)n, text, n < len ? "..." : "");
	for (char *p = out->text; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	return out->text;
}

static int no_memory(struct err *err)
{
	return err_set(err, -ENOMEM, "a session cannot be set up: out of memory");
}

/* The text itself, without NULs. */
static int get_text(const struct given *g, const char **ret, struct err *err)
{
	if (!json_is_string(g->value))
		return err_set(err, -EINVAL, "'%s' is to be a string", g->name);
	*ret = json_string_value(g->value);
	if (strlen(*ret) != json_string_length(g->value))
		return err_set(err, -EINVAL, "'%s' has a NUL in it", g->name);
	return 0;
}

static int get_integer(const struct given *g, int64_t min, int64_t max, int64_t *ret,
		       struct err *err)
{
	int64_t n = json_integer_value(g->value);

	if (!json_is_integer(g->value) || n < min || n > max)
		return err_set(err, -EINVAL, "'%s' is to be an integer from %lld to %lld", g->name,
			       (long long)min, (long long)max);
	*ret = n;
	return 0;
}

static int take_path(const struct given *g, size_t max, char **ret, struct err *err)
{
	struct shown shown;
	const char *text;
	int rc = get_text(g, &text, err);

	if (rc < 0)
		return rc;
	if (*text != '/')
		return err_set(err, -EINVAL, "'%s' is to be an absolute path, not '%s'", g->name,
			       show(text, &shown));
	if (strlen(text) > max)
		return err_set(err, -EINVAL, "'%s' is longer than %zu bytes", g->name, max);
	*ret = strdup(text);
	return *ret ? 0 : no_memory(err);
}

/* ---- fields ---- */

bool setup_id_is_good(const char *id)
{
	static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				   "._-";
	size_t len = strspn(id, good);

	return len > 0 && len <= SETUP_ID_MAX && id[len] == '\0' && *id != '.';
}

static int take_id(const struct given *g, struct err *err)
{
	struct shown shown;
	const char *id;
	int rc = get_text(g, &id, err);

	if (rc < 0)
		return rc;
	if (!setup_id_is_good(id))
		return err_set(err, -EINVAL,
			       "'%s' is to be 1 to %d letters, digits, '.', '_' or '-', "
			       "the first not a '.': not '%s'",
			       g->name, SETUP_ID_MAX, show(id, &shown));
	g->setup->id = strdup(id);
	return g->setup->id ? 0 : no_memory(err);
}

static int take_memfile(const struct given *g, struct err *err)
{
	return take_path(g, PATH_MAX - 1, &g->setup->memfile, err);
}

static int take_socket(const struct given *g, struct err *err)
{
	return take_path(g, SOCKET_MAX, &g->setup->socket, err);
}

static int take_trace(const struct given *g, struct err *err)
{
	return take_path(g, PATH_MAX - 1, &g->setup->trace, err);
}

static int take_record(const struct given *g, struct err *err)
{
	return take_path(g, PATH_MAX - 1, &g->setup->record, err);
}

static int take_prefetch(const struct given *g, struct err *err)
{
	struct shown shown;
	const char *text;
	int rc = get_text(g, &text, err);

	for (size_t i = 0; rc == 0 && i < COUNT(prefetches); i++) {
		if (strcmp(text, prefetches[i].name) == 0) {
			g->setup->prefetch = prefetches[i].mode;
			g->setup->prefetch_len = prefetches[i].len;
			return 0;
		}
	}
	if (rc < 0)
		return rc;
	return err_set(err, -EINVAL,
		       "'%s' is to be off, adaptive, 64K, 128K, 256K, 512K, 1M or 2M, not '%s'",
		       g->name, show(text, &shown));
}

static int take_on_error(const struct given *g, struct err *err)
{
	struct shown shown;
	const char *text;
	int rc = get_text(g, &text, err);

	for (size_t i = 0; rc == 0 && i < COUNT(on_error_names); i++) {
		if (strcmp(text, on_error_names[i]) == 0) {
			g->setup->on_error = (enum setup_on_error)i;
			return 0;
		}
	}
	if (rc < 0)
		return rc;
	return err_set(err, -EINVAL, "'%s' is to be wait, poison or stop, not '%s'", g->name,
		       show(text, &shown));
}

static int take_detachable(const struct given *g, struct err *err)
{
	if (!json_is_boolean(g->value))
		return err_set(err, -EINVAL, "'%s' is to be true or false", g->name);
	g->setup->detachable = json_is_true(g->value);
	return 0;
}

static int take_hold(const struct given *g, struct err *err)
{
	size_t n = json_array_size(g->value);
	int rc;

	if (!json_is_array(g->value) || n > SETUP_HOLDS_MAX)
		return err_set(err, -EINVAL, "'%s' is to be an array of at most %d paths", g->name,
			       SETUP_HOLDS_MAX);
	for (size_t i = 0; i < n; i++) {
		char name[32];
		struct given one = {name, json_array_get(g->value, i), g->setup};

		(void)snprintf(name, sizeof(name), "%s[%zu]", g->name, i);
		rc = take_path(&one, PATH_MAX - 1, &g->setup->hold[i], err);
		if (rc < 0)
			return rc;
		g->setup->nholds++;
	}
	return 0;
}

/* (uid_t)-1 is nobody's number: -1 says so. */
static int take_peer_uid(const struct given *g, struct err *err)
{
	return get_integer(g, -1, (int64_t)UINT32_MAX - 1, &g->setup->peer_uid, err);
}

static int take_handoff_timeout(const struct given *g, struct err *err)
{
	int64_t ms = 0;
	int rc = get_integer(g, 1, HANDOFF_TIMEOUT_MAX_MS, &ms, err);

	if (rc == 0)
		g->setup->handoff_timeout_ms = (uint32_t)ms;
	return rc;
}

static const struct field {
	const char *name;
	int (*take)(const struct given *given, struct err *err);
} fields[] = {
	{"id", take_id},
	{"memfile", take_memfile},
	{"socket", take_socket},
	{"prefetch", take_prefetch},
	{"trace", take_trace},
	{"record", take_record},
	{"on_error", take_on_error},
	{"detachable", take_detachable},
	{"hold", take_hold},
	{"peer_uid", take_peer_uid},
	{"handoff_timeout_ms", take_handoff_timeout},
};

static int take(struct given given, struct err *err)
{
	struct shown shown;

	for (size_t i = 0; i < COUNT(fields); i++) {
		if (strcmp(given.name, fields[i].name) == 0) {
			given.name = fields[i].name;
			return fields[i].take(&given, err);
		}
	}
	return err_set(err, -EINVAL, "'%s' is no field of a session", show(given.name, &shown));
}

/* ---- the whole ---- */

static int fill_in_socket(struct setup *setup, const char *runtime_dir, struct err *err)
{
	if (setup->socket)
		return 0;
	if (asprintf(&setup->socket, "%s/%s.sock", runtime_dir, setup->id) < 0) {
		setup->socket = NULL;
		return no_memory(err);
	}
	if (strlen(setup->socket) > SOCKET_MAX)
		return err_set(err, -EINVAL,
			       "the socket's path in '%s' would be longer than %zu bytes: "
			       "give a shorter 'id', or 'socket'",
			       runtime_dir, SOCKET_MAX);
	return 0;
}

/* What the fields are together. */
static int finish(struct setup *setup, const char *runtime_dir, struct err *err)
{
	if (!setup->id || !setup->memfile)
		return err_set(err, -EINVAL, "'%s' is missing", setup->id ? "memfile" : "id");
	if (setup->record && strcmp(setup->record, setup->memfile) == 0)
		return err_set(err, -EINVAL, "'record' would overwrite the memfile");
	return fill_in_socket(setup, runtime_dir, err);
}

int setup_from_json(const json_t *json, const char *runtime_dir, struct setup *ret,
		    struct err *err)
{
	struct setup setup = {
		.prefetch = WINDOW_ADAPTIVE,
		.prefetch_len = WINDOW_MAX,
		.peer_uid = -1,
		.handoff_timeout_ms = HANDOFF_TIMEOUT_MS,
	};
	json_t *object = (json_t *)json; /* jansson's iterators want it so */
	const char *name;
	json_t *value;
	int rc = 0;

	if (!json_is_object(json))
		return err_set(err, -EINVAL, "a session is to be a JSON object");
	if (json_object_get(json, "record")) {
		setup.prefetch = WINDOW_OFF;
		setup.prefetch_len = 0;
	}
	json_object_foreach(object, name, value) {
		rc = take((struct given){name, value, &setup}, err);
		if (rc < 0)
			break;
	}
	if (rc == 0)
		rc = finish(&setup, runtime_dir, err);
	if (rc < 0) {
		setup_fini(&setup);
		return rc;
	}
	*ret = setup;
	return 0;
}

static const char *prefetch_name(const struct setup *setup)
{
	for (size_t i = 0; i < COUNT(prefetches); i++)
		if (prefetches[i].mode == setup->prefetch &&
		    prefetches[i].len == setup->prefetch_len)
			return prefetches[i].name;
	return "adaptive";
}

/* Nothing for NULL. */
static int put_text(json_t *json, const char *name, const char *text)
{
	return text ? json_object_set_new(json, name, json_string(text)) : 0;
}

static int put_holds(json_t *json, const struct setup *setup)
{
	json_t *holds = json_array();
	int rc = 0;

	for (unsigned i = 0; i < setup->nholds; i++)
		rc |= json_array_append_new(holds, json_string(setup->hold[i]));
	return rc | json_object_set_new(json, "hold", holds);
}

json_t *setup_to_json(const struct setup *setup)
{
	json_t *json = json_object();
	int rc = put_text(json, "id", setup->id);

	rc |= put_text(json, "memfile", setup->memfile);
	rc |= put_text(json, "socket", setup->socket);
	rc |= put_text(json, "prefetch", prefetch_name(setup));
	rc |= put_text(json, "trace", setup->trace);
	rc |= put_text(json, "record", setup->record);
	rc |= put_text(json, "on_error", setup_on_error_name(setup->on_error));
	rc |= json_object_set_new(json, "detachable", json_boolean(setup->detachable));
	rc |= put_holds(json, setup);
	rc |= json_object_set_new(json, "peer_uid", json_integer(setup->peer_uid));
	rc |= json_object_set_new(json, "handoff_timeout_ms",
				  json_integer(setup->handoff_timeout_ms));
	if (rc == 0)
		return json;
	json_decref(json);
	return NULL;
}
