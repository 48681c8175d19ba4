/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/uffd.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* Younger than the headers of some distributions (Linux 6.6). */
#ifndef UFFDIO_POISON
struct uffdio_poison {
	struct uffdio_range range;
	__u64 mode;
	__s64 updated;
};
#define UFFDIO_POISON _IOWR(UFFDIO, 0x08, struct uffdio_poison)
#endif

#define PAGE 4096u

#define HUGE_LEN (UINT64_C(2) << 20)
#define GIGA_LEN (UINT64_C(1) << 30)

/* An aligned piece of address space that any process may have, at any page size. */
#define ANYWHERE GIGA_LEN
#define ANY_LEN HUGE_LEN

/*
 * Whether the kernel itself made this file: what a FUSE daemon or a driver has
 * made could answer every ioctl, and then keep a read waiting for ever.
 */
static bool is_anonymous(int fd)
{
	int ours = eventfd(0, EFD_CLOEXEC);
	struct stat a, b;
	bool same;

	if (ours < 0)
		return false;
	same = fstat(ours, &a) == 0 && fstat(fd, &b) == 0 && a.st_dev == b.st_dev;
	close(ours);
	return same;
}

/* Before UFFDIO_API a userfaultfd polls as an error. */
static bool polls_error(int fd)
{
	struct pollfd p = {.fd = fd};

	return poll(&p, 1, 0) == 1 && (p.revents & POLLERR);
}

