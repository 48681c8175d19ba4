/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/agent/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/base/io.h"

#define MAX_PROC_CGROUP 65536
#define OPEN_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

static const char *root;

void cgroup_set_root(const char *dir)
{
	root = dir;
}

static const char *find_root(void)
{
	if (root)
		return root;
	return access("/sys/fs/cgroup/unified/cgroup.procs", F_OK) == 0 ?
		"/sys/fs/cgroup/unified" : "/sys/fs/cgroup";
}

/* ---- names ---- */

static bool is_bad(const char *part, size_t len)
{
	return (len == 1 && part[0] == '.') || (len == 2 && part[0] == '.' && part[1] == '.');
}

/* Component for component.  False: it is none that we take. */
static bool take_name(const char *name, char *out)
{
	size_t n = 0, len;

	for (; *name; name += len) {
		name += strspn(name, "/");
		len = strcspn(name, "/");
		if (is_bad(name, len) || n + len + 2 > CGROUP_NAME_SIZE)
			return false;
		if (len && n)
			out[n++] = '/';
		memcpy(out + n, name, len);
		n += len;
	}
	out[n] = '\0';
	return n > 0;
}

int cgroup_name(const char *name, char ret[CGROUP_NAME_SIZE], struct err *err)
{
	char plain[CGROUP_NAME_SIZE];

	if (*name == '/' || !take_name(name, plain))
		return err_set(err, -EINVAL,
			       "'%.250s' is no cgroup's name: a path below the cgroup tree", name);
	strcpy(ret, plain);
	return 0;
}

int cgroup_open(const char *name, struct err *err)
{
	char plain[CGROUP_NAME_SIZE], *path;
	int rc = cgroup_name(name, plain, err), fd;

	if (rc < 0)
		return rc;
	if (asprintf(&path, "%s/%s", find_root(), plain) < 0)
		return err_sys(err, -ENOMEM, "cannot open cgroup '%s'", plain);
	fd = open(path, OPEN_FLAGS);
	rc = errno;
	free(path);
	if (fd >= 0)
		return fd;
	if (rc == ENOENT || rc == ENOTDIR)
		return err_set(err, -ENOENT, "there is no cgroup '%s'", plain);
	return err_sys(err, -rc, "cannot open cgroup '%s'", plain);
}

/* ---- all of them ---- */

struct visit {
	void (*fn)(const char *name, int dirfd, void *arg);
	void *arg;
	char name[CGROUP_NAME_SIZE];
};

static void visit_below(struct visit *v, int dirfd, size_t len);

static void visit_one(struct visit *v, DIR *above, const char *part, size_t len)
{
	int n = snprintf(v->name + len, sizeof(v->name) - len, "%s%s", len ? "/" : "", part), fd;

	if ((size_t)n >= sizeof(v->name) - len)
		return;
	fd = openat(dirfd(above), part, OPEN_FLAGS);
	if (fd < 0)
		return;
	v->fn(v->name, fd, v->arg);
	visit_below(v, fd, len + (size_t)n);
}

/* Takes `fd`.  How deep it goes is limited by the length of a name. */
static void visit_below(struct visit *v, int fd, size_t len)
{
	DIR *dir = fdopendir(fd);
	const struct dirent *entry;

	if (!dir) {
		close(fd);
		return;
	}
	while ((entry = readdir(dir)))
		if (entry->d_type == DT_DIR && !is_bad(entry->d_name, strlen(entry->d_name)))
			visit_one(v, dir, entry->d_name, len);
	(void)closedir(dir);
}

void cgroup_each(void (*fn)(const char *name, int dirfd, void *arg), void *arg)
{
	struct visit visit = {fn, arg, ""};
	int fd = open(find_root(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0)
		visit_below(&visit, fd, 0);
}

/* ---- ourselves ---- */

/* Its line is "0::/path". */
static const char *find_path(const char *text)
{
	while (strncmp(text, "0::/", 4) != 0) {
		text = strchr(text, '\n');
		if (!text)
			return NULL;
		text++;
	}
	return text + 4;
}

bool cgroup_lists(const char *proc_cgroup, const char *name)
{
	const char *path = find_path(proc_cgroup);
	size_t len = strlen(name);

	if (!path)
		return true;
	return !strncmp(path, name, len) && (path[len] == '/' || path[len] == '\n' || !path[len]);
}

bool cgroup_has_self(const char *name)
{
	char *text;
	size_t len;
	bool has;

	if (io_read_file(AT_FDCWD, "/proc/self/cgroup", MAX_PROC_CGROUP, &text, &len) < 0)
		return true;
	has = cgroup_lists(text, name);
	free(text);
	return has;
}
