/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * livectl: live images without the programs: what another process does to them, and what one
 * does through the mount's directories.  Prints what it found or an errno's name and the sentence.
 *
 *	livectl create STORE NAME LAYER|- [IMAGE=BYTES...]
 *	livectl rm STORE NAME
 *	livectl info STORE NAME		"sealed 0 first 1", then "IMAGE size written punched" each
 *	livectl write STORE NAME IMAGE OFF BYTE		a page of it, synced
 *	livectl hold STORE NAME		opens it, prints "held", closes it after a line of input
 *	livectl commit STORE NAME UPTO		prints the layer's id
 *	livectl seal DIR		the ioctl; prints the sequence number
 *	livectl fold DIR
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "store/base/fmt.h"
#include "store/digest.h"
#include "store/live-commit.h"
#include "store/live.h"
#include "store/store.h"

static struct err err;

static void answer(int rc)
{
	if (rc < 0)
		printf("%s %s\n", strerrorname_np(-rc), err.text);
	else
		puts("ok");
}

static int create(struct store *store, const char *name, int n, char **arg)
{
	struct live_size sizes[IMAGES_MAX];
	struct digest from;
	bool empty = !strcmp(arg[0], "-");

	if (!empty && fmt_unhex(from.b, DIGEST_LEN, arg[0]) < 0)
		return -EINVAL;
	for (int i = 1; i < n; i++) {
		char *value = strchr(arg[i], '=');

		*value = '\0';
		sizes[i - 1] = (struct live_size){arg[i], strtoull(value + 1, NULL, 0)};
	}
	return live_create(store,
			 &(struct live_new){name, empty ? NULL : &from, sizes, (size_t)(n - 1)},
			 10000, &err);
}

static int info(struct store *store, const char *name)
{
	static struct live_info i;
	int rc = live_info(store, name, &i, &err);

	if (rc < 0)
		return rc;
	printf("sealed %" PRIu64 " first %" PRIu64 "\n", i.sealed, i.row.first);
	for (unsigned k = 0; k < i.nimages; k++)
		printf("%s %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", i.image[k].name, i.image[k].size,
		       i.image[k].written, i.image[k].punched);
	return 0;
}

static int write_page(struct store *store, const char *name, char **arg)
{
	static char page[PAGE_SIZE];
	struct live_image *image;
	struct live *live;
	int rc = live_open(store, name, &live, &err);

	if (rc < 0)
		return rc;
	memset(page, (int)strtoul(arg[2], NULL, 0), sizeof(page));
	image = live_find(live, arg[0]);
	rc = live_write(image, page, sizeof(page), strtoull(arg[1], NULL, 0), &err);
	if (rc == 0)
		rc = live_sync(image, &err);
	live_close(live);
	return rc;
}

static int hold(struct store *store, const char *name)
{
	struct live *live;
	char byte;
	int rc = live_open(store, name, &live, &err);

	if (rc < 0)
		return rc;
	puts("held");
	fflush(stdout);
	(void)!read(STDIN_FILENO, &byte, 1);
	live_close(live);
	return 0;
}

static int commit(struct store *store, const char *name, const char *upto)
{
	struct live_commit_opts opts = {.name = name, .upto = strtoull(upto, NULL, 0),
					.lock_wait_ms = 10000};
	static struct commit_result result;
	char id[DIGEST_HEX_LEN];
	int rc = live_commit(store, &opts, &result, NULL, &err);

	if (rc == 0)
		puts(fmt_hex(id, result.id.b, DIGEST_LEN));
	return rc;
}

static int on_store(int n, char **arg)
{
	struct store *store;
	int rc = store_open(arg[1], NULL, &store, &err);

	if (rc < 0)
		answer(rc);
	else if (!strcmp(arg[0], "create"))
		answer(create(store, arg[2], n - 3, arg + 3));
	else if (!strcmp(arg[0], "rm"))
		answer(live_remove(store, arg[2], 10000, &err));
	else if (!strcmp(arg[0], "write"))
		answer(write_page(store, arg[2], arg + 3));
	else if (!strcmp(arg[0], "hold"))
		answer(hold(store, arg[2]));
	else if (!strcmp(arg[0], "info"))
		rc = info(store, arg[2]);
	else if (!strcmp(arg[0], "commit"))
		rc = commit(store, arg[2], arg[3]);
	if (rc < 0)
		answer(rc);
	store_close(store);
	return 0;
}

static int on_directory(const char *what, const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;
	uint64_t seq = 0;

	if (fd < 0)
		return 2;
	rc = !strcmp(what, "seal") ? ioctl(fd, LIVE_IOC_SEAL, &seq) : ioctl(fd, LIVE_IOC_FOLD);
	if (rc < 0)
		puts(strerrorname_np(errno));
	else
		printf("%" PRIu64 "\n", seq);
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	if (digest_init() < 0)
		return 2;
	if (argc == 3)
		return on_directory(argv[1], argv[2]);
	if (argc >= 4)
		return on_store(argc - 1, argv + 1);
	fputs("livectl: wrong arguments, see its source\n", stderr);
	return 2;
}
