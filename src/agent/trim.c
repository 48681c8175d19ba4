/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/agent/trim.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "store/base/lines.h"

#define MAX_DEVICES 256		/* those behind them may be trimmed twice */

struct trim {
	dev_t done[MAX_DEVICES];
	size_t ndone;
	int rc;			/* the first failure's */
	struct err *err;
};

/* One line; its texts are in the line. */
struct mount {
	dev_t listed;		/* the file system's device; major 0: none of its own */
	dev_t device;		/* what is trimmed */
	char *point;
};

static bool has_rw(const char *options)
{
	return !strncmp(options, "rw", 2) && (options[2] == ',' || options[2] == '\0');
}

static bool is_octal(const char *digits)
{
	for (int i = 0; i < 3; i++)
		if (digits[i] < '0' || digits[i] > '7')
			return false;
	return true;
}

/* The kernel's \040 and such, in place. */
static void unescape(char *text)
{
	char *out = text;

	for (; *text; out++) {
		if (*text == '\\' && is_octal(text + 1)) {
			*out = (char)((text[1] - '0') * 64 + (text[2] - '0') * 8 + text[3] - '0');
			text += 4;
		} else {
			*out = *text++;
		}
	}
	*out = '\0';
}

/* Of a file system such as btrfs, which has a number of its own, the device it says it is on. */
static bool find_device(struct mount *mount, const char *source)
{
	struct stat st;

	mount->device = mount->listed;
	if (major(mount->listed) != 0)
		return true;
	if (*source != '/' || stat(source, &st) < 0 || !S_ISBLK(st.st_mode))
		return false;
	mount->device = st.st_rdev;
	return true;
}

/* "27 1 254:0 / /mnt rw,relatime shared:1 - ext4 /dev/vda rw,discard": can it be trimmed? */
static bool parse(char *line, struct mount *ret)
{
	char *tail = strstr(line, " - "), *word[6], *rest, *source, *options;
	unsigned maj, min;

	if (!tail)
		return false;
	*tail = '\0';
	for (int i = 0; i < 6; i++) {
		word[i] = strtok_r(i ? NULL : line, " ", &rest);
		if (!word[i])
			return false;
	}
	if (!strtok_r(tail + 3, " ", &rest))
		return false;
	source = strtok_r(NULL, " ", &rest);
	options = source ? strtok_r(NULL, " ", &rest) : NULL;
	if (!options || sscanf(word[2], "%u:%u", &maj, &min) != 2 || !has_rw(word[5]) ||
	    !has_rw(options))
		return false;
	unescape(word[4]);
	unescape(source);
	*ret = (struct mount){.listed = makedev(maj, min), .point = word[4]};
	return find_device(ret, source);
}

static bool is_done(const struct trim *trim, dev_t device)
{
	for (size_t i = 0; i < trim->ndone; i++)
		if (trim->done[i] == device)
			return true;
	return false;
}

static void fail(struct trim *trim, int rc, const char *what, const char *point)
{
	if (trim->rc == 0)
		trim->rc = err_set(trim->err, rc, "cannot %s '%s'", what, point);
}

static void trim_fd(struct trim *trim, int fd, const char *point)
{
	struct fstrim_range range = {.len = UINT64_MAX};

	if (ioctl(fd, FITRIM, &range) < 0 && errno != EOPNOTSUPP && errno != ENOTTY &&
	    errno != EROFS)
		fail(trim, -errno, "trim", point);
}

/* False: something else is mounted over it; the device may be seen elsewhere. */
static bool is_that(int fd, const struct mount *mount)
{
	struct stat st;

	return fstat(fd, &st) == 0 && (major(mount->listed) == 0 || st.st_dev == mount->listed);
}

static void trim_mount(struct trim *trim, const struct mount *mount)
{
	int fd;

	if (is_done(trim, mount->device))
		return;
	fd = open(mount->point, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0) {
		if (errno != ENOENT)
			fail(trim, -errno, "open", mount->point);
		return;
	}
	if (is_that(fd, mount)) {
		if (trim->ndone < MAX_DEVICES)
			trim->done[trim->ndone++] = mount->device;
		trim_fd(trim, fd, mount->point);
	}
	(void)close(fd);
}

int trim_all(const char *mountinfo, struct err *err)
{
	struct trim trim = {.err = err};
	struct lines lines;
	struct mount mount;
	char *line;
	int rc = lines_open(AT_FDCWD, mountinfo, &lines);

	if (rc < 0)
		return err_set(err, rc, "cannot open '%s'", mountinfo);
	while ((rc = lines_next(&lines, &line)) == 1)
		if (parse(line, &mount))
			trim_mount(&trim, &mount);
	lines_close(&lines);
	if (rc < 0)
		return err_set(err, rc, "cannot read '%s'", mountinfo);
	return trim.rc;
}
