/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * power: a file whose power is cut.  The calls of the program that change a file are wrapped
 * (POWER_LINK in Makefile.inc); of each block it is kept what it was at the last sync and after
 * every call since.  A cut leaves any of these, each block for itself, and nothing where
 * there was a hole; likewise the file's length.
 *
 * One file, one thread.
 */
#ifndef LAMINA_TESTS_MODEL_POWER_H
#define LAMINA_TESTS_MODEL_POWER_H

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "store/delta.h"
#include "tests/tap.h"

#define POWER_BLOCK 4096u
#define POWER_LOW 16u		/* blocks of header and bits */
#define POWER_BLOCKS (POWER_LOW + 4096u)

struct power_block {
	uint8_t **was;		/* NULL: a hole; [0] is what is on disk */
	unsigned n;
};

static struct power_block power_blocks[POWER_BLOCKS];
static uint64_t power_lengths[64];
static unsigned power_nlengths;
static bool power_on;
static unsigned long power_cut_in;	/* calls until it is cut; 0: not */
static unsigned long power_kill_in;	/* calls until none has an effect any more */
static bool power_was_cut, power_was_killed;
static uint64_t power_seed = 1;
static const char *power_cut_path;
static void (*power_in_sync)(void);	/* called before a sync and after it */

TAP_FN uint64_t power_random(uint64_t below)
{
	power_seed ^= power_seed << 13;
	power_seed ^= power_seed >> 7;
	power_seed ^= power_seed << 17;
	return power_seed % below;
}

TAP_FN struct power_block *power_block_at(uint64_t off)
{
	uint64_t no = off / POWER_BLOCK, data = DELTA_DATA / POWER_BLOCK;

	if (no >= data)
		no = no - data + POWER_LOW;
	else if (no >= POWER_LOW)
		bail("a write at byte %llu", (unsigned long long)off);
	if (no >= POWER_BLOCKS)
		bail("a write at byte %llu", (unsigned long long)off);
	return &power_blocks[no];
}

TAP_FN uint64_t power_off_of(unsigned i)
{
	return i < POWER_LOW ? i * (uint64_t)POWER_BLOCK :
	       DELTA_DATA + (i - POWER_LOW) * (uint64_t)POWER_BLOCK;
}

TAP_FN void power_push(struct power_block *b, uint8_t *bytes)
{
	b->was = realloc(b->was, (b->n + 1) * sizeof(b->was[0]));
	b->was[b->n++] = bytes;
}

TAP_FN void power_forget(struct power_block *b, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		free(b->was[i]);
	b->n -= n;
	if (b->n)
		memmove(b->was, b->was + n, b->n * sizeof(b->was[0]));
}

/* Everything is on disk. */
TAP_FN void power_synced(void)
{
	for (unsigned i = 0; i < POWER_BLOCKS; i++)
		if (power_blocks[i].n > 1)
			power_forget(&power_blocks[i], power_blocks[i].n - 1);
	power_lengths[0] = power_lengths[power_nlengths - 1];
	power_nlengths = 1;
}

TAP_FN void power_length(uint64_t length)
{
	if (power_nlengths == 64)
		bail("too many lengths");
	power_lengths[power_nlengths++] = length;
}

/* The file as it is now, all on disk. */
TAP_FN void power_begin(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		bail("power_begin");
	for (unsigned i = 0; i < POWER_BLOCKS; i++) {
		off_t off = (off_t)power_off_of(i);
		uint8_t *bytes = NULL;

		power_forget(&power_blocks[i], power_blocks[i].n);
		if (off < st.st_size && lseek(fd, off, SEEK_DATA) == off) {
			bytes = calloc(1, POWER_BLOCK);
			if (pread(fd, bytes, POWER_BLOCK, off) < 0)
				bail("pread");
		}
		power_push(&power_blocks[i], bytes);
	}
	close(fd);
	power_nlengths = 0;
	power_length((uint64_t)st.st_size);
	power_on = true;
	power_cut_in = power_kill_in = 0;
	power_was_cut = power_was_killed = false;
}

