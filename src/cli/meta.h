/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * meta: --meta KEY=VALUE, what is kept with a layer.
 */
#ifndef LAMINA_CLI_META_H
#define LAMINA_CLI_META_H

#include "src/cli/opt.h"
#include "store/attrs.h"

struct cli;

/* All of them, in order; attrs_fini() in any case.  0, an exit status, or -errno. */
int meta_add_all(struct cli *cli, const struct opt_words *words, struct attrs *ret);

#endif
