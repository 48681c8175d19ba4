/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "src/cli/cli.h"
#include "src/cli/guest-args.h"
#include "src/cli/guest-live.h"
#include "src/cli/guest-socket.h"
#include "src/cli/pager.h"
#include "src/cli/resume-layer.h"
#include "src/cli/resume-live.h"
#include "src/cli/resume-memory.h"
#include "src/cli/resume-show.h"
#include "src/cli/resume-words.h"
#include "src/host/guest.h"
#include "src/host/resume.h"
#include "store/base/io.h"
#include "store/traces.h"

#define WAIT_DEFAULT "30s"
#define WAIT_MAX_MS (24u * 3600 * 1000)

struct args {
	struct guest_args guest;
	const char *name;
	const char *backend;
	const char *pager;
	const char *listen;
	const char *peer_uid;
	bool any_moment;
	bool no_trace;
	const char *record;
	const char *wait;
};

#define TO(field) OPT_TO(struct args, field)

static const struct opt opts[] = {
	{OPT_TEXT, "name", 'N', TO(name), "NAME", "@guest",
	 "what the guest is called: its record, its session and, without --live, its live image"},
	{OPT_TEXT, "backend", 'B', TO(backend), "KIND", "uffd file",
	 "where its memory comes from: uffd (the pager) or file (default: uffd for firecracker, "
	 "file for qemu)"},
	{OPT_TEXT, "pager", 'P', TO(pager), "PATH", "@file",
	 "the pager's socket (default: as lamina-pager(1))"},
	{OPT_TEXT, "listen", 'l', TO(listen), "PATH", "@file",
	 "the session's socket (default: NAME.uffd in the jail, without one as lamina-pager(1))"},
	{OPT_TEXT, "peer-uid", 'u', TO(peer_uid), "USER", NULL,
	 "who may hand over the guest's memory besides root and the pager's user (default: whom "
	 "the hypervisor in the jail, or at the socket, runs as; you, of COMMAND without a jail)"},
	{OPT_FLAG, "any-moment", 0, TO(any_moment), NULL, NULL,
	 "also a layer of which it is not known that memory, state and disk are of one moment"},
	{OPT_FLAG, "no-trace", 0, TO(no_trace), NULL, NULL,
	 "do not install first what the layer's trace says"},
	{OPT_TEXT, "record", 'r', TO(record), "FILE", "@file",
	 "have the pager write a trace of this resume, for lamina-trace(1)"},
	{OPT_TEXT, "wait", 'w', TO(wait), "DURATION", NULL,
	 "for the hypervisor's socket, and then for the agent's first answer (default: "
	 WAIT_DEFAULT ")"},
	GUEST_ARGS_OPTS(struct args, ""),
	OPT_TABLE_END
};

struct work {
	struct cli *cli;
	const char *layer_word;
	char **command;			/* as given; NULL: none */
	char **argv;			/* with what stands for its placeholders */
	const char *live;
	struct digest id;
	char hex[DIGEST_HEX_LEN];
	uint64_t lock_wait_ms;
	const char *rundir;
	json_t *members;		/* what was said, absolute */
	char *mount;
	char memfile[PATH_MAX], state[PATH_MAX], dir[PATH_MAX], rootfs[PATH_MAX];
	char trace[PATH_MAX], lease[PATH_MAX], log[PATH_MAX];
	char *pager, *record, *listen;	/* absolute; or NULL */
	int64_t peer_uid;
	bool made_live;
	struct resume_memory memory;
	int hold;
	struct guest_held live_held, socket_held;
	struct resume_plan plan;
	struct resume_report report;
};

static struct cli *shown;	/* by whom words are shown */

static bool is_stopped(void)
{
	return cli_stopped() != 0;
}

/* Behind the load it runs. */
static void show_word(const char *what)
{
	if (!strcmp(what, "agent"))
		cli_hold_stops(false);
	meter_word(&shown->meter, what);
}

static int no_memory(struct cli *cli)
{
	return err_set(&cli->err, -ENOMEM, "out of memory");
}

