/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Deltas that are in a layer.  Their directories are removed without any lock of the live image,
 * by the descriptor of its own: it may be closed, removed or opened again meanwhile, and
 * two may do this at once.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/base/vec.h"
#include "store/live-dir.h"
#include "store/live-private.h"

struct live_trash {
	int dirfd;		/* STORE/live/NAME */
	uint64_t below;		/* what is below is to go */
};

static struct live_trash *new_trash(const struct live *live)
{
	struct live_trash *trash = malloc(sizeof(*trash));

	if (!trash)
		return NULL;
	trash->dirfd = fcntl(live->dirfd, F_DUPFD_CLOEXEC, 0);
	trash->below = live->first;
	if (trash->dirfd >= 0)
		return trash;
	free(trash);
	return NULL;
}

struct live_trash *live_trash_take(struct live *live)
{
	struct live_trash *trash = NULL;

	pthread_mutex_lock(&live->sealing);
	if (live->trash < live->first)
		trash = new_trash(live);
	if (trash)
		live->trash = live->first;
	pthread_mutex_unlock(&live->sealing);
	return trash;
}

/* What cannot be removed is found again. */
void live_trash_empty(struct live_trash *trash)
{
	struct live_dir_seqs seqs = {0};
	char name[LIVE_DIR_SEQ_LEN];

	if (!trash)
		return;
	if (live_dir_seqs(trash->dirfd, &seqs) == 0)
		for (size_t i = 0; i < seqs.n && seqs.v[i] < trash->below; i++)
			(void)live_dir_remove(trash->dirfd, live_dir_seq(name, seqs.v[i]));
	vec_fini(&seqs);
	close(trash->dirfd);
	free(trash);
}
