/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * uffd: what is asked of a userfaultfd (userfaultfd(2), ioctl_userfaultfd(2)),
 * and the only place that asks.  Addresses are of the guest's process, lengths
 * bytes, both multiples of the region's page size.
 *
 * Everything restarts on EINTR and goes on after partial progress.  What comes
 * back otherwise, always with the bytes that were done in *ret_done:
 *
 *   -EAGAIN   a REMOVE is pending: read messages, look at the state, try again
 *   -EEXIST   a page is there already (on hugetlb also: the pool is empty)
 *   -ENOENT   the range is not registered: unmapped, or unregistered
 *   -ESRCH    the guest's process is gone
 *   -ENOMEM   no memory for the page
 *   -EFAULT   the source could not be read (a bug: sources are resident)
 *
 * The kernel reports EAGAIN both as errno and as a negative count; callers see
 * one code.  Everything wakes whoever waits for a page that it installed.
 */
#ifndef LAMINA_PAGER_UFFD_H
#define LAMINA_PAGER_UFFD_H

#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/base/err.h"

struct uffd_range {
	uint64_t addr;
	uint64_t len;
};

/*
 * That `fd` is a userfaultfd whose API has been agreed on; makes it
 * non-blocking.  -EINVAL with a sentence.
 */
int uffd_check(int fd, struct err *err);

/*
 * Makes it non-blocking, if it is not: whoever has the same open file may take that away.
 * The kernel then says EPOLLERR in place of EPOLLIN.  -errno.
 */
int uffd_unblock(int fd);

/*
 * Reads up to `n` messages straight into `slots`, without waiting, whatever was made of
 * the file's flags (before Linux 6.10 somebody who takes O_NONBLOCK away at the wrong
 * moment makes it wait).  Returns how many, 0 when there are none, -errno (-EBADMSG for
 * what is no message; all slots are empty then).  A fork's new userfaultfd is closed at
 * once: children are not served, and a number of a descriptor means nothing to the next
 * worker.
 */
int uffd_read(int fd, struct uffd_msg *slots, unsigned n);

/* Installs `r.len` bytes from `src`. */
int uffd_copy(int fd, struct uffd_range r, const void *src, uint64_t *ret_done);
/* Installs zero pages; not for hugetlb. */
int uffd_zero(int fd, struct uffd_range r, uint64_t *ret_done);
/*
 * Touching these pages is SIGBUS from now on: BUS_MCEERR_AR, or BUS_ADRERR where
 * the kernel knows no memory failures.  -EINVAL before Linux 6.6.
 */
int uffd_poison(int fd, struct uffd_range r, uint64_t *ret_done);
/* Whoever waits in the range tries again.  -EINVAL: no process has such addresses. */
int uffd_wake(int fd, struct uffd_range r);
/* -ENOENT when nothing is mapped there; what is not registered is passed over. */
int uffd_unregister(int fd, struct uffd_range r);

/*
 * What is asked by UFFDIO_CONTINUE, whose refusals tell one memory from another.  Where it
 * is granted (shared memory whose page is there and not mapped) it maps the page, as the
 * guest's own access would.  `addr` is a multiple of 4096.
 */

/* Whether it is private anonymous memory of 4 KiB pages; only where uffd_page_size() is 4096. */
bool uffd_is_anonymous(int fd, uint64_t addr);
/* Of the memory that is registered there; 0: none is, or it cannot be known. */
uint64_t uffd_page_size(int fd, uint64_t addr);
/* Where it cannot be known, true. */
bool uffd_is_registered(int fd, uint64_t addr);

/* Whether the guest's process is gone.  `addr` is any page's; nothing is changed. */
bool uffd_gone(int fd, uint64_t addr);

#endif
