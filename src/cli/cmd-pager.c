/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/cli/out.h"
#include "src/cli/pager.h"
#include "src/cli/verb.h"

#define TO(field) OPT_TO(struct pager_args, field)

static const struct opt opts[] = {
	{OPT_TEXT, "socket", 'S', TO(socket), "PATH", "@file",
	 "the pager's socket (default: [pager] socket of lamina.conf, else those found below "
	 "its runtime_dir)"},
	{OPT_FLAG, "force", 'f', TO(force), NULL, NULL,
	 "close: also if it serves a guest that lives, which is stopped"},
	{OPT_TEXT, "memfile", 'm', TO(memfile), "FILE", "@file",
	 "create: what the guest's memory is read from"},
	{OPT_TEXT, "listen", 'l', TO(listen), "PATH", "@file",
	 "create: the socket for the hypervisor (default: ID.sock in the pager's runtime "
	 "directory)"},
	{OPT_TEXT, "prefetch", 'p', TO(prefetch), "SIZE",
	 "off adaptive 64K 128K 256K 512K 1M 2M",
	 "create: the window around a fault: off, 64K to 2M, or adaptive (default: adaptive; "
	 "off with --record)"},
	{OPT_TEXT, "trace", 't', TO(trace), "FILE", "@file",
	 "create: a trace whose pages are installed before they are asked for"},
	{OPT_TEXT, "record", 'r', TO(record), "FILE", "@file",
	 "create: write the order in which the guest comes for its pages"},
	{OPT_TEXT, "on-error", 'e', TO(on_error), "POLICY", "wait poison stop",
	 "create: what becomes of a page that cannot be read: wait, poison or stop "
	 "(default: wait)"},
	{OPT_FLAG, "detachable", 'd', TO(detachable), NULL, NULL,
	 "create: the hypervisor can go on without the pager"},
	{OPT_WORDS, "hold", 0, TO(holds), "FILE", "@file",
	 "create: keep a shared lock on FILE as long as the session lives; may be repeated"},
	{OPT_TEXT, "peer-uid", 'u', TO(peer_uid), "USER", NULL,
	 "create: who may hand over besides root and the pager's user"},
	{OPT_TEXT, "handoff-timeout", 0, TO(handoff_timeout), "DURATION", NULL,
	 "create: from connecting to the whole message (default: 10s)"},
	{OPT_FLAG, "all", 'a', TO(all), NULL, NULL,
	 "graduate: every session that serves and is detachable, oldest first"},
	{OPT_TEXT, "rate", 0, TO(rate), "SIZE", NULL,
	 "graduate: populate at most so much a second"},
	{OPT_TEXT, "min-available", 0, TO(min_available), "SIZE", NULL,
	 "graduate: populate nothing while the host has less memory available"},
	{OPT_TEXT, "max-pressure", 0, TO(max_pressure), "PERCENT", NULL,
	 "graduate: populate nothing while the host's memory pressure (some avg10) is above"},
	{OPT_TEXT, "timeout", 0, TO(timeout), "DURATION", NULL,
	 "graduate: give up after it, for each session"},
	{OPT_FLAG, "exit", 'x', TO(exit), NULL, NULL,
	 "drain: the pager ends when its last session has (upgrade: always so)"},
	{OPT_TEXT, "interval", 'i', TO(interval), "DURATION", NULL,
	 "top: between two samples (default: 1s)"},
	{OPT_TEXT, "count", 'n', TO(count), "N", NULL, "top: end after N samples"},
	{OPT_FLAG, "takeover", 'T', TO(takeover), NULL, NULL,
	 "upgrade: a new program takes all sessions over"},
	{OPT_TEXT, "program", 0, TO(program), "PATH", "@file",
	 "upgrade: that program (default: the lamina-pager that is installed)"},
	OPT_TABLE_END
};

/* ---- verbs that are one request ---- */

/* Prints the answer if it is wanted; takes it. */
static int done(struct cli *cli, json_t *answer)
{
	if (cli->json)
		return out_json(answer, &cli->err);
	json_decref(answer);
	return 0;
}

static int run_close(struct cli *cli, int argc, char **argv)
{
	const struct pager_args *args = cli->args;
	char *path = pager_path(argv[0], args->force ? "/close?force=1" : "/close");
	json_t *answer = NULL;
	int rc, status = 0;

	(void)argc;
	if (!path)
		return -ENOMEM;
	rc = pager_ask(cli, &(struct pager_request){"POST", path, NULL}, &answer, &status);
	free(path);
	if (rc < 0)
		return rc;
	if (status == 202 && !cli->quiet)
		cli_note(cli, "the guest of session '%s' is being stopped", argv[0]);
	return done(cli, answer);
}

