/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The n-th call of every kind fails while a child is committed, for every n
 * until the commit no longer meets it.  Each time the commit must say why, the
 * store must be as it was and whole, and a second try must work.
 */
#include "store/commit.h"
#include "store/verify.h"
#include "tests/fault.h"
#include "tests/series.h"

#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

static const struct {
	enum fault_kind kind;
	int error;
	const char *what;
	bool new_pack;		/* the commit begins one */
} kinds[] = {
	{FAULT_PREAD, EIO, "a read fails", false},
	{FAULT_PREAD, FAULT_SHORT, "a read is short", false},
	{FAULT_PREAD, EINTR, "a read is interrupted", false},
	{FAULT_PWRITE, ENOSPC, "the disk is full", false},
	{FAULT_PWRITE, ENOSPC, "the disk is full for a new pack", true},
	{FAULT_PWRITE, EIO, "a write fails", false},
	{FAULT_PWRITE, FAULT_SHORT, "a write is short", false},
	{FAULT_FSYNC, EIO, "a sync fails", false},
	{FAULT_FSYNC, EIO, "a sync of a new pack fails", true},
	{FAULT_FTRUNCATE, EIO, "a cut fails", false},
	{FAULT_OPEN, EMFILE, "there are no descriptors", false},
	{FAULT_OPEN, EMFILE, "there are no descriptors for a new pack", true},
	{FAULT_LIB_PWRITE, ENOSPC, "the index's disk is full", false},
	{FAULT_LIB_FSYNC, EIO, "a sync of the index fails", false},
	{FAULT_LIB_FTRUNCATE, EIO, "a cut of the index fails", false},
	{FAULT_MALLOC, ENOMEM, "there is no memory", false},
	{FAULT_MALLOC, ENOMEM, "there is no memory for a new pack", true},
};

static struct series base, s;
static struct series_layer child;
static struct err err;

static void run(const char *const argv[])
{
	pid_t pid;
	int status;

	if (posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)argv, environ) != 0 ||
	    waitpid(pid, &status, 0) != pid || status != 0)
		bail("'%s' failed", argv[0]);
}

static int commit_child(void)
{
	struct commit_image images[2] = {
		{.name = "memfile", .path = s.input[0]}, {.name = "rootfs", .path = s.input[1]},
	};
	struct commit_opts opts = {
		.images = images, .nimages = 2, .parent = &s.layer[1].id, .tag = "tag",
		.threads = 1, .lock_wait_ms = 10000,
	};
	struct commit_result result;
	int rc = commit_run(s.store, &opts, &result, &err);

	if (rc == 0)
		child.id = result.id;
	return rc;
}

/* A store with a parent and a tag on it, that is copied for each try. */
static void make_base(void)
{
	series_init(&base, "base", 7);
	series_commit(&base, SIZE_MAX, 60, "tag");
	series_new_pack(&base);
	series_commit(&base, 0, 10, "tag");
	store_close(base.store);
	base.store = NULL;
	child = base.layer[1];
	series_change(&base, &child, 10);
	for (unsigned i = 0; i < 100; i++)
		child.mem[200 + i] = 100000 + i;
}

/* Nobody appends to a pack that is sealed. */
static void seal_pack(void)
{
	struct index_pack row;

	series_must(index_begin(s.store->index, &err), &err, "index_begin");
	series_must(index_pack_last(s.store->index, &row, &err), &err, "index_pack_last");
	row.sealed = true;
	series_must(index_pack_put(s.store->index, &row, &err), &err, "index_pack_put");
	series_must(index_commit(s.store->index, &err), &err, "index_commit");
}

static void copy_base(bool sealed)
{
	const char *rm[] = {"rm", "-rf", s.path, NULL};
	const char *cp[] = {"cp", "-a", base.path, s.path, NULL};

	s = base;
	series_names(&s, "copy");
	run(rm);
	run(cp);
	series_open(&s);
	if (sealed)
		seal_pack();
	series_write(s.input[0], child.mem, SERIES_PAGES);
	series_write(s.input[1], child.disk, SERIES_DISK_PAGES);
}

/* The tag is where it was, or, if the child is there, on it. */
static bool tag_is_right(bool there)
{
	struct digest got;

	if (decide_tag_find(s.store, "tag", &got, &err) < 0)
		return false;
	return digest_equal(&got, there ? &child.id : &base.layer[1].id);
}

/* A failed commit of the index may be one after all; then all of it. */
static bool child_is_there(void)
{
	struct layer *layer;

	if (layer_peek(s.store, &child.id, &layer, &err) < 0)
		return false;
	layer_unref(layer);
	s.layer[s.n++] = child;
	return true;
}

static const char *check_store(void)
{
	struct verify_opts opts = {.deep = true};
	struct verify_result result;
	const char *why;
	bool there = child_is_there();

	why = series_check(&s);
	if (why)
		return why;
	if (!tag_is_right(there))
		return "the tag is not where it should be";
	if (verify_run(s.store, &opts, &result, &err) < 0)
		return err.text;
	return result.faults ? "verify finds faults" : NULL;
}

/* NULL, or what is wrong after a commit that failed with `rc`. */
static const char *check_after(int rc)
{
	const char *why = rc < 0 && !*err.text ? "there is no sentence" : NULL;

	series_reopen(&s);
	if (!why)
		why = check_store();
	if (why || rc == 0)
		return why;
	if (commit_child() < 0)
		return err.text;
	if (s.n == base.n)
		s.layer[s.n++] = child;
	series_reopen(&s);
	return check_store();
}

/* Whether the n-th call was met at all. */
static bool try(size_t k, unsigned long n, bool *ret_bad)
{
	const char *why;
	bool struck;
	int rc;

	copy_base(kinds[k].new_pack);
	memset(&err, 0, sizeof(err));
	fault_arm(kinds[k].kind, n, kinds[k].error);
	rc = commit_child();
	struck = fault_struck();
	fault_disarm();
	if (rc < 0 && getenv("VERBOSE"))
		tap_diag("%s, call %lu: %s", kinds[k].what, n, err.text);
	why = !struck && rc < 0 ? "it failed without a fault" : check_after(rc);
	if (why)
		tap_diag("%s, call %lu: %s", kinds[k].what, n, why);
	*ret_bad = why != NULL;
	store_close(s.store);
	return struck;
}

/* Where there are many, the later ones are thinned out unless FULL is set. */
static unsigned long after(unsigned long n)
{
	return getenv("FULL") || n < 20 ? n + 1 : n + n / 6;
}

static void sweep(size_t k)
{
	unsigned long n = 1, tries = 0;
	bool bad = false, struck = true;

	for (; struck && !bad; n = after(n), tries++)
		struck = try(k, n, &bad);
	ok(!bad, "%s: %lu places", kinds[k].what, tries - 1);
}

int main(void)
{
	make_base();
	/* The child's name, from a commit that nothing hurts. */
	copy_base(false);
	series_must(commit_child(), &err, "commit");
	store_close(s.store);
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
		sweep(k);
	return tap_done();
}
