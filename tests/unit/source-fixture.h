/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* source-fixture: memfiles for the tests of the pager's source. */
#ifndef LAMINA_TESTS_UNIT_SOURCE_FIXTURE_H
#define LAMINA_TESTS_UNIT_SOURCE_FIXTURE_H

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "src/pager/source.h"
#include "store/base/io.h"
#include "tests/tap.h"

#define PAGE 4096u

static uint8_t buf[64 * PAGE];

/* A file of `len` bytes, each page full of its number and `salt`. */
TAP_FN const char *make(const char *name, size_t len, uint8_t salt)
{
	const char *path = tap_path(name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(i / PAGE + salt);
	if (fd < 0 || io_pwrite_all(fd, buf, len, 0) < 0 || fsync(fd) < 0)
		bail("cannot write '%s'", path);
	close(fd);
	memset(buf, 0xee, sizeof(buf));
	return path;
}

TAP_FN struct source *open_source(const char *path)
{
	struct source *s = NULL;
	struct err err = {""};

	if (source_open(path, &s, &err) < 0)
		bail("%s", err.text);
	return s;
}

TAP_FN void cut(const char *path, off_t len)
{
	if (truncate(path, len) < 0)
		bail("cannot truncate '%s'", path);
}

TAP_FN unsigned descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

#endif
