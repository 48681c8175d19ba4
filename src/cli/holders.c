/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/holders.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "store/base/io.h"

#define CMDLINE_MAX (1u << 20)

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

static void name_of(const char *pid, char out[32])
{
	char path[64];
	FILE *file;

	strcpy(out, "?");
	(void)snprintf(path, sizeof(path), "/proc/%.20s/comm", pid);
	file = fopen(path, "re");
	if (file && fgets(out, 32, file))
		out[strcspn(out, "\n")] = '\0';
	if (file)
		(void)fclose(file);
}

static void add(char *out, size_t size, const char *pid)
{
	size_t len = strlen(out);
	char name[32];

	name_of(pid, name);
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

static bool last_argument_is(const char *pid, const char *last)
{
	char path[64], *text;
	size_t len, n = strlen(last);
	bool same;

	(void)snprintf(path, sizeof(path), "/proc/%.20s/cmdline", pid);
	if (io_read_file(AT_FDCWD, path, CMDLINE_MAX, &text, &len) < 0)
		return false;
	/* Each argument ends with a NUL. */
	same = len > n + 1 && !text[len - 1] && !text[len - n - 2] &&
	       !strcmp(text + len - n - 1, last);
	free(text);
	return same;
}

unsigned holders_daemons(const char *name, const char *last, int *pidfds, unsigned max)
{
	DIR *dir = opendir("/proc");
	struct dirent *d;
	char comm[32];
	unsigned n = 0;

	while (dir && n < max && (d = readdir(dir))) {
		if (!isdigit((unsigned char)d->d_name[0]))
			continue;
		name_of(d->d_name, comm);
		if (strcmp(comm, name) != 0 || !last_argument_is(d->d_name, last))
			continue;
		pidfds[n] = (int)syscall(SYS_pidfd_open, atoi(d->d_name), 0);
		n += pidfds[n] >= 0;
	}
	if (dir)
		closedir(dir);
	return n;
}
