/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * io: whole reads and writes, durable files and directories.
 * Every function restarts on EINTR.  Lengths and offsets are bytes.
 */
#ifndef LAMINA_BASE_IO_H
#define LAMINA_BASE_IO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "store/base/err.h"

/* Reads up to `len` bytes; returns how many (less only at end of file). */
ssize_t io_pread(int fd, void *buf, size_t len, uint64_t off);
/* All `len` bytes or an error (-EBADMSG when the file is too short). */
int io_pread_all(int fd, void *buf, size_t len, uint64_t off);
int io_pwrite_all(int fd, const void *buf, size_t len, uint64_t off);
int io_write_all(int fd, const void *buf, size_t len);

int io_fsync(int fd);
/* Makes the names in directory `path` (relative to dirfd) durable. */
int io_fsync_dir(int dirfd, const char *path);

/* mkdir -p; an existing directory is success. */
int io_mkdirs(const char *path, unsigned mode, struct err *err);

/* The whole of a small file, NUL-terminated, malloc'd.  -EFBIG above `max`. */
int io_read_file(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len);
/* The same; -EMEDIUMTYPE for what is no regular file: no FIFO or terminal is waited for. */
int io_read_regular(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len);

/* Writes NAME.tmp, fsyncs, renames over `path`, fsyncs the directory. */
int io_replace_file(int dirfd, const char *path, const void *data, size_t len);

/*
 * flock(2), exclusive, until clock_ms() is `end_ms`; with 0 it is tried once.  -EBUSY: somebody
 * else has it.
 */
int io_lock_until(int fd, uint64_t end_ms);

/*
 * Calls fn for each name in the directory `path` but "." and "..", in no order, until it returns
 * other than 0: that.  It gets the directory's descriptor, and may remove the name.
 */
int io_each_name(int at, const char *path, int (*fn)(void *ctx, int dirfd, const char *name),
		 void *ctx);

/* `path`, also for who has another working directory; malloc'd.  NULL with errno. */
char *io_absolute(const char *path);

#endif
