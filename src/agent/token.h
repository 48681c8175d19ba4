/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * token: the secret word of those who come by TCP.
 *
 * It is the first line of a file that nobody but its owner can read.  A file that has changed
 * is read again; while it cannot be, nobody gets in.  Not for several threads.
 */
#ifndef LAMINA_AGENT_TOKEN_H
#define LAMINA_AGENT_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "store/base/err.h"

#define TOKEN_MIN 16	/* characters */
#define TOKEN_MAX 256

struct token {
	const char *path;
	struct stat read;	/* of the file, when it was */
	char word[TOKEN_MAX + 1];
	size_t len;		/* 0: none, nobody gets in */
};

/*
 * `path` is borrowed.  -EACCES: others may read it, or it is another's; -EINVAL: it is too
 * short, too long, or has characters other than visible ASCII; -ENOENT, ...
 */
int token_open(struct token *t, const char *path, struct err *err);

/*
 * Whether `header` (the value of Authorization, or NULL) is "Bearer " and the word.  How long
 * that takes tells nothing of the word.  The sentence says what is wrong with the file, if
 * anything.
 */
bool token_check(struct token *t, const char *header, struct err *err);

void token_fini(struct token *t);

#endif
