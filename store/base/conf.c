/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libinih splits the lines; we hand it one at a time (so that we know its
 * number) without leading blanks (so that an indented "key = value" is a key,
 * not the continuation of the line above, which libinih would make of it).
 */
#include "store/base/conf.h"

#include <fnmatch.h>
#include <ini.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "store/base/vec.h"

const char *const conf_keys[] = {
	"store.path", "store.lock_wait",
	"mount.allow_other", "mount.cache", "mount.gid", "mount.mode", "mount.readahead",
	"mount.threads", "mount.uid",
	"gc.ratio",
	"graduation.completion_timeout", "graduation.enabled", "graduation.failure_backoff",
	"graduation.max_active_sessions", "graduation.max_concurrent", "graduation.max_pressure",
	"graduation.metrics_socket", "graduation.min_available", "graduation.min_session_age",
	"graduation.rate", "graduation.runtime_dir", "graduation.scan_interval",
	"pager.record_dirs", "pager.runtime_dir", "pager.socket", "pager.stop_command",
	"pager.stop_signal", "pager.threads",
	"pause.agent_timeout", "pause.collapse", "pause.collapse_timeout", "pause.drain",
	"pause.freeze", "pause.freeze_timeout", "pause.leave", "pause.metrics_file",
	"pause.reclaim", "pause.snapshot_timeout",
	"reclaim.compact_memory", "reclaim.drop_caches", "reclaim.fstrim", "reclaim.order",
	"reclaim.sync",
	"guest.agent_timeout", "guest.collapse", "guest.collapse_timeout", "guest.compact_memory",
	"guest.drain", "guest.drop_caches", "guest.freeze", "guest.freeze_timeout", "guest.fstrim",
	"guest.leave", "guest.metrics_file", "guest.order", "guest.reclaim",
	"guest.snapshot_timeout", "guest.sync",
	NULL,
};

/* Of them those whose values are an absolute path, or several with colons between them. */
static const char *const path_keys[] = {
	"graduation.metrics_socket", "graduation.runtime_dir", "guest.metrics_file",
	"pager.runtime_dir", "pager.socket", "pause.metrics_file", NULL,
};
static const char *const list_keys[] = {"pager.record_dirs", NULL};

struct entry {
	char *section;
	char *key;		/* NULL: the section's own line */
	char *value;
	int line;
};

struct conf {
	char *path;
	VEC(struct entry) entries;
};

struct load {
	struct conf *conf;
	FILE *file;
	int line;
	int long_line;		/* the first that libinih's buffer cannot hold, or 0 */
	bool no_memory;
};

static void entry_free(struct entry *e)
{
	free(e->section);
	free(e->key);
	free(e->value);
}

void conf_free(struct conf *conf)
{
	if (!conf)
		return;
	for (size_t i = 0; i < conf->entries.n; i++)
		entry_free(&conf->entries.v[i]);
	vec_fini(&conf->entries);
	free(conf->path);
	free(conf);
}

static void skip_line(FILE *file)
{
	int c;

	do
		c = getc(file);
	while (c != EOF && c != '\n');
}

/* Takes the entry, if it is whole. */
static bool add(struct load *load, struct entry e, bool whole)
{
	if (whole && vec_push(&load->conf->entries, e) == 0)
		return true;
	entry_free(&e);
	load->no_memory = true;
	return false;
}

/* libinih says nothing of sections without keys. */
static void add_section(struct load *load, const char *line)
{
	const char *end = strchr(line, ']');
	struct entry e = {.line = load->line};

	if (*line != '[' || !end)
		return;
	e.section = strndup(line + 1, (size_t)(end - line) - 1);
	(void)add(load, e, e.section);
}

static char *read_line(char *line, int size, void *ctx)
{
	struct load *load = ctx;
	size_t len, blanks;

	if (!fgets(line, size, load->file))
		return NULL;
	load->line++;
	len = strlen(line);
	if (len + 1 == (size_t)size && line[len - 1] != '\n') {
		if (!load->long_line)
			load->long_line = load->line;
		skip_line(load->file);
	}
	blanks = strspn(line, " \t");
	memmove(line, line + blanks, len - blanks + 1);
	add_section(load, line);
	return line;
}

