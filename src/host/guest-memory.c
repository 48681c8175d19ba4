/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/host/guest-memory.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "src/host/guest.h"
#include "store/base/fmt.h"
#include "store/base/proc.h"

#define UUID_LEN 16
#define UUID_HEX_LEN (2 * UUID_LEN + 1)

int guest_memory_process(pid_t pid, struct guest_memory *ret)
{
	uint64_t start;
	struct stat st;
	int rc = pid > 0 ? proc_start(pid, &start) : -ESRCH;

	if (rc == 0 && stat("/proc/self/ns/pid", &st) < 0)
		rc = -errno;
	if (rc < 0)
		return rc;
	ret->pid = pid;
	ret->start = start;
	ret->space = st.st_ino;
	return 0;
}

bool guest_memory_same_process(const struct guest_memory *a, const struct guest_memory *b)
{
	return a->pid == b->pid && a->start == b->start && a->space == b->space;
}

json_t *guest_memory_json(const struct guest_memory *memory)
{
	const struct live_mark *m = &memory->mark;
	char store[UUID_HEX_LEN], layer[DIGEST_HEX_LEN];

	(void)fmt_hex(store, m->store, UUID_LEN);
	(void)fmt_hex(layer, memory->layer.b, DIGEST_LEN);
	return json_pack("{s:I, s:I, s:I, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:o}",
			 "pid", (json_int_t)memory->pid, "pid_start", (json_int_t)memory->start,
			 "pid_namespace", (json_int_t)memory->space,
			 "store", store, "live", m->name, "created", (json_int_t)m->created,
			 "inode", (json_int_t)m->inode, "born", (json_int_t)m->born,
			 "delta", (json_int_t)m->delta, "written", (json_int_t)m->written,
			 "layer", memory->has_layer ? json_string(layer) : json_null());
}

static int take_number(const json_t *from, const char *key, int64_t *ret)
{
	const json_t *value = json_object_get(from, key);

	*ret = json_integer_value(value);
	return json_is_integer(value) ? 0 : -EBADMSG;
}

static int take_numbers(const json_t *from, struct guest_memory *ret)
{
	int64_t pid, start, space, inode, delta;
	int rc = take_number(from, "pid", &pid);

	rc |= take_number(from, "pid_start", &start);
	rc |= take_number(from, "pid_namespace", &space);
	rc |= take_number(from, "created", &ret->mark.created);
	rc |= take_number(from, "inode", &inode);
	rc |= take_number(from, "born", &ret->mark.born);
	rc |= take_number(from, "delta", &delta);
	rc |= take_number(from, "written", &ret->mark.written);
	if (rc < 0 || pid <= 0 || pid > INT32_MAX)
		return -EBADMSG;
	ret->pid = (pid_t)pid;
	ret->start = (uint64_t)start;
	ret->space = (uint64_t)space;
	ret->mark.inode = (uint64_t)inode;
	ret->mark.delta = (uint64_t)delta;
	return 0;
}

static int take_texts(const json_t *from, struct guest_memory *ret)
{
	const char *store = guest_text(from, "store"), *live = guest_text(from, "live");
	const char *layer = guest_text(from, "layer");

	if (!store || fmt_unhex(ret->mark.store, UUID_LEN, store) < 0 || !live ||
	    strlen(live) > TAG_NAME_MAX)
		return -EBADMSG;
	strcpy(ret->mark.name, live);
	ret->has_layer = layer != NULL;
	return layer && fmt_unhex(ret->layer.b, DIGEST_LEN, layer) < 0 ? -EBADMSG : 0;
}

int guest_memory_get(const json_t *record, struct guest_memory *ret)
{
	const json_t *from = json_object_get(record, "memory");
	struct guest_memory memory = {.pid = 0};
	int rc;

	if (!from || json_is_null(from))
		return -ENOENT;
	rc = take_numbers(from, &memory);
	if (rc == 0)
		rc = take_texts(from, &memory);
	if (rc == 0)
		*ret = memory;
	return rc;
}

int guest_memory_put(const char *rundir, const char *name, const struct guest_memory *memory,
		     struct err *err)
{
	json_t *value = memory ? guest_memory_json(memory) : json_null();
	json_t *change = value ? json_pack("{s:o}", "memory", value) : NULL;
	int rc = change ? guest_write(rundir, name, change, GUEST_UPDATE, err)
			: err_set(err, -ENOMEM, "out of memory");

	json_decref(change);
	return rc;
}

struct process {
	const char *rundir;
	const struct guest_memory *memory;	/* or NULL */
	struct err *err;
};

static bool may_be(const struct guest_memory *a, const struct guest_memory *b)
{
	return !b || guest_memory_same_process(a, b) ||
	       (a->space != b->space && a->start == b->start);
}

/* One that says something else than it may is withdrawn, too. */
static int withdraw_one(void *ctx, const struct guest_seen *seen)
{
	const struct process *of = ctx;
	struct guest_memory memory;
	int rc = seen->record ? guest_memory_get(seen->record, &memory) : -ENOENT;

	if (rc == -ENOENT || (rc == 0 && !may_be(&memory, of->memory)))
		return 0;
	rc = guest_memory_put(of->rundir, seen->name, NULL, of->err);
	return rc == -ENOENT ? 0 : rc;
}

int guest_memory_withdraw(const char *rundir, const struct guest_memory *of, struct err *err)
{
	struct process process = {rundir, of, err};

	return guest_each(rundir, withdraw_one, &process, err);
}
