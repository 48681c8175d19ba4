/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Layers and tags that the kernel knows are in hash tables of their own.
 * Nothing here decides whether a layer exists: tree_lookup() asks the store
 * every time, so a removed layer is found only as long as somebody reads it.
 * The same id always has the same images, so a node is right even if the layer
 * was removed and committed again meanwhile.
 *
 * `lock` covers the tables and the counts.  The store is asked without it.
 */
#include "config.h"

#include "fuse/tree.h"

#include <stdlib.h>
#include <string.h>

#include "fuse/lives.h"
#include "store/base/fmt.h"
#include "store/base/vec.h"
#include "store/decide.h"
#include "store/layer.h"

#define BUCKETS 1024u
#define ROOT_ID 1u		/* FUSE_ROOT_ID */

struct tree {
	struct store *store;
	struct stats *stats;
	struct node root, stats_file, layers, tags, live;
	struct lives lives;
	pthread_mutex_t lock;
	/* under lock from here on */
	struct tree_layer *layer_bucket[BUCKETS];
	struct tree_tag *tag_bucket[BUCKETS];
};

int tree_new(struct store *store, struct stats *stats, struct tree **ret)
{
	struct tree *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->store = store;
	t->stats = stats;
	t->root = (struct node){NODE_ROOT, 1, NULL};
	t->layers = (struct node){NODE_LAYERS, 2, NULL};
	t->tags = (struct node){NODE_TAGS, 3, NULL};
	t->stats_file = (struct node){NODE_STATS, 4, NULL};
	t->live = (struct node){NODE_LIVES, 5, NULL};
	lives_init(&t->lives);
	pthread_mutex_init(&t->lock, NULL);
	*ret = t;
	return 0;
}

static void layer_free(struct tree_layer *l)
{
	if (!l)
		return;
	for (struct tree_trace *trace = l->trace, *next; trace; trace = next) {
		next = trace->next;
		free(trace);
	}
	pthread_mutex_destroy(&l->lock);
	free(l);
}

void tree_free(struct tree *t)
{
	if (!t)
		return;
	for (unsigned i = 0; i < BUCKETS; i++) {
		for (struct tree_layer *l = t->layer_bucket[i], *next; l; l = next) {
			next = l->next;
			layer_free(l);
		}
		for (struct tree_tag *tag = t->tag_bucket[i], *next; tag; tag = next) {
			next = tag->next;
			free(tag);
		}
	}
	lives_fini(&t->lives);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

struct node *tree_node(struct tree *t, uint64_t nodeid)
{
	return nodeid == ROOT_ID ? &t->root : (struct node *)(uintptr_t)nodeid;
}

uint64_t tree_nodeid(const struct tree *t, const struct node *node)
{
	return node == &t->root ? ROOT_ID : (uintptr_t)node;
}

struct node *tree_root(struct tree *t)
{
	return &t->root;
}

struct node *tree_layers(struct tree *t)
{
	return &t->layers;
}

struct node *tree_tags(struct tree *t)
{
	return &t->tags;
}

struct node *tree_lives(struct tree *t)
{
	return &t->live;
}

struct node *tree_stats(struct tree *t)
{
	return &t->stats_file;
}

/* --- inode numbers --- */

#define INO_SEED UINT64_C(0xcbf29ce484222325)

static uint64_t ino_mix(uint64_t h, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * UINT64_C(0x100000001b3);
	return h;
}

/* The first numbers are those of the directories that are always there. */
static uint64_t ino_end(uint64_t h)
{
	return h < 16 ? h + 16 : h;
}

uint64_t tree_ino(uint64_t seed, const void *data, size_t len)
{
	return ino_end(ino_mix(seed ? seed : INO_SEED, data, len));
}

uint64_t tree_layer_ino(const struct digest *id)
{
	return ino_end(ino_mix(INO_SEED, id->b, DIGEST_LEN));
}

uint64_t tree_tag_ino(const char *name)
{
	return ino_end(ino_mix(INO_SEED, name, strlen(name)));
}

static uint64_t file_ino(const struct digest *id, const char *name)
{
	return ino_end(ino_mix(ino_mix(INO_SEED, id->b, DIGEST_LEN), name, strlen(name)));
}

uint64_t tree_trace_ino(const struct digest *id, const char *name)
{
	uint64_t h = ino_mix(INO_SEED, id->b, DIGEST_LEN);

	h = ino_mix(h, TREE_TRACES_NAME "/", sizeof(TREE_TRACES_NAME));
	return ino_end(ino_mix(h, name, strlen(name)));
}

/* --- layers --- */

static struct tree_layer **layer_bucket(struct tree *t, const struct digest *id)
{
	return &t->layer_bucket[digest_key(id) % BUCKETS];
}

static struct tree_layer *find_layer_locked(struct tree *t, const struct digest *id)
{
	struct tree_layer *l = *layer_bucket(t, id);

	while (l && !digest_equal(&l->id, id))
		l = l->next;
	return l;
}

static void fill_image(struct tree_image *to, struct tree_layer *l, const struct image *from)
{
	to->node = (struct node){NODE_IMAGE, file_ino(&l->id, from->name), l};
	memcpy(to->name, from->name, sizeof(to->name));
	to->size = from->size;
	to->data_bytes = UINT64_MAX;
}

static struct tree_layer *layer_new(const struct layer *from)
{
	struct tree_layer *l;

	l = calloc(1, sizeof(*l) + from->nimages * sizeof(l->image[0]));
	if (!l)
		return NULL;
	pthread_mutex_init(&l->lock, NULL);
	l->id = from->id;
	l->created = from->created;
	l->lease = -1;
	l->dir = (struct node){NODE_LAYER, tree_layer_ino(&l->id), l};
	l->info = (struct node){NODE_INFO, file_ino(&l->id, TREE_INFO_NAME), l};
	l->traces = (struct node){NODE_TRACES, file_ino(&l->id, TREE_TRACES_NAME), l};
	l->nimages = from->nimages;
	for (unsigned i = 0; i < from->nimages; i++)
		fill_image(&l->image[i], l, &from->image[i]);
	return l;
}

/* The layer's node, made if the kernel did not know it; counted. */
static struct tree_layer *find_or_add_locked(struct tree *t, const struct layer *from)
{
	struct tree_layer *l = find_layer_locked(t, &from->id);
	struct tree_layer **bucket = layer_bucket(t, &from->id);

	if (!l) {
		l = layer_new(from);
		if (!l)
			return NULL;
		l->next = *bucket;
		*bucket = l;
		stats_add(t->stats, STATS_NODES, 1);
	}
	l->lookups++;
	return l;
}

static int id_from_name(const char *name, struct digest *ret)
{
	if (strlen(name) != DIGEST_HEX_LEN - 1 || strpbrk(name, "ABCDEF"))
		return -ENOENT;
	return fmt_unhex(ret->b, DIGEST_LEN, name) < 0 ? -ENOENT : 0;
}

static int lookup_layer(struct tree *t, const char *name, struct node **ret, struct err *err)
{
	struct tree_layer *l;
	struct layer *from;
	struct digest id;
	int rc;

	rc = id_from_name(name, &id);
	if (rc < 0)
		return rc;
	rc = layer_peek_held(t->store, &id, &from, err);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&t->lock);
	l = find_or_add_locked(t, from);
	pthread_mutex_unlock(&t->lock);
	layer_unref(from);
	if (!l)
		return err_set(err, -ENOMEM, "out of memory");
	*ret = &l->dir;
	return 0;
}

