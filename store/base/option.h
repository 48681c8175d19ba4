/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * option: the sentence for a word at which getopt_long(3) stopped.
 */
#ifndef LAMINA_BASE_OPTION_H
#define LAMINA_BASE_OPTION_H

#include "store/base/err.h"

/*
 * `letter` is what getopt_long() returned: '?', or ':' (its letters begin with a
 * colon) for an option without its argument.  -EINVAL.
 */
int option_bad(char *const *argv, int letter, struct err *err);

#endif
