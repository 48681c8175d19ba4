/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/holders.h"

#include <ctype.h>
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static bool link_is_on(const char *path, dev_t dev)
{
	struct stat st;

	return stat(path, &st) == 0 && st.st_dev == dev;
}

static bool has_open(const char *pid, dev_t dev)
{
	char path[64 + 256];
	struct dirent *d;
	bool found = false;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
	dir = opendir(path);
	if (!dir)
		return false;
	while (!found && (d = readdir(dir))) {
		(void)snprintf(path, sizeof(path), "/proc/%.20s/fd/%.200s", pid, d->d_name);
		found = d->d_name[0] != '.' && link_is_on(path, dev);
	}
	closedir(dir);
	return found;
}

/* A line of maps: "from-to perms offset major:minor inode path". */
static bool has_mapped(const char *pid, dev_t dev)
{
	char path[64], *line = NULL;
	unsigned maj, min;
	size_t size = 0;
	bool found = false;
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%.20s/maps", pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	while (!found && getline(&line, &size, file) > 0)
		found = sscanf(line, "%*s %*s %*s %x:%x", &maj, &min) == 2 &&
			makedev(maj, min) == dev;
	free(line);
	(void)fclose(file);
	return found;
}

static bool holds(const char *pid, dev_t dev)
{
	char cwd[64], root[64];

	(void)snprintf(cwd, sizeof(cwd), "/proc/%.20s/cwd", pid);
	(void)snprintf(root, sizeof(root), "/proc/%.20s/root", pid);
	return link_is_on(cwd, dev) || link_is_on(root, dev) || has_open(pid, dev) ||
	       has_mapped(pid, dev);
}

static void add(char *out, size_t size, const char *pid)
{
	char path[64], name[32] = "?";
	size_t len = strlen(out);
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%.20s/comm", pid);
	file = fopen(path, "re");
	if (file && fgets(name, sizeof(name), file))
		name[strcspn(name, "\n")] = '\0';
	if (file)
		(void)fclose(file);
	(void)snprintf(out + len, size - len, "%spid %s (%s)", len ? ", " : "", pid, name);
}

unsigned holders_find(dev_t dev, char *out, size_t size)
{
	DIR *dir = opendir("/proc");
	struct dirent *d;
	unsigned n = 0;

	*out = '\0';
	while (dir && (d = readdir(dir))) {
		if (!isdigit((unsigned char)d->d_name[0]) || !holds(d->d_name, dev))
			continue;
		add(out, size, d->d_name);
		n++;
	}
	if (dir)
		closedir(dir);
	return n;
}
