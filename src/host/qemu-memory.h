/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu-memory: where a guest's memory lies in its QEMU.
 *
 * It is asked for: one memory backend (query-memdev), which QEMU maps in one piece, and the
 * address of its first byte (gpa2hva).  The offset of a page in the memfile is its distance
 * from there, whatever holes the machine has in the guest's physical addresses.
 */
#ifndef LAMINA_HOST_QEMU_MEMORY_H
#define LAMINA_HOST_QEMU_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "src/host/qmp.h"
#include "store/base/err.h"

#define QEMU_MEMORY_MAX_NAME 64

struct qemu_memory {
	char name[QEMU_MEMORY_MAX_NAME];	/* of its memory region: "ram", "pc.ram" */
	uint64_t addr;		/* in QEMU's address space */
	uint64_t len;
	bool shared;		/* share=on */
};

/* -ENOTSUP: it has no backend, or several. */
int qemu_memory_find(struct qmp *q, struct qemu_memory *ret, struct err *err);

/*
 * -ENOTSUP: there is memory beside that of the guest which a new QEMU does not make anew by
 * itself (a screen's, say), and which a device state without memory would lose.
 */
int qemu_memory_alone(struct qmp *q, const struct qemu_memory *memory, struct err *err);

/* The same of what `info ramblock` prints: true, or the name of what is lost in `ret`. */
bool qemu_memory_parse(const char *blocks, const char *own, char ret[QEMU_MEMORY_MAX_NAME]);

#endif