/* ---- words ---- */

static bool uses_pager(const struct work *w)
{
	const struct args *args = w->cli->args;

	return args->backend ? !strcmp(args->backend, "uffd")
			     : !strcmp(args->guest.hypervisor, "firecracker");
}

static int check_words(struct work *w)
{
	const struct args *args = w->cli->args;
	struct cli *cli = w->cli;

	if (!args->name)
		return cli_usage(cli, "resume wants --name");
	if (!guest_name_ok(args->name))
		return cli_usage(cli, "--name: '%s' is no name for a guest: " GUEST_NAME_RULE,
				 args->name);
	if (!args->guest.hypervisor || !args->guest.socket)
		return cli_usage(cli, "resume wants --hypervisor and --socket");
	if (args->backend && strcmp(args->backend, "uffd") != 0 &&
	    strcmp(args->backend, "file") != 0)
		return cli_usage(cli, "--backend: '%s' is neither uffd nor file", args->backend);
	if (!strcmp(args->guest.hypervisor, "qemu") && uses_pager(w))
		return cli_usage(cli, "--backend: QEMU can have its memory from a file only");
	if (uses_pager(w) && strlen(args->name) > SESSION_ID_MAX)
		return cli_usage(cli, "--name: '%s' is too long for the guest's session at the "
				 "pager: at most %u characters", args->name, SESSION_ID_MAX);
	if (!uses_pager(w) && (args->pager || args->listen || args->record || args->peer_uid))
		return cli_usage(cli, "--pager, --listen, --peer-uid and --record are for "
				 "--backend uffd");
	return args->peer_uid ? pager_create_peer(cli, args->peer_uid, &w->peer_uid) : 0;
}

static int take_wait(struct work *w)
{
	const struct args *args = w->cli->args;
	uint64_t ms;

	if (fmt_parse_duration_ms(args->wait ? args->wait : WAIT_DEFAULT, &ms) < 0 ||
	    ms > WAIT_MAX_MS)
		return cli_usage(w->cli, "--wait: '%s' is not a duration of at most 1d",
				 args->wait);
	w->plan.wait_ms = (int)ms;
	return 0;
}

/* ---- what is there ---- */

static int check_record(struct work *w)
{
	const struct args *args = w->cli->args;
	struct err why = {""};
	json_t *old = NULL;
	int pid = 0, rc = guest_args_rundir(w->cli, &w->rundir);

	if (rc == 0)
		rc = w->hold = guest_hold(w->rundir, args->name, "lamina resume",
					  &w->cli->err);
	if (rc < 0)
		return rc;
	if (guest_load(w->rundir, args->name, &old, &why) == 0)
		pid = guest_pid(old);
	json_decref(old);
	return pid ? err_set(&w->cli->err, -EBUSY, "guest '%s' runs already (pid %d): end it, or "
			     "give another --name", args->name, pid) : 0;
}

/* Before anything is begun: a mount whose daemon was killed is still in the list of mounts. */
static int check_mount(struct work *w, const char *mount)
{
	if (access(w->memfile, F_OK) == 0)
		return 0;
	if (errno != ENOTCONN)
		return err_sys(&w->cli->err, -errno, "cannot find '%s'", w->memfile);
	return err_set(&w->cli->err, -ENOTCONN, "nobody serves the mount '%s' any more: 'lamina "
		       "umount' and 'lamina mount' it again", mount);
}

static int put_paths(struct work *w)
{
	const char *said = guest_text(w->members, "mount"), *store = w->cli->store->path;
	const struct args *args = w->cli->args;
	int rc = guest_args_mount(w->cli, said, &w->mount);
	const char *mount = w->mount;

	if (rc == 0 && !said &&
	    json_object_set_new(w->members, "mount", json_string(mount)) < 0)
		rc = no_memory(w->cli);
	if (rc < 0)
		return rc;
	(void)snprintf(w->memfile, PATH_MAX, "%s/layers/%s/memfile", mount, w->hex);
	(void)snprintf(w->state, PATH_MAX, "%s/layers/%s/state", mount, w->hex);
	(void)snprintf(w->dir, PATH_MAX, "%s/live/%s", mount, w->live);
	(void)snprintf(w->rootfs, PATH_MAX, "%s/live/%s/rootfs", mount, w->live);
	(void)snprintf(w->lease, PATH_MAX, "%s/leases/%s", store, w->hex);
	if ((size_t)snprintf(w->log, PATH_MAX, "%s/guests/%s.log", w->rundir, args->name) >=
	    PATH_MAX)
		return err_set(&w->cli->err, -ENAMETOOLONG, "'%s' is too long", w->rundir);
	return check_mount(w, mount);
}

