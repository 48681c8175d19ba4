/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/agent/collapse.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "src/agent/cgroup.h"
#include "src/agent/collapse-walk.h"
#include "store/base/clock.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25	/* of Linux 6.1, include/uapi/asm-generic/mman-common.h */
#endif

/* What is asked for: one of these, or nothing: all. */
struct wish {
	const json_t *self, *pids, *cgroup, *all;
};

static int check_pids(const json_t *pids, struct err *err)
{
	size_t n = json_array_size(pids);

	if (!json_is_array(pids))
		return err_set(err, -EINVAL, "'pids' is not an array");
	if (n > COLLAPSE_MAX_PIDS)
		return err_set(err, -EINVAL, "'pids' are more than %d", COLLAPSE_MAX_PIDS);
	for (size_t i = 0; i < n; i++) {
		const json_t *pid = json_array_get(pids, i);

		if (!json_is_integer(pid) || json_integer_value(pid) < 1 ||
		    json_integer_value(pid) > INT_MAX)
			return err_set(err, -EINVAL, "'pids' has what is no process id");
	}
	return 0;
}

static int check_true(const json_t *value, const char *name, struct err *err)
{
	return !value || json_is_true(value) ? 0 : err_set(err, -EINVAL, "'%s' is not true", name);
}

static int parse(const json_t *body, struct wish *ret, struct err *err)
{
	struct wish wish = {
		json_object_get(body, "self"),
		json_object_get(body, "pids"),
		json_object_get(body, "cgroup"),
		json_object_get(body, "all"),
	};
	int rc;

	if (!json_is_object(body))
		return err_set(err, -EINVAL, "the body is not an object");
	if (!!wish.self + !!wish.pids + !!wish.cgroup + !!wish.all > 1)
		return err_set(err, -EINVAL, "more than one of 'self', 'pids', 'cgroup', 'all'");
	if (wish.cgroup && !json_is_string(wish.cgroup))
		return err_set(err, -EINVAL, "'cgroup' is not a string");
	rc = check_true(wish.self, "self", err);
	if (rc == 0)
		rc = check_true(wish.all, "all", err);
	if (rc == 0 && wish.pids)
		rc = check_pids(wish.pids, err);
	if (rc == 0)
		*ret = wish;
	return rc;
}

static int walk_pids(struct collapse_walk *walk, const json_t *pids)
{
	int rc = 0;

	for (size_t i = 0; i < json_array_size(pids) && rc == 0; i++)
		rc = collapse_walk_pid(walk, (pid_t)json_integer_value(json_array_get(pids, i)));
	return rc;
}

static int walk_cgroup(struct collapse_walk *walk, const char *name, struct err *err)
{
	int fd = cgroup_open(name, err), rc;

	if (fd < 0)
		return fd;
	rc = collapse_walk_cgroup(walk, fd);
	(void)close(fd);
	return rc;
}

static int do_walk(struct collapse_walk *walk, const struct wish *wish, struct err *err)
{
	int rc;

	if (wish->cgroup)
		rc = walk_cgroup(walk, json_string_value(wish->cgroup), err);
	else if (wish->pids)
		rc = walk_pids(walk, wish->pids);
	else if (wish->self)
		rc = collapse_walk_pid(walk, getpid());
	else
		rc = collapse_walk_all(walk);
	if (rc == -ECANCELED)
		return err_set(err, rc, "collapse was cancelled when it had made %llu huge pages",
			       (unsigned long long)walk->collapsed);
	return rc;
}

static json_t *to_json(const struct collapse_walk *walk, uint64_t elapsed_us)
{
	uint64_t chunks = walk->collapsed + walk->already_huge + walk->skipped;

	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:f}", "regions", (json_int_t)walk->regions,
			 "chunks", (json_int_t)chunks, "collapsed", (json_int_t)walk->collapsed,
			 "already_huge", (json_int_t)walk->already_huge, "skipped",
			 (json_int_t)walk->skipped, "elapsed_ms", (double)elapsed_us / 1000);
}

int collapse_run(const json_t *body, const atomic_bool *cancelled, json_t **ret, struct err *err)
{
	uint64_t began = clock_us();
	struct collapse_walk *walk;
	struct wish wish = {0};
	json_t *answer;
	int rc = parse(body, &wish, err);

	if (rc < 0)
		return rc;
	walk = calloc(1, sizeof(*walk));
	if (!walk)
		return err_set(err, -ENOMEM, "no memory to walk with");
	walk->cancelled = cancelled;
	rc = do_walk(walk, &wish, err);
	if (rc == 0) {
		answer = to_json(walk, clock_us() - began);
		if (answer)
			*ret = answer;
		else
			rc = err_set(err, -ENOMEM, "no memory for the answer");
	}
	free(walk);
	return rc;
}

bool collapse_possible(void)
{
	/* Of nothing: only the advice itself is looked at. */
	return madvise(NULL, 0, MADV_COLLAPSE) == 0;
}
