/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lamina.conf: whatever its bytes are, it is read or refused with a sentence. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "store/base/conf.h"
#include "store/base/io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void use(const char *path)
{
	static const char *const known[] = {"store.path", "guest.*", NULL};
	struct err err = {""};
	struct conf *conf = NULL;
	int rc = conf_load(path, &conf, &err);

	if (rc == 0) {
		(void)conf_get(conf, "store", "path");
		rc = conf_check(conf, known, &err);
	}
	if (rc < 0 && !*err.text)
		abort();
	conf_free(conf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	int fd = memfd_create("conf", MFD_CLOEXEC);
	char path[64];

	if (fd < 0 || io_write_all(fd, data, len) < 0)
		abort();
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	use(path);
	close(fd);
	return 0;
}