void tree_keep(struct tree *t, struct node *node)
{
	if (lives_has(node))
		lives_keep(&t->lives, lives_item(node));
	if (!node->layer)
		return;
	pthread_mutex_lock(&t->lock);
	node->layer->lookups++;
	pthread_mutex_unlock(&t->lock);
}

static struct node *find_in_layer(struct tree_layer *l, const char *name)
{
	if (!strcmp(name, TREE_INFO_NAME))
		return &l->info;
	if (!strcmp(name, TREE_TRACES_NAME))
		return &l->traces;
	for (unsigned i = 0; i < l->nimages; i++)
		if (!strcmp(l->image[i].name, name))
			return &l->image[i].node;
	return NULL;
}

static int lookup_in_layer(struct tree *t, struct tree_layer *l, const char *name,
			   struct node **ret)
{
	struct node *node = find_in_layer(l, name);

	if (!node)
		return -ENOENT;
	tree_keep(t, node);
	*ret = node;
	return 0;
}

static void forget_layer(struct tree *t, struct tree_layer *l, uint64_t n)
{
	struct tree_layer **p;

	pthread_mutex_lock(&t->lock);
	l->lookups -= n;
	if (l->lookups > 0) {
		l = NULL;
	} else {
		for (p = layer_bucket(t, &l->id); *p != l; p = &(*p)->next)
			continue;
		*p = l->next;
		stats_add(t->stats, STATS_NODES, -1);
	}
	pthread_mutex_unlock(&t->lock);
	layer_free(l);
}

/* --- traces --- */

static struct tree_trace *find_or_add_trace_locked(struct tree_layer *l, const char *name)
{
	struct tree_trace *trace = l->trace;

	while (trace && strcmp(trace->name, name) != 0)
		trace = trace->next;
	if (!trace) {
		trace = calloc(1, sizeof(*trace));
		if (!trace)
			return NULL;
		trace->node = (struct node){NODE_TRACE, tree_trace_ino(&l->id, name), l};
		memcpy(trace->name, name, strlen(name) + 1);
		trace->next = l->trace;
		l->trace = trace;
	}
	l->lookups++;
	return trace;
}

