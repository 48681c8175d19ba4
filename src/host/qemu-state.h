/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu-state: a guest's device state, without its memory, out of QEMU and into it.
 *
 * Between QEMU and a file it is in a memfd of ours: QEMU never touches the file, whose mount
 * may hang. It is a migration stream that a QEMU with the capability x-ignore-shared loads.
 * Where memory is shared, QEMU writes just that.  Where it is private, a migration would send
 * all of it (and read it first), so the stream is that of xen-save-devices-state, which has no
 * memory, with the section in front that an incoming migration wants.
 */
#ifndef LAMINA_HOST_QEMU_STATE_H
#define LAMINA_HOST_QEMU_STATE_H

#include <stddef.h>
#include <stdint.h>

#include "src/host/qemu-memory.h"
#include "src/host/qmp.h"
#include "store/base/err.h"

#define QEMU_STATE_MAX (1ull << 30)	/* bytes of a device state; -EFBIG above */

/*
 * Of a guest that is stopped; `migrated`: since it was taken once (in state "postmigrate").
 * Returns a descriptor, the caller's.  -ENOTSUP: it cannot be saved at all, or not without losing
 * something (qemu_memory_alone()).
 */
int qemu_state_take(struct qmp *q, const struct qemu_memory *memory, bool migrated,
		    struct err *err);

/* What one that was killed in qemu_state_take() left set: a live migration would lose memory. */
void qemu_state_undo(struct qmp *q);

/* Into a QEMU that was started with -incoming defer.  One that cannot load it ends: -ECONNRESET. */
int qemu_state_give(struct qmp *q, int fd, struct err *err);

/*
 * To and from the file `path`, which exists; what was in it is gone.  `to` has the timeout (of
 * hanging) and `stopped`.  Reading returns a descriptor.
 */
int qemu_state_write(const struct hyper_target *to, int fd, const char *path, uint64_t *ret,
		     struct err *err);
int qemu_state_read(const struct hyper_target *to, const char *path, struct err *err);

/*
 * The head of a stream, up to its first section: magic, version, the machine's name
 * ("pc-q35-7.2") and that x-ignore-shared is on.  `size` is enough with QEMU_STATE_HEAD;
 * returns the length.
 */
#define QEMU_STATE_HEAD 256
#define QEMU_STATE_MAX_MACHINE 128
size_t qemu_state_head(const char *machine, unsigned char ret[QEMU_STATE_HEAD]);

/*
 * Where the sections of a stream begin that xen-save-devices-state wrote: 8, behind its magic
 * and version. 0: it has the configuration in it already (newer than QEMU 7.2), and is whole as
 * it is. -EPROTO: no such stream.
 */
int qemu_state_sections(const unsigned char *head, size_t len);

#endif
