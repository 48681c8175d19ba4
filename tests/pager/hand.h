/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hand: the handoff, from the hypervisor's end (as Firecracker does it, or
 * wrong on purpose), and from the pager's for the stand-in.
 */
#ifndef LAMINA_TESTS_PAGER_HAND_H
#define LAMINA_TESTS_PAGER_HAND_H

#include <stdint.h>

#define HAND_REGIONS 64
#define HAND_TEXT_MAX 65536

struct hand_region {
	uint64_t addr;
	uint64_t size;
	uint64_t off;
	uint64_t page_size;
};

#define HAND_USER_MODE 1	/* UFFD_USER_MODE_ONLY */
#define HAND_BLOCKING 2
#define HAND_NO_REMOVE 4	/* without UFFD_FEATURE_EVENT_REMOVE */

/* A userfaultfd whose API is agreed on, by default as Firecracker's.  Dies. */
int hand_uffd(unsigned flags);
/* Registers for MISSING.  Dies. */
void hand_register(int uffd, const struct hand_region *region);

/* Firecracker's JSON of them, malloc'd. */
char *hand_json(const struct hand_region *region, unsigned n);

enum hand_how {
	HAND_PLAIN,	/* one message, one descriptor */
	HAND_NOFD,
	HAND_TWOFDS,	/* the userfaultfd and a pipe */
	HAND_NOTUFFD,	/* a pipe */
	HAND_SPLIT,	/* half of the text with the descriptor, then half without */
	HAND_LATE,	/* the descriptor comes with the second half */
	HAND_EMPTY,	/* no bytes, and the end of the stream */
	HAND_SILENT,	/* nothing, and the stream stays open */
	HAND_NHOW
};

/* "nofd", ...; -EINVAL. */
int hand_how(const char *name, enum hand_how *ret);
/* Connects, trying again for `timeout_ms` while nobody listens.  The socket or -errno. */
int hand_connect(const char *path, unsigned timeout_ms);
/* 0 or -errno. */
int hand_send(int sock, int uffd, const char *json, enum hand_how how);

/* A listening socket at `path`, which is removed first.  Dies. */
int hand_listen(const char *path);
/* Reads a handoff.  The number of regions, or -EBADMSG, or -errno. */
int hand_receive(int sock, struct hand_region ret[HAND_REGIONS], int *ret_uffd);

#endif
