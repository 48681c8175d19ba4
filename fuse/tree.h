/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tree: the nodes of the mount, as far as the kernel knows them.
 *
 *	/			NODE_ROOT
 *	/.stats			NODE_STATS
 *	/layers			NODE_LAYERS
 *	/layers/ID		NODE_LAYER	with its own
 *	/layers/ID/info.json	NODE_INFO
 *	/layers/ID/traces	NODE_TRACES
 *	/layers/ID/traces/NAME	NODE_TRACE
 *	/layers/ID/IMAGE	NODE_IMAGE
 *	/tags			NODE_TAGS
 *	/tags/NAME		NODE_TAG
 *	/live			NODE_LIVES
 *	/live/NAME		NODE_LIVE	these two are in lives.h
 *	/live/NAME/IMAGE	NODE_LIVE_IMAGE
 *
 * The kernel names a node by its address (the root by 1), which is valid as
 * long as tree_lookup() and tree_keep() have counted it more often than
 * tree_forget().  A layer and all its nodes are one object; those of its traces
 * are added when they are first looked up, and go with it.
 *
 * Inode numbers are made of layer ids and names, so they are the same in every
 * mount of the same layer.
 */
#ifndef LAMINA_FUSE_TREE_H
#define LAMINA_FUSE_TREE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fuse/stats.h"
#include "store/base/err.h"
#include "store/digest.h"
#include "store/format.h"
#include "store/traces.h"

struct layer;
struct lives_item;
struct store;
struct tree;
struct view;

#define TREE_INFO_NAME "info.json"
#define TREE_LAYERS_NAME "layers"
#define TREE_LIVES_NAME "live"
#define TREE_STATS_NAME ".stats"
#define TREE_TAGS_NAME "tags"
#define TREE_TRACES_NAME "traces"
#define TREE_TARGET_LEN (sizeof("../layers/") - 1 + DIGEST_HEX_LEN)

enum node_kind {
	NODE_ROOT,
	NODE_STATS,
	NODE_LAYERS,
	NODE_LAYER,
	NODE_INFO,
	NODE_TRACES,
	NODE_TRACE,
	NODE_IMAGE,
	NODE_TAGS,
	NODE_TAG,
	NODE_LIVES,
	NODE_LIVE,
	NODE_LIVE_IMAGE,
};

struct node {
	enum node_kind kind;
	uint64_t ino;			/* st_ino */
	struct tree_layer *layer;	/* of LAYER, INFO, TRACES, TRACE, IMAGE */
};

struct tree_image {
	struct node node;
	char name[IMAGE_NAME_MAX + 1];
	uint64_t size;			/* bytes */
	uint64_t data_bytes;		/* atomic; UINT64_MAX: not known yet */
	struct view *view;		/* under layer->lock; while users > 0 */
	unsigned users;			/* under layer->lock: open files */
};

struct tree_trace {
	struct node node;
	struct tree_trace *next;	/* under tree->lock */
	char name[TRACES_NAME_MAX + 1];
};

struct tree_layer {
	struct digest id;
	int64_t created;		/* unix seconds */
	struct tree_layer *next;	/* under tree->lock: in its bucket */
	uint64_t lookups;		/* under tree->lock: of all its nodes */
	pthread_mutex_t lock;		/* see hold.h */
	struct layer *open;		/* under lock; while users > 0 */
	int lease;			/* under lock; while users > 0 */
	unsigned users;			/* under lock: open files of all images */
	struct node dir;
	struct node info;
	struct node traces;
	struct tree_trace *trace;	/* under tree->lock: those that were looked up */
	unsigned nimages;
	struct tree_image image[];
};

struct tree_tag {
	struct node node;
	struct tree_tag *next;		/* under tree->lock */
	uint64_t lookups;		/* under tree->lock */
	char name[TAG_NAME_MAX + 1];
};

/* `store` and `stats` are borrowed. */
int tree_new(struct store *store, struct stats *stats, struct tree **ret);
/* Whatever the kernel still knew.  All holds must have ended.  NULL is fine. */
void tree_free(struct tree *tree);

struct node *tree_node(struct tree *tree, uint64_t nodeid);
uint64_t tree_nodeid(const struct tree *tree, const struct node *node);
/* The directories that are always there. */
struct node *tree_root(struct tree *tree);
struct node *tree_layers(struct tree *tree);
struct node *tree_tags(struct tree *tree);
struct node *tree_lives(struct tree *tree);
struct node *tree_stats(struct tree *tree);

/*
 * The node called `name` in directory `parent`, counted once.  The store is
 * asked each time for layers, tags, traces and live images.  -ENOENT, -ENOTDIR, or
 * what the store says (with the sentence).
 */
int tree_lookup(struct tree *tree, const struct node *parent, const char *name,
		struct node **ret, struct err *err);
/* Counts once more, for a user of our own. */
void tree_keep(struct tree *tree, struct node *node);
/* Takes `n` from the count; the node is gone when nothing is left. */
void tree_forget(struct tree *tree, struct node *node, uint64_t n);

/* Calls `fn` for the id of each layer that the kernel knows.  No lock is held. */
int tree_each_layer(struct tree *tree, int (*fn)(void *ctx, const struct digest *id), void *ctx);

/* The same for live images; `item` stays during the call. */
int tree_each_live(struct tree *tree, int (*fn)(void *ctx, struct lives_item *item), void *ctx);

/* Inode numbers of what may not have a node yet. */
uint64_t tree_layer_ino(const struct digest *id);
uint64_t tree_tag_ino(const char *name);
uint64_t tree_trace_ino(const struct digest *id, const char *name);

/* How such numbers are made: of `seed` (a number of that kind, or 0) and some bytes. */
uint64_t tree_ino(uint64_t seed, const void *data, size_t len);

static inline struct tree_image *tree_image(struct node *node)
{
	return (struct tree_image *)node;
}

static inline struct tree_trace *tree_trace(struct node *node)
{
	return (struct tree_trace *)node;
}

static inline struct tree_tag *tree_tag(struct node *node)
{
	return (struct tree_tag *)node;
}

#endif
