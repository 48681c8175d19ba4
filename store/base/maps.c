/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/base/maps.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

int maps_open(pid_t pid, unsigned what, struct maps *ret)
{
	const char *file = what & MAPS_DETAIL ? "smaps" : "maps";
	char path[48];
	int rc;

	if (pid)
		(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	else
		(void)snprintf(path, sizeof(path), "/proc/self/%s", file);
	rc = lines_open(AT_FDCWD, path, &ret->lines);
	if (rc < 0)
		return rc == -ENOENT ? -ESRCH : rc;
	ret->detail = what & MAPS_DETAIL;
	return 0;
}

void maps_close(struct maps *maps)
{
	lines_close(&maps->lines);
}

static int parse_prot(const char *perms, struct maps_region *ret)
{
	ret->prot = (perms[0] == 'r' ? PROT_READ : 0) | (perms[1] == 'w' ? PROT_WRITE : 0) |
		    (perms[2] == 'x' ? PROT_EXEC : 0);
	ret->shared = perms[3] == 's';
	return perms[3] == 's' || perms[3] == 'p' ? 0 : -EBADMSG;
}

/* "start-end perms offset major:minor inode   path" */
static int parse_header(struct maps *maps, const char *line, struct maps_region *ret)
{
	unsigned maj, min;
	char perms[5];
	int path = 0;

	memset(ret, 0, sizeof(*ret));
	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64 " %n",
		   &ret->start, &ret->end, perms, &ret->off, &maj, &min, &ret->ino, &path) != 7 ||
	    path == 0 || ret->start >= ret->end)
		return -EBADMSG;
	ret->dev = makedev(maj, min);
	(void)snprintf(maps->path, sizeof(maps->path), "%s", line + path);
	ret->path = maps->path;
	return parse_prot(perms, ret);
}

static unsigned parse_flags(char *words)
{
	static const struct {
		const char *word;
		unsigned flag;
	} known[] = {
		{"nh", MAPS_NOHUGE}, {"hg", MAPS_HUGE}, {"ht", MAPS_HUGETLB},
		{"io", MAPS_RAW}, {"pf", MAPS_RAW}, {"um", MAPS_PAGED},
	};
	unsigned flags = 0;
	char *rest;

	for (char *w = strtok_r(words, " ", &rest); w; w = strtok_r(NULL, " ", &rest))
		for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
			if (!strcmp(w, known[i].word))
				flags |= known[i].flag;
	return flags;
}

/* True: it is the last of the region. */
static bool parse_detail(char *line, struct maps_region *ret)
{
	static const char rss[] = "Rss:", swap[] = "Swap:", flags[] = "VmFlags:";

	if (!strncmp(line, rss, sizeof(rss) - 1))
		ret->rss = strtoull(line + sizeof(rss) - 1, NULL, 10) * 1024;
	else if (!strncmp(line, swap, sizeof(swap) - 1))
		ret->swap = strtoull(line + sizeof(swap) - 1, NULL, 10) * 1024;
	else if (!strncmp(line, flags, sizeof(flags) - 1))
		ret->flags = parse_flags(line + sizeof(flags) - 1);
	else
		return false;
	return *line == 'V';
}

/* Names begin with a capital letter, addresses have none. */
static int read_detail(struct maps *maps, struct maps_region *ret)
{
	char *line;
	int rc;

	for (;;) {
		rc = lines_next(&maps->lines, &line);
		if (rc <= 0)
			return rc;
		if (*line < 'A' || *line > 'Z')
			return -EBADMSG;
		if (parse_detail(line, ret))
			return 1;
	}
}

int maps_next(struct maps *maps, struct maps_region *ret)
{
	struct maps_region region;
	char *line;
	int rc = lines_next(&maps->lines, &line);

	if (rc == 1) {
		rc = parse_header(maps, line, &region);
		if (rc == 0)
			rc = maps->detail ? read_detail(maps, &region) : 1;
	}
	if (rc == 1)
		*ret = region;
	return rc == -ESRCH ? 0 : rc;
}

bool maps_anonymous(const struct maps_region *region)
{
	return !region->shared && region->ino == 0 && *region->path != '/' &&
	       !(region->flags & (MAPS_HUGETLB | MAPS_RAW));
}
