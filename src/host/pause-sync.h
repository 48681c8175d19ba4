/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pause-sync: has what was written to the files of a live image, through whatever cache or
 * mapping, arrive at the daemon that serves them, before that one seals it.
 *
 * The files are opened while the guest still runs; then one sync_file_range(2) of each is all there
 * is to be waited for, and they go out at once.  They need not be on disk: it is the commit that
 * makes the layer last, from what the daemon has.
 *
 * A child does it (aside.h): the daemon may be stopped.
 */
#ifndef LAMINA_HOST_PAUSE_SYNC_H
#define LAMINA_HOST_PAUSE_SYNC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "src/host/astray.h"
#include "store/base/aside.h"
#include "store/base/err.h"
#include "store/format.h"

#define PAUSE_SYNC_FILES_MAX 64u

struct pause_sync_ask {
	const char *dir;	/* MOUNT/live/LIVE */
	pid_t pid;		/* whose files are looked at, too: astray.h; 0: nobody's */
	uint64_t end_ms;	/* clock_ms()'s */
	bool (*stopped)(void);	/* or NULL; as aside.h */
};

struct pause_sync_seen {
	bool memfile, state;	/* there are files of these names */
	uint64_t memory;	/* bytes of memfile */
	enum astray_how astray;	/* the process has this file of another mount: */
	char lost[IMAGE_NAME_MAX + 1];
};

/*
 * Opens the files of `dir`, and tells what a snapshot finds there.  -ENOENT: there is no such
 * directory; -ETIMEDOUT: the mount does not answer.
 */
int pause_sync_begin(const struct pause_sync_ask *ask, struct aside *ret,
		     struct pause_sync_seen *ret_seen, struct err *err);
/* The memory file alone; as often as is wanted, before pause_sync_run(). */
int pause_sync_memfile(const struct aside *aside, uint64_t end_ms, bool (*stopped)(void),
		       struct err *err);
/* Once; then aside_end(). */
int pause_sync_run(const struct aside *aside, uint64_t end_ms, bool (*stopped)(void),
		   struct err *err);

#endif
