/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * astray: files of a live image that a process has open, or mapped and shared, by another mount
 * than ours: one whose daemon was killed, so that what is written there is lost; or another live
 * one.
 *
 * A descriptor is taken for one of such a file by the number of its inode, which is that of the
 * live image's file in each mount of the store, and which the kernel tells (fdinfo of Linux 5.14)
 * also where the daemon is dead; or by its name, that ends in "/live/LIVE/IMAGE".
 */
#ifndef LAMINA_HOST_ASTRAY_H
#define LAMINA_HOST_ASTRAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct astray_file {	/* as our mount has it */
	const char *name;	/* "rootfs" */
	dev_t dev;
	uint64_t ino;
	bool mapped_alone;	/* descriptors of it do not matter */
};

struct astray_ask {
	pid_t pid;
	const char *dir;	/* MOUNT/live/LIVE */
	const struct astray_file *file;
	size_t n;
};

enum astray_how {
	ASTRAY_NOT,
	ASTRAY_DEAD,		/* its mount answers no more, or has the file no more */
	ASTRAY_ELSEWHERE,	/* it is a file of another mount, or another file */
};

/* *ret: which file.  What cannot be looked at is not astray.  Asks the daemons of mounts. */
enum astray_how astray_find(const struct astray_ask *ask, size_t *ret);

#endif
