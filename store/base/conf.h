/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * conf: lamina.conf(5), an INI file read with libinih.
 *
 * A conf is a flat list of (section, key, value, line).  The keys of all programs are
 * known to each of them; unknown sections and keys, and a key that a section has twice, are
 * refused with file, line and name, so that a typing error is never silently ignored, whoever
 * reads it first.
 */
#ifndef LAMINA_BASE_CONF_H
#define LAMINA_BASE_CONF_H

#include "store/base/err.h"

#define CONF_DEFAULT_PATH SYSCONFDIR "/lamina/lamina.conf"

struct conf;

/* All that lamina.conf may hold, whoever reads it: "section.key", NULL-terminated. */
extern const char *const conf_keys[];

/*
 * The file `given`, else the one of LAMINA_CONF, else that at the default place, which
 * may be missing: *ret is NULL then.  It is checked: all keys are of conf_keys, each once,
 * sections of guests are [guest GLOB], and paths, but for that of a store, are absolute or empty.
 */
int conf_open(const char *given, struct conf **ret, struct err *err);

/* -ENOENT if there is no such file (the caller decides whether that matters). */
int conf_load(const char *path, struct conf **ret, struct err *err);
void conf_free(struct conf *conf);

/* As it was given; NULL for none. */
const char *conf_path(const struct conf *conf);

/* The last value given, or NULL, as for a conf that is NULL.  Borrowed until conf_free(). */
const char *conf_get(const struct conf *conf, const char *section, const char *key);

/*
 * Of the sections "FIRST GLOB" whose glob (fnmatch(3)) is that of `name` and that have `key`, the
 * one in which it was given last; NULL: none.  Borrowed.
 */
const char *conf_section_for(const struct conf *conf, const char *first, const char *name,
			     const char *key);

/* Refuses that value, with file, line, section and key: it is not `want`.  Returns -EINVAL. */
int conf_refuse(const struct conf *conf, const char *section, const char *key, const char *want,
		struct err *err);

/*
 * `known` is a NULL-terminated list of "section.key"; "section.*" allows any
 * key, and a section is matched by its first word ("guest web-*" by "guest").  Each key may
 * be given once, in whichever piece of its section.  -EINVAL with file, line and name.
 */
int conf_check(const struct conf *conf, const char *const *known, struct err *err);

#endif
