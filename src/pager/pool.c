/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/pool.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define POOL "/sys/kernel/mm/hugepages/hugepages-2048kB/"

static uint64_t number_in(const char *path)
{
	char text[32] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	(void)close(fd);
	return strtoull(text, NULL, 10);
}

uint64_t pool_free(void)
{
	uint64_t all = number_in(POOL "free_hugepages");
	uint64_t reserved = number_in(POOL "resv_hugepages");

	return all > reserved ? all - reserved : 0;
}
