/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * words: the -o list that lamina-fuse and mount(8) speak, and the keys of
 * [mount] in lamina.conf(5), which are some of the same words.
 */
#ifndef LAMINA_FUSE_WORDS_H
#define LAMINA_FUSE_WORDS_H

#include "fuse/options.h"

/*
 * Takes a comma-separated list, where \ keeps the next character and "" keeps
 * what is between.  -EINVAL with a sentence that names the word.
 */
int words_take(struct options *options, const char *list, struct err *err);

/* One word with its value (NULL: none). */
int words_set(struct options *options, const char *name, const char *value, struct err *err);

#endif
