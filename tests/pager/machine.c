/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The vCPU starts in long mode at CPL 3 with IOPL 3 and its own identity page
 * tables (2 MiB pages of the first 4 GiB, user bit everywhere): no kernel mode,
 * no interrupts, no exceptions.  So it runs natively where nested KVM has to
 * emulate kernel-mode code.  It reports by an OUT.
 */
#include "tests/pager/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/pager/tool.h"

#define BOARD_SIZE (UINT64_C(2) << 20) /* memory that is not paged, at guest address 0 */
#define PML4 UINT64_C(0x1000)
#define PDPT UINT64_C(0x2000)
#define PD UINT64_C(0x3000) /* four of them */
#define CODE UINT64_C(0x8000)
#define JOBS UINT64_C(0x10000)
#define SCRATCH UINT64_C(0x100000)
#define PAGE UINT64_C(4096)
#define PORT 0x10
#define PAGED 1		/* the slot of the memory that is paged */

/* Present, writable, user, accessed; dirty and large for those that map memory. */
#define TABLE 0x27u
#define LARGE 0xe7u

/* %rbx points to jobs; one of no words ends them. */
__asm__(".pushsection .rodata\n"
	"machine_code:\n"
	"	mov 16(%rbx), %rcx\n"
	"	test %rcx, %rcx\n"
	"	jz 1f\n"
	"	mov (%rbx), %rsi\n"
	"	mov 8(%rbx), %rdi\n"
	"	rep movsq\n"
	"	add $24, %rbx\n"
	"	jmp machine_code\n"
	"1:	out %al, $0x10\n"
	"	jmp machine_code\n"
	"machine_code_end:\n"
	".popsection\n");
extern const uint8_t machine_code[], machine_code_end[];

struct machine {
	int kvm;
	int vm;
	int vcpu;
	struct kvm_run *run;
	size_t run_len;
	uint8_t *board;
};

/* ---- set-up ---- */

static void add_memory(struct machine *m, unsigned slot, uint64_t at, void *memory, uint64_t size)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.flags = slot == PAGED ? KVM_MEM_LOG_DIRTY_PAGES : 0,
		.guest_phys_addr = at,
		.memory_size = size,
		.userspace_addr = (uintptr_t)memory,
	};

	if (ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		tool_fail("KVM_SET_USER_MEMORY_REGION");
}

static void put(struct machine *m, uint64_t at, uint64_t value)
{
	memcpy(m->board + at, &value, sizeof(value));
}

static void fill_board(struct machine *m)
{
	put(m, PML4, PDPT | TABLE);
	for (uint64_t i = 0; i < 4; i++)
		put(m, PDPT + 8 * i, (PD + i * PAGE) | TABLE);
	for (uint64_t i = 0; i < 4 * 512; i++)
		put(m, PD + 8 * i, i << 21 | LARGE);
	memcpy(m->board + CODE, machine_code, (size_t)(machine_code_end - machine_code));
}

static void set_mode(struct machine *m)
{
	struct kvm_segment data = {.limit = 0xffffffff,
				   .selector = 0x23,
				   .type = 3,
				   .present = 1,
				   .dpl = 3,
				   .db = 1,
				   .s = 1,
				   .g = 1};
	struct kvm_segment code = data;
	struct kvm_sregs s;

	if (ioctl(m->vcpu, KVM_GET_SREGS, &s) < 0)
		tool_fail("KVM_GET_SREGS");
	code.selector = 0x1b;
	code.type = 11;
	code.db = 0;
	code.l = 1;
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.cr3 = PML4;
	s.cr4 = 1 << 5;				/* PAE */
	s.cr0 = 1u << 31 | 1 << 5 | 1 << 4 | 1; /* PG, NE, ET, PE */
	s.efer = 1 << 10 | 1 << 8;		/* LMA, LME */
	if (ioctl(m->vcpu, KVM_SET_SREGS, &s) < 0)
		tool_fail("KVM_SET_SREGS");
}

