/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * There are two sums, and `current` says which one counts.  The other is made from
 * it and then becomes the current one, in a single store: a worker that is
 * killed meanwhile has added a session wholly or not at all.  Which session was the last
 * is part of the sum, so that the next worker knows whether one that the keeper has
 * still was added.
 */
#include "src/pager/tally.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/pager/version.h"

#define LAYOUT 1
#define VERSION_MAX 36

#define DRAINING 1
#define EXITING 2

static const char magic[8] = {'l', 'a', 'm', 'i', 'n', 'a', 'P', 'T'};

struct sum {
	uint32_t last;			/* the session that was added last; 0: none */
	struct metrics past;
};

struct head {
	char magic[8];
	uint32_t layout;
	uint32_t size;			/* sizeof(struct head) */
	_Atomic uint32_t draining;	/* DRAINING and EXITING */
	_Atomic uint32_t given;		/* the greatest number */
	_Atomic uint32_t current;
	char version[VERSION_MAX];	/* whose draining it is */
	struct sum sum[2];
};

struct tally {
	int fd;
	struct head *head;
};

/* Takes `fd`, if it succeeds. */
static int map(int fd, struct tally **ret, struct err *err)
{
	struct tally *t = calloc(1, sizeof(*t));
	int rc;

	if (!t)
		return err_set(err, -ENOMEM, "no memory for the pager's tally");
	t->head = mmap(NULL, sizeof(*t->head), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (t->head == MAP_FAILED) {
		rc = -errno;
		free(t);
		return err_sys(err, rc, "cannot map the pager's tally");
	}
	t->fd = fd;
	*ret = t;
	return 0;
}

static int make_file(struct err *err)
{
	int fd = memfd_create("lamina-tally", MFD_CLOEXEC | MFD_ALLOW_SEALING), rc;

	if (fd < 0)
		return err_sys(err, -errno, "cannot make the pager's tally");
	if (ftruncate(fd, sizeof(struct head)) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0)
		return fd;
	rc = err_sys(err, -errno, "cannot make the pager's tally");
	close(fd);
	return rc;
}

static void name_version(struct head *head)
{
	(void)snprintf(head->version, sizeof(head->version), "%s", VERSION_TEXT);
}

int tally_new(struct tally **ret, struct err *err)
{
	int fd = make_file(err), rc;

	if (fd < 0)
		return fd;
	rc = map(fd, ret, err);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	(*ret)->head->layout = LAYOUT;
	(*ret)->head->size = sizeof(struct head);
	name_version((*ret)->head);
	memcpy((*ret)->head->magic, magic, sizeof(magic));
	return 0;
}

static int check(const struct head *head, struct err *err)
{
	if (memcmp(head->magic, magic, sizeof(magic)) != 0)
		return err_set(err, -EMEDIUMTYPE, "this is no pager's tally");
	if (head->layout != LAYOUT || head->size != sizeof(*head))
		return err_set(err, -EPROTONOSUPPORT,
			       "the pager's tally has layout %" PRIu32 " and %" PRIu32
			       " bytes, this program knows %d with %zu",
			       head->layout, head->size, LAYOUT, sizeof(*head));
	if (head->current > 1)
		return err_set(err, -EBADMSG, "the pager's tally has no sum %" PRIu32,
			       head->current);
	return 0;
}

int tally_adopt(int fd, struct tally **ret, struct err *err)
{
	struct tally *t;
	struct stat st;
	int rc;

	if (fstat(fd, &st) < 0)
		return err_sys(err, -errno, "cannot look at the pager's tally");
	if (st.st_size < (off_t)sizeof(struct head))
		return err_set(err, -EMEDIUMTYPE, "this is no pager's tally");
	rc = map(fd, &t, err);
	if (rc < 0)
		return rc;
	rc = check(t->head, err);
	if (rc < 0) {
		t->fd = -1;
		tally_close(t);
		return rc;
	}
	if (strncmp(t->head->version, VERSION_TEXT, VERSION_MAX - 1) != 0) {
		atomic_store(&t->head->draining, 0);
		name_version(t->head);
	}
	*ret = t;
	return 0;
}

void tally_close(struct tally *t)
{
	if (!t)
		return;
	(void)munmap(t->head, sizeof(*t->head));
	if (t->fd >= 0)
		close(t->fd);
	free(t);
}

int tally_fd(const struct tally *t)
{
	return t->fd;
}

void tally_drain(struct tally *t, bool exit)
{
	atomic_fetch_or(&t->head->draining, DRAINING | (exit ? EXITING : 0));
}

bool tally_draining(const struct tally *t)
{
	return atomic_load(&t->head->draining) & DRAINING;
}

bool tally_exiting(const struct tally *t)
{
	return atomic_load(&t->head->draining) & EXITING;
}

uint32_t tally_number(struct tally *t)
{
	return atomic_fetch_add(&t->head->given, 1) + 1;
}

void tally_number_seen(struct tally *t, uint32_t number)
{
	if (number > atomic_load(&t->head->given))
		atomic_store(&t->head->given, number);
}

static const struct sum *current(const struct tally *t)
{
	return &t->head->sum[atomic_load(&t->head->current)];
}

void tally_add(struct tally *t, uint32_t number, const struct state_head *head)
{
	uint32_t other = !atomic_load(&t->head->current);
	struct sum *sum = &t->head->sum[other];

	memcpy((void *)sum, current(t), sizeof(*sum));
	metrics_add_past(&sum->past, head);
	sum->last = number;
	atomic_store(&t->head->current, other);
}

bool tally_is_last(const struct tally *t, uint32_t number)
{
	return current(t)->last == number;
}

const struct metrics *tally_past(const struct tally *t)
{
	return &current(t)->past;
}
