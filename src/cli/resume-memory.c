/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/resume-memory.h"

#include <sys/stat.h>

#include "src/cli/cli.h"
#include "src/host/guest.h"
#include "store/base/maps.h"
#include "store/base/proc.h"

json_t *resume_memory_start(pid_t pid)
{
	uint64_t start;

	return pid > 0 && proc_start(pid, &start) == 0 ? json_integer((json_int_t)start)
						       : json_null();
}

static void mark(struct resume_memory *m, const struct resume_live *what)
{
	m->marked = live_mark_take(m->cli->store, what->name, "memfile", &m->memory.mark,
				   NULL) == 0;
	m->memory.has_layer = true;
	m->memory.layer = *what->layer;
}

int resume_memory_need(struct resume_memory *m, const struct resume_live *what, bool *ret_made)
{
	int rc;

	mark(m, what);
	rc = resume_live_need(m->cli, what, ret_made);
	if (rc == 0 && *ret_made)
		mark(m, what);
	return rc;
}

/* Or it is paged: then its pager, whom COMMAND told of the file, is believed. */
static bool has_mapped(const struct resume_memory *m, pid_t pid)
{
	struct maps_region r;
	struct maps maps;
	struct stat st;
	bool found = false;

	if (stat(m->memfile, &st) < 0 || maps_open(pid, MAPS_DETAIL, &maps) < 0)
		return false;
	while (!found && maps_next(&maps, &r) > 0)
		found = (r.dev == st.st_dev && r.ino == st.st_ino) || (r.flags & MAPS_PAGED);
	maps_close(&maps);
	return found;
}

int resume_memory_load(void *memory, pid_t pid, struct err *err)
{
	struct resume_memory *m = memory;

	if (guest_memory_process(pid, &m->memory) < 0)
		return 0;
	if (m->mapped && !has_mapped(m, pid))
		m->marked = false;
	return guest_hold_process(m->rundir, pid, "lamina resume", &m->held, err);
}

json_t *resume_memory_json(const struct resume_memory *m)
{
	return m->marked && m->memory.pid > 0 ? guest_memory_json(&m->memory) : json_null();
}

void resume_memory_end(struct resume_memory *m)
{
	guest_let_go(m->rundir, &m->held);
}
