/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/uffd.h"

#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/uio.h>

#include "tests/tap.h"
#include "tests/unit/uffd-guest.h"

#define NPAGES 16
#define BEYOND (UINT64_C(1) << 56)	/* of any address space */

static struct err err;
static uint64_t done;
static uint8_t src[HUGE_PAGE] __attribute__((aligned(4096)));

/* ---- ioctl, as the kernel may answer it on another day ---- */

#define GRANTED (-1)

struct answer {
	int error;		/* errno; 0: the real call; GRANTED: success without it */
	bool set_count;
	int64_t count;		/* what it leaves in the count, if set_count */
};

static struct answer answers[4];
static unsigned nanswers, asked;

int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);

static int64_t *count_of(unsigned long request, void *arg)
{
	if (request == UFFDIO_COPY)
		return (int64_t *)&((struct uffdio_copy *)arg)->copy;
	if (request == UFFDIO_ZEROPAGE)
		return (int64_t *)&((struct uffdio_zeropage *)arg)->zeropage;
	return NULL;
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	const struct answer *answer;
	int64_t *count;
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	answer = asked < nanswers ? &answers[asked] : &(struct answer){0};
	asked++;
	if (!answer->error)
		return __real_ioctl(fd, request, arg);
	if (answer->error == GRANTED)
		return 0;
	count = count_of(request, arg);
	if (count && answer->set_count)
		*count = answer->count;
	errno = answer->error;
	return -1;
}

static void answer(unsigned n, const struct answer *list)
{
	memcpy(answers, list, n * sizeof(*list));
	nanswers = n;
	asked = 0;
}

/* ---- a kernel that has no RWF_NOWAIT here ---- */

static bool old_kernel;

ssize_t __real_preadv64v2(int fd, const struct iovec *iov, int n, off_t off, int flags);
ssize_t __wrap_preadv64v2(int fd, const struct iovec *iov, int n, off_t off, int flags);

ssize_t __wrap_preadv64v2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
	if (!old_kernel)
		return __real_preadv64v2(fd, iov, n, off, flags);
	errno = EOPNOTSUPP;
	return -1;
}

/* ---- tests ---- */

static struct uffd_range at(const struct guest *g, uint64_t off, uint64_t len)
{
	return (struct uffd_range){g->addr + off, len};
}

/* The next message. */
static struct uffd_msg next(const struct guest *g)
{
	struct uffd_msg msg = {0};

	if (!wait_for(g->uffd))
		bail("the userfaultfd says nothing");
	is_int(uffd_read(g->uffd, &msg, 1), 1, "a message is read");
	return msg;
}

static void test_faults(struct guest *g)
{
	struct uffd_msg slots[4], msg;

	is_int(uffd_read(g->uffd, slots, 4), 0, "no message, and no waiting for one");
	tell(g, READ, 3 * PAGE + 5, 0);
	msg = next(g);
	is_int(msg.event, UFFD_EVENT_PAGEFAULT, "a fault");
	ok(msg.arg.pagefault.address - g->addr - 3 * PAGE < PAGE, "of the fourth page");
	is_int(uffd_copy(g->uffd, at(g, 3 * PAGE, PAGE), src, &done), 0, "is answered");
	is_int(done, PAGE, "with a page");
	is_int(hear(g), src[5], "whose byte the guest has got");
	tell(g, WRITE, 4 * PAGE, 0);
	msg = next(g);
	ok(msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE, "a fault of a write");
	is_int(uffd_zero(g->uffd, at(g, 4 * PAGE, PAGE), &done), 0, "is answered with zeros");
	is_int(hear(g), 0xbb, "over which the guest has written");
	is_int(do_it(g, READ, 4 * PAGE + 1, 0), 0, "beside it are zeros");
}

/* The guest has the file, too. */
static void make_blocking(const struct guest *g)
{
	if (fcntl(g->uffd, F_SETFL, 0) < 0)
		bail("F_SETFL");
}

