/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/host/pause-settings.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "src/rpc/reclaim-order.h"
#include "store/base/conf.h"
#include "store/base/fmt.h"

#define TIMEOUT_MAX_MS (24u * 3600 * 1000)

#define NSTEPS RECLAIM_ORDER_NSTEPS
/* Of a reclaim that is to be made and of which no more is said; of reclaim_order_steps. */
static const int default_caps[NSTEPS] = {500, 500, 200, 1000};

static int no_memory(struct err *err)
{
	return err_set(err, -ENOMEM, "out of memory");
}

/* ---- reclaim ---- */

static int check_members(const json_t *asked, struct err *err)
{
	int order[NSTEPS];
	const char *key;
	json_t *value;

	if (!json_is_object(asked))
		return err_set(err, -EINVAL, "what is to be reclaimed is no JSON object");
	json_object_foreach((json_t *)asked, key, value)
		if (reclaim_order_find(key) < 0 && strcmp(key, "order") != 0)
			return err_set(err, -EINVAL, "'%s' is no step: there are "
				       RECLAIM_ORDER_WORDS ", and order", key);
	return reclaim_order_parse(json_object_get(asked, "order"), order, err);
}

/* Milliseconds; 0: skip it. */
static int cap_of(const json_t *value)
{
	double ms = json_number_value(value);

	if (!isfinite(ms) || ms < 1)
		return 0;
	return ms > PAUSE_RECLAIM_MAX_MS ? PAUSE_RECLAIM_MAX_MS : (int)ms;
}

int pause_settings_reclaim(const json_t *asked, json_t **ret, struct err *err)
{
	json_t *to;
	int rc = check_members(asked, err), n = 0;

	if (rc < 0)
		return rc;
	to = json_object();
	for (size_t i = 0; i < NSTEPS && to && rc == 0; i++) {
		int ms = cap_of(json_object_get(asked, reclaim_order_steps[i]));

		if (ms > 0)
			rc = json_object_set_new(to, reclaim_order_steps[i], json_integer(ms));
		n += ms > 0;
	}
	if (to && rc == 0 && json_array_size(json_object_get(asked, "order")) > 0)
		rc = json_object_set(to, "order", json_object_get(asked, "order"));
	if (!to || rc < 0 || n == 0) {
		json_decref(to);
		*ret = NULL;
		return !to || rc < 0 ? no_memory(err) : 0;
	}
	*ret = to;
	return 0;
}

static int use_reclaim(struct pause_settings *s, const json_t *asked, struct err *err)
{
	json_t *to = NULL;
	int rc = pause_settings_reclaim(asked, &to, err);

	if (rc < 0)
		return rc;
	json_decref(s->reclaim);
	s->reclaim = to;
	s->reclaim_ms = 0;
	for (size_t i = 0; i < NSTEPS; i++) {
		const json_t *ms = json_object_get(to, reclaim_order_steps[i]);

		s->reclaim_ms += (int)json_integer_value(ms);
	}
	s->compacts = json_object_get(to, "compact_memory") != NULL;
	return 0;
}

/* ---- lamina.conf ---- */

struct source {
	const struct conf *conf;
	const char *guest;
	struct err *err;
};

/* Where a key of [pause] or [reclaim] was given. */
static const char *section_of(const struct source *from, const char *section, const char *key)
{
	const char *own = conf_section_for(from->conf, "guest", from->guest, key);

	return own ? own : section;
}

static const char *get(const struct source *from, const char *section, const char *key)
{
	return conf_get(from->conf, section_of(from, section, key), key);
}

static int refuse(const struct source *from, const char *section, const char *key,
		  const char *want)
{
	return conf_refuse(from->conf, section_of(from, section, key), key, want, from->err);
}

