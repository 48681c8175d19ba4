/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Everything is under the layer's own lock, opening included, so that a second
 * reader waits for the first one's work instead of doing it again.
 */
#include "config.h"

#include "fuse/hold.h"

#include <unistd.h>

#include "store/layer.h"
#include "store/view.h"

static void end_layer_locked(struct server *s, struct tree_layer *l)
{
	if (l->users > 0 || !l->open)
		return;
	layer_unref(l->open);
	close(l->lease);
	l->open = NULL;
	l->lease = -1;
	stats_add(&s->stats, STATS_LEASES, -1);
}

static int begin_layer_locked(struct server *s, struct tree_layer *l, struct err *err)
{
	int rc;

	if (l->open)
		return 0;
	rc = layer_hold(s->store, &l->id, &l->lease, &l->open, err);
	if (rc == 0)
		stats_add(&s->stats, STATS_LEASES, 1);
	return rc;
}

static int begin_image_locked(struct server *s, struct tree_image *image, struct err *err)
{
	int rc;

	if (image->view)
		return 0;
	rc = begin_layer_locked(s, image->node.layer, err);
	if (rc == 0)
		rc = view_open(s->store, image->node.layer->open, image->name, &image->view, err);
	if (rc < 0)
		end_layer_locked(s, image->node.layer);
	return rc;
}

int hold_get(struct server *s, struct tree_image *image, struct view **ret, struct err *err)
{
	struct tree_layer *l = image->node.layer;
	int rc;

	pthread_mutex_lock(&l->lock);
	rc = begin_image_locked(s, image, err);
	if (rc == 0) {
		image->users++;
		l->users++;
		*ret = image->view;
	}
	pthread_mutex_unlock(&l->lock);
	return rc;
}

void hold_put(struct server *s, struct tree_image *image)
{
	struct tree_layer *l = image->node.layer;

	pthread_mutex_lock(&l->lock);
	l->users--;
	if (--image->users == 0) {
		view_close(image->view);
		image->view = NULL;
	}
	end_layer_locked(s, l);
	pthread_mutex_unlock(&l->lock);
}
