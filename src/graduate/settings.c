/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/graduate/settings.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/conf.h"
#include "store/base/fmt.h"

#define SECTION "graduation"
#define DURATION_MAX_MS (UINT64_C(3650) * 24 * 3600 * 1000)
#define COUNT_MAX 1000000

/* ---- values; each returns whether `text` is one ---- */

static bool take_switch(const char *text, bool *ret)
{
	static const char *const yes[] = {"true", "yes", "on", "1"};
	static const char *const no[] = {"false", "no", "off", "0"};

	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
		if (strcmp(text, yes[i]) != 0 && strcmp(text, no[i]) != 0)
			continue;
		*ret = strcmp(text, yes[i]) == 0;
		return true;
	}
	return false;
}

static bool take_percent(const char *text, double *ret)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end || !(value >= 0 && value <= 100))
		return false;
	*ret = value;
	return true;
}

/* A key whose value is a number of some kind. */
struct number {
	const char *key;
	int (*parse)(const char *text, uint64_t *ret);
	size_t at;		/* in struct settings */
	uint64_t least;
	uint64_t most;
	const char *want;
};

#define AT(field) offsetof(struct settings, field)
#define DURATION "a duration of at most 3650d"
#define DURATION_ABOVE "a duration above 0, at most 3650d"
#define SIZE "a size"

static const struct number numbers[] = {
	{"min_session_age", fmt_parse_duration_ms, AT(min_session_age_ms), 0, DURATION_MAX_MS,
	 DURATION},
	{"max_concurrent", fmt_parse_u64, AT(max_concurrent), 1, SETTINGS_CONCURRENT_MAX,
	 "a number from 1 to 64"},
	{"max_active_sessions", fmt_parse_u64, AT(max_active_sessions), 0, COUNT_MAX,
	 "a number from 0 to 1000000"},
	{"scan_interval", fmt_parse_duration_ms, AT(scan_interval_ms), 1, DURATION_MAX_MS,
	 DURATION_ABOVE},
	{"completion_timeout", fmt_parse_duration_ms, AT(completion_timeout_ms), 1,
	 DURATION_MAX_MS, DURATION_ABOVE},
	{"failure_backoff", fmt_parse_duration_ms, AT(failure_backoff_ms), 0, DURATION_MAX_MS,
	 DURATION},
	{"rate", fmt_parse_size, AT(rate), 0, INT64_MAX, SIZE},
	{"min_available", fmt_parse_size, AT(min_available), 0, INT64_MAX, SIZE},
};

static int take_number(struct settings *s, const struct conf *conf, const struct number *n,
		       struct err *err)
{
	const char *text = conf_get(conf, SECTION, n->key);
	uint64_t value;

	if (!text)
		return 0;
	if (n->parse(text, &value) < 0 || value < n->least || value > n->most)
		return conf_refuse(conf, SECTION, n->key, n->want, err);
	*(uint64_t *)((char *)s + n->at) = value;
	return 0;
}

static int take_path(const struct conf *conf, const char *key, char **to, struct err *err)
{
	const char *text = conf_get(conf, SECTION, key);
	char *copy;

	if (!text || !*text)
		return 0;
	copy = strdup(text);
	if (!copy)
		return err_set(err, -ENOMEM, "out of memory");
	free(*to);
	*to = copy;
	return 0;
}

/* ---- the file ---- */

static int take_words(struct settings *s, const struct conf *conf, struct err *err)
{
	const char *enabled = conf_get(conf, SECTION, "enabled");
	const char *pressure = conf_get(conf, SECTION, "max_pressure");

	if (enabled && !take_switch(enabled, &s->enabled))
		return conf_refuse(conf, SECTION, "enabled", "true or false", err);
	if (pressure && !take_percent(pressure, &s->max_pressure))
		return conf_refuse(conf, SECTION, "max_pressure", "a number from 0 to 100", err);
	return 0;
}

static int take_all(struct settings *s, const struct conf *conf, struct err *err)
{
	int rc = take_words(s, conf, err);

	for (size_t i = 0; rc == 0 && i < sizeof(numbers) / sizeof(numbers[0]); i++)
		rc = take_number(s, conf, &numbers[i], err);
	if (rc == 0)
		rc = take_path(conf, "runtime_dir", &s->runtime_dir, err);
	return rc < 0 ? rc : take_path(conf, "metrics_socket", &s->metrics_socket, err);
}

static int take_defaults(struct settings *s, struct err *err)
{
	*s = (struct settings){
		.min_session_age_ms = 10 * 60 * 1000,
		.max_concurrent = 1,
		.scan_interval_ms = 60 * 1000,
		.completion_timeout_ms = 10 * 60 * 1000,
		.failure_backoff_ms = 5 * 60 * 1000,
		.runtime_dir = strdup(RUNSTATEDIR "/lamina"),
	};
	return s->runtime_dir ? 0 : err_set(err, -ENOMEM, "out of memory");
}

static int read_file(struct settings *s, const char *path, struct err *err)
{
	struct conf *conf;
	int rc = conf_open(path, &conf, err);

	if (rc < 0)
		return rc;
	rc = take_all(s, conf, err);
	conf_free(conf);
	return rc;
}

int settings_load(const char *path, struct settings *ret, struct err *err)
{
	struct settings s;
	int rc = take_defaults(&s, err);

	if (rc == 0)
		rc = read_file(&s, path, err);
	if (rc == 0)
		*ret = s;
	else
		settings_fini(&s);
	return rc;
}

char *settings_socket(const struct settings *s)
{
	char *path;

	if (s->metrics_socket)
		return strdup(s->metrics_socket);
	return asprintf(&path, "%s/graduator.sock", s->runtime_dir) < 0 ? NULL : path;
}

void settings_fini(struct settings *s)
{
	free(s->runtime_dir);
	free(s->metrics_socket);
	s->runtime_dir = NULL;
	s->metrics_socket = NULL;
}