static int run_cancel(struct cli *cli, int argc, char **argv)
{
	char *path = pager_path(argv[0], "/complete");
	json_t *answer = NULL;
	int rc;

	(void)argc;
	if (!path)
		return -ENOMEM;
	rc = pager_ask(cli, &(struct pager_request){"DELETE", path, NULL}, &answer, NULL);
	free(path);
	if (rc < 0)
		return rc;
	if (!json_is_true(pager_at(answer, "cancelled")) && !cli->quiet)
		cli_note(cli, "session '%s' was not being graduated", argv[0]);
	return done(cli, answer);
}

static int run_drain(struct cli *cli, int argc, char **argv)
{
	const struct pager_args *args = cli->args;
	json_t *body = args->exit ? json_pack("{s:b}", "exit", 1) : NULL, *answer = NULL;
	int rc = pager_ask(cli, &(struct pager_request){"POST", "/drain", body}, &answer, NULL);
	long long left;

	(void)argc;
	(void)argv;
	json_decref(body);
	if (rc < 0)
		return rc;
	left = json_integer_value(pager_at(answer, "left"));
	if (cli->quiet && !cli->json)
		printf("%lld\n", left);
	else if (!cli->json)
		printf("%lld session%s left\n", left, left == 1 ? " is" : "s are");
	return done(cli, answer);
}

/* ---- the dispatcher ---- */

static const struct verb verbs[] = {
	{"ls", NULL, 0, 0, "list the pager's sessions", " socket ", NULL, pager_ls},
	{"show", "ID", 1, 1, "show the session", " socket ", "@session", pager_show},
	{"create", "ID", 1, 1, "make the session",
	 " socket memfile listen prefetch trace record on-error detachable hold peer-uid "
	 "handoff-timeout ", NULL,
	 pager_create},
	{"close", "ID", 1, 1, "close the session", " socket force ", "@session", run_close},
	{"graduate", "ID..., or --all", 0, CMD_ANY, "graduate sessions",
	 " socket all rate min-available max-pressure timeout ", "@session", pager_graduate},
	{"cancel", "ID", 1, 1, "cancel the graduation", " socket ", "@session", run_cancel},
	{"drain", NULL, 0, 0, "drain the pager", " socket exit ", NULL, run_drain},
	{"top", NULL, 0, 0, "watch the pager's sessions", " socket interval count ", NULL,
	 pager_top},
	{"upgrade", NULL, 0, 0, "upgrade the pagers", " socket takeover program exit ", NULL,
	 pager_upgrade},
	{.name = NULL}
};

static int run(struct cli *cli, int argc, char **argv)
{
	int rc = verb_run(cli, argc, argv);

	pager_forget(cli);
	return rc;
}

const struct cmd cmd_pager = {
	.name = "pager",
	.operands = "VERB [ID...]",
	.purpose = "Asks lamina-pager, which serves guests' memory: what it serves, and to serve "
		   "another one.",
	.task = "ask the pager",
	.interrupted = "sessions that have not graduated are served on",
	.notes = "ls lists its sessions, show ID shows one.\n\n"
		 "create ID --memfile FILE makes one, and prints the socket that waits for the "
		 "hypervisor.\n\n"
		 "close ID ends one that serves no guest that lives, or any with --force.\n\n"
		 "graduate ID... or --all gives guests all that they still lack, so that they "
		 "need no pager any more; cancel ID stops that.\n\n"
		 "drain: no new sessions from now on; with --exit the pager ends with the last.\n\n"
		 "top shows faults a second, their latency and what is prefetched, until Ctrl-C; "
		 "into a pipe it prints one table after the other.\n\n"
		 "upgrade: pagers that are older than another one drain and end with their last "
		 "session; with --takeover, a new program takes the place of each that is older "
		 "than it.",
	.exits = "Exit status: 0 done, 1 failed (refused, or there is no such session), 2 wrong "
		 "usage, 4 the id is in use or the session serves a guest that lives, 130 "
		 "graduate was interrupted by Ctrl-C.",
	.opts = opts,
	.args_size = sizeof(struct pager_args),
	.min = 1,
	.max = CMD_ANY,
	.verbs = verbs,
	.run = run,
};
