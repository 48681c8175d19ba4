/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "fuse/words.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/fmt.h"

#define THREADS_MAX 256u
#define READAHEAD_KB_MAX (64u << 10)
#define WORD_MAX 4096u

struct word {
	const char *name;
	/* `value` is NULL if none was given. */
	int (*set)(struct options *o, const struct word *w, const char *value, struct err *err);
};

/* --- values --- */

static int bad_value(const struct word *w, const char *value, const char *want, struct err *err)
{
	return err_set(err, -EINVAL, "option '%s': '%s' is not %s", w->name, value ? value : "",
		       want);
}

static int parse_bool(const char *value, bool *ret)
{
	static const char *const yes[] = {"true", "yes", "on", "1"};
	static const char *const no[] = {"false", "no", "off", "0"};

	if (!value)
		value = "true";
	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
		if (strcmp(value, yes[i]) && strcmp(value, no[i]))
			continue;
		*ret = !strcmp(value, yes[i]);
		return 0;
	}
	return -EINVAL;
}

static int set_bool(const struct word *w, const char *value, bool *ret, struct err *err)
{
	return parse_bool(value, ret) < 0 ? bad_value(w, value, "true or false", err) : 0;
}

static int set_number(const struct word *w, const char *value, const unsigned range[2],
		      unsigned *ret, struct err *err)
{
	char want[64];
	uint64_t n;

	(void)snprintf(want, sizeof(want), "a number from %u to %u", range[0], range[1]);
	if (!value || fmt_parse_u64(value, &n) < 0 || n < range[0] || n > range[1])
		return bad_value(w, value, want, err);
	*ret = (unsigned)n;
	return 0;
}

/* --- our own words --- */

static int set_allow_other(struct options *o, const struct word *w, const char *value,
			   struct err *err)
{
	return set_bool(w, value, &o->allow_other, err);
}

static int set_clone_fd(struct options *o, const struct word *w, const char *value,
			struct err *err)
{
	return set_bool(w, value, &o->clone_fd, err);
}

static int set_debug(struct options *o, const struct word *w, const char *value, struct err *err)
{
	return set_bool(w, value, &o->debug, err);
}

static int set_cache(struct options *o, const struct word *w, const char *value, struct err *err)
{
	uint64_t n;

	if (!value || fmt_parse_size(value, &n) < 0 || n > SIZE_MAX / 2)
		return bad_value(w, value, "a size such as 64M", err);
	o->cache = n;
	return 0;
}

static int set_threads(struct options *o, const struct word *w, const char *value,
		       struct err *err)
{
	return set_number(w, value, (const unsigned[]){1, THREADS_MAX}, &o->threads, err);
}

static int set_readahead(struct options *o, const struct word *w, const char *value,
			 struct err *err)
{
	return set_number(w, value, (const unsigned[]){0, READAHEAD_KB_MAX}, &o->readahead_kb,
			  err);
}

static int set_uid(struct options *o, const struct word *w, const char *value, struct err *err)
{
	const struct passwd *pw;
	uint64_t n;

	if (value && fmt_parse_u64(value, &n) == 0 && n < (uid_t)-1) {
		o->uid = (uid_t)n;
		return 0;
	}
	pw = value ? getpwnam(value) : NULL;
	if (!pw)
		return bad_value(w, value, "a user", err);
	o->uid = pw->pw_uid;
	return 0;
}

static int set_gid(struct options *o, const struct word *w, const char *value, struct err *err)
{
	const struct group *gr;
	uint64_t n;

	if (value && fmt_parse_u64(value, &n) == 0 && n < (gid_t)-1) {
		o->gid = (gid_t)n;
		return 0;
	}
	gr = value ? getgrnam(value) : NULL;
	if (!gr)
		return bad_value(w, value, "a group", err);
	o->gid = gr->gr_gid;
	return 0;
}

/* Who may read a file may list and enter the directories above it. */
static int set_mode(struct options *o, const struct word *w, const char *value, struct err *err)
{
	char *end = NULL;
	unsigned long n = 0;

	if (value && *value >= '0' && *value <= '7')
		n = strtoul(value, &end, 8);
	if (!end || *end || (n & ~0666ul))
		return bad_value(w, value, "an octal mode without execute bits, such as 0440",
				 err);
	o->mode = (mode_t)n;
	o->dir_mode = (mode_t)((n & 0444) | (n & 0444) >> 2);
	return 0;
}

