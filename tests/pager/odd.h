/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * odd: what a hypervisor does to its userfaultfd that it should not.
 *
 *	odd block		takes O_NONBLOCK from it
 *	odd register		registers a page that no region shows, and touches it
 *	odd protect OFF		write-protects a page that is there, and writes to it
 *	odd minor OFF		registers a memfd's page for minor faults, and touches it
 *	odd fork		this process ends, its child goes on
 *
 * What is touched here is touched by a thread that nobody waits for.  The three print the
 * address.
 */
#ifndef LAMINA_TESTS_PAGER_ODD_H
#define LAMINA_TESTS_PAGER_ODD_H

#include "tests/pager/mem.h"
#include "tests/pager/script.h"

void odd_command(struct mem *mem, int uffd, struct words *w);

#endif
