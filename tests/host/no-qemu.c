/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stands for src/host/qemu.c in tests of the other hypervisors. */
#include "src/host/hyper.h"

static int refuse(const struct hyper_target *to, struct hyper **ret, struct err *err)
{
	(void)to;
	(void)ret;
	return err_set(err, -ENOTSUP, "there is no QEMU in this test");
}

const struct hyper_ops qemu_ops = {.name = "qemu", .open = refuse};
