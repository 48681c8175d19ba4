/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sweep: fails the n-th call of a kind within an operation, for every n.  It must
 * say so in a sentence or get over it; the store is then as after any crash.
 */
#ifndef LAMINA_TESTS_SWEEP_SWEEP_H
#define LAMINA_TESTS_SWEEP_SWEEP_H

#include "tests/fault.h"
#include "tests/ops.h"

#define SWEEP_CALLS_MAX 100000

struct sweep_fault {
	const char *name;
	enum fault_kind kind;
	int error;
	bool from;		/* this call and all that follow */
	bool many;		/* so many calls that only some are tried */
};

static const struct sweep_fault sweep_faults[] = {
	{"malloc", FAULT_MALLOC, ENOMEM, false, true},
	{"pread", FAULT_PREAD, EIO, false, true},
	{"open", FAULT_OPEN, EMFILE, false, false},
	{"pwrite", FAULT_PWRITE, EIO, false, false},
	{"pwrite on a full disk", FAULT_PWRITE, ENOSPC, true, false},
	{"fsync", FAULT_FSYNC, EIO, false, false},
	{"ftruncate", FAULT_FTRUNCATE, EIO, false, false},
	{"rename", FAULT_RENAME, EIO, false, false},
	{"unlink", FAULT_UNLINK, EIO, false, false},
	{"the index's pwrite", FAULT_LIB_PWRITE, EIO, false, false},
	{"the index's pwrite on a full disk", FAULT_LIB_PWRITE, ENOSPC, true, false},
	{"the index's fsync", FAULT_LIB_FSYNC, EIO, false, false},
};
#define SWEEP_FAULTS (sizeof(sweep_faults) / sizeof(sweep_faults[0]))

struct sweep_count {
	unsigned long tried;
	unsigned long failed;
	const char *wrong;
};

/* 1: the fault struck, 0: there are not as many calls. */
TAP_FN int sweep_one(struct ops *o, const struct op *op, const struct sweep_fault *f,
		     unsigned long n, struct sweep_count *c)
{
	struct err err = {{0}};
	bool struck;
	int rc;

	ops_fresh(o);
	if (f->from)
		fault_arm_from(f->kind, n, f->error);
	else
		fault_arm(f->kind, n, f->error);
	rc = op->run(o, &err);
	struck = fault_struck();
	fault_disarm();
	if (!struck)
		return 0;
	c->tried++;
	c->failed += rc < 0;
	if (rc < 0 && !err.text[0])
		c->wrong = "it failed without a sentence";
	if (rc < 0 && op->run == ops_recover && access(o->run.path, F_OK) == 0)
		series_must(ops_recover(o, &err), &err, "recover");
	if (!c->wrong)
		c->wrong = ops_check(o, op);
	return 1;
}

TAP_FN void sweep_fault(struct ops *o, const struct op *op, const struct sweep_fault *f)
{
	unsigned long n = 1, step = ops_step();
	struct sweep_count c = {0};

	while (n < SWEEP_CALLS_MAX && !c.wrong && sweep_one(o, op, f, n, &c))
		n += step + (f->many ? n / 6 : 0);
	ok(!c.wrong, "%s: %s failed at %lu places, %lu times it was told", op->name, f->name,
	   c.tried, c.failed);
	if (c.wrong)
		tap_diag("at call %lu: %s", n, c.wrong);
}

TAP_FN void sweep_everything(struct ops *o, const struct op *op)
{
	for (size_t i = 0; i < SWEEP_FAULTS; i++)
		sweep_fault(o, op, &sweep_faults[i]);
}

#endif