static void test_blocking(struct guest *g)
{
	struct uffd_msg slots[4];
	struct pollfd p = {.fd = g->uffd, .events = POLLIN};

	make_blocking(g);
	alarm(20);
	is_int(uffd_read(g->uffd, slots, 4), 0, "one that blocks does not block us");
	is_int(poll(&p, 1, 0) == 1 ? p.revents : 0, POLLERR, "an error is all that poll says");
	is_int(uffd_unblock(g->uffd), 0, "it is made non-blocking again");
	is_int(poll(&p, 1, 0), 0, "and is quiet");
	make_blocking(g);
	old_kernel = true;
	is_int(uffd_read(g->uffd, slots, 4), 0, "nor on an older kernel");
	ok(fcntl(g->uffd, F_GETFL) & O_NONBLOCK, "which has to be told");
	tell(g, READ, 6 * PAGE, 0);
	is_int(next(g).event, UFFD_EVENT_PAGEFAULT, "it reads there, too");
	old_kernel = false;
	alarm(0);
	is_int(uffd_copy(g->uffd, at(g, 6 * PAGE, PAGE), src, &done), 0, "an answer");
	is_int(hear(g), src[0], "is heard");
}

static void test_wake(struct guest *g)
{
	tell(g, READ, 5 * PAGE, 0);
	(void)next(g);
	is_int(uffd_wake(g->uffd, at(g, 0, g->len)), 0, "a wake");
	is_int(uffd_wake(g->uffd, (struct uffd_range){BEYOND, PAGE}), -EINVAL,
	       "not of addresses that no process has");
	ok((next(g).arg.pagefault.address & ~(PAGE - 1)) == g->addr + 5 * PAGE,
	   "makes the kernel raise the fault again");
	is_int(uffd_copy(g->uffd, at(g, 5 * PAGE, PAGE), src, &done), 0, "it is answered");
	is_int(hear(g), src[0], "and the guest goes on");
}

/* The kernel stops at a page that is there; the next request says what it was. */
static void test_exists(struct guest *g)
{
	is_int(uffd_copy(g->uffd, at(g, PAGE, 4 * PAGE), src, &done), -EEXIST,
	       "the fourth page is there");
	is_int(done, 2 * PAGE, "two before it have been done");
	is_int(uffd_copy(g->uffd, at(g, PAGE, PAGE), src, &done), -EEXIST, "now it is there, too");
	is_int(done, 0, "nothing done");
	is_int(uffd_zero(g->uffd, at(g, PAGE, PAGE), &done), -EEXIST, "nor are there zeros put");
	is_int(uffd_zero(g->uffd, at(g, 0, 2 * PAGE), &done), -EEXIST, "zeros up to it");
	is_int(done, PAGE, "are one page");
	is_int(do_it(g, READ, PAGE + 7, 0), src[7], "what was there has stayed");
	is_int(do_it(g, READ, 7, 0), 0, "what was not is zero");
}

static void test_remove(struct guest *g)
{
	struct uffd_msg msg;

	tell(g, REMOVE, PAGE, PAGE);
	if (!wait_for(g->uffd))
		bail("no message");
	is_int(uffd_copy(g->uffd, at(g, 8 * PAGE, PAGE), src, &done), -EAGAIN,
	       "while a remove is unread nothing is copied");
	is_int(done, 0, "nothing done");
	is_int(uffd_zero(g->uffd, at(g, 8 * PAGE, PAGE), &done), -EAGAIN, "nor zeroed");
	msg = next(g);
	is_int(msg.event, UFFD_EVENT_REMOVE, "the remove");
	ok(msg.arg.remove.start == g->addr + PAGE && msg.arg.remove.end == g->addr + 2 * PAGE,
	   "says which page");
	is_int(hear(g), 0, "the guest goes on");
	is_int(uffd_copy(g->uffd, at(g, 8 * PAGE, PAGE), src, &done), 0, "then there is copying");
	is_int(uffd_copy(g->uffd, at(g, PAGE, PAGE), src, &done), 0, "over what was removed, too");
}