static int get_switch(const struct source *from, const char *key, bool *to)
{
	static const char *const yes[] = {"true", "yes", "on", "1"};
	static const char *const no[] = {"false", "no", "off", "0"};
	const char *text = get(from, "pause", key);

	if (!text)
		return 0;
	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
		if (strcmp(text, yes[i]) != 0 && strcmp(text, no[i]) != 0)
			continue;
		*to = strcmp(text, yes[i]) == 0;
		return 0;
	}
	return refuse(from, "pause", key, "true or false");
}

static int get_text(const struct source *from, const char *key, char **to)
{
	const char *text = get(from, "pause", key);

	if (!text || !*text)
		return 0;
	*to = strdup(text);
	return *to ? 0 : no_memory(from->err);
}

static int get_timeout(const struct source *from, const char *key, int *to, bool none)
{
	const char *text = get(from, "pause", key);
	uint64_t ms;

	if (!text)
		return 0;
	if (fmt_parse_duration_ms(text, &ms) < 0 || ms > TIMEOUT_MAX_MS || (ms == 0 && !none))
		return refuse(from, "pause", key, none ? "a duration of at most 1d" :
			      "a duration above 0, at most 1d");
	*to = (int)ms;
	return 0;
}

static int take_drain(const char *text, int *to)
{
	uint64_t ms;

	if (fmt_parse_u64(text, &ms) < 0 || ms > PAUSE_DRAIN_MAX_MS)
		return -EINVAL;
	*to = (int)ms;
	return 0;
}

static int get_drain(const struct source *from, int *to)
{
	const char *text = get(from, "pause", "drain");

	if (text && take_drain(text, to) < 0)
		return refuse(from, "pause", "drain", "a number of milliseconds from 0 to 1500");
	return 0;
}

static int get_caps(const struct source *from, json_t *to)
{
	for (size_t i = 0; i < NSTEPS; i++) {
		const char *step = reclaim_order_steps[i];
		const char *text = get(from, "reclaim", step);
		uint64_t ms;

		if (!text)
			continue;
		if (fmt_parse_u64(text, &ms) < 0 || ms > PAUSE_RECLAIM_MAX_MS)
			return refuse(from, "reclaim", step,
				      "a number of milliseconds from 0 to 600000");
		if (json_object_set_new(to, step, json_integer((json_int_t)ms)) < 0)
			return no_memory(from->err);
	}
	return 0;
}

static int put_default_caps(const struct source *from, json_t *to)
{
	int rc = 0;

	for (size_t i = 0; i < NSTEPS && rc == 0; i++)
		rc = json_object_set_new(to, reclaim_order_steps[i], json_integer(default_caps[i]));
	return rc < 0 ? no_memory(from->err) : 0;
}

/* NULL: there is no memory for it. */
static json_t *words_of(const char *text)
{
	char *words = strdup(text), *save = NULL;
	json_t *list = words ? json_array() : NULL;

	for (char *w = words ? strtok_r(words, " \t,", &save) : NULL; w;
	     w = strtok_r(NULL, " \t,", &save))
		(void)json_array_append_new(list, json_string(w));
	free(words);
	return list;
}

static int get_order(const struct source *from, json_t *to)
{
	const char *text = get(from, "reclaim", "order");
	json_t *list = text ? words_of(text) : NULL;
	int order[NSTEPS];

	if (text && list && reclaim_order_parse(list, order, NULL) < 0) {
		json_decref(list);
		return refuse(from, "reclaim", "order",
			      "words of " RECLAIM_ORDER_WORDS ", each at most once");
	}
	return text && json_object_set_new(to, "order", list) < 0 ? no_memory(from->err) : 0;
}

static int get_reclaim(const struct source *from, struct pause_settings *s)
{
	bool on = false;
	json_t *asked = json_object();
	const json_t *compact;
	int rc = asked ? get_switch(from, "reclaim", &on) : no_memory(from->err);

	if (rc == 0)
		rc = get_caps(from, asked);
	compact = json_object_get(asked, "compact_memory");
	s->no_compaction = compact && json_integer_value(compact) == 0;
	if (rc == 0 && json_object_size(asked) == 0)
		rc = put_default_caps(from, asked);
	if (rc == 0)
		rc = get_order(from, asked);
	if (rc == 0 && on)
		rc = use_reclaim(s, asked, from->err);
	json_decref(asked);
	return rc;
}