TAP_FN void power_end(void)
{
	power_on = false;
	for (unsigned i = 0; i < POWER_BLOCKS; i++) {
		power_forget(&power_blocks[i], power_blocks[i].n);
		free(power_blocks[i].was);
		power_blocks[i].was = NULL;
	}
}

/* What is left after a cut at this moment is put beside the file. */
TAP_FN void power_cut(void)
{
	uint64_t length = power_lengths[power_random(power_nlengths)];
	unsigned late = (unsigned)power_random(4);	/* of 4: how often the newest is left */
	int fd;

	/* File systems write out what is renamed over or cut to nothing. */
	(void)unlink(power_cut_path);
	fd = open(power_cut_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || syscall(SYS_ftruncate, fd, length) < 0)
		bail("power_cut");
	for (unsigned i = 0; i < POWER_BLOCKS; i++) {
		struct power_block *b = &power_blocks[i];
		unsigned which = power_random(4) < late ? b->n - 1 : (unsigned)power_random(b->n);
		uint64_t off = power_off_of(i);

		if (b->was[which] && off < length &&
		    syscall(SYS_pwrite64, fd, b->was[which], POWER_BLOCK, off) != POWER_BLOCK)
			bail("power_cut: %s", strerror(errno));
	}
	close(fd);
	power_was_cut = true;
}

/* Before each call: whether it has an effect. */
TAP_FN bool power_goes_on(void)
{
	if (!power_on)
		return true;
	if (power_cut_in && --power_cut_in == 0)
		power_cut();
	if (power_kill_in && --power_kill_in == 0)
		power_was_killed = true;
	if (power_was_killed)
		errno = EIO;
	return !power_was_killed;
}

TAP_FN void power_write(const uint8_t *bytes, size_t len, uint64_t off)
{
	for (size_t i = 0, n; i < len; i += n) {
		struct power_block *b = power_block_at(off + i);
		uint8_t *now = calloc(1, POWER_BLOCK);
		size_t at = (off + i) % POWER_BLOCK;

		n = POWER_BLOCK - at < len - i ? POWER_BLOCK - at : len - i;
		if (b->was[b->n - 1])
			memcpy(now, b->was[b->n - 1], POWER_BLOCK);
		memcpy(now + at, bytes + i, n);
		power_push(b, now);
	}
}

ssize_t __wrap_pwrite64(int fd, const void *buf, size_t len, off_t off);
int __wrap_fallocate64(int fd, int mode, off_t off, off_t len);
int __wrap_ftruncate64(int fd, off_t len);
int __wrap_fdatasync(int fd);
int __wrap_fsync(int fd);

ssize_t __wrap_pwrite64(int fd, const void *buf, size_t len, off_t off)
{
	if (!power_goes_on())
		return -1;
	if (power_on)
		power_write(buf, len, (uint64_t)off);
	return syscall(SYS_pwrite64, fd, buf, len, off);
}

int __wrap_fallocate64(int fd, int mode, off_t off, off_t len)
{
	if (!power_goes_on())
		return -1;
	if (power_on && mode & FALLOC_FL_PUNCH_HOLE)
		for (off_t at = off; at < off + len; at += POWER_BLOCK)
			power_push(power_block_at((uint64_t)at), NULL);
	return (int)syscall(SYS_fallocate, fd, mode, off, len);
}

int __wrap_ftruncate64(int fd, off_t len)
{
	if (!power_goes_on())
		return -1;
	if (power_on)
		power_length((uint64_t)len);
	return (int)syscall(SYS_ftruncate, fd, len);
}

/* No disk is waited for. */
int __wrap_fdatasync(int fd)
{
	(void)fd;
	if (power_in_sync)
		power_in_sync();
	if (!power_goes_on())
		return -1;
	if (power_on)
		power_synced();
	if (power_in_sync)
		power_in_sync();
	return 0;
}

int __wrap_fsync(int fd)
{
	return __wrap_fdatasync(fd);
}

#endif
