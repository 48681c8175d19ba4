/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * machine: a virtual machine of one vCPU whose program copies words from one
 * guest address to another, job by job.  Guest memory that is paged lies at
 * MACHINE_BASE; program, page tables and a scratch area in memory of their own.
 */
#ifndef LAMINA_TESTS_PAGER_MACHINE_H
#define LAMINA_TESTS_PAGER_MACHINE_H

#include <stdint.h>

#define MACHINE_BASE (UINT64_C(1) << 30)	/* guest address of the memory */
#define MACHINE_MAX (UINT64_C(3) << 30)		/* bytes of it */
#define MACHINE_JOBS 64				/* at a time */

struct machine;

struct machine_job {
	uint64_t from;		/* guest addresses */
	uint64_t to;
	uint64_t words;		/* of 8 bytes; not 0 */
};

/* Exits with TOOL_SKIP and a sentence where KVM cannot do it.  KVM logs what the guest writes. */
struct machine *machine_new(void *memory, uint64_t size);
void machine_free(struct machine *m);

/* A page of scratch for each job: where it is for us, and for the guest. */
void *machine_scratch(struct machine *m, unsigned slot);
uint64_t machine_scratch_addr(unsigned slot);

/* Runs the jobs, in order, on the vCPU.  Dies when the guest does anything else. */
void machine_run(struct machine *m, const struct machine_job *job, unsigned n);

/*
 * Which pages of 4 KiB the guest has written since the last call, as KVM's dirty log says:
 * a bit each.  What the host writes into the memory is not in it.
 */
void machine_dirty(struct machine *m, uint64_t *bitmap);

#endif
