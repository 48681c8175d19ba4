/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * file: an open file, and the list of all of them.  Any thread.
 *
 * The kernel holds a reference from open to release.  A read holds another:
 * once it has been answered, the release may come before it is over.
 */
#ifndef LAMINA_FUSE_FILE_H
#define LAMINA_FUSE_FILE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "fuse/tree.h"

struct live_image;
struct server;

struct file {
	unsigned refs;		/* atomic */
	struct node *node;
	bool keep_cache;	/* what the kernel has cached of it is still so */
	struct view *view;	/* of a layer's image, */
	struct live_image *live;	/* or of a live image's; else NULL and */
	char *text;		/* the whole contents as they were at open */
	size_t len;
	pid_t pid;		/* who opened it */
	struct file *prev;	/* under list->lock */
	struct file *next;
};

struct file_list {
	pthread_mutex_t lock;
	struct file *first;	/* under lock */
};

void file_list_init(struct file_list *list);
void file_list_fini(struct file_list *list);

/* Opens an image of either kind (takes a hold), info.json, a trace or .stats for process `pid`. */
int file_open(struct server *server, struct node *node, pid_t pid, struct file **ret,
	      struct err *err);
struct file *file_ref(struct file *file);
void file_unref(struct server *server, struct file *file);
/* Ends those that the kernel has not released, when the session is over. */
void file_end_all(struct server *server);

/* Logs who has what open, at most `max` lines; returns how many files are open. */
size_t file_log_open(struct server *server, size_t max);

/* The contents of info.json, a trace or .stats now; malloc'd. */
int file_text(struct server *server, struct node *node, char **ret, size_t *ret_len,
	      struct err *err);

#endif