static int take_trace(void *ctx, const struct traces_item *item)
{
	struct work *w = ctx;
	bool best = !strcmp(item->name, "resume");

	if (best || !*w->trace)
		(void)snprintf(w->trace, PATH_MAX, "%s/layers/%s/traces/%s",
			       guest_text(w->members, "mount"), w->hex, item->name);
	return best;
}

/* Nobody else resumes a guest on that live image, or at that socket, till this one has. */
static int hold_places(struct work *w)
{
	const struct args *args = w->cli->args;
	const char *name = args->name, *socket = guest_text(w->members, "socket");
	char what[GUEST_NAME_MAX + 32];
	int rc;

	(void)snprintf(what, sizeof(what), "lamina resume of guest '%s'", name);
	rc = guest_socket_hold(w->cli, socket, what, &w->socket_held);
	if (rc == 0)
		rc = guest_live_hold(w->cli, w->live, what, &w->live_held);
	return rc < 0 ? rc : guest_live_check(w->cli, name, w->live, w->members);
}

/* The pager has another working directory than we. */
static int take_path(struct cli *cli, const char *path, char **to)
{
	*to = path ? io_absolute(path) : NULL;
	return path && !*to ? no_memory(cli) : 0;
}

/* Where the hypervisor finds it. */
static int find_listen(struct work *w)
{
	const char *jail = guest_text(w->members, "chroot");
	const struct args *args = w->cli->args;

	if (args->listen || !jail || !uses_pager(w))
		return take_path(w->cli, args->listen, &w->listen);
	if (asprintf(&w->listen, "%s/%s.uffd", jail, args->name) >= 0)
		return 0;
	w->listen = NULL;
	return no_memory(w->cli);
}

static int find_trace(struct work *w)
{
	const struct args *args = w->cli->args;
	int rc = 0;

	if (uses_pager(w) && !args->no_trace)
		rc = traces_each(w->cli->store, &w->id, take_trace, w, &w->cli->err);
	return rc < 0 ? rc : 0;
}

static int find_pager(struct work *w)
{
	const struct args *args = w->cli->args;
	const char *named = args->pager ? args->pager
					: cli_config_get(w->cli, "pager", "socket");
	const struct pagers_entry *newest;
	struct pagers found = {0};
	int rc = 0;

	if (!uses_pager(w))
		return 0;
	if (named && *named)
		return take_path(w->cli, named, &w->pager);
	rc = pagers_find(w->rundir, PAGER_FIND_MS, &found, &w->cli->err);
	newest = rc == 0 ? pagers_newest(&found) : NULL;
	if (newest)
		w->pager = strdup(newest->socket);
	if (rc == 0 && !newest)
		rc = err_set(&w->cli->err, -ENOENT, "no pager answers in '%s': is lamina-pager "
			     "running?", w->rundir);
	else if (rc == 0 && !w->pager)
		rc = no_memory(w->cli);
	pagers_fini(&found);
	return rc;
}

/* ---- the record ---- */

static int set_text(json_t *to, const char *member, const char *text)
{
	return json_object_set_new(to, member, text ? json_string(text) : json_null());
}

