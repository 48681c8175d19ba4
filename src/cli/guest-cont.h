/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guest-cont: `lamina guest cont NAME`: a guest that was left paused goes on.
 */
#ifndef LAMINA_CLI_GUEST_CONT_H
#define LAMINA_CLI_GUEST_CONT_H

#include "src/cli/guest-args.h"

struct cli;

int guest_cont(struct cli *cli, const char *name, const struct guest_args *args);

#endif
