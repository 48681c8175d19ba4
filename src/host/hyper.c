/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/host/hyper.h"

#include <string.h>

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
