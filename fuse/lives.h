/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lives: the live images (store/live.h) that the kernel knows: nodes of the tree, and what is
 * open of them (live-hold.h).
 *
 * A live image and its files are one object, which is told from another by name and time of
 * creation.  Files are added when they are first looked up and go with it.  Nothing here decides
 * what there is: each lookup asks the store.
 */
#ifndef LAMINA_FUSE_LIVES_H
#define LAMINA_FUSE_LIVES_H

#include "fuse/tree.h"
#include "store/live-row.h"

struct live;
struct lives_item;

struct lives_image {
	struct node node;		/* NODE_LIVE_IMAGE */
	struct lives_item *of;
	struct lives_image *next;	/* under lives->lock */
	char name[IMAGE_NAME_MAX + 1];
	/* what the kernel may have cached of it; under of->lock */
	uint64_t session;		/* the one in which it was opened last */
	bool settled;			/* atomic: and has been read or written since */
	/* bytes of data in the layer below it, once they were counted; under of->lock */
	struct digest counted;
	uint64_t below;
};

struct lives_item {
	struct node dir;		/* NODE_LIVE */
	char name[TAG_NAME_MAX + 1];
	int64_t created;		/* unix seconds */
	struct lives_item *next;	/* under lives->lock: in its bucket */
	struct lives_image *image;	/* under lives->lock: those that were looked up */
	uint64_t lookups;		/* under lives->lock: of all its nodes */
	pthread_mutex_t lock;		/* see live-hold.h */
	struct live *open;		/* under lock; while users > 0 */
	unsigned users;			/* under lock: open files, and who asks for something */
	uint64_t session;		/* under lock: see live-hold.c */
	uint64_t stamp;			/* under lock: of the live image, when it was opened last */
};

#define LIVES_BUCKETS 256u

struct lives {
	pthread_mutex_t lock;
	struct lives_item *bucket[LIVES_BUCKETS];	/* under lock */
};

void lives_init(struct lives *lives);
/* Whatever the kernel still knew.  All holds must have ended. */
void lives_fini(struct lives *lives);

/* The node of a live image, or of its file, counted once.  -ENOENT, or what the store says. */
int lives_lookup(struct lives *lives, struct store *store, const char *name, struct node **ret,
		 struct err *err);
int lives_lookup_image(struct lives *lives, struct store *store, struct lives_item *item,
		       const char *name, struct node **ret, struct err *err);
void lives_keep(struct lives *lives, struct lives_item *item);
void lives_forget(struct lives *lives, struct lives_item *item, uint64_t n);

/* Calls `fn` for each that the kernel knows; it stays during the call.  No lock is held. */
int lives_each(struct lives *lives, int (*fn)(void *ctx, struct lives_item *item), void *ctx);

/* The row, if it still is the same live image; -ENOENT. */
int lives_row(struct store *store, const struct lives_item *item, struct live_row *ret,
	      struct err *err);

/* Inode numbers of what may not have a node yet. */
uint64_t lives_ino(const char *name, int64_t created);
uint64_t lives_image_ino(const struct lives_item *item, const char *image);

static inline struct lives_image *lives_image(const struct node *node)
{
	return (struct lives_image *)(uintptr_t)node;
}

static inline bool lives_has(const struct node *node)
{
	return node->kind == NODE_LIVE || node->kind == NODE_LIVE_IMAGE;
}

/* Of a NODE_LIVE or NODE_LIVE_IMAGE. */
static inline struct lives_item *lives_item(const struct node *node)
{
	return node->kind == NODE_LIVE ? (struct lives_item *)(uintptr_t)node
				       : lives_image(node)->of;
}

#endif