static int fill_record(struct work *w)
{
	const struct args *args = w->cli->args;
	json_t *m = w->members, *command = json_array();
	char cwd[PATH_MAX];
	int rc = command ? 0 : -1;

	for (size_t i = 0; w->argv && w->argv[i]; i++)
		rc |= json_array_append_new(command, json_string(w->argv[i]));
	rc |= json_object_set_new(m, "command", w->argv ? json_incref(command) : json_null());
	json_decref(command);
	rc |= set_text(m, "live", w->live);
	rc |= set_text(m, "layer", w->hex);
	rc |= set_text(m, "session", w->pager ? args->name : NULL);
	rc |= set_text(m, "pager", w->pager);
	rc |= set_text(m, "backend", w->pager ? "uffd" : "file");
	rc |= json_object_set_new(m, "pid", w->report.pid > 0 ? json_integer(w->report.pid)
							      : json_null());
	rc |= json_object_set_new(m, "pid_start", resume_memory_start(w->report.pid));
	rc |= set_text(m, "cwd", w->argv ? getcwd(cwd, sizeof(cwd)) : NULL);
	rc |= set_text(m, "log", w->argv ? w->log : NULL);
	rc |= json_object_set_new(m, "no_trace", json_boolean(w->pager && !*w->trace));
	rc |= json_object_set_new(m, "created", json_integer((json_int_t)time(NULL)));
	rc |= json_object_set_new(m, "memory", resume_memory_json(&w->memory));
	return rc < 0 ? no_memory(w->cli) : 0;
}

static int write_record(struct work *w)
{
	const struct args *args = w->cli->args;
	int rc = fill_record(w);

	return rc < 0 ? rc : guest_write(w->rundir, args->name, w->members, GUEST_REPLACE,
					 &w->cli->err);
}

/* ---- what it came to ---- */

static int print(struct work *w)
{
	const struct args *args = w->cli->args;
	const struct resume_show show = {
		.name = args->name, .layer = w->hex, .hypervisor = w->plan.hypervisor,
		.live = w->live, .pager = w->pager, .trace = w->trace, .memfile = w->memfile,
		.log = w->argv ? w->log : NULL, .agent = w->plan.agent, .report = &w->report,
	};

	return resume_show_print(w->cli, &show);
}

/* ---- all ---- */

static int make_argv(struct work *w)
{
	const struct args *args = w->cli->args;
	const struct resume_word words[] = {
		{"name", args->name}, {"memfile", w->memfile}, {"state", w->state},
		{"rootfs", w->rootfs}, {"live", w->dir}, {"layer", w->hex},
		{"mount", guest_text(w->members, "mount")},
		{"socket", guest_text(w->members, "socket")}, {NULL, NULL},
	};

	if (!w->command)
		return 0;
	if (resume_words_check(w->command, words, &w->cli->err) < 0)
		return cli_usage(w->cli, "COMMAND: %s", w->cli->err.text);
	w->argv = resume_words_put(w->command, words);
	return w->argv ? 0 : no_memory(w->cli);
}

static void fill_plan(struct work *w)
{
	const struct args *args = w->cli->args;
	struct resume_plan *p = &w->plan;

	p->name = args->name;
	p->hypervisor = guest_text(w->members, "hypervisor");
	p->socket = guest_text(w->members, "socket");
	p->chroot = guest_text(w->members, "chroot");
	p->agent = guest_text(w->members, "agent");
	p->token_file = guest_text(w->members, "agent_token_file");
	p->argv = w->argv;
	p->log = w->log;
	p->memfile = w->memfile;
	p->state = w->state;
	p->pager = w->pager;
	p->session.trace = *w->trace ? w->trace : NULL;
	p->session.record = w->record;
	p->session.listen = w->listen;
	p->session.peer_uid = args->peer_uid ? &w->peer_uid : NULL;
	p->session.hold = w->lease;
	p->stopped = is_stopped;
	p->begins = show_word;
	p->loads = resume_memory_load;
	p->ctx = &w->memory;
}

