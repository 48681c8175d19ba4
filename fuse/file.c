/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "fuse/file.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/hold.h"
#include "fuse/live-hold.h"
#include "fuse/server.h"
#include "store/base/fmt.h"
#include "store/base/log.h"
#include "store/info.h"
#include "store/layer.h"

void file_list_init(struct file_list *list)
{
	pthread_mutex_init(&list->lock, NULL);
	list->first = NULL;
}

void file_list_fini(struct file_list *list)
{
	pthread_mutex_destroy(&list->lock);
}

static void list_add(struct file_list *list, struct file *f)
{
	pthread_mutex_lock(&list->lock);
	f->next = list->first;
	if (f->next)
		f->next->prev = f;
	list->first = f;
	pthread_mutex_unlock(&list->lock);
}

static void list_remove(struct file_list *list, struct file *f)
{
	pthread_mutex_lock(&list->lock);
	*(f->prev ? &f->prev->next : &list->first) = f->next;
	if (f->next)
		f->next->prev = f->prev;
	pthread_mutex_unlock(&list->lock);
}

/* --- texts --- */

static int text_of_json(json_t *json, char **ret, size_t *ret_len)
{
	char *text = json_dumps(json, JSON_INDENT(2) | JSON_PRESERVE_ORDER), *grown;
	size_t len;

	json_decref(json);
	if (!text)
		return -ENOMEM;
	len = strlen(text);
	grown = realloc(text, len + 2);
	if (!grown) {
		free(text);
		return -ENOMEM;
	}
	memcpy(grown + len, "\n", 2);
	*ret = grown;
	*ret_len = len + 1;
	return 0;
}

static int info_text(struct server *s, const struct tree_layer *l, char **ret, size_t *ret_len,
		     struct err *err)
{
	struct layer *layer;
	json_t *json;
	int rc;

	rc = layer_peek_held(s->store, &l->id, &layer, err);
	if (rc < 0)
		return rc;
	rc = info_layer(s->store, layer, &json, err);
	layer_unref(layer);
	return rc < 0 ? rc : text_of_json(json, ret, ret_len);
}

static int trace_text(struct server *s, struct node *node, char **ret, size_t *ret_len,
		      struct err *err)
{
	struct buf text = {0};
	int rc = traces_text(s->store, &node->layer->id, tree_trace(node)->name, &text, err);

	if (rc < 0) {
		buf_fini(&text);
		return rc;
	}
	*ret = (char *)text.data;
	*ret_len = text.len;
	return 0;
}

int file_text(struct server *s, struct node *node, char **ret, size_t *ret_len,
	      struct err *err)
{
	json_t *json;

	if (node->kind == NODE_INFO)
		return info_text(s, node->layer, ret, ret_len, err);
	if (node->kind == NODE_TRACE)
		return trace_text(s, node, ret, ret_len, err);
	json = stats_json(&s->stats, s->store);
	return json ? text_of_json(json, ret, ret_len) : -ENOMEM;
}

/* --- files --- */

static int fill(struct server *s, struct file *f, struct err *err)
{
	if (f->node->kind == NODE_LIVE_IMAGE)
		return live_hold_get(s, lives_image(f->node), &f->live, &f->keep_cache, err);
	f->keep_cache = true;
	if (f->node->kind == NODE_IMAGE)
		return hold_get(s, tree_image(f->node), &f->view, err);
	return file_text(s, f->node, &f->text, &f->len, err);
}

int file_open(struct server *s, struct node *node, pid_t pid, struct file **ret, struct err *err)
{
	struct file *f = calloc(1, sizeof(*f));
	int rc;

	if (!f)
		return err_set(err, -ENOMEM, "out of memory");
	f->refs = 1;
	f->node = node;
	f->pid = pid;
	rc = fill(s, f, err);
	if (rc < 0) {
		free(f);
		return rc;
	}
	tree_keep(s->tree, node);
	list_add(&s->files, f);
	stats_add(&s->stats, STATS_OPEN_FILES, 1);
	*ret = f;
	return 0;
}

struct file *file_ref(struct file *f)
{
	__atomic_add_fetch(&f->refs, 1, __ATOMIC_RELAXED);
	return f;
}

static void end(struct server *s, struct file *f)
{
	list_remove(&s->files, f);
	stats_add(&s->stats, STATS_OPEN_FILES, -1);
	if (f->view)
		hold_put(s, tree_image(f->node));
	if (f->live)
		live_hold_put(s, lives_item(f->node));
	tree_forget(s->tree, f->node, 1);
	free(f->text);
	free(f);
}

void file_unref(struct server *s, struct file *f)
{
	if (__atomic_sub_fetch(&f->refs, 1, __ATOMIC_ACQ_REL) == 0)
		end(s, f);
}

void file_end_all(struct server *s)
{
	while (s->files.first)
		end(s, s->files.first);
}

static const char *text_name(struct node *node)
{
	if (node->kind == NODE_TRACE)
		return tree_trace(node)->name;
	return node->kind == NODE_INFO ? TREE_INFO_NAME : TREE_STATS_NAME;
}

static void log_one(const struct file *f)
{
	char id[DIGEST_HEX_LEN];

	if (f->node->kind == NODE_IMAGE)
		log_warn("busy: pid %d has '%s' of layer %.12s open", (int)f->pid,
			 tree_image(f->node)->name,
			 fmt_hex(id, f->node->layer->id.b, DIGEST_LEN));
	else if (f->node->kind == NODE_LIVE_IMAGE)
		log_warn("busy: pid %d has '%s' of live image '%s' open", (int)f->pid,
			 lives_image(f->node)->name, lives_item(f->node)->name);
	else
		log_warn("busy: pid %d has '%s' open", (int)f->pid, text_name(f->node));
}

size_t file_log_open(struct server *s, size_t max)
{
	size_t n = 0;

	pthread_mutex_lock(&s->files.lock);
	for (const struct file *f = s->files.first; f; f = f->next)
		if (n++ < max)
			log_one(f);
	pthread_mutex_unlock(&s->files.lock);
	return n;
}