static int on_entry(void *ctx, const char *section, const char *key, const char *value)
{
	struct load *load = ctx;
	struct entry e = {
		.section = strdup(section),
		.key = strdup(key),
		.value = strdup(value ? value : ""),
		.line = load->line,
	};

	return add(load, e, e.section && e.key && e.value);
}

static int parse(struct load *load, struct err *err)
{
	const char *path = load->conf->path;
	struct stat st;
	int bad;

	if (fstat(fileno(load->file), &st) == 0 && S_ISDIR(st.st_mode))
		return err_set(err, -EISDIR, "cannot read '%s': it is a directory", path);
	bad = ini_parse_stream(read_line, load, on_entry, load);
	if (load->no_memory || bad == -2)
		return err_set(err, -ENOMEM, "cannot read '%s': out of memory", path);
	if (ferror(load->file))
		return err_set(err, -EIO, "cannot read '%s': input/output error", path);
	if (load->long_line)
		return err_set(err, -EINVAL, "%s:%d: the line is too long", path, load->long_line);
	if (bad)
		return err_set(err, -EINVAL, "%s:%d: neither '[section]' nor 'key = value'",
			       path, bad);
	return 0;
}

int conf_load(const char *path, struct conf **ret, struct err *err)
{
	struct load load = {.file = fopen(path, "re")};
	int rc;

	if (!load.file) {
		rc = -errno;
		return err_sys(err, rc, "cannot open '%s'", path);
	}
	load.conf = calloc(1, sizeof(*load.conf));
	if (load.conf)
		load.conf->path = strdup(path);
	if (load.conf && load.conf->path)
		rc = parse(&load, err);
	else
		rc = err_set(err, -ENOMEM, "cannot read '%s': out of memory", path);
	(void)fclose(load.file);
	if (rc < 0) {
		conf_free(load.conf);
		return rc;
	}
	*ret = load.conf;
	return 0;
}

const char *conf_path(const struct conf *conf)
{
	return conf ? conf->path : NULL;
}

static const struct entry *last_entry(const struct conf *conf, const char *section,
				      const char *key)
{
	for (size_t i = conf ? conf->entries.n : 0; i > 0; i--) {
		const struct entry *e = &conf->entries.v[i - 1];

		if (e->key && !strcmp(e->section, section) && !strcmp(e->key, key))
			return e;
	}
	return NULL;
}

const char *conf_get(const struct conf *conf, const char *section, const char *key)
{
	const struct entry *e = last_entry(conf, section, key);

	return e ? e->value : NULL;
}

/* Whether `section` is "FIRST GLOB" and the glob that of `name`. */
static bool glob_fits(const char *section, const char *first, const char *name)
{
	size_t len = strlen(first), gap;

	if (strncmp(section, first, len) != 0)
		return false;
	gap = strspn(section + len, " \t");
	return gap > 0 && fnmatch(section + len + gap, name, 0) == 0;
}

const char *conf_section_for(const struct conf *conf, const char *first, const char *name,
			     const char *key)
{
	for (size_t i = conf ? conf->entries.n : 0; i > 0; i--) {
		const struct entry *e = &conf->entries.v[i - 1];

		if (e->key && !strcmp(e->key, key) && glob_fits(e->section, first, name))
			return e->section;
	}
	return NULL;
}

int conf_refuse(const struct conf *conf, const char *section, const char *key, const char *want,
		struct err *err)
{
	const struct entry *e = last_entry(conf, section, key);

	return err_set(err, -EINVAL, "%s:%d: %s in section [%s]: '%s' is not %s", conf->path,
		       e ? e->line : 0, key, section, e ? e->value : "", want);
}

/* Whether `known` ("section.key") begins with the first word of `section`. */
static bool section_fits(const char *known, const char *section)
{
	size_t len = strcspn(section, " \t");

	return !strncmp(known, section, len) && known[len] == '.';
}

static bool key_fits(const char *known, const struct entry *e)
{
	const char *key = strchr(known, '.') + 1;

	return section_fits(known, e->section) &&
	       (!e->key || !strcmp(key, "*") || !strcmp(key, e->key));
}

