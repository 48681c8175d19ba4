/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pack: append-only files of records, and the cache of their descriptors.
 *
 * Readers share `struct packs` from any thread.  One `struct pack_writer`
 * exists at a time, under the writer's lock; it belongs to one thread.
 */
#ifndef LAMINA_PACK_H
#define LAMINA_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/base/err.h"
#include "store/record.h"

struct packs;

/* `dirfd` is the directory packs/ (borrowed); at most `max_open` descriptors idle. */
int packs_new(int dirfd, const uint8_t uuid[16], const struct store_params *params,
	      size_t max_open, struct packs **ret);
/* Decodes a pack header: -EBADMSG, -EPROTONOSUPPORT.  For recover. */
int packs_header(struct packs *packs, uint32_t pack, uint8_t uuid[16],
		 struct store_params *ret_params, struct err *err);
void packs_free(struct packs *packs);
/* Of the checksums of its records (record.h). */
uint32_t packs_seed(const struct packs *packs);

/*
 * Reads bytes.  -ENOENT if the pack is gone (look the place up again),
 * -EBADMSG when it is shorter than that or its header is not this store's,
 * -EPROTONOSUPPORT when it is newer than this program.  A header with a few
 * damaged bytes keeps nobody from the records, which have their own checksums.
 */
int packs_read(struct packs *packs, uint32_t pack, uint64_t off, void *buf, size_t len,
	       struct err *err);
/* As packs_read() of the header: -EBADMSG where any of it is damaged. */
int packs_check(struct packs *packs, uint32_t pack, struct err *err);
/*
 * That the records below `end` may be read: the file is there now, is this
 * store's and long enough.  -ENOENT, -EBADMSG, -EPROTONOSUPPORT.
 */
int packs_check_readable(struct packs *packs, uint32_t pack, uint64_t end, struct err *err);
/* Tells the kernel that [off, off + len) will be read soon; never fails. */
void packs_willneed(struct packs *packs, uint32_t pack, uint64_t off, size_t len);
/* Reads and checks one record of any type but CHUNK; *ret_payload is malloc'd. */
int packs_read_record(struct packs *packs, uint32_t pack, uint64_t off,
		      struct record *ret, void **ret_payload, struct err *err);
/* Closes the descriptor of a pack that will be unlinked. */
void packs_forget(struct packs *packs, uint32_t pack);
/*
 * Closes those that another process has unlinked, so that the file system gets
 * their space back.  For long readers, when the index has changed.
 */
void packs_forget_gone(struct packs *packs);
/* unlink; a pack already gone is success. */
int packs_unlink(struct packs *packs, uint32_t pack, struct err *err);
/* The file's length in bytes and allocated bytes, or -ENOENT. */
int packs_size(struct packs *packs, uint32_t pack, uint64_t *ret_len, uint64_t *ret_alloc);
/* Calls `fn` for the number of every file packs/XXXXXXXX.pack, ascending. */
int packs_each(struct packs *packs, int (*fn)(void *ctx, uint32_t pack), void *ctx);

struct pack_writer {
	struct packs *packs;
	uint32_t number;
	int fd;
	uint64_t end;		/* file offset of the next record */
	bool created;		/* its name is not durable yet */
	bool failed;		/* an fsync failed: never appended to again */
	uint8_t *buf;		/* appends gathered here, written in large pieces */
	size_t buf_len;
};

/* Creates pack `number`; an unpublished leftover of that name is replaced. */
int pack_create(struct packs *packs, uint32_t number, struct pack_writer *ret, struct err *err);
/* Opens pack `number` for append at `end`, cutting the unpublished rest. */
int pack_append_at(struct packs *packs, uint32_t number, uint64_t end,
		   struct pack_writer *ret, struct err *err);
/* Appends one record, returns its file offset in *ret_off (may be NULL). */
int pack_put(struct pack_writer *w, const struct record *r, const void *payload,
	     uint64_t *ret_off, struct err *err);
/* The same for a header and payload that are encoded already (as read). */
int pack_put_raw(struct pack_writer *w, const void *bytes, size_t len,
		 uint64_t *ret_off, struct err *err);
/* Writes what is gathered and makes it and the pack's name durable. */
int pack_sync(struct pack_writer *w, struct err *err);
/* Cuts the pack back to `end`, or unlinks it if created or `end` is 0; closes. */
void pack_abort(struct pack_writer *w, uint64_t end);
void pack_close(struct pack_writer *w);

#endif
