/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu: QEMU behind the vtable of hyper.h, by its QMP socket.  Of 7.2 and later, on x86.
 *
 * Paths are ours, not its: QEMU is given descriptors, and opens nothing itself, so `chroot`
 * does not matter.  The guest's disks are QEMU's: `pause` has it flush them.
 *
 * snapshot: the guest is paused (-EBUSY).  Where its memory is the memfile itself, mapped and
 * shared, only the device state is written, `memory` is 0, and what is dirty in QEMU's mapping
 * reaches the file when the caller syncs it (fsync(2) of any descriptor of it); else see
 * written.h for what is written.  Memory of several backends is -ENOTSUP; so is private memory
 * beside a screen's (qemu_memory_alone()). After a failure the guest is as it was: paused.
 *
 * load: into a QEMU that was started with -incoming defer (and -S: without it the guest may run
 * from the end of the load on) and with its memory: `memfile`, `uffd` and `track_dirty` are not
 * looked at.  A QEMU whose load was not finished has ended, or has no guest in it.
 *
 * drain: -ENOTSUP, ever.
 */
#ifndef LAMINA_HOST_QEMU_H
#define LAMINA_HOST_QEMU_H

#include "src/host/hyper.h"

/* What a status of query-status is; HYPER_OTHER for what is not known. */
enum hyper_state qemu_parse_state(const char *status);

#endif
