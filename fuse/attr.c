/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "fuse/attr.h"

#include <stdlib.h>
#include <string.h>

#include "fuse/hold.h"
#include "fuse/live-hold.h"
#include "store/view.h"

#define TEXT_TIMEOUT 1.0

static void set_times(struct stat *st, int64_t seconds)
{
	st->st_atim.tv_sec = seconds;
	st->st_mtim.tv_sec = seconds;
	st->st_ctim.tv_sec = seconds;
}

static void set_dir(struct server *s, struct stat *st, nlink_t subdirs)
{
	st->st_mode = S_IFDIR | s->options->dir_mode;
	st->st_nlink = 2 + subdirs;
}

static void set_file(struct stat *st, mode_t mode, uint64_t size, uint64_t data_bytes)
{
	st->st_mode = S_IFREG | mode;
	st->st_nlink = 1;
	st->st_size = (off_t)size;
	st->st_blocks = (blkcnt_t)((data_bytes + 511) / 512);
}

static int count_data(struct server *s, struct tree_image *image, uint64_t *ret, struct err *err)
{
	struct view *view;
	int rc;

	rc = hold_get(s, image, &view, err);
	if (rc < 0)
		return rc;
	rc = view_data_bytes(view, ret, err);
	hold_put(s, image);
	return rc;
}

/*
 * A layer that was removed, or damaged maps, still have a size; as if nothing
 * of it were a hole then, and asked again the next time.
 */
static double set_image(struct server *s, struct tree_image *image, struct stat *st)
{
	uint64_t data = __atomic_load_n(&image->data_bytes, __ATOMIC_RELAXED);
	struct err err = {""};
	double timeout = ATTR_FOREVER;
	int rc;

	if (data == UINT64_MAX) {
		rc = count_data(s, image, &data, &err);
		if (rc == 0) {
			__atomic_store_n(&image->data_bytes, data, __ATOMIC_RELAXED);
		} else {
			data = image->size;
			timeout = 0;
		}
		if (rc < 0 && rc != -ENOENT)
			damage_log(&s->damage, err.text);
	}
	set_file(st, s->options->mode, image->size, data);
	return timeout;
}

static double set_text(struct server *s, struct node *node, struct stat *st)
{
	struct err err = {""};
	char *text = NULL;
	size_t len = 0;

	if (file_text(s, node, &text, &len, &err) < 0)
		len = 0;
	free(text);
	set_file(st, s->options->mode & 0444, len, len);
	return node->kind == NODE_STATS ? 0 : TEXT_TIMEOUT;
}

/* One that was removed is empty for who still has its name. */
static double set_trace(struct server *s, struct node *node, struct stat *st)
{
	struct err err = {""};
	uint64_t len = 0;
	int rc = traces_size(s->store, &node->layer->id, tree_trace(node)->name, &len, &err);

	if (rc < 0 && rc != -ENOENT)
		damage_log(&s->damage, err.text);
	set_file(st, s->options->mode & 0444, len, len);
	return 0;
}

static void set_live(struct server *s, struct node *node, struct stat *st)
{
	set_dir(s, st, 0);
	set_times(st, lives_item(node)->created);
}

/* Who may read may write, if he is the owner; the others as `mode` says.  See live-hold.h. */
static double set_live_image(struct server *s, struct node *node, struct stat *st)
{
	struct live_hold_stat live = {0};
	struct err err = {""};
	mode_t mode = s->options->mode;
	int rc = live_hold_stat(s, lives_image(node), &live, &err);

	if (rc < 0 && rc != -ENOENT)
		damage_log(&s->damage, err.text);
	set_file(st, mode | (mode & 0400) >> 1, live.size, live.data_bytes);
	st->st_atim = st->st_mtim = st->st_ctim = live.mtime;
	return 0;
}

static double set_symlink(struct stat *st)
{
	st->st_mode = S_IFLNK | 0777;
	st->st_nlink = 1;
	st->st_size = TREE_TARGET_LEN - 1;
	return ATTR_FOREVER;
}

static double set_by_kind(struct server *s, struct node *node, struct stat *st)
{
	switch (node->kind) {
	case NODE_ROOT:
		set_dir(s, st, 3);
		return ATTR_FOREVER;
	case NODE_LAYERS:
		set_dir(s, st, __atomic_load_n(&s->nlayers, __ATOMIC_RELAXED));
		return ATTR_FOREVER;	/* until watch.h says otherwise */
	case NODE_LIVES:
		set_dir(s, st, __atomic_load_n(&s->nlives, __ATOMIC_RELAXED));
		return ATTR_FOREVER;
	case NODE_LIVE:
		set_live(s, node, st);
		return ATTR_FOREVER;
	case NODE_LIVE_IMAGE:
		return set_live_image(s, node, st);
	case NODE_LAYER:
		set_dir(s, st, 1);
		return ATTR_FOREVER;
	case NODE_TAGS:
	case NODE_TRACES:
		set_dir(s, st, 0);
		return ATTR_FOREVER;
	case NODE_IMAGE:
		return set_image(s, tree_image(node), st);
	case NODE_TRACE:
		return set_trace(s, node, st);
	case NODE_TAG:
		return set_symlink(st);
	default:
		return set_text(s, node, st);
	}
}

double attr_fill(struct server *s, struct node *node, struct stat *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->st_ino = node->ino;
	ret->st_uid = s->options->uid;
	ret->st_gid = s->options->gid;
	ret->st_blksize = 4096;
	set_times(ret, node->layer ? node->layer->created
				   : __atomic_load_n(&s->changed, __ATOMIC_RELAXED));
	return set_by_kind(s, node, ret);
}

double attr_name_timeout(const struct node *node)
{
	switch (node->kind) {
	case NODE_LAYER:
	case NODE_TAG:
	case NODE_TRACE:
	case NODE_LIVE:
	case NODE_LIVE_IMAGE:
		return 0;
	default:
		return ATTR_FOREVER;
	}
}

uint64_t attr_parent_ino(struct server *s, const struct node *dir)
{
	switch (dir->kind) {
	case NODE_LAYER:
		return tree_layers(s->tree)->ino;
	case NODE_TRACES:
		return dir->layer->dir.ino;
	case NODE_LIVE:
		return tree_lives(s->tree)->ino;
	default:
		return tree_root(s->tree)->ino;
	}
}