/* --- words of mount(8) --- */

static int pass_on(struct options *o, const struct word *w, const char *value, struct err *err)
{
	buf_bytes(&o->kernel, ",", 1);
	buf_bytes(&o->kernel, w->name, strlen(w->name));
	if (value) {
		buf_bytes(&o->kernel, "=", 1);
		buf_bytes(&o->kernel, value, strlen(value));
	}
	return buf_error(&o->kernel) < 0 ? err_set(err, -ENOMEM, "out of memory") : 0;
}

static int set_read_only(struct options *o, const struct word *w, const char *value,
			 struct err *err)
{
	o->read_only = w->name[1] == 'o';
	return pass_on(o, w, value, err);
}

static int pass_over(struct options *o, const struct word *w, const char *value, struct err *err)
{
	(void)o;
	(void)w;
	(void)value;
	(void)err;
	return 0;
}

static int refuse(struct options *o, const struct word *w, const char *value, struct err *err)
{
	(void)o;
	(void)value;
	return err_set(err, -EINVAL, "option '%s' is not possible: unmount and mount again",
		       w->name);
}

static const struct word words[] = {
	{"allow_other", set_allow_other},
	{"cache", set_cache},
	{"clone_fd", set_clone_fd},
	{"debug", set_debug},
	{"gid", set_gid},
	{"mode", set_mode},
	{"readahead", set_readahead},
	{"threads", set_threads},
	{"uid", set_uid},

	{"allow_root", pass_on},
	{"context", pass_on},
	{"defcontext", pass_on},
	{"dev", pass_on},
	{"exec", pass_on},
	{"fscontext", pass_on},
	{"nodev", pass_on},
	{"noexec", pass_on},
	{"nosuid", pass_on},
	{"ro", set_read_only},
	{"rootcontext", pass_on},
	{"rw", set_read_only},
	{"suid", pass_on},

	/* What somebody else acts on, and what makes no difference here. */
	{"_netdev", pass_over},
	{"async", pass_over},
	{"atime", pass_over},
	{"auto", pass_over},
	{"comment", pass_over},
	{"default_permissions", pass_over},
	{"defaults", pass_over},
	{"diratime", pass_over},
	{"dirsync", pass_over},
	{"fsname", pass_over},
	{"group", pass_over},
	{"helper", pass_over},
	{"lazytime", pass_over},
	{"loud", pass_over},
	{"noatime", pass_over},
	{"noauto", pass_over},
	{"nodiratime", pass_over},
	{"nofail", pass_over},
	{"nogroup", pass_over},
	{"nolazytime", pass_over},
	{"noowner", pass_over},
	{"norelatime", pass_over},
	{"nostrictatime", pass_over},
	{"nouser", pass_over},
	{"nousers", pass_over},
	{"owner", pass_over},
	{"relatime", pass_over},
	{"silent", pass_over},
	{"strictatime", pass_over},
	{"subtype", pass_over},
	{"sync", pass_over},
	{"uhelper", pass_over},
	{"user", pass_over},
	{"users", pass_over},

	{"remount", refuse},
};

int words_set(struct options *o, const char *name, const char *value, struct err *err)
{
	if (!strncmp(name, "x-", 2) || !strncmp(name, "X-", 2))
		return 0;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (!strcmp(words[i].name, name))
			return words[i].set(o, &words[i], value, err);
	return o->sloppy ? 0 : err_set(err, -EINVAL, "unknown option '%s'", name);
}

/* Copies the next word without its \ and ""; returns where the list goes on. */
static const char *next_word(const char *list, char word[WORD_MAX])
{
	bool quoted = false;
	size_t n = 0;

	for (; *list && (quoted || *list != ','); list++) {
		if (*list == '"') {
			quoted = !quoted;
			continue;
		}
		if (*list == '\\' && list[1])
			list++;
		if (n + 1 < WORD_MAX)
			word[n++] = *list;
	}
	word[n] = '\0';
	return *list ? list + 1 : list;
}

int words_take(struct options *o, const char *list, struct err *err)
{
	char word[WORD_MAX], *value;
	int rc = 0;

	if (strlen(list) >= WORD_MAX)
		return err_set(err, -EINVAL, "the list of options is too long");
	while (*list && rc == 0) {
		list = next_word(list, word);
		value = strchr(word, '=');
		if (value)
			*value++ = '\0';
		if (*word)
			rc = words_set(o, word, value, err);
	}
	return rc;
}