static void open_kvm(struct machine *m)
{
	m->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (m->kvm < 0)
		tool_die(TOOL_SKIP, "skip: no usable /dev/kvm: %s", strerror(errno));
	if (ioctl(m->kvm, KVM_GET_API_VERSION, 0) != 12)
		tool_die(TOOL_SKIP, "skip: /dev/kvm is not of version 12");
	m->vm = ioctl(m->kvm, KVM_CREATE_VM, 0);
	if (m->vm < 0)
		tool_die(TOOL_SKIP, "skip: /dev/kvm makes no machine: %s", strerror(errno));
	(void)ioctl(m->vm, KVM_SET_TSS_ADDR, 0xfffbd000ul); /* Intel needs a place for it */
	m->vcpu = ioctl(m->vm, KVM_CREATE_VCPU, 0);
	if (m->vcpu < 0)
		tool_die(TOOL_SKIP, "skip: /dev/kvm makes no vCPU: %s", strerror(errno));
}

struct machine *machine_new(void *memory, uint64_t size)
{
	struct machine *m = tool_alloc(1, sizeof(*m));

	if (size > MACHINE_MAX)
		tool_die(TOOL_FAILED, "at most 3 GiB of memory");
	open_kvm(m);
	m->run_len = (size_t)ioctl(m->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	m->run = mmap(NULL, m->run_len, PROT_READ | PROT_WRITE, MAP_SHARED, m->vcpu, 0);
	m->board =
		mmap(NULL, BOARD_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m->run == MAP_FAILED || m->board == MAP_FAILED)
		tool_fail("mmap");
	fill_board(m);
	add_memory(m, 0, 0, m->board, BOARD_SIZE);
	add_memory(m, PAGED, MACHINE_BASE, memory, size);
	set_mode(m);
	return m;
}

void machine_free(struct machine *m)
{
	if (!m)
		return;
	munmap(m->run, m->run_len);
	close(m->vcpu);
	close(m->vm);
	close(m->kvm);
	munmap(m->board, BOARD_SIZE);
	free(m);
}

/* ---- jobs ---- */

uint64_t machine_scratch_addr(unsigned slot)
{
	return SCRATCH + slot * PAGE;
}

void *machine_scratch(struct machine *m, unsigned slot)
{
	return m->board + machine_scratch_addr(slot);
}

_Noreturn static void unexpected(struct machine *m)
{
	struct kvm_regs regs = {0};
	struct kvm_sregs sregs = {0};

	(void)ioctl(m->vcpu, KVM_GET_REGS, &regs);
	(void)ioctl(m->vcpu, KVM_GET_SREGS, &sregs);
	tool_die(TOOL_FAILED,
		 "the guest stopped: exit %u, rip 0x%llx, cr2 0x%llx, rsi 0x%llx, rdi 0x%llx",
		 m->run->exit_reason, (unsigned long long)regs.rip, (unsigned long long)sregs.cr2,
		 (unsigned long long)regs.rsi, (unsigned long long)regs.rdi);
}

void machine_run(struct machine *m, const struct machine_job *job, unsigned n)
{
	struct machine_job end = {0, 0, 0};
	struct kvm_regs regs = {.rip = CODE, .rbx = JOBS, .rflags = 0x3002}; /* IOPL 3 */

	if (n > MACHINE_JOBS)
		tool_die(TOOL_FAILED, "%u jobs", n);
	memcpy(m->board + JOBS, job, n * sizeof(*job));
	memcpy(m->board + JOBS + n * sizeof(*job), &end, sizeof(end));
	if (ioctl(m->vcpu, KVM_SET_REGS, &regs) < 0)
		tool_fail("KVM_SET_REGS");
	while (ioctl(m->vcpu, KVM_RUN, 0) < 0) {
		if (errno != EINTR && errno != EAGAIN)
			tool_fail("KVM_RUN");
	}
	if (m->run->exit_reason != KVM_EXIT_IO || m->run->io.port != PORT)
		unexpected(m);
}

void machine_dirty(struct machine *m, uint64_t *bitmap)
{
	struct kvm_dirty_log log = {.slot = PAGED, .dirty_bitmap = bitmap};

	if (ioctl(m->vm, KVM_GET_DIRTY_LOG, &log) < 0)
		tool_fail("KVM_GET_DIRTY_LOG");
}
