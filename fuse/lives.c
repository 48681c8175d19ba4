/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "fuse/lives.h"

#include <stdlib.h>
#include <string.h>

#include "store/base/vec.h"

void lives_init(struct lives *lives)
{
	memset(lives, 0, sizeof(*lives));
	pthread_mutex_init(&lives->lock, NULL);
}

static void item_free(struct lives_item *item)
{
	if (!item)
		return;
	for (struct lives_image *image = item->image, *next; image; image = next) {
		next = image->next;
		free(image);
	}
	pthread_mutex_destroy(&item->lock);
	free(item);
}

void lives_fini(struct lives *lives)
{
	for (unsigned i = 0; i < LIVES_BUCKETS; i++)
		for (struct lives_item *item = lives->bucket[i], *next; item; item = next) {
			next = item->next;
			item_free(item);
		}
	pthread_mutex_destroy(&lives->lock);
}

uint64_t lives_ino(const char *name, int64_t created)
{
	return tree_ino(tree_ino(0, &created, sizeof(created)), name, strlen(name));
}

uint64_t lives_image_ino(const struct lives_item *item, const char *image)
{
	return tree_ino(item->dir.ino, image, strlen(image));
}

/* --- the live images --- */

static struct lives_item **bucket_of(struct lives *lives, uint64_t ino)
{
	return &lives->bucket[ino % LIVES_BUCKETS];
}

static struct lives_item *item_new(const struct live_row *row, uint64_t ino)
{
	struct lives_item *item = calloc(1, sizeof(*item));

	if (!item)
		return NULL;
	item->dir = (struct node){NODE_LIVE, ino, NULL};
	memcpy(item->name, row->name, sizeof(item->name));
	item->created = row->created;
	pthread_mutex_init(&item->lock, NULL);
	return item;
}

static struct lives_item *find_or_add_locked(struct lives *lives, const struct live_row *row)
{
	uint64_t ino = lives_ino(row->name, row->created);
	struct lives_item **bucket = bucket_of(lives, ino), *item = *bucket;

	while (item && (item->created != row->created || strcmp(item->name, row->name) != 0))
		item = item->next;
	if (!item) {
		item = item_new(row, ino);
		if (!item)
			return NULL;
		item->next = *bucket;
		*bucket = item;
	}
	item->lookups++;
	return item;
}

int lives_lookup(struct lives *lives, struct store *store, const char *name, struct node **ret,
		 struct err *err)
{
	struct lives_item *item;
	struct live_row row;
	int rc;

	if (!live_row_name_ok(name))
		return -ENOENT;
	rc = live_row_get(store, name, &row, err);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&lives->lock);
	item = find_or_add_locked(lives, &row);
	pthread_mutex_unlock(&lives->lock);
	if (!item)
		return err_set(err, -ENOMEM, "out of memory");
	*ret = &item->dir;
	return 0;
}

void lives_keep(struct lives *lives, struct lives_item *item)
{
	pthread_mutex_lock(&lives->lock);
	item->lookups++;
	pthread_mutex_unlock(&lives->lock);
}

void lives_forget(struct lives *lives, struct lives_item *item, uint64_t n)
{
	struct lives_item **p;

	pthread_mutex_lock(&lives->lock);
	item->lookups -= n;
	if (item->lookups > 0) {
		item = NULL;
	} else {
		for (p = bucket_of(lives, item->dir.ino); *p != item; p = &(*p)->next)
			continue;
		*p = item->next;
	}
	pthread_mutex_unlock(&lives->lock);
	item_free(item);
}

int lives_each(struct lives *lives, int (*fn)(void *ctx, struct lives_item *item), void *ctx)
{
	VEC(struct lives_item *) items = {0};
	int rc = 0;

	pthread_mutex_lock(&lives->lock);
	for (unsigned i = 0; i < LIVES_BUCKETS; i++)
		for (struct lives_item *item = lives->bucket[i]; item && rc == 0;
		     item = item->next) {
			rc = vec_push(&items, item);
			item->lookups += rc == 0;
		}
	pthread_mutex_unlock(&lives->lock);
	for (size_t i = 0; i < items.n; i++) {
		if (rc == 0)
			rc = fn(ctx, items.v[i]);
		lives_forget(lives, items.v[i], 1);
	}
	vec_fini(&items);
	return rc;
}

/* --- their files --- */

int lives_row(struct store *store, const struct lives_item *item, struct live_row *ret,
	      struct err *err)
{
	int rc = live_row_get(store, item->name, ret, err);

	if (rc == 0 && ret->created != item->created)
		rc = err_set(err, -ENOENT, "live image '%s' was removed", item->name);
	return rc;
}

static bool row_has(const struct live_row *row, const char *name)
{
	for (unsigned i = 0; i < row->nimages; i++)
		if (!strcmp(row->image[i], name))
			return true;
	return false;
}

static struct lives_image *find_or_add_image_locked(struct lives_item *item, const char *name)
{
	struct lives_image *image = item->image;

	while (image && strcmp(image->name, name) != 0)
		image = image->next;
	if (!image) {
		image = calloc(1, sizeof(*image));
		if (!image)
			return NULL;
		image->node = (struct node){NODE_LIVE_IMAGE, lives_image_ino(item, name), NULL};
		image->of = item;
		memcpy(image->name, name, strlen(name) + 1);
		image->next = item->image;
		item->image = image;
	}
	item->lookups++;
	return image;
}

int lives_lookup_image(struct lives *lives, struct store *store, struct lives_item *item,
		       const char *name, struct node **ret, struct err *err)
{
	struct lives_image *image;
	struct live_row row;
	int rc;

	rc = lives_row(store, item, &row, err);
	if (rc < 0)
		return rc;
	if (!row_has(&row, name))
		return -ENOENT;
	pthread_mutex_lock(&lives->lock);
	image = find_or_add_image_locked(item, name);
	pthread_mutex_unlock(&lives->lock);
	if (!image)
		return err_set(err, -ENOMEM, "out of memory");
	*ret = &image->node;
	return 0;
}
