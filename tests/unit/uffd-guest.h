/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * uffd-guest: a child that maps memory, registers it with a userfaultfd, hands
 * that over, and then does what it is told, one thing at a time.
 */
#ifndef LAMINA_TESTS_UNIT_UFFD_GUEST_H
#define LAMINA_TESTS_UNIT_UFFD_GUEST_H

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/tap.h"

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

#define PAGE UINT64_C(4096)
#define HUGE_PAGE (UINT64_C(2) << 20)
#define SIGBUS_SEEN 0x1000	/* READ and WRITE: and the signal's code */
#define PATIENCE_MS 30000

/* What its memory is; FORKER: anonymous, and forks are told of. */
enum what { ANON, MEMFD, HUGE, TMPFS, FORKER };
enum order { READ, WRITE, REMOVE, UNMAP, FORK };

struct command {
	enum order order;
	uint64_t off;
	uint64_t len;
};

struct hello {
	uint64_t addr;		/* 0: it cannot */
	int error;
};

struct guest {
	pid_t pid;
	int link;
	int uffd;
	uint64_t addr;
	uint64_t len;
};

static sigjmp_buf on_bus;

TAP_FN void bus(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	siglongjmp(on_bus, info->si_code);
}

TAP_FN int64_t touch(volatile uint8_t *p, bool write)
{
	int code = sigsetjmp(on_bus, 1);

	if (code)
		return SIGBUS_SEEN + code;
	if (write)
		*p = 0xbb;
	return *p;
}

TAP_FN int64_t beget(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return waitpid(pid, NULL, 0) == pid ? 0 : -errno;
}

TAP_FN int64_t obey(char *mem, const struct command *c)
{
	switch (c->order) {
	case READ:
	case WRITE:
		return touch((uint8_t *)mem + c->off, c->order == WRITE);
	case REMOVE:
		return madvise(mem + c->off, c->len, MADV_DONTNEED) < 0 ? -errno : 0;
	case FORK:
		return beget();
	default:
		return munmap(mem + c->off, c->len) < 0 ? -errno : 0;
	}
}

/* A file on a file system that has room for one page, in a world of its own. */
TAP_FN int tiny_file(void)
{
	if (unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tiny", "/tmp", "tmpfs", 0, "size=4096") < 0)
		return -1;
	return open("/tmp/ram", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

TAP_FN void *map(enum what what, uint64_t len)
{
	int flags = what == ANON || what == FORKER ? MAP_PRIVATE | MAP_ANONYMOUS :
		    what == HUGE ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE :
				   MAP_SHARED;
	int fd = what == MEMFD ? memfd_create("guest", MFD_CLOEXEC) :
		 what == TMPFS ? tiny_file() : -1;

	if ((what == MEMFD || what == TMPFS) && (fd < 0 || ftruncate(fd, (off_t)len) < 0))
		return MAP_FAILED;
	return mmap(NULL, len, PROT_READ | PROT_WRITE, flags, fd, 0);
}

TAP_FN int make_uffd(const void *mem, uint64_t len, enum what what)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_EVENT_REMOVE |
			    (what == FORKER ? UFFD_FEATURE_EVENT_FORK : 0),
	};
	struct uffdio_register reg = {
		.range = {(uintptr_t)mem, len}, .mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) < 0 ||
	    ioctl(fd, UFFDIO_REGISTER, &reg) < 0)
		return -1;
	return fd;
}

TAP_FN void send_hello(int link, const struct hello *hello, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec iov = {(void *)hello, sizeof(*hello)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		struct cmsghdr *c;

		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	if (sendmsg(link, &msg, 0) < 0)
		_exit(1);
}

__attribute__((noreturn)) TAP_FN void live(int link, enum what what, uint64_t len)
{
	struct sigaction sa = {.sa_sigaction = bus, .sa_flags = SA_SIGINFO};
	struct hello hello = {0};
	struct command c;
	int fd = -1;
	char *mem;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)sigaction(SIGBUS, &sa, NULL);
	mem = map(what, len);
	if (mem != MAP_FAILED)
		fd = make_uffd(mem, len, what);
	hello.error = errno;
	hello.addr = fd < 0 ? 0 : (uintptr_t)mem;
	send_hello(link, &hello, fd);
	close(fd);
	while (fd >= 0 && read(link, &c, sizeof(c)) == sizeof(c)) {
		int64_t result = obey(mem, &c);

		if (write(link, &result, sizeof(result)) != sizeof(result))
			break;
	}
	_exit(0);
}

TAP_FN struct hello recv_hello(int link, int *ret_fd)
{
	char control[CMSG_SPACE(sizeof(int))];
	struct hello hello = {0};
	struct iovec iov = {&hello, sizeof(hello)};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};

	*ret_fd = -1;
	if (recvmsg(link, &msg, MSG_CMSG_CLOEXEC) != sizeof(hello))
		bail("a guest died at its start");
	if (CMSG_FIRSTHDR(&msg))
		memcpy(ret_fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(*ret_fd));
	return hello;
}

TAP_FN void guest_end(struct guest *g)
{
	if (g->pid > 0) {
		kill(g->pid, SIGKILL);
		waitpid(g->pid, NULL, 0);
	}
	g->pid = 0;
	if (g->link >= 0)
		close(g->link);
	if (g->uffd >= 0)
		close(g->uffd);
	g->link = g->uffd = -1;
}

/* 0, or the errno of what the guest could not do. */
TAP_FN int guest_start(struct guest *g, enum what what, uint64_t len)
{
	struct hello hello;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		bail("no socket pair");
	g->pid = fork();
	if (g->pid < 0)
		bail("no guest");
	if (g->pid == 0) {
		close(pair[0]);
		live(pair[1], what, len);
	}
	close(pair[1]);
	g->link = pair[0];
	g->len = len;
	hello = recv_hello(g->link, &g->uffd);
	g->addr = hello.addr;
	if (!g->addr)
		guest_end(g);
	else if (fcntl(g->uffd, F_SETFL, O_NONBLOCK) < 0)
		bail("a guest's userfaultfd");
	return hello.addr ? 0 : hello.error;
}

TAP_FN void start(struct guest *g, enum what what, uint64_t len)
{
	int rc = guest_start(g, what, len);

	if (rc)
		bail("no guest: %s", strerror(rc));
}

TAP_FN void tell(const struct guest *g, enum order order, uint64_t off, uint64_t len)
{
	struct command c = {.order = order, .off = off, .len = len};

	if (write(g->link, &c, sizeof(c)) != sizeof(c))
		bail("the guest does not listen");
}

TAP_FN bool wait_for(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, PATIENCE_MS) == 1;
}

TAP_FN int64_t hear(const struct guest *g)
{
	int64_t result;

	if (!wait_for(g->link) || read(g->link, &result, sizeof(result)) != sizeof(result))
		bail("the guest does not answer");
	return result;
}

TAP_FN int64_t do_it(const struct guest *g, enum order order, uint64_t off, uint64_t len)
{
	tell(g, order, off, len);
	return hear(g);
}

#endif