static int lookup_trace(struct tree *t, struct tree_layer *l, const char *name,
			struct node **ret, struct err *err)
{
	struct tree_trace *trace;
	uint64_t len;
	int rc = traces_size(t->store, &l->id, name, &len, err);

	if (rc < 0)
		return rc;
	pthread_mutex_lock(&t->lock);
	trace = find_or_add_trace_locked(l, name);
	pthread_mutex_unlock(&t->lock);
	if (!trace)
		return err_set(err, -ENOMEM, "out of memory");
	*ret = &trace->node;
	return 0;
}

/* --- tags --- */

static struct tree_tag **tag_bucket(struct tree *t, const char *name)
{
	return &t->tag_bucket[tree_tag_ino(name) % BUCKETS];
}

static struct tree_tag *find_or_add_tag_locked(struct tree *t, const char *name)
{
	struct tree_tag **bucket = tag_bucket(t, name), *tag = *bucket;

	while (tag && strcmp(tag->name, name) != 0)
		tag = tag->next;
	if (!tag) {
		tag = calloc(1, sizeof(*tag));
		if (!tag)
			return NULL;
		tag->node = (struct node){NODE_TAG, tree_tag_ino(name), NULL};
		memcpy(tag->name, name, strlen(name) + 1);
		tag->next = *bucket;
		*bucket = tag;
	}
	tag->lookups++;
	return tag;
}

static int lookup_tag(struct tree *t, const char *name, struct node **ret, struct err *err)
{
	struct tree_tag *tag;
	struct digest id;
	int rc;

	if (!decide_tag_name_ok(name))
		return -ENOENT;
	rc = decide_tag_find(t->store, name, &id, err);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&t->lock);
	tag = find_or_add_tag_locked(t, name);
	pthread_mutex_unlock(&t->lock);
	if (!tag)
		return err_set(err, -ENOMEM, "out of memory");
	*ret = &tag->node;
	return 0;
}

static void forget_tag(struct tree *t, struct tree_tag *tag, uint64_t n)
{
	struct tree_tag **p;

	pthread_mutex_lock(&t->lock);
	tag->lookups -= n;
	if (tag->lookups > 0) {
		tag = NULL;
	} else {
		for (p = tag_bucket(t, tag->name); *p != tag; p = &(*p)->next)
			continue;
		*p = tag->next;
	}
	pthread_mutex_unlock(&t->lock);
	free(tag);
}

/* --- the whole --- */

static int lookup_in_root(struct tree *t, const char *name, struct node **ret)
{
	if (!strcmp(name, TREE_LAYERS_NAME))
		*ret = &t->layers;
	else if (!strcmp(name, TREE_TAGS_NAME))
		*ret = &t->tags;
	else if (!strcmp(name, TREE_LIVES_NAME))
		*ret = &t->live;
	else if (!strcmp(name, TREE_STATS_NAME))
		*ret = &t->stats_file;
	else
		return -ENOENT;
	return 0;
}

int tree_lookup(struct tree *t, const struct node *parent, const char *name,
		struct node **ret, struct err *err)
{
	switch (parent->kind) {
	case NODE_ROOT:
		return lookup_in_root(t, name, ret);
	case NODE_LAYERS:
		return lookup_layer(t, name, ret, err);
	case NODE_TAGS:
		return lookup_tag(t, name, ret, err);
	case NODE_LIVES:
		return lives_lookup(&t->lives, t->store, name, ret, err);
	case NODE_LIVE:
		return lives_lookup_image(&t->lives, t->store, lives_item(parent), name, ret,
					  err);
	case NODE_LAYER:
		return lookup_in_layer(t, parent->layer, name, ret);
	case NODE_TRACES:
		return lookup_trace(t, parent->layer, name, ret, err);
	default:
		return -ENOTDIR;
	}
}

void tree_forget(struct tree *t, struct node *node, uint64_t n)
{
	if (node->layer)
		forget_layer(t, node->layer, n);
	else if (node->kind == NODE_TAG)
		forget_tag(t, tree_tag(node), n);
	else if (lives_has(node))
		lives_forget(&t->lives, lives_item(node), n);
}

int tree_each_live(struct tree *t, int (*fn)(void *ctx, struct lives_item *item), void *ctx)
{
	return lives_each(&t->lives, fn, ctx);
}

int tree_each_layer(struct tree *t, int (*fn)(void *ctx, const struct digest *id), void *ctx)
{
	VEC(struct digest) ids = {0};
	int rc = 0;

	pthread_mutex_lock(&t->lock);
	for (unsigned i = 0; i < BUCKETS; i++)
		for (struct tree_layer *l = t->layer_bucket[i]; l && rc == 0; l = l->next)
			rc = vec_push(&ids, l->id);
	pthread_mutex_unlock(&t->lock);
	for (size_t i = 0; i < ids.n && rc == 0; i++)
		rc = fn(ctx, &ids.v[i]);
	vec_fini(&ids);
	return rc;
}