/* Each way in which kernels say the same. */
static void test_encodings(struct guest *g)
{
	struct uffd_range r = at(g, 9 * PAGE, 2 * PAGE);

	answer(1, (struct answer[]){{EAGAIN, false, 0}});
	is_int(uffd_copy(g->uffd, r, src, &done), -EAGAIN, "EAGAIN in errno alone");
	answer(1, (struct answer[]){{EAGAIN, true, -EAGAIN}});
	is_int(uffd_copy(g->uffd, r, src, &done), -EAGAIN, "EAGAIN in the count");
	answer(1, (struct answer[]){{EAGAIN, true, -EEXIST}});
	is_int(uffd_zero(g->uffd, r, &done), -EEXIST, "the count knows better than errno");
	is_int(done, 0, "and nothing was done");
	answer(2, (struct answer[]){{EAGAIN, true, (int64_t)PAGE}, {EAGAIN, true, -EAGAIN}});
	is_int(uffd_copy(g->uffd, r, src, &done), -EAGAIN, "progress, then EAGAIN");
	is_int(done, PAGE, "one page was done");
	is_int(asked, 2, "asked twice");
	answer(3, (struct answer[]){{EAGAIN, true, (int64_t)PAGE}, {EAGAIN, true, (int64_t)PAGE},
				    {EAGAIN, true, -EAGAIN}});
	is_int(uffd_copy(g->uffd, at(g, 9 * PAGE, 3 * PAGE), src, &done), -EAGAIN, "a page more");
	is_int(done, 2 * PAGE, "and both are counted");
	answer(2, (struct answer[]){{EINTR, false, 0}, {EINTR, true, -EINTR}});
	is_int(uffd_copy(g->uffd, r, src, &done), 0, "EINTR is tried again");
	is_int(done, 2 * PAGE, "until all is done");
	is_int(asked, 3, "at the third time");
	answer(1, (struct answer[]){{EINTR, false, 0}});
	is_int(uffd_wake(g->uffd, r), 0, "a wake, too");
	answer(1, (struct answer[]){{EINTR, false, 0}});
	is_int(uffd_unregister(g->uffd, at(g, 15 * PAGE, PAGE)), 0, "and unregistering");
	answer(1, (struct answer[]){{ENOMEM, false, 0}});
	is_int(uffd_unregister(g->uffd, r), -ENOMEM, "no memory, while the guest lives");
	answer(0, answers);
	is_int(uffd_copy(g->uffd, (struct uffd_range){r.addr, 0}, src, &done), 0, "no bytes");
	is_int(done, 0, "are no work");
}

static void test_bad_source(struct guest *g)
{
	uint8_t *bad = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			    -1, 0);

	if (bad == MAP_FAILED || munmap(bad + PAGE, PAGE) < 0)
		bail("mmap");
	memset(bad, 0x77, PAGE);
	is_int(uffd_copy(g->uffd, at(g, 11 * PAGE, 2 * PAGE), bad, &done), -EFAULT,
	       "a source that cannot be read");
	is_int(done, PAGE, "from its second page on");
	is_int(do_it(g, READ, 11 * PAGE, 0), 0x77, "the first is there");
	munmap(bad, PAGE);
}

/* A kernel without CONFIG_MEMORY_FAILURE has another code for it. */
static void is_bus(int64_t result, const char *name)
{
	ok(result == SIGBUS_SEEN + BUS_MCEERR_AR || result == SIGBUS_SEEN + BUS_ADRERR, "%s: %#llx",
	   name, (unsigned long long)result);
}

static void test_poison(struct guest *g)
{
	int rc = uffd_poison(g->uffd, at(g, 13 * PAGE, 2 * PAGE), &done);

	if (rc == -EINVAL) {
		tap_skip("this kernel has no UFFDIO_POISON");
		return;
	}
	is_int(rc, 0, "two pages are poisoned");
	is_int(done, 2 * PAGE, "all of them");
	is_bus(do_it(g, READ, 13 * PAGE, 0), "touching them is SIGBUS");
	is_int(uffd_zero(g->uffd, at(g, 13 * PAGE, PAGE), &done), -EEXIST, "zeros do not heal");
	is_int(uffd_copy(g->uffd, at(g, 13 * PAGE, PAGE), src, &done), 0, "a copy does");
	is_int(do_it(g, READ, 13 * PAGE + 2, 0), src[2], "and the guest reads it");
	is_int(uffd_poison(g->uffd, at(g, 13 * PAGE, PAGE), &done), -EEXIST,
	       "what is there is not poisoned");
	is_bus(do_it(g, WRITE, 14 * PAGE, 0), "the other still is");
}