static int find_all(struct work *w)
{
	const struct args *args = w->cli->args;
	struct layer *layer = NULL;
	int rc = cli_open(w->cli);

	if (rc == 0)
		rc = cli_wait(w->cli, NULL, &w->lock_wait_ms);
	if (rc == 0)
		rc = cli_layer_id(w->cli, w->layer_word, &w->id);
	if (rc == 0)
		rc = cli_layer_open(w->cli, w->layer_word, &layer);
	if (rc == 0)
		rc = resume_layer_check(w->cli, w->layer_word, layer, args->any_moment);
	layer_unref(layer);
	if (rc)
		return rc;
	(void)fmt_hex(w->hex, w->id.b, DIGEST_LEN);
	w->live = args->guest.live ? args->guest.live : args->name;
	rc = guest_args_members(w->cli, &args->guest, w->members);
	if (rc == 0)
		rc = check_record(w);
	if (rc == 0)
		rc = put_paths(w);
	if (rc == 0)
		rc = hold_places(w);
	if (rc == 0)
		rc = find_trace(w);
	if (rc == 0)
		rc = find_pager(w);
	if (rc == 0)
		rc = take_path(w->cli, args->record, &w->record);
	if (rc == 0)
		rc = find_listen(w);
	return rc ? rc : make_argv(w);
}

static int resume(struct work *w)
{
	const struct resume_live live = {w->live, &w->id, w->lock_wait_ms};
	struct cli *cli = w->cli;
	int rc;

	fill_plan(w);
	shown = cli;
	cli_catch_all(cli);
	if (!cli->quiet)
		meter_begin(&cli->meter);
	w->memory = (struct resume_memory){.cli = cli, .rundir = w->rundir, .memfile = w->memfile,
					   .mapped = !strcmp(w->plan.hypervisor, "qemu")};
	rc = resume_memory_need(&w->memory, &live, &w->made_live);
	cli_hold_stops(true);
	if (rc == 0)
		rc = resume_run(&w->plan, &w->report, &cli->err);
	cli_hold_stops(false);
	meter_end(&cli->meter);
	if (rc == 0 && (rc = write_record(w)) < 0)
		resume_undo(&w->plan, &w->report);
	if (rc < 0 && w->made_live)
		resume_live_drop(cli, &live);
	return rc < 0 ? rc : print(w);
}

static int work(struct work *w)
{
	int rc = w->members ? cli_config(w->cli) : no_memory(w->cli);

	if (rc == 0)
		rc = check_words(w);
	if (rc == 0)
		rc = take_wait(w);
	if (rc == 0)
		rc = find_all(w);
	return rc ? rc : resume(w);
}

static int run(struct cli *cli, int argc, char **argv)
{
	const struct args *args = cli->args;
	struct work *w = calloc(1, sizeof(*w));
	int rc;

	if (!w)
		return no_memory(cli);
	w->cli = cli;
	w->layer_word = argv[0];
	w->command = argc > 1 ? argv + 1 : NULL;
	w->members = json_object();
	w->hold = -1;
	rc = work(w);
	resume_report_fini(&w->report);
	resume_words_free(w->argv);
	json_decref(w->members);
	resume_memory_end(&w->memory);
	guest_let_go(w->rundir, &w->live_held);
	guest_let_go(w->rundir, &w->socket_held);
	guest_drop(w->rundir, args->name, w->hold);
	free(w->mount);
	free(w->pager);
	free(w->record);
	free(w->listen);
	free(w);
	return rc;
}

const struct cmd cmd_resume = {
	.name = "resume",
	.operands = "LAYER [-- COMMAND...]",
	.purpose = "Lets a guest begin as a layer: its session at the pager, its hypervisor, its "
		   "live image, its record.",
	.task = "resume the guest",
	.interrupted = "and what was begun is undone",
	.notes = "COMMAND starts the hypervisor, in the background, with what it prints in "
		 "NAME.log beside the record; without it the one that runs at --socket is told. In "
		 "its words {name}, {socket}, {memfile}, {state}, {rootfs}, {live}, {layer} and "
		 "{mount} stand for what they say: the files of the layer, and rootfs of the live "
		 "image in the directory {live}.",
	.opts = opts,
	.args_size = sizeof(struct args),
	.min = 1,
	.max = CMD_ANY,
	.words = "@layer",
	.run = run,
};
