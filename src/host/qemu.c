/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/host/hyper.h"

static int none(const struct hyper_target *to, struct hyper **ret, struct err *err)
{
	(void)ret;
	return err_set(err, -ENOTSUP, "nothing speaks to '%s' yet", to->socket);
}

const struct hyper_ops qemu_ops = {.name = "qemu", .open = none};