static void test_unregister(struct guest *g)
{
	is_int(uffd_page_size(g->uffd, g->addr), 4096, "pages of 4 KiB");
	ok(uffd_is_anonymous(g->uffd, g->addr), "of its own");
	ok(uffd_is_registered(g->uffd, g->addr + 12 * PAGE), "that are registered");
	is_int(uffd_unregister(g->uffd, at(g, 15 * PAGE, PAGE)), 0, "a page is unregistered");
	ok(!uffd_is_registered(g->uffd, g->addr + 15 * PAGE), "and then it is not");
	ok(uffd_is_registered(g->uffd, g->addr + 14 * PAGE), "the one before is");
	is_int(uffd_page_size(g->uffd, g->addr + 15 * PAGE), 0, "its size is not known then");
	is_int(uffd_copy(g->uffd, at(g, 15 * PAGE, PAGE), src, &done), -ENOENT, "no copy there");
	is_int(uffd_zero(g->uffd, at(g, 15 * PAGE, PAGE), &done), -ENOENT, "and no zeros");
	is_int(uffd_poison(g->uffd, at(g, 15 * PAGE, PAGE), &done), -ENOENT, "and no poison");
	is_int(do_it(g, READ, 15 * PAGE, 0), 0, "the kernel itself gives zeros");
	is_int(uffd_unregister(g->uffd, at(g, 15 * PAGE, PAGE)), 0, "twice is no error");
	is_int(do_it(g, UNMAP, 15 * PAGE, PAGE), 0, "the guest unmaps it");
	is_int(uffd_unregister(g->uffd, at(g, 15 * PAGE, PAGE)), -ENOENT, "then it is one");
	is_int(uffd_copy(g->uffd, at(g, 15 * PAGE, PAGE), src, &done), -ENOENT,
	       "a copy finds nothing");
	is_int(uffd_copy(g->uffd, at(g, 1, PAGE), src, &done), -EINVAL, "half a page is no page");
}

static void test_gone(struct guest *g)
{
	ok(!uffd_gone(g->uffd, g->addr), "the guest lives");
	ok(!uffd_gone(g->uffd, BEYOND), "also when asked for what no process has");
	is_int(do_it(g, READ, 0, 0) >= 0, 1, "and was not changed by the question");
	kill(g->pid, SIGKILL);
	waitpid(g->pid, NULL, 0);
	g->pid = 0;
	ok(uffd_gone(g->uffd, g->addr), "the guest is gone");
	ok(uffd_gone(g->uffd, BEYOND), "wherever one asks");
	is_int(uffd_copy(g->uffd, at(g, 0, PAGE), src, &done), -ESRCH, "no copy");
	is_int(done, 0, "nothing done");
	is_int(uffd_zero(g->uffd, at(g, 0, PAGE), &done), -ESRCH, "no zeros");
	is_int(uffd_poison(g->uffd, at(g, 0, PAGE), &done), -ESRCH, "no poison");
	is_int(uffd_unregister(g->uffd, at(g, 0, g->len)), -ESRCH, "no unregistering");
	is_int(uffd_wake(g->uffd, at(g, 0, g->len)), 0, "nobody is woken");
	is_int(uffd_read(g->uffd, (struct uffd_msg[1]){{0}}, 1), 0, "and nothing is said");
}

static void test_anonymous(void)
{
	struct guest g;

	start(&g, ANON, NPAGES * PAGE);
	test_faults(&g);
	test_blocking(&g);
	test_wake(&g);
	test_exists(&g);
	test_remove(&g);
	test_encodings(&g);
	test_bad_source(&g);
	test_poison(&g);
	test_unregister(&g);
	test_gone(&g);
	guest_end(&g);
}

static void test_memfd(void)
{
	struct guest g;

	start(&g, MEMFD, NPAGES * PAGE);
	is_int(uffd_page_size(g.uffd, g.addr + PAGE), 4096, "shared memory has pages of 4 KiB");
	ok(uffd_is_registered(g.uffd, g.addr) && !uffd_is_anonymous(g.uffd, g.addr),
	   "that are registered");
	is_int(uffd_zero(g.uffd, at(&g, 0, 2 * PAGE), &done), 0, "zeros into a memfd");
	is_int(done, 2 * PAGE, "two pages");
	is_int(do_it(&g, READ, PAGE, 0), 0, "are read by the guest");
	is_int(uffd_copy(g.uffd, at(&g, 2 * PAGE, PAGE), src, &done), 0, "a page into a memfd");
	is_int(do_it(&g, READ, 2 * PAGE + 9, 0), src[9], "is read by the guest");
	is_int(uffd_zero(g.uffd, at(&g, PAGE, 2 * PAGE), &done), -EEXIST, "they are there now");
	ok(uffd_is_registered(g.uffd, g.addr + 2 * PAGE), "the question is answered there, too");
	is_int(do_it(&g, UNMAP, 0, g.len), 0, "the guest unmaps all");
	ok(!uffd_is_registered(g.uffd, g.addr), "nothing is registered");
	guest_end(&g);
}

