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

static bool parse_line(char *line, const char *path, struct mounts_entry *ret)
{
	char *tail = strstr(line, " - "), *point = NULL;
	unsigned maj, min;
	bool good = tail && sscanf(line, "%*d %*d %u:%u %*s %ms", &maj, &min, &point) == 3 &&
		    !strcmp(unescape(point), path) &&
		    sscanf(tail, " - %63s %255s", ret->type, ret->source) == 2;

	free(point);
	if (good) {
		(void)unescape(ret->source);
		ret->dev = makedev(maj, min);
		ret->user = parse_user(tail);
	}
	return good;
}

int mounts_find(const char *path, struct mounts_entry *ret)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	struct mounts_entry one;
	char *line = NULL;
	size_t size = 0;
	int rc = -ENOENT;

	if (!file)
		return -errno;
	while (getline(&line, &size, file) > 0) {
		if (!parse_line(line, path, &one))
			continue;
		*ret = one;
		rc = 0;
	}
	free(line);
	(void)fclose(file);
	return rc;
}
