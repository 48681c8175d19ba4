/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A kill at any moment leaves records that say nothing of the process (the next snapshot is a
 * full one), or what is so.
 */
#include "src/cli/pause-memory.h"

#include <fcntl.h>
#include <unistd.h>

#include "src/cli/cli.h"
#include "src/cli/guest-args.h"
#include "src/host/errand.h"
#include "src/host/guest.h"
#include "store/base/io.h"

#define MEMFILE "memfile"
#define SYNC_MS 5000		/* without a sign of life */

/* ---- before ---- */

static int compare(struct pause_memory *m, struct err *why)
{
	const struct guest_memory *b = &m->before;

	if (!guest_memory_same_process(b, &m->now))
		return err_set(why, 0, "the hypervisor is process %d, and it was another one, %d, "
			       "that was resumed or paused last", (int)m->now.pid, (int)b->pid);
	return live_mark_holds(m->cli->store, m->live, MEMFILE, &b->mark,
			       b->has_layer ? &b->layer : NULL, why);
}

/* The record is read anew: nobody else changes it now that the process is held. */
static int look_into(struct pause_memory *m, const char *rundir, struct err *why)
{
	json_t *record = NULL;
	int rc = m->kept ? guest_load(rundir, m->name, &record, why) : 0;

	if (rc < 0)
		return rc;
	rc = record ? guest_memory_get(record, &m->before) : -ENOENT;
	json_decref(record);
	if (rc == 0)
		rc = compare(m, why);
	else if (m->kept)
		rc = err_set(why, 0, "it is not known what the memfile held when the hypervisor "
			     "began to track dirty pages: lamina did not resume this guest, or "
			     "with another memory file than its layer's, or its last pause was "
			     "not finished");
	else
		rc = err_set(why, 0, "the guest has no record, which would say what the memfile "
			     "held when the hypervisor began to track dirty pages");
	return rc < 0 ? 0 : rc;
}

/* Which process it is is not: any that is known may be it. */
static int unseen(const char *rundir, struct err *why)
{
	int rc = guest_memory_withdraw(rundir, NULL, why);

	return rc < 0 ? rc : err_set(why, 0, "it cannot be seen which process the hypervisor is");
}

int pause_memory_look(struct pause_memory *m, pid_t pid, struct err *why)
{
	const char *rundir;
	int rc = guest_args_rundir(m->cli, &rundir);

	if (rc < 0) {
		*why = m->cli->err;
		return rc;
	}
	if (guest_memory_process(pid, &m->now) < 0)
		return unseen(rundir, why);
	rc = guest_hold_process(rundir, pid, "lamina pause", &m->held, why);
	if (rc < 0)
		return rc;
	rc = look_into(m, rundir, why);
	if (rc < 0)
		return rc;
	m->based = rc > 0;
	rc = guest_memory_withdraw(rundir, &m->now, why);
	return rc < 0 ? rc : m->based;
}

/* ---- afterwards ---- */

static void put(struct pause_memory *m, const struct guest_memory *what)
{
	const char *rundir;
	struct err err = {""};
	int rc = guest_args_rundir(m->cli, &rundir);

	if (rc == 0)
		rc = guest_memory_put(rundir, m->name, what, &err);
	if (rc < 0)
		cli_note(m->cli, "the next snapshot is a full one: %s", err.text);
}

void pause_memory_seal(struct pause_memory *m)
{
	if (!m->kept || !guest_is_held(&m->held))
		return;
	m->sealed = live_mark_take(m->cli->store, m->live, MEMFILE, &m->now.mark, NULL) == 0;
}

void pause_memory_keep(struct pause_memory *m, const struct digest *layer)
{
	if (!m->sealed)
		return;
	if (layer) {
		m->now.has_layer = true;
		m->now.layer = *layer;
	}
	put(m, &m->now);
}

void pause_memory_restore(struct pause_memory *m)
{
	if (m->based)
		put(m, &m->before);
}

/* What of it is in the memfile is to last: else it would be lost to the next one. */
static int sync_memfile(struct errand *e, struct err *err)
{
	int fd = open(e->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	int rc = fd < 0 ? -errno : io_fsync(fd);

	if (fd >= 0)
		close(fd);
	return rc < 0 ? err_sys(err, rc, "cannot sync '%s'", e->path) : 0;
}

/* Of this process, what the memfile holds now: or nothing, if that may not last. */
static void put_as_it_is(struct pause_memory *m, struct guest_memory what)
{
	struct errand e = {.fn = sync_memfile, .path = m->path, .idle_ms = SYNC_MS};

	what.has_layer = false;
	if (errand_run(&e, NULL) == 0 &&
	    live_mark_take(m->cli->store, m->live, MEMFILE, &what.mark, NULL) == 0)
		put(m, &what);
}

void pause_memory_refused(struct pause_memory *m)
{
	if (m->based)
		put_as_it_is(m, m->before);
}

void pause_memory_unsealed(struct pause_memory *m)
{
	if (m->kept && guest_is_held(&m->held))
		put_as_it_is(m, m->now);
}

void pause_memory_end(struct pause_memory *m)
{
	const char *rundir;

	if (guest_is_held(&m->held) && guest_args_rundir(m->cli, &rundir) == 0)
		guest_let_go(rundir, &m->held);
}
