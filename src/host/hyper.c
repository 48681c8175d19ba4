/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/host/hyper.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/io.h"

#define MAX_STAT 4096	/* bytes of /proc/PID/stat */

static const struct hyper_ops *const all[] = {&fc_ops, &qemu_ops};

const char *const hyper_names[] = {"firecracker", "qemu", NULL};

int hyper_open(const char *name, const struct hyper_target *to, struct hyper **ret,
	       struct err *err)
{
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		if (!strcmp(all[i]->name, name))
			return all[i]->open(to, ret, err);
	return err_set(err, -EINVAL, "'%s' is no hypervisor: there are firecracker and qemu", name);
}

void hyper_close(struct hyper *h)
{
	if (h)
		h->ops->close(h);
}

/* In a jail that leads elsewhere: its root has nothing above it. */
static bool goes_up(const char *path)
{
	const char *at = path;

	while ((at = strstr(at, "/..")) && at[3] && at[3] != '/')
		at += 3;
	return at != NULL;
}

int hyper_path(const struct hyper_target *to, const char *path, const char **ret,
	       struct err *err)
{
	size_t len = to->chroot ? strlen(to->chroot) : 0;

	while (len && to->chroot[len - 1] == '/')
		len--;
	if (len && (strncmp(path, to->chroot, len) != 0 || path[len] != '/'))
		return err_set(err, -EINVAL, "'%s' is not in the hypervisor's jail '%s'", path,
			       to->chroot);
	if (len && goes_up(path + len))
		return err_set(err, -EINVAL, "'%s' has '..' in it: say where in the hypervisor's "
			       "jail '%s' it is", path, to->chroot);
	*ret = path + len;
	return 0;
}

/* The name of the program stands in brackets before the state, and may hold brackets itself. */
static bool is_dead(const char *stat)
{
	const char *name_end = strrchr(stat, ')');

	return name_end && name_end[1] == ' ' && (name_end[2] == 'Z' || name_end[2] == 'X');
}

/* Where /proc does not tell, who can be sent a signal lives. */
bool hyper_lives(pid_t pid)
{
	char path[32], *stat;
	bool dead;

	if (pid <= 0 || (kill(pid, 0) < 0 && errno == ESRCH))
		return false;
	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (io_read_file(AT_FDCWD, path, MAX_STAT, &stat, NULL) < 0)
		return true;
	dead = is_dead(stat);
	free(stat);
	return !dead;
}
