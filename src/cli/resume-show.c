/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/resume-show.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>

#include "src/cli/cli.h"
#include "src/cli/out.h"
#include "src/cli/table.h"
#include "src/host/resume.h"

static json_t *count(const struct resume_show *s, uint64_t value)
{
	return s->report->seen ? json_integer((json_int_t)value) : json_null();
}

static json_t *text(const char *value)
{
	return value && *value ? json_string(value) : json_null();
}

static uint64_t frames_of(uint64_t bytes)
{
	return (bytes + FRAME_SIZE - 1) / FRAME_SIZE;
}

static int print_json(struct cli *cli, const struct resume_show *s)
{
	const struct resume_report *r = s->report;

	return out_json(json_pack(
		"{s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:f, s:f, s:o, s:b, s:o, s:o, "
		"s:o, s:o, s:o}",
		"guest", s->name, "layer", s->layer, "hypervisor", s->hypervisor,
		"live", s->live, "backend", s->pager ? "uffd" : "file",
		"session", text(s->pager ? s->name : NULL), "pager", text(s->pager),
		"trace", text(s->trace), "pid", r->pid > 0 ? json_integer(r->pid) : json_null(),
		"log", text(s->log), "start_seconds", r->start_seconds,
		"load_seconds", r->load_seconds,
		"answer_seconds", r->answer_seconds < 0 ? json_null()
							: json_real(r->answer_seconds),
		"told", r->told, "agent_error", text(r->agent_error),
		"faults", count(s, r->session.faults), "pages_fetched", count(s, r->session.pages),
		"bytes_fetched", count(s, r->session.bytes),
		"frames_fetched", count(s, frames_of(r->session.bytes))), &cli->err);
}

static void field(struct table *t, const char *name, const char *value)
{
	table_cell(t, "%s", name);
	table_cell(t, "%s", value);
}

static void add_time(struct table *t, const char *name, double seconds)
{
	char time[FMT_SIZE_LEN];

	table_cell(t, "%s", name);
	table_cell(t, "%s", fmt_duration(time, seconds));
}

static int print_text(struct cli *cli, const struct resume_show *s)
{
	static const struct table_col cols[] = {{"field", false}, {"value", false}};
	const struct resume_report *r = s->report;
	struct table t = TABLE(cols);
	char size[FMT_SIZE_LEN];

	field(&t, "guest", s->name);
	field(&t, "layer", s->layer);
	field(&t, "live image", s->live);
	field(&t, "memory from", s->pager ? s->pager : s->memfile);
	if (s->pager)
		field(&t, "trace", *s->trace ? s->trace : "-");
	table_cell(&t, "pid");
	table_cell(&t, r->pid > 0 ? "%d" : "-", r->pid);
	add_time(&t, "hypervisor after", r->start_seconds);
	add_time(&t, "load", r->load_seconds);
	if (r->answer_seconds >= 0)
		add_time(&t, "agent after", r->answer_seconds);
	else if (s->agent)
		field(&t, "agent after", "no answer");
	if (r->seen) {
		table_cell(&t, "faults");
		table_cell(&t, "%llu", (unsigned long long)r->session.faults);
		table_cell(&t, "fetched");
		table_cell(&t, "%llu pages, %s read", (unsigned long long)r->session.pages,
			   cli_size(cli, size, r->session.bytes));
	}
	return table_print(&t, stdout) < 0 ? err_set(&cli->err, -ENOMEM, "out of memory") : 0;
}

int resume_show_print(struct cli *cli, const struct resume_show *s)
{
	if (*s->report->agent_error)
		cli_note(cli, "warning: the agent was not told of the resume ('lamina guest "
			 "cont %s' tells it): %s", s->name, s->report->agent_error);
	(void)snprintf(cli->done, sizeof(cli->done), "guest '%.60s' runs", s->name);
	if (cli->json)
		return print_json(cli, s);
	return cli->quiet ? 0 : print_text(cli, s);
}