static int check_entry(const char *path, const struct entry *e, const char *const *known,
		       struct err *err)
{
	bool section_known = false;

	for (; *known; known++) {
		if (key_fits(*known, e))
			return 0;
		section_known = section_known || section_fits(*known, e->section);
	}
	if (e->key && !*e->section)
		return err_set(err, -EINVAL, "%s:%d: '%s' stands before any [section]",
			       path, e->line, e->key);
	if (!section_known)
		return err_set(err, -EINVAL, "%s:%d: unknown section [%s]",
			       path, e->line, e->section);
	return err_set(err, -EINVAL, "%s:%d: unknown key '%s' in section [%s]",
		       path, e->line, e->key, e->section);
}

/* Which of two values was meant, nobody can know; a section may come in pieces. */
static int check_once(const struct conf *conf, size_t n, struct err *err)
{
	const struct entry *e = &conf->entries.v[n];

	for (size_t i = 0; i < n && e->key; i++) {
		const struct entry *before = &conf->entries.v[i];

		if (before->key && !strcmp(before->section, e->section) &&
		    !strcmp(before->key, e->key))
			return err_set(err, -EINVAL, "%s:%d: key '%s' of section [%s] was given in "
				       "line %d already", conf->path, e->line, e->key, e->section,
				       before->line);
	}
	return 0;
}

int conf_check(const struct conf *conf, const char *const *known, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; i < conf->entries.n && rc == 0; i++) {
		rc = check_entry(conf->path, &conf->entries.v[i], known, err);
		if (rc == 0)
			rc = check_once(conf, i, err);
	}
	return rc;
}

static bool fits_any(const char *const *known, const struct entry *e)
{
	while (*known && !key_fits(*known, e))
		known++;
	return e->key && *known;
}

/* Of paths with colons between them.  Empty ones are none. */
static bool are_absolute(const char *list)
{
	for (; *list; list += *list == ':') {
		size_t len = strcspn(list, ":");

		if (len && *list != '/')
			return false;
		list += len;
	}
	return true;
}

/* Daemons change to another directory, and commands are run in any. */
static int check_paths(const struct conf *conf, struct err *err)
{
	for (size_t i = 0; i < conf->entries.n; i++) {
		const struct entry *e = &conf->entries.v[i];

		if (fits_any(path_keys, e) && *e->value && *e->value != '/')
			return conf_refuse(conf, e->section, e->key, "an absolute path", err);
		if (fits_any(list_keys, e) && !are_absolute(e->value))
			return conf_refuse(conf, e->section, e->key,
					   "absolute paths with colons between them", err);
	}
	return 0;
}

/* Only [guest GLOB] has a second word, and one that fits no name would never count. */
static int check_sections(const struct conf *conf, struct err *err)
{
	for (size_t i = 0; i < conf->entries.n; i++) {
		const struct entry *e = &conf->entries.v[i];
		size_t len = strcspn(e->section, " \t");
		const char *glob = e->section + len + strspn(e->section + len, " \t");
		bool guest = len == strlen("guest") && !strncmp(e->section, "guest", len);

		if (!guest && *glob)
			return err_set(err, -EINVAL, "%s:%d: unknown section [%s]", conf->path,
				       e->line, e->section);
		if (guest && (!*glob || strpbrk(glob, "\"' \t/")))
			return err_set(err, -EINVAL, "%s:%d: section [%s] fits no guest: it is "
				       "written [guest GLOB], without quotes, as in [guest web-*]",
				       conf->path, e->line, e->section);
	}
	return 0;
}

int conf_open(const char *given, struct conf **ret, struct err *err)
{
	const char *env = getenv("LAMINA_CONF");
	const char *path = given ? given : env && *env ? env : NULL;
	struct conf *conf;
	int rc = conf_load(path ? path : CONF_DEFAULT_PATH, &conf, err);

	if (rc == -ENOENT && !path) {
		*ret = NULL;
		return 0;
	}
	if (rc < 0)
		return rc;
	rc = conf_check(conf, conf_keys, err);
	if (rc == 0)
		rc = check_sections(conf, err);
	if (rc == 0)
		rc = check_paths(conf, err);
	if (rc < 0)
		conf_free(conf);
	else
		*ret = conf;
	return rc;
}