static int read_conf(const struct source *from, struct pause_settings *s)
{
	int rc = get_switch(from, "collapse", &s->collapse);

	if (rc == 0)
		rc = get_switch(from, "leave", &s->leave);
	if (rc == 0)
		rc = get_text(from, "freeze", &s->freeze);
	if (rc == 0)
		rc = get_text(from, "metrics_file", &s->metrics_file);
	if (rc == 0)
		rc = get_drain(from, &s->drain_ms);
	if (rc == 0)
		rc = get_timeout(from, "agent_timeout", &s->agent_timeout_ms, false);
	if (rc == 0)
		rc = get_timeout(from, "collapse_timeout", &s->collapse_timeout_ms, false);
	if (rc == 0)
		rc = get_timeout(from, "freeze_timeout", &s->freeze_timeout_ms, false);
	if (rc == 0)
		rc = get_timeout(from, "snapshot_timeout", &s->snapshot_timeout_ms, true);
	return rc < 0 ? rc : get_reclaim(from, s);
}

/* ---- what was asked for ---- */

static int wish_text(const char *wish, char **to, struct err *err)
{
	if (!wish)
		return 0;
	free(*to);
	*to = *wish ? strdup(wish) : NULL;
	return *wish && !*to ? no_memory(err) : 0;
}

static int wish_reclaim(const char *text, struct pause_settings *s, struct err *err)
{
	json_error_t why;
	json_t *asked = json_loads(text, JSON_REJECT_DUPLICATES, &why);
	int rc;

	if (!asked)
		return err_set(err, -EINVAL, "--reclaim: '%s' is no JSON: %s", text, why.text);
	rc = use_reclaim(s, asked, err);
	json_decref(asked);
	return rc < 0 ? err_wrap(err, rc, "--reclaim") : 0;
}

static void drop_steps(struct pause_settings *s)
{
	json_decref(s->reclaim);
	free(s->freeze);
	s->reclaim = NULL;
	s->reclaim_ms = 0;
	s->compacts = s->collapse = false;
	s->freeze = NULL;
	s->drain_ms = 0;
}

static int wish(const struct pause_wishes *w, struct pause_settings *s, struct err *err)
{
	int rc;

	if (w->bare)
		drop_steps(s);
	s->collapse = s->collapse || w->collapse;
	s->leave = s->leave || w->leave;
	rc = wish_text(w->freeze, &s->freeze, err);
	if (rc == 0)
		rc = wish_text(w->metrics_file, &s->metrics_file, err);
	if (rc == 0 && w->drain && take_drain(w->drain, &s->drain_ms) < 0)
		rc = err_set(err, -EINVAL, "--drain: '%s' is no number of milliseconds from 0 "
			     "to %d", w->drain, PAUSE_DRAIN_MAX_MS);
	return rc == 0 && w->reclaim ? wish_reclaim(w->reclaim, s, err) : rc;
}

int pause_settings_load(const struct conf *conf, const char *guest,
			const struct pause_wishes *wishes, struct pause_settings *ret,
			struct err *err)
{
	const struct source from = {conf, guest, err};
	struct pause_settings s = {
		.agent_timeout_ms = 3000, .collapse_timeout_ms = 10000, .freeze_timeout_ms = 5000,
		.snapshot_timeout_ms = 300000,
	};
	int rc = read_conf(&from, &s);

	if (rc == 0)
		rc = wish(wishes, &s, err);
	if (rc < 0)
		pause_settings_fini(&s);
	else
		*ret = s;
	return rc;
}

void pause_settings_fini(struct pause_settings *s)
{
	json_decref(s->reclaim);
	free(s->freeze);
	free(s->metrics_file);
	*s = (struct pause_settings){0};
}
