/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The filter of system calls is a list of what is allowed.  What is not on it
 * says ENOSYS, as an older kernel would, so that libraries fall back to what
 * they did before the call was invented; what nobody may fall back from says EPERM.
 * Arguments behind pointers cannot be looked at: clone3 is therefore "not there".
 */
#include "src/pager/sandbox.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#endif

/* A sanitizer's runtime forks, traces and reads itself. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

/* ---- system calls ---- */

#define MAX_CODE 1024
#define UFFD_TYPE 0xaa	/* of a userfaultfd's ioctls */

static const int allowed_calls[] = {
	/* files */
	__NR_read, __NR_write, __NR_readv, __NR_writev, __NR_pread64, __NR_pwrite64,
	__NR_preadv, __NR_pwritev, __NR_preadv2, __NR_pwritev2, __NR_lseek, __NR_close,
	__NR_fstat, __NR_newfstatat, __NR_statx, __NR_faccessat, __NR_openat, __NR_readlinkat,
	__NR_getcwd, __NR_getdents64, __NR_dup, __NR_dup3, __NR_fcntl, __NR_flock, __NR_fsync,
	__NR_fdatasync, __NR_sync_file_range, __NR_ftruncate, __NR_fallocate, __NR_fadvise64,
	__NR_readahead, __NR_unlinkat, __NR_renameat2, __NR_fchmod, __NR_fchmodat,
	__NR_fchown, __NR_fchownat, __NR_umask, __NR_statfs, __NR_fstatfs, __NR_memfd_create,
	/* sockets and waiting; socket() and socketpair() have rules of their own */
	__NR_connect, __NR_bind, __NR_listen, __NR_accept, __NR_accept4, __NR_getsockname,
	__NR_getpeername, __NR_getsockopt, __NR_setsockopt, __NR_sendto, __NR_sendmsg,
	__NR_sendmmsg, __NR_recvfrom, __NR_recvmsg, __NR_recvmmsg, __NR_shutdown,
	__NR_pipe2, __NR_eventfd2, __NR_timerfd_create, __NR_timerfd_settime,
	__NR_timerfd_gettime, __NR_signalfd4, __NR_epoll_create1, __NR_epoll_ctl,
	__NR_epoll_pwait, __NR_ppoll, __NR_pselect6, __NR_inotify_init1,
	__NR_inotify_add_watch, __NR_inotify_rm_watch, __NR_pidfd_open,
	/* memory */
	__NR_mmap, __NR_munmap, __NR_mremap, __NR_mprotect, __NR_madvise, __NR_mincore,
	__NR_mlock, __NR_munlock, __NR_mlock2, __NR_msync, __NR_brk,
	/* threads, signals, time */
	__NR_futex, __NR_set_robust_list, __NR_get_robust_list, __NR_membarrier,
	__NR_sched_yield, __NR_sched_getaffinity, __NR_sched_setaffinity,
	__NR_sched_getparam, __NR_sched_getscheduler, __NR_sched_setscheduler,
	__NR_sched_get_priority_max, __NR_sched_get_priority_min,
	__NR_getpriority, __NR_setpriority, __NR_getcpu, __NR_rt_sigaction,
	__NR_rt_sigprocmask, __NR_rt_sigreturn, __NR_rt_sigpending, __NR_rt_sigtimedwait,
	__NR_rt_sigsuspend, __NR_sigaltstack, __NR_restart_syscall, __NR_clock_gettime,
	__NR_clock_getres, __NR_clock_nanosleep, __NR_nanosleep, __NR_gettimeofday,
	/* itself */
	__NR_getpid, __NR_getppid, __NR_gettid, __NR_getuid, __NR_geteuid, __NR_getgid,
	__NR_getegid, __NR_getgroups, __NR_getrandom, __NR_uname, __NR_sysinfo,
	__NR_prlimit64, __NR_getrusage, __NR_times, __NR_prctl, __NR_capget, __NR_exit,
	__NR_exit_group, __NR_set_tid_address,
#ifdef __NR_rseq
	__NR_rseq,
#endif
#ifdef __NR_close_range
	__NR_close_range,
#endif
#ifdef __NR_openat2
	__NR_openat2,
#endif
#ifdef __NR_faccessat2
	__NR_faccessat2,
#endif
#ifdef __NR_fchmodat2
	__NR_fchmodat2,
#endif
#ifdef __NR_epoll_pwait2
	__NR_epoll_pwait2,
#endif
#ifdef __NR_futex_waitv
	__NR_futex_waitv,
#endif
#ifdef __x86_64__
	__NR_open, __NR_stat, __NR_lstat, __NR_access, __NR_readlink, __NR_dup2, __NR_unlink,
	__NR_rename, __NR_renameat, __NR_chmod, __NR_chown, __NR_lchown, __NR_poll,
	__NR_select, __NR_pipe, __NR_epoll_wait, __NR_getrlimit, __NR_time, __NR_arch_prctl,
#endif
};

