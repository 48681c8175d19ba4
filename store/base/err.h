/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * err: the sentence a person reads.
 *
 * Functions return >= 0 for success and -errno for failure.  A function at a
 * module's border takes a last `struct err *` (which may be NULL) and leaves
 * there one sentence: lower case, no full stop, names in single quotes.  It
 * needs no memory, so it works when memory has run out.
 *
 * Whoever returns an error does not log it.  What an errno means here:
 *
 *   EBADMSG          bytes are damaged: a checksum, digest or encoding differs
 *   EPROTONOSUPPORT  written by a newer lamina
 *   EMEDIUMTYPE      not ours at all
 *   EINVAL           the caller's words are off (a bad name, size or option)
 *   ENOENT, EEXIST   as ever: no such layer, tag, file; already there
 *   EBUSY            somebody else holds it: the writer's lock, a lease, a tag
 *   ESTALE           the layer was removed after it was looked up
 *   ENOTUNIQ         a digest prefix fits more than one layer
 *   EROFS, ENOTSUP   cannot be written; a file system or feature we refuse
 *   ENOSPC, EIO, ENOMEM, EACCES, ...   what the kernel said, passed on
 */
#ifndef LAMINA_BASE_ERR_H
#define LAMINA_BASE_ERR_H

#include <errno.h>

struct err {
	char text[512];
};

/* Writes the sentence and returns `code` (a negative errno) for a tail call. */
int err_set(struct err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The same, with ": " and the text of errno `-code` behind it. */
int err_sys(struct err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Puts "fmt: " before the sentence that is there.  Returns `code`. */
int err_wrap(struct err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
