/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* resume-show: what a resume came to, as a table or as JSON. */
#ifndef LAMINA_CLI_RESUME_SHOW_H
#define LAMINA_CLI_RESUME_SHOW_H

struct cli;
struct resume_report;

struct resume_show {
	const char *name;	/* the guest's, and its session's */
	const char *layer;	/* its id */
	const char *hypervisor;
	const char *live;
	const char *pager;	/* its socket; NULL: memory is the file's */
	const char *trace;	/* "": none */
	const char *memfile;	/* the layer's */
	const char *log;	/* NULL: nothing was started */
	const char *agent;	/* NULL: nobody was to be told */
	const struct resume_report *report;
};

/* Also warns of an agent that was not told.  -ENOMEM, or -errno of writing. */
int resume_show_print(struct cli *cli, const struct resume_show *s);

#endif