static const int refused_calls[] = {
	__NR_execve, __NR_execveat, __NR_ptrace, __NR_process_vm_readv, __NR_process_vm_writev,
	__NR_kill, __NR_tkill, __NR_pidfd_send_signal, __NR_mount, __NR_umount2,
	__NR_pivot_root, __NR_chroot, __NR_unshare, __NR_setns, __NR_bpf,
	__NR_perf_event_open, __NR_userfaultfd, __NR_setuid, __NR_setgid, __NR_setresuid,
	__NR_setresgid, __NR_setgroups, __NR_capset, __NR_keyctl, __NR_init_module,
	__NR_finit_module, __NR_open_by_handle_at, __NR_mknodat, __NR_symlinkat, __NR_linkat,
#ifdef __x86_64__
	__NR_fork, __NR_vfork, __NR_mknod, __NR_symlink, __NR_link,
#endif
#ifdef __NR_pidfd_getfd
	__NR_pidfd_getfd,
#endif
};

static const unsigned allowed_ioctls[] = {
	FIONREAD, FIONBIO, FIOCLEX, FIONCLEX, TCGETS, BLKGETSIZE64,
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct code {
	struct sock_filter v[MAX_CODE];
	unsigned short n;
	bool full;
};

static void emit(struct code *c, struct sock_filter insn)
{
	if (c->n < MAX_CODE)
		c->v[c->n++] = insn;
	else
		c->full = true;
}

static void emit_load(struct code *c, size_t off)
{
	emit(c, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)off));
}

static void emit_end(struct code *c, uint32_t verdict)
{
	emit(c, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, verdict));
}

/* If what is loaded compares so with `k`, the next instruction, else the one behind it. */
static void emit_if(struct code *c, unsigned short op, uint32_t k)
{
	emit(c, (struct sock_filter)BPF_JUMP(BPF_JMP | op | BPF_K, k, 0, 1));
}

static void emit_verdict(struct code *c, uint32_t nr, uint32_t verdict)
{
	emit_if(c, BPF_JEQ, nr);
	emit_end(c, verdict);
}

static uint32_t fails_with(int error)
{
	return SECCOMP_RET_ERRNO | (uint32_t)error;
}

/* The lower half of an argument; little-endian, as both machines are. */
static size_t arg_off(unsigned i)
{
	return offsetof(struct seccomp_data, args) + 8 * (size_t)i;
}

/* `nr` is allowed if its argument compares so with `k`, else says `error`. */
struct arg_rule {
	int nr;
	unsigned arg;
	unsigned short op;
	uint32_t k;
	int error;
};

static void emit_arg_rule(struct code *c, struct arg_rule rule)
{
	emit(c, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)rule.nr, 0, 4));
	emit_load(c, arg_off(rule.arg));
	emit_if(c, rule.op, rule.k);
	emit_end(c, SECCOMP_RET_ALLOW);
	emit_end(c, fails_with(rule.error));
}

