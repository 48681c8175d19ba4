/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * churn: threads that read, write and remove at random, each in pages of its
 * own, all of them reading the last eighth of memory, which nobody changes.
 */
#ifndef LAMINA_TESTS_PAGER_CHURN_H
#define LAMINA_TESTS_PAGER_CHURN_H

#include "tests/pager/mem.h"
#include "tests/pager/script.h"

/* churn SECONDS SEED [threads K] */
void churn_command(struct mem *mem, struct words *w);

#endif
