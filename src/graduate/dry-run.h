/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dry-run: what the controller would do now, and why.
 */
#ifndef LAMINA_GRADUATE_DRY_RUN_H
#define LAMINA_GRADUATE_DRY_RUN_H

#include <stdbool.h>

#include "src/graduate/settings.h"

/* Looks once, and prints it; touches nothing. */
int dry_run(const struct settings *settings, bool json, struct err *err);

#endif