static void emit_ioctl_rule(struct code *c)
{
	const uint8_t past = (uint8_t)(1 + 2 * COUNT(allowed_ioctls) + 4);

	emit(c, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_ioctl, 0, past));
	emit_load(c, arg_off(1));
	for (size_t i = 0; i < COUNT(allowed_ioctls); i++)
		emit_verdict(c, allowed_ioctls[i], SECCOMP_RET_ALLOW);
	emit(c, (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xff00));
	emit_if(c, BPF_JEQ, UFFD_TYPE << 8);
	emit_end(c, SECCOMP_RET_ALLOW);
	emit_end(c, fails_with(EPERM));
}

#ifdef ARCH
static void emit_filter(struct code *c)
{
	emit_load(c, offsetof(struct seccomp_data, arch));
	emit(c, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0));
	emit_end(c, SECCOMP_RET_KILL_PROCESS);
	emit_load(c, offsetof(struct seccomp_data, nr));
	emit_ioctl_rule(c);		/* first: each page that is installed is one */
	for (size_t i = 0; i < COUNT(allowed_calls); i++)
		emit_verdict(c, (uint32_t)allowed_calls[i], SECCOMP_RET_ALLOW);
	for (size_t i = 0; i < COUNT(refused_calls); i++)
		emit_verdict(c, (uint32_t)refused_calls[i], fails_with(EPERM));
	emit_arg_rule(c, (struct arg_rule){__NR_socket, 0, BPF_JEQ, AF_UNIX, EAFNOSUPPORT});
	emit_arg_rule(c, (struct arg_rule){__NR_socketpair, 0, BPF_JEQ, AF_UNIX, EAFNOSUPPORT});
	emit_arg_rule(c, (struct arg_rule){__NR_clone, 0, BPF_JSET, CLONE_THREAD, EPERM});
	emit_arg_rule(c, (struct arg_rule){__NR_tgkill, 0, BPF_JEQ, (uint32_t)getpid(), EPERM});
	emit_end(c, fails_with(ENOSYS));
}

/* Whether the kernel has filters at all: EFAULT says that it would read one. */
static bool has_filters(void)
{
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL, 0, 0) < 0 && errno == EFAULT;
}

static int restrict_calls(struct err *err)
{
	struct code *c;
	struct sock_fprog prog;
	int rc = SANDBOX_CALLS;

	if (SANITIZED || !has_filters())
		return 0;
	c = calloc(1, sizeof(*c));
	if (!c)
		return err_set(err, -ENOMEM, "out of memory");
	emit_filter(c);
	prog = (struct sock_fprog){.len = c->n, .filter = c->v};
	if (c->full)
		rc = err_set(err, -E2BIG, "the filter of system calls is too long");
	else if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0) < 0)
		rc = err_sys(err, -errno, "cannot filter system calls");
	free(c);
	return rc;
}
#else
static int restrict_calls(struct err *err)
{
	(void)err;
	return 0;
}
#endif

/* ---- Landlock: numbers of our own, because headers are older than kernels ---- */

enum {
	CREATE_RULESET = 444,	/* the same on every machine */
	ADD_RULE = 445,
	RESTRICT_SELF = 446,
	VERSION_FLAG = 1,
	PATH_BENEATH = 1,
};

enum {
	FS_EXECUTE = 1 << 0,
	FS_WRITE_FILE = 1 << 1,
	FS_READ_FILE = 1 << 2,
	FS_READ_DIR = 1 << 3,
	FS_REMOVE_DIR = 1 << 4,
	FS_REMOVE_FILE = 1 << 5,
	FS_MAKE_CHAR = 1 << 6,
	FS_MAKE_DIR = 1 << 7,
	FS_MAKE_REG = 1 << 8,
	FS_MAKE_SOCK = 1 << 9,
	FS_MAKE_FIFO = 1 << 10,
	FS_MAKE_BLOCK = 1 << 11,
	FS_MAKE_SYM = 1 << 12,
	FS_REFER = 1 << 13,	/* ABI 2 */
	FS_TRUNCATE = 1 << 14,	/* ABI 3 */
	FS_ALL_1 = (1 << 13) - 1,
	NET_TCP = 3,		/* ABI 4: bind, connect */
	SCOPE_ALL = 3,		/* ABI 6: abstract sockets, signals */
};

