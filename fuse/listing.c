/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "fuse/listing.h"

#include <stdlib.h>
#include <string.h>

#include "fuse/attr.h"
#include "fuse/lives.h"
#include "store/base/fmt.h"
#include "store/base/vec.h"
#include "store/decide.h"

struct item {
	size_t name;		/* where it begins in names */
	uint64_t ino;
	mode_t type;
};

struct listing {
	struct server *server;
	struct node *dir;
	pthread_mutex_t lock;
	/* under lock from here on */
	struct buf names;
	VEC(struct item) items;
	bool begun;		/* somebody has read the first entry */
};

static int add(struct listing *l, const char *name, uint64_t ino, mode_t type)
{
	struct item item = {l->names.len, ino, type};

	buf_bytes(&l->names, name, strlen(name) + 1);
	if (buf_error(&l->names) < 0)
		return -ENOMEM;
	return vec_push(&l->items, item);
}

static int add_layer(void *ctx, const struct index_layer *layer)
{
	char name[DIGEST_HEX_LEN];

	return add(ctx, fmt_hex(name, layer->id.b, DIGEST_LEN), tree_layer_ino(&layer->id),
		   S_IFDIR);
}

static int add_tag(void *ctx, const char *name, const struct digest *id)
{
	(void)id;
	return add(ctx, name, tree_tag_ino(name), S_IFLNK);
}

static int add_trace(void *ctx, const struct traces_item *item)
{
	return add(ctx, item->name, tree_trace_ino(&item->layer, item->name), S_IFREG);
}

static int add_live(void *ctx, const struct live_row *row)
{
	return add(ctx, row->name, lives_ino(row->name, row->created), S_IFDIR);
}

static int add_root(struct listing *l)
{
	struct tree *t = l->server->tree;
	int rc;

	rc = add(l, TREE_LAYERS_NAME, tree_layers(t)->ino, S_IFDIR);
	if (rc == 0)
		rc = add(l, TREE_TAGS_NAME, tree_tags(t)->ino, S_IFDIR);
	if (rc == 0)
		rc = add(l, TREE_LIVES_NAME, tree_lives(t)->ino, S_IFDIR);
	if (rc == 0)
		rc = add(l, TREE_STATS_NAME, tree_stats(t)->ino, S_IFREG);
	return rc;
}

static int add_files(struct listing *l, const struct tree_layer *layer)
{
	int rc = 0;

	for (unsigned i = 0; i < layer->nimages && rc == 0; i++)
		rc = add(l, layer->image[i].name, layer->image[i].node.ino, S_IFREG);
	if (rc == 0)
		rc = add(l, TREE_INFO_NAME, layer->info.ino, S_IFREG);
	if (rc == 0)
		rc = add(l, TREE_TRACES_NAME, layer->traces.ino, S_IFDIR);
	return rc;
}

static int add_live_files(struct listing *l, const struct lives_item *item, struct err *err)
{
	struct live_row row;
	int rc = lives_row(l->server->store, item, &row, err);

	for (unsigned i = 0; rc == 0 && i < row.nimages; i++)
		rc = add(l, row.image[i], lives_image_ino(item, row.image[i]), S_IFREG);
	return rc;
}

static int add_content(struct listing *l, struct err *err)
{
	struct store *store = l->server->store;

	switch (l->dir->kind) {
	case NODE_ROOT:
		return add_root(l);
	case NODE_LAYERS:
		return decide_layer_each(store, add_layer, l, err);
	case NODE_TAGS:
		return decide_tag_each(store, add_tag, l, err);
	case NODE_LIVES:
		return live_row_each(store, add_live, l, err);
	case NODE_LIVE:
		return add_live_files(l, lives_item(l->dir), err);
	case NODE_LAYER:
		return add_files(l, l->dir->layer);
	case NODE_TRACES:
		return traces_each(store, &l->dir->layer->id, add_trace, l, err);
	default:
		return -ENOTDIR;
	}
}

static int fill_locked(struct listing *l, struct err *err)
{
	int rc;

	buf_reset(&l->names);
	l->items.n = 0;
	l->begun = false;
	rc = add(l, ".", l->dir->ino, S_IFDIR);
	if (rc == 0)
		rc = add(l, "..", attr_parent_ino(l->server, l->dir), S_IFDIR);
	return rc == 0 ? add_content(l, err) : rc;
}

int listing_open(struct server *s, struct node *dir, struct listing **ret, struct err *err)
{
	struct listing *l = calloc(1, sizeof(*l));
	int rc;

	if (!l)
		return err_set(err, -ENOMEM, "out of memory");
	l->server = s;
	l->dir = dir;
	pthread_mutex_init(&l->lock, NULL);
	rc = fill_locked(l, err);
	if (rc < 0) {
		listing_close(l);
		return rc;
	}
	*ret = l;
	return 0;
}

void listing_close(struct listing *l)
{
	if (!l)
		return;
	pthread_mutex_destroy(&l->lock);
	buf_fini(&l->names);
	vec_fini(&l->items);
	free(l);
}

int listing_each(struct listing *l, size_t from,
		 int (*fn)(void *ctx, const struct listing_entry *e, size_t next), void *ctx,
		 struct err *err)
{
	int rc = 0;

	pthread_mutex_lock(&l->lock);
	if (from == 0 && l->begun)
		rc = fill_locked(l, err);
	l->begun = l->begun || from == 0;
	for (size_t i = from; i < l->items.n && rc == 0; i++) {
		const struct item *item = &l->items.v[i];
		struct listing_entry e = {(const char *)l->names.data + item->name, item->ino,
					  item->type};

		rc = fn(ctx, &e, i + 1);
	}
	pthread_mutex_unlock(&l->lock);
	return rc < 0 ? rc : 0;
}
