/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/mounts.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

/* Undoes the kernel's \040 and such, in place. */
static char *unescape(char *text)
{
	char *out = text, *in = text;

	while (*in) {
		unsigned c;

		if (*in == '\\' && sscanf(in + 1, "%3o", &c) == 1) {
			*out++ = (char)c;
			in += 4;
		} else {
			*out++ = *in++;
		}
	}
	*out = '\0';
	return text;
}

static uid_t parse_user(const char *tail)
{
	const char *word = strstr(tail, ",user_id=");

	return word ? (uid_t)strtoul(word + strlen(",user_id="), NULL, 10) : 0;
}

/* *ret_path is malloc'd. */
static bool parse_line(char *line, char **ret_path, struct mounts_entry *ret)
{
	char *tail = strstr(line, " - "), *root = NULL, *point = NULL;
	unsigned maj, min;

	if (!tail || sscanf(line, "%*d %*d %u:%u %ms %ms", &maj, &min, &root, &point) != 4 ||
	    sscanf(tail, " - %63s %4095s", ret->type, ret->source) != 2) {
		free(root);
		free(point);
		return false;
	}
	(void)unescape(ret->source);
	ret->dev = makedev(maj, min);
	ret->user = parse_user(tail);
	ret->whole = !strcmp(root, "/");
	free(root);
	*ret_path = unescape(point);
	return true;
}

static int each(int (*fn)(void *ctx, const char *path, const struct mounts_entry *entry),
		void *ctx)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	struct mounts_entry one;
	char *line = NULL, *path;
	size_t size = 0;
	int rc = 0;

	if (!file)
		return -errno;
	while (rc == 0 && getline(&line, &size, file) > 0) {
		if (!parse_line(line, &path, &one))
			continue;
		rc = fn(ctx, path, &one);
		free(path);
	}
	free(line);
	(void)fclose(file);
	return rc;
}

struct ours {
	int (*fn)(void *ctx, const char *path, const struct mounts_entry *entry);
	void *ctx;
};

static int if_ours(void *ctx, const char *path, const struct mounts_entry *entry)
{
	struct ours *o = ctx;

	if (strcmp(entry->type, MOUNTS_OURS) != 0 || !entry->whole)
		return 0;
	return o->fn(o->ctx, path, entry);
}

int mounts_each(int (*fn)(void *ctx, const char *path, const struct mounts_entry *entry),
		void *ctx)
{
	struct ours o = {fn, ctx};

	return each(if_ours, &o);
}

struct search {
	const char *path;
	struct mounts_entry *ret;
	int found;
};

/* The last one hides the others. */
static int match(void *ctx, const char *path, const struct mounts_entry *entry)
{
	struct search *s = ctx;

	if (strcmp(path, s->path) == 0) {
		*s->ret = *entry;
		s->found = 1;
	}
	return 0;
}

int mounts_find(const char *path, struct mounts_entry *ret)
{
	struct search s = {.path = path, .ret = ret};
	int rc = each(match, &s);

	return rc < 0 ? rc : s.found ? 0 : -ENOENT;
}