#define EVERYWHERE (FS_READ_FILE | FS_READ_DIR | FS_MAKE_SOCK | FS_REMOVE_FILE)
#define WRITING (FS_WRITE_FILE | FS_MAKE_REG | FS_TRUNCATE)

struct ruleset_attr {
	uint64_t fs;
	uint64_t net;
	uint64_t scoped;
};

struct path_attr {
	uint64_t access;
	int32_t fd;
} __attribute__((packed));

static uint64_t handled_fs(int abi)
{
	uint64_t fs = FS_ALL_1;

	if (abi >= 2)
		fs |= FS_REFER;
	if (abi >= 3)
		fs |= FS_TRUNCATE;
	return fs;
}

static int make_ruleset(int abi)
{
	struct ruleset_attr attr = {.fs = handled_fs(abi)};
	size_t len = sizeof(attr.fs);

	if (abi >= 4) {
		attr.net = NET_TCP;
		len += sizeof(attr.net);
	}
	if (abi >= 6) {
		attr.scoped = SCOPE_ALL;
		len += sizeof(attr.scoped);
	}
	return (int)syscall(CREATE_RULESET, &attr, len, 0);
}

/* What is not there needs no rule. */
static int allow(int ruleset, const char *path, uint64_t access)
{
	struct path_attr attr = {.access = access, .fd = open(path, O_PATH | O_CLOEXEC)};
	int rc = 0;

	if (attr.fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (syscall(ADD_RULE, ruleset, PATH_BENEATH, &attr, 0) < 0)
		rc = -errno;
	close(attr.fd);
	return rc;
}

static int allow_list(int ruleset, const char *list, uint64_t access)
{
	char *copy = strdup(list), *rest = copy, *path;
	int rc = copy ? 0 : -ENOMEM;

	while (rc == 0 && (path = strsep(&rest, ":")))
		if (*path)
			rc = allow(ruleset, path, access);
	free(copy);
	return rc;
}

static int add_rules(int ruleset, const struct sandbox *s, int abi)
{
	uint64_t writing = (EVERYWHERE | WRITING) & handled_fs(abi);
	int rc = allow(ruleset, "/", EVERYWHERE);

	if (rc == 0)
		rc = allow(ruleset, "/dev/null", FS_WRITE_FILE);
	if (rc == 0)
		rc = allow(ruleset, s->runtime_dir, writing);
	if (rc == 0 && s->record_dirs)
		rc = allow_list(ruleset, s->record_dirs, writing);
	return rc;
}

static int restrict_files(const struct sandbox *s, struct err *err)
{
	int abi = (int)syscall(CREATE_RULESET, NULL, 0, VERSION_FLAG);
	int ruleset, rc;

	if (abi <= 0)
		return 0;
	ruleset = make_ruleset(abi);
	if (ruleset < 0)
		return err_sys(err, -errno, "cannot make a Landlock ruleset");
	rc = add_rules(ruleset, s, abi);
	if (rc == 0 && syscall(RESTRICT_SELF, ruleset, 0) < 0)
		rc = -errno;
	close(ruleset);
	return rc < 0 ? err_sys(err, rc, "cannot restrict files by Landlock") : SANDBOX_LANDLOCK;
}

int sandbox_enter(const struct sandbox *sandbox, struct err *err)
{
	int files, calls;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(err, -errno, "cannot give up new privileges");
	files = restrict_files(sandbox, err);
	if (files < 0)
		return files;
	calls = restrict_calls(err);
	return calls < 0 ? calls : SANDBOX_PRIVS | files | calls;
}
