/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * systemd reads drop-ins in the order of their names, whatever directory they are in, and the last
 * one counts; of two with one name only that in the first directory is read (sysctl.d(5)).
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/host/provision-private.h"

#define DIRS 4
#define TEXT_MAX 65536u
#define WORD_MAX 128u

struct later {
	int root;
	const char *dirs[DIRS];		/* the first counts */
	size_t dir;			/* the one that is being read */
	const char *name;		/* ours */
	const struct provision_data *want;
	struct provision_result *ret;
};

/* ---- lines ---- */

struct setting {
	char key[WORD_MAX];
	char value[WORD_MAX];
};

/* Without the white space around it. */
static void copy(char out[WORD_MAX], const char *from, size_t len)
{
	static const char white[] = " \t\r\n";

	while (len && strchr(white, *from)) {
		from++;
		len--;
	}
	while (len && strchr(white, from[len - 1]))
		len--;
	(void)snprintf(out, WORD_MAX, "%.*s", (int)(len < WORD_MAX ? len : WORD_MAX - 1), from);
}

/*
 * sysctl.d(5): a '-' in front of a key forgives failures, and slashes are as good as dots; neither
 * begins or is in a key of journald's.
 */
static bool take(const char *line, size_t len, struct setting *ret)
{
	const char *equals = memchr(line, '=', len);

	if (!equals)
		return false;
	copy(ret->key, line, (size_t)(equals - line));
	copy(ret->value, equals + 1, len - (size_t)(equals + 1 - line));
	if (ret->key[0] == '#' || ret->key[0] == ';')
		return false;
	if (ret->key[0] == '-')
		memmove(ret->key, ret->key + 1, strlen(ret->key));
	for (char *p = ret->key; *p; p++)
		*p = *p == '/' ? '.' : *p;
	return true;
}

static size_t line_len(const char *line)
{
	return strcspn(line, "\n");
}

static const char *next(const char *line, size_t len)
{
	return line[len] ? line + len + 1 : line + len;
}

/* What `text` says of it last, or false.  Comments and heads of sections are none of it. */
static bool find(const char *text, const char *key, struct setting *ret)
{
	struct setting s;
	bool found = false;

	for (size_t len = line_len(text); *text; text = next(text, len), len = line_len(text))
		if (take(text, len, &s) && !strcmp(s.key, key)) {
			*ret = s;
			found = true;
		}
	return found;
}

/* ---- files ---- */

static void look(struct later *l, const char *path, const char *text)
{
	struct provision_result *to = l->ret;
	const char *ours = l->want->data;
	struct setting want, have;

	for (size_t len = line_len(ours); *ours; ours = next(ours, len), len = line_len(ours)) {
		if (!take(ours, len, &want) || !find(text, want.key, &have) ||
		    !strcmp(want.value, have.value) || to->nnotes == PROVISION_NOTES)
			continue;
		(void)snprintf(to->note[to->nnotes++], PROVISION_NOTE_LEN,
			       "'/%.200s' says %s=%s and is read after '%s': remove that line",
			       path, have.key, have.value, l->name);
		return;
	}
}

static bool is_hidden(const struct later *l, const char *name)
{
	char path[PATH_MAX];
	struct provision_data at;
	bool found = false;

	for (size_t i = 0; !found && i < l->dir; i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", l->dirs[i], name);
		if (provision_root_read(l->root, path, &at, NULL) < 0)
			continue;
		found = at.kind != PROVISION_NONE;
		free(at.data);
	}
	return found;
}

static bool is_later(const struct later *l, const char *name)
{
	size_t len = strlen(name);

	return *name != '.' && len >= 5 && !strcmp(name + len - 5, ".conf") &&
	       strcmp(name, l->name) > 0 && !is_hidden(l, name);
}

static int on_name(void *ctx, int dirfd, const char *name)
{
	struct later *l = ctx;
	char path[PATH_MAX], *text;
	ssize_t n;

	(void)dirfd;
	if (!is_later(l, name))
		return 0;
	text = malloc(TEXT_MAX + 1);
	if (!text)
		return 0;
	(void)snprintf(path, sizeof(path), "%s/%s", l->dirs[l->dir], name);
	n = provision_root_head(l->root, path, text, TEXT_MAX);
	if (n > 0) {
		text[n] = '\0';
		look(l, path, text);
	}
	free(text);
	return 0;
}

void provision_later_notes(int root, const char *path, const struct provision_data *want,
			   struct provision_result *ret)
{
	static const char *const tops[DIRS] = {"etc/", "usr/local/lib/", "usr/lib/", "lib/"};
	const char *rest = strchr(path, '/') + 1, *slash = strrchr(rest, '/');
	struct later l = {.root = root, .name = slash + 1, .want = want, .ret = ret};
	char dirs[DIRS][64];

	for (size_t i = 0; i < DIRS; i++) {
		(void)snprintf(dirs[i], sizeof(dirs[i]), "%s%.*s", tops[i], (int)(slash - rest),
			       rest);
		l.dirs[i] = dirs[i];
	}
	for (l.dir = 0; l.dir < DIRS; l.dir++)
		(void)provision_root_each(root, l.dirs[l.dir], on_name, &l);
}