int uffd_unblock(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -errno;
	if (!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	return 0;
}

int uffd_check(int fd, struct err *err)
{
	/* Waking nobody is the one request that changes nothing and that only
	   a userfaultfd grants, whatever its guest has mapped. */
	struct uffd_range nobody = {ANYWHERE, ANY_LEN};

	if (fcntl(fd, F_GETFD) < 0)
		return err_set(err, -EINVAL, "the userfaultfd is not open");
	if (!is_anonymous(fd))
		return err_set(err, -EINVAL, "the descriptor is not a userfaultfd");
	if (uffd_wake(fd, nobody) < 0) {
		if (polls_error(fd))
			return err_set(err, -EINVAL,
				       "the userfaultfd's API was never agreed on (UFFDIO_API)");
		return err_set(err, -EINVAL, "the descriptor is not a userfaultfd");
	}
	if (uffd_unblock(fd) < 0)
		return err_set(err, -EINVAL, "the userfaultfd cannot be made non-blocking");
	return 0;
}

/*
 * What UFFDIO_CONTINUE leaves: -ENOENT where nothing is registered, -EINVAL where pages are
 * larger than `len`, or anonymous ones of 4 KiB, -EFAULT where a page is missing.  0: it
 * was not looked at (before Linux 5.13, or while a removal is pending).
 */
static int64_t resume(int fd, uint64_t addr, uint64_t len)
{
	struct uffdio_continue arg = {.range = {addr, len}};

	return ioctl(fd, UFFDIO_CONTINUE, &arg) < 0 ? arg.mapped : 1;
}

bool uffd_is_anonymous(int fd, uint64_t addr)
{
	return resume(fd, addr, PAGE) == -EINVAL;
}

bool uffd_is_registered(int fd, uint64_t addr)
{
	return resume(fd, addr, PAGE) != -ENOENT;
}

static bool is_unknown(int64_t resumed)
{
	return resumed == 0 || resumed == -ENOENT || resumed == -ESRCH || resumed == -EAGAIN;
}

uint64_t uffd_page_size(int fd, uint64_t addr)
{
	static const uint64_t huge[] = {HUGE_LEN, GIGA_LEN};
	int64_t rc = resume(fd, addr, PAGE);

	if (is_unknown(rc))
		return 0;
	if (rc != -EINVAL)
		return PAGE;
	for (unsigned i = 0; i < sizeof(huge) / sizeof(huge[0]); i++) {
		rc = resume(fd, addr - addr % huge[i], huge[i]);
		if (rc != -EINVAL && !is_unknown(rc))
			return huge[i];
	}
	return PAGE;
}

static bool is_event(const struct uffd_msg *msg)
{
	return msg->event >= UFFD_EVENT_PAGEFAULT && msg->event <= UFFD_EVENT_UNMAP;
}

/* What is no message must not wait in a slot for the next worker. */
static int refuse(struct uffd_msg *slots, unsigned n)
{
	memset(slots, 0, n * sizeof(*slots));
	return -EBADMSG;
}

/* With its last descriptor goes the child's registration: it sees zeros. */
static void close_fork(struct uffd_msg *msg)
{
	close((int)msg->arg.fork.ufd);
	msg->arg.fork.ufd = UINT32_MAX;
}

/* Without waiting, and without believing the flags, which are whoever's has the file, too. */
static ssize_t read_now(int fd, struct uffd_msg *slots, unsigned n)
{
	struct iovec io = {slots, n * sizeof(*slots)};
	ssize_t len = preadv2(fd, &io, 1, -1, RWF_NOWAIT);

	if (len >= 0 || errno != EOPNOTSUPP)
		return len;
	return uffd_unblock(fd) < 0 ? -1 : read(fd, slots, n * sizeof(*slots));
}

int uffd_read(int fd, struct uffd_msg *slots, unsigned n)
{
	unsigned got;
	ssize_t len;

	do
		len = read_now(fd, slots, n);
	while (len < 0 && errno == EINTR);
	if (len < 0)
		return errno == EAGAIN ? 0 : -errno;
	if (len == 0 || (size_t)len % sizeof(*slots) != 0)
		return refuse(slots, n);
	got = (unsigned)((size_t)len / sizeof(*slots));
	for (unsigned i = 0; i < got; i++)
		if (!is_event(&slots[i]))
			return refuse(slots, n);
	for (unsigned i = 0; i < got; i++)
		if (slots[i].event == UFFD_EVENT_FORK)
			close_fork(&slots[i]);
	return (int)got;
}

/*
 * One request's outcome: how many bytes it did (> 0), or -errno.  The count
 * that the kernel leaves says more than errno: EAGAIN with a positive count is
 * progress, and whatever stopped it says so itself when asked again.
 */
static int64_t outcome(int rc, int64_t count)
{
	if (count != 0)
		return count;
	return rc < 0 ? -errno : -EIO;
}

static int64_t copy_once(int fd, struct uffd_range r, const char *src)
{
	struct uffdio_copy arg = {
		.dst = r.addr, .src = (uintptr_t)src, .len = r.len,
	};
	int rc = ioctl(fd, UFFDIO_COPY, &arg);

	return outcome(rc, arg.copy);
}

static int64_t zero_once(int fd, struct uffd_range r, const char *src)
{
	struct uffdio_zeropage arg = {.range = {r.addr, r.len}};
	int rc = ioctl(fd, UFFDIO_ZEROPAGE, &arg);

	(void)src;
	return outcome(rc, arg.zeropage);
}

static int64_t poison_once(int fd, struct uffd_range r, const char *src)
{
	struct uffdio_poison arg = {.range = {r.addr, r.len}};
	int rc = ioctl(fd, UFFDIO_POISON, &arg);

	(void)src;
	return outcome(rc, arg.updated);
}

typedef int64_t once_fn(int fd, struct uffd_range r, const char *src);

static int go_on(once_fn *once, int fd, struct uffd_range r, const char *src, uint64_t *ret_done)
{
	uint64_t done = 0;
	int64_t n = 0;

	while (done < r.len) {
		struct uffd_range rest = {r.addr + done, r.len - done};

		n = once(fd, rest, src ? src + done : NULL);
		if (n > 0)
			done += (uint64_t)n;
		else if (n != -EINTR)
			break;
	}
	*ret_done = done;
	return done < r.len ? (int)n : 0;
}

int uffd_copy(int fd, struct uffd_range r, const void *src, uint64_t *ret_done)
{
	return go_on(copy_once, fd, r, src, ret_done);
}

int uffd_zero(int fd, struct uffd_range r, uint64_t *ret_done)
{
	return go_on(zero_once, fd, r, NULL, ret_done);
}

int uffd_poison(int fd, struct uffd_range r, uint64_t *ret_done)
{
	return go_on(poison_once, fd, r, NULL, ret_done);
}

/* Requests that take nothing but a range. */
static int ask(int fd, unsigned long request, struct uffd_range r)
{
	struct uffdio_range arg = {r.addr, r.len};
	int rc;

	do
		rc = ioctl(fd, request, &arg);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : 0;
}

int uffd_wake(int fd, struct uffd_range r)
{
	return ask(fd, UFFDIO_WAKE, r);
}

/* Lifting a write protection that nobody has set is refused without effect. */
static int unprotect(int fd, uint64_t addr)
{
	struct uffdio_writeprotect arg = {
		.range = {addr, PAGE}, .mode = UFFDIO_WRITEPROTECT_MODE_DONTWAKE,
	};

	return ioctl(fd, UFFDIO_WRITEPROTECT, &arg) < 0 ? -errno : 0;
}

bool uffd_gone(int fd, uint64_t addr)
{
	int rc = unprotect(fd, addr);

	/* Addresses that no process has are refused before anybody looks for the process. */
	return (rc == -EINVAL ? unprotect(fd, ANYWHERE) : rc) == -ESRCH;
}

/*
 * The kernel has other words here than elsewhere: ENOMEM when the process is
 * gone (and when there is no memory), EINVAL when nothing, or what cannot be
 * registered, is mapped in the range.
 */
int uffd_unregister(int fd, struct uffd_range r)
{
	int rc = ask(fd, UFFDIO_UNREGISTER, r);

	if (rc == -ENOMEM && uffd_gone(fd, r.addr))
		return -ESRCH;
	return rc == -EINVAL ? -ENOENT : rc;
}