static void test_no_memory(void)
{
	struct guest g;

	if (guest_start(&g, TMPFS, 4 * PAGE) != 0) {
		tap_skip("ENOMEM: a file system of one page cannot be mounted");
		return;
	}
	is_int(uffd_copy(g.uffd, at(&g, 0, 3 * PAGE), src, &done), -ENOMEM,
	       "the second page has no room");
	is_int(done, PAGE, "the first had");
	is_int(uffd_zero(g.uffd, at(&g, PAGE, PAGE), &done), -ENOMEM, "nor have zeros");
	guest_end(&g);
}

static unsigned open_descriptors(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void test_fork(void)
{
	struct guest g;
	unsigned before;

	if (guest_start(&g, FORKER, PAGE) != 0) {
		tap_skip("forks are told of to the privileged only");
		return;
	}
	before = open_descriptors();
	tell(&g, FORK, 0, 0);
	is_int(next(&g).event, UFFD_EVENT_FORK, "a fork is told of");
	is_int(hear(&g), 0, "and goes on");
	is_int(open_descriptors(), before, "the child's userfaultfd is not left open");
	guest_end(&g);
}

/* ---- huge pages ---- */

#define POOL "/sys/kernel/mm/hugepages/hugepages-2048kB/"

static long pool_get(const char *name)
{
	char path[128];
	long n = -1;
	FILE *f;

	(void)snprintf(path, sizeof(path), POOL "%s", name);
	f = fopen(path, "re");
	if (f && fscanf(f, "%ld", &n) != 1)
		n = -1;
	if (f)
		(void)fclose(f);
	return n;
}

static long pool_before = -1, pool_now;
static int pool_lock = -1;

static void pool_set(long n)
{
	FILE *f = fopen(POOL "nr_hugepages", "we");

	if (f) {
		(void)fprintf(f, "%ld\n", n);
		(void)fclose(f);
	}
	pool_now = n;
}

/* Unless somebody else has changed it since. */
static void pool_restore(void)
{
	if (pool_before >= 0 && pool_get("nr_hugepages") == pool_now)
		pool_set(pool_before);
	pool_before = -1;
	if (pool_lock >= 0)
		close(pool_lock);
	pool_lock = -1;
}

/* A pool of one page where nobody has any, or a reason why not. */
static const char *pool_of_one(void)
{
	if (geteuid() != 0)
		return "huge pages: only root can change the pool";
	pool_lock = open(POOL, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (pool_lock < 0)
		return "huge pages: this kernel has none";
	if (flock(pool_lock, LOCK_EX | LOCK_NB) < 0 || pool_get("nr_hugepages") != 0 ||
	    pool_get("nr_overcommit_hugepages") != 0)
		return "huge pages: the pool is another's";
	pool_before = 0;
	pool_set(1);
	if (pool_get("free_hugepages") != 1)
		return "huge pages: there is no free one";
	return NULL;
}

static void test_huge(void)
{
	const char *reason = pool_of_one();
	struct guest g;

	if (reason || guest_start(&g, HUGE, 3 * HUGE_PAGE) != 0) {
		pool_restore();
		tap_skip(reason ? reason : "huge pages: the guest cannot map them");
		return;
	}
	is_int(uffd_page_size(g.uffd, g.addr), HUGE_PAGE, "pages of 2 MiB");
	is_int(uffd_page_size(g.uffd, g.addr + HUGE_PAGE + PAGE), HUGE_PAGE, "also inside");
	ok(uffd_is_registered(g.uffd, g.addr + PAGE), "and registered");
	tell(&g, READ, HUGE_PAGE + 12345, 0);
	(void)next(&g);
	is_int(uffd_copy(g.uffd, at(&g, HUGE_PAGE, HUGE_PAGE), src, &done), 0, "a huge page");
	is_int(done, HUGE_PAGE, "all of it");
	is_int(hear(&g), src[12345], "is read by the guest");
	is_int(uffd_copy(g.uffd, at(&g, 0, HUGE_PAGE), src, &done), -EEXIST,
	       "the pool is empty: the kernel says that the page is there");
	is_int(done, 0, "nothing done");
	is_int(uffd_copy(g.uffd, at(&g, HUGE_PAGE, HUGE_PAGE), src, &done), -EEXIST,
	       "just as for one that is there");
	is_int(uffd_zero(g.uffd, at(&g, 0, HUGE_PAGE), &done), -EINVAL, "there are no huge zeros");
	pool_set(2);
	is_int(uffd_copy(g.uffd, at(&g, 0, HUGE_PAGE), src, &done), 0, "a page more in the pool");
	is_int(do_it(&g, UNMAP, 0, g.len), 0, "the guest unmaps all");
	ok(!uffd_is_registered(g.uffd, g.addr), "nothing is registered");
	guest_end(&g);
	pool_restore();
}

/* ---- what is no userfaultfd ---- */

static void refused(int fd, const char *sentence)
{
	int flags = fcntl(fd, F_GETFL);

	is_err(uffd_check(fd, &err), &err, -EINVAL, "%s", sentence);
	is_int(fcntl(fd, F_GETFL), flags, "and is left as it was");
}

static void test_check(void)
{
	static const char not_one[] = "the descriptor is not a userfaultfd";
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), closed = dup(null);
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	int raw = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	struct uffdio_api api = {.api = UFFD_API};
	int pipes[2];

	if (null < 0 || pipe(pipes) < 0)
		bail("no descriptors");
	close(closed);
	refused(null, not_one);
	refused(pipes[0], not_one);
	refused(epoll, not_one);
	answer(1, (struct answer[]){{GRANTED, false, 0}});
	refused(pipes[0], not_one);	/* as a file of a FUSE daemon might say */
	answer(0, answers);
	refused(closed, "the userfaultfd is not open");
	refused(-1, "the userfaultfd is not open");
	refused(raw, "the userfaultfd's API was never agreed on (UFFDIO_API)");
	if (__real_ioctl(raw, UFFDIO_API, &api) < 0)
		bail("no API");
	is_int(uffd_check(raw, &err), 0, "once it is agreed on, it is one");
	ok(fcntl(raw, F_GETFL) & O_NONBLOCK, "and does not block any more");
	is_int(uffd_check(raw, NULL), 0, "at any time");
	close(raw);
	close(epoll);
	close(null);
	close(pipes[0]);
	close(pipes[1]);
}

static bool all_empty(const struct uffd_msg *slots, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (slots[i].event)
			return false;
	return true;
}

static void test_read_of_others(void)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC), closed = dup(null), pipes[2];
	struct uffd_msg slots[4], msg = {.event = UFFD_EVENT_PAGEFAULT};

	if (pipe(pipes) < 0)
		bail("no pipe");
	close(closed);
	memset(slots, 0xff, sizeof(slots));
	is_int(uffd_read(null, slots, 4), -EBADMSG, "an end of file is no message");
	ok(all_empty(slots, 4), "no slot is taken");
	is_int(uffd_read(closed, slots, 4), -EBADF, "a closed descriptor");
	(void)!write(pipes[1], "what is this?", 13);
	is_int(uffd_read(pipes[0], slots, 4), -EBADMSG, "a word from a pipe");
	ok(all_empty(slots, 4), "no slot is taken");
	(void)!write(pipes[1], &msg, sizeof(msg));
	msg.event = 0xee;
	(void)!write(pipes[1], &msg, sizeof(msg));
	is_int(uffd_read(pipes[0], slots, 4), -EBADMSG, "a good message and a bad one");
	ok(all_empty(slots, 4), "no slot is taken");
	close(pipes[1]);
	is_int(uffd_read(pipes[0], slots, 4), -EBADMSG, "a pipe without a writer");
	close(pipes[0]);
	close(null);
}

int main(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	if (fd < 0)
		tap_skip_all("no userfaultfd here");
	close(fd);
	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < sizeof(src); i++)
		src[i] = (uint8_t)(i * 131 + i / 4096 + 1);
	atexit(pool_restore);
	test_check();
	test_read_of_others();
	test_anonymous();
	test_memfd();
	test_no_memory();
	test_fork();
	test_huge();
	return tap_done();
}
