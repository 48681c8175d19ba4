/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/cli/cli.h"
#include "src/cli/guest-args.h"
#include "src/cli/live-layer.h"
#include "src/cli/meta.h"
#include "src/cli/out.h"
#include "src/cli/pause-memory.h"
#include "src/cli/pause-session.h"
#include "src/cli/table.h"
#include "src/host/guest.h"
#include "src/host/metrics.h"
#include "src/host/pause.h"
#include "store/decide.h"

struct args {
	struct guest_args guest;
	struct pause_wishes wishes;
	bool full;
	bool dry_run;
	const char *tag;
	struct opt_words meta;
	unsigned threads;
	const char *wait;
};

#define TO(field) OPT_TO(struct args, field)

static const struct opt opts[] = {
	{OPT_TEXT, "reclaim", 'r', TO(wishes.reclaim), "JSON", NULL,
	 "have the guest give memory back: steps and their caps in ms, an object of sync, "
	 "drop_caches, compact_memory and fstrim, as in {\"sync\":500}"},
	{OPT_FLAG, "collapse", 'C', TO(wishes.collapse), NULL, NULL,
	 "have the guest gather its memory in huge pages"},
	{OPT_TEXT, "freeze", 'F', TO(wishes.freeze), "CGROUP", NULL,
	 "freeze this cgroup of the guest first; it is thawed when the guest goes on"},
	{OPT_TEXT, "drain", 'd', TO(wishes.drain), "MS", NULL,
	 "have the balloon tell of free pages, at most so long, and at most 1500"},
	{OPT_FLAG, "bare", 'B', TO(wishes.bare), NULL, NULL,
	 "none of these four that lamina.conf asks for"},
	{OPT_FLAG, "leave", 'l', TO(wishes.leave), NULL, NULL,
	 "leave the guest paused: lamina guest cont lets it go on"},
	{OPT_FLAG, "full", 0, TO(full), NULL, NULL,
	 "Firecracker: a full snapshot also where a diff could be had"},
	{OPT_TEXT, "tag", 't', TO(tag), "TAG", "@tag",
	 "point TAG at the new layer, in the same step"},
	{OPT_WORDS, "meta", 'm', TO(meta), "KEY=VALUE", NULL,
	 "keep this with the layer, as lamina-commit(1) does; may be given again"},
	{OPT_TEXT, "metrics-file", 0, TO(wishes.metrics_file), "FILE", "@file",
	 "add what it came to to this file of metrics for Prometheus"},
	{OPT_FLAG, "dry-run", 'n', TO(dry_run), NULL, NULL,
	 "ask the guest's agent and hypervisor, tell what would be done, and do nothing"},
	{OPT_COUNT, "threads", 0, TO(threads), "N", NULL,
	 "threads that hash and compress (default: one a core but one, at most 8)"},
	GUEST_ARGS_OPTS(struct args, ""),
	CLI_OPT_WAIT(struct args),
	OPT_TABLE_END
};

struct work {
	struct cli *cli;
	const char *name;
	json_t *record;
	bool kept;			/* there is one */
	bool marked;			/* and it says that a pause is not finished */
	struct pause_settings settings;
	struct pause_plan plan;
	struct pause_report report;
	struct live_layer *layer;
	struct attrs attrs;
	struct pause_memory memory;
	char *mount, *dir, *memfile;
	int hold;
};

/* ---- what the pipeline asks of us ---- */

/* That the guest does not go on is not left unsaid. */
static void show_wait(void *ctx, enum pause_id id, int ms)
{
	struct work *w = ctx;

	cli_note(w->cli, "guest '%s' %s: waiting %d s at most; Ctrl-C gives up", w->name,
		 id == PAUSE_RESUME ? "does not go on yet" : "has an agent that does not answer",
		 (ms + 999) / 1000);
}

/* If we are killed, the next one knows whether somebody wanted the guest to stay paused. */
static void mark(struct work *w, json_t *pausing)
{
	w->marked = !json_is_null(pausing);
	guest_args_change(w->cli, w->name, json_pack("{s:o}", "pausing", pausing),
			  "that the guest is paused");
}

static void show_step(void *ctx, enum pause_id id)
{
	struct work *w = ctx;

	if (id == PAUSE_PAUSE && w->kept)
		mark(w, json_boolean(!w->report.was_paused));

	meter_word(&w->cli->meter, pause_names[id]);
}

static int is_based(void *ctx, pid_t pid, struct err *why)
{
	struct work *w = ctx;

	return pause_memory_look(&w->memory, pid, why);
}

static int seal(void *ctx, struct err *err)
{
	struct work *w = ctx;
	int rc = live_layer_seal(w->cli, w->layer);

	if (rc < 0)
		*err = w->cli->err;
	else
		pause_memory_seal(&w->memory);
	return rc;
}

static int commit(void *ctx, const char *frozen, json_t **ret, struct err *err)
{
	struct work *w = ctx;
	int rc = frozen ? attrs_set(&w->attrs, "frozen", frozen) : 0;

	pause_memory_keep(&w->memory, NULL);
	if (rc < 0)
		return err_sys(err, rc, "cannot keep what is frozen with the layer");
	if (w->report.state == PAUSE_STATE_RUNNING)
		cli_hold_stops(false);
	rc = live_layer_commit_sealed(w->cli, w->layer);
	if (rc == -ENOSPC)
		return err_set(err, rc, "%s: the file system of the store '%s' is full",
			       w->cli->err.text, w->cli->store->path);
	if (rc < 0) {
		*err = w->cli->err;
		return rc;
	}
	pause_memory_keep(&w->memory, &w->layer->result.id);
	*ret = live_layer_json(w->layer);
	return *ret ? 0 : err_set(err, -ENOMEM, "out of memory");
}

/* ---- what it came to ---- */

static const char *layer_of(const struct work *w)
{
	return json_string_value(json_object_get(w->report.commit, "layer"));
}

static json_t *or_null(const char *text)
{
	return text ? json_string(text) : json_null();
}

/* A page counts that is neither zero nor as the parent's. */
static uint64_t diff_of(const struct commit_counts *n)
{
	return (n->known + n->fresh) * PAGE_SIZE;
}

static json_t *images_json(const struct work *w)
{
	json_t *list = json_array();

	for (unsigned i = 0; w->report.commit && i < w->layer->result.nimages; i++) {
		uint64_t size = w->layer->taken.size[i];
		uint64_t diff = diff_of(&w->layer->result.image[i]);

		(void)json_array_append_new(list,
			json_pack("{s:s, s:I, s:I, s:f}", "image", w->layer->taken.row.image[i],
				  "size", (json_int_t)size, "diff_bytes", (json_int_t)diff,
				  "ratio", size ? (double)diff / (double)size : 0));
	}
	return list;
}

/* Of one that was interrupted, where that is what it fails with. */
static const char *what_became(const struct pause_report *r)
{
	if (r->step[PAUSE_SEAL].outcome == PAUSE_DONE)
		return "and what was sealed is in the next layer";
	if (r->was_paused || r->step[PAUSE_PAUSE].outcome != PAUSE_SKIPPED)
		return "and no layer was made";
	if (r->state == PAUSE_STATE_UNKNOWN)
		return "before it was known whether the guest runs";
	return "before the guest was paused";
}

/* The hypervisor, which writes into the mount, knows not whose room that is. */
static bool had_no_room(int rc, const struct err *err)
{
	return rc == -ENOSPC || (rc == -EREMOTEIO &&
				 (strstr(err->text, "No space left on device") ||
				  strstr(err->text, "os error 28")));
}

static int name_full(struct work *w, int rc)
{
	const struct pause_step *step = w->report.step;
	struct err *err = &w->cli->err;
	char text[sizeof(err->text)];

	if (step[PAUSE_PAUSE].outcome != PAUSE_DONE || step[PAUSE_SEAL].outcome == PAUSE_DONE ||
	    !had_no_room(rc, err))
		return rc;
	strcpy(text, err->text);
	return err_set(err, rc, "%s: the file system of the store '%s' is full", text,
		       w->cli->store->path);
}

/* What standard error has, too. */
static json_t *error_json(const struct work *w, int rc)
{
	struct err why;

	return rc < 0 ? out_sentence(cli_why(w->cli, rc, &why)) : json_null();
}

static json_t *to_json(const struct work *w, int rc)
{
	const struct pause_report *r = &w->report;

	return json_pack("{s:s, s:s, s:s, s:o, s:s, s:b, s:b, s:o, s:b, s:f, s:f, s:O, s:o, s:o, "
			 "s:O, s:O}",
			 "guest", w->name, "hypervisor", w->plan.hypervisor, "live",
			 w->layer->o.name, "layer", or_null(layer_of(w)),
			 "state", pause_state_name(r->state), "was_paused", r->was_paused,
			 "dry_run", w->plan.dry_run,
			 "error", error_json(w, rc), "interrupted", rc < 0 && cli_stopped(),
			 "seconds", r->seconds, "paused_seconds", r->paused_seconds,
			 "frozen", r->frozen, "steps", pause_report_steps(r),
			 "images", images_json(w), "commit", r->commit ? r->commit : json_null(),
			 "warnings", r->warnings);
}

static void add_row(struct table *t, const struct pause_report *r, int i)
{
	const struct pause_step *s = &r->step[i];
	bool ran = s->outcome != PAUSE_SKIPPED && s->outcome != PAUSE_PLANNED;
	char time[FMT_SIZE_LEN];

	if (s->outcome == PAUSE_SKIPPED && !*s->error)
		return;
	table_cell(t, "%s", pause_names[i]);
	table_cell(t, "%s", pause_outcome_name(s->outcome));
	table_cell(t, "%s", ran ? fmt_duration(time, s->seconds) : "-");
	table_cell(t, "%s", s->error);
}

static int print_text(struct work *w)
{
	static const struct table_col cols[] = {
		{"step", false}, {"result", false}, {"time", true}, {"why", false},
	};
	const struct pause_report *r = &w->report;
	struct table t = TABLE(cols);
	char size[FMT_SIZE_LEN], time[FMT_SIZE_LEN];

	if (layer_of(w))
		printf("layer %s\n", layer_of(w));
	for (int i = 0; i < PAUSE_NSTEPS; i++)
		add_row(&t, r, i);
	if (r->paused_seconds > 0)
		printf("paused for %s%s\n", fmt_duration(time, r->paused_seconds),
		       r->state == PAUSE_STATE_RUNNING ? "" : " so far");
	for (unsigned i = 0; r->commit && i < w->layer->result.nimages; i++)
		printf("%s differs by %s\n", w->layer->taken.row.image[i],
		       cli_size(w->cli, size, diff_of(&w->layer->result.image[i])));
	return t.n || t.error ? table_print(&t, stdout) : 0;
}

static int print(struct work *w, int rc)
{
	struct cli *cli = w->cli;

	if (!w->report.warnings)
		return 0;
	if (cli->json)
		return out_json(to_json(w, rc), &cli->err);
	if (cli->quiet && layer_of(w))
		puts(layer_of(w));
	return cli->quiet ? 0 : print_text(w);
}

/* That it took longer than it might, unasked. */
static void tell_whole(struct work *w)
{
	const json_t *why = json_object_get(w->report.step[PAUSE_SNAPSHOT].detail, "why");

	if (json_is_string(why) && !w->plan.full)
		cli_note(w->cli, "all of the guest's memory was saved, not a diff: %s",
			 json_string_value(why));
}

/* Who wants it quiet does not want to have it at each pause. */
static bool is_advice(const struct pause_report *r, const json_t *warning)
{
	return r->advice && !strcmp(r->advice, json_string_value(warning));
}

/* Nobody is to guess whether his guest runs. */
static void tell_state(struct work *w, int rc)
{
	const struct pause_report *r = &w->report;
	const json_t *warning;
	size_t i;

	json_array_foreach(r->warnings, i, warning)
		if (!w->cli->quiet || !is_advice(r, warning))
			cli_note(w->cli, "warning: %s", json_string_value(warning));
	tell_whole(w);
	if (r->state == PAUSE_STATE_PAUSED && !w->plan.dry_run)
		cli_note(w->cli, "guest '%s' is paused: 'lamina guest cont %s' lets it go on",
			 w->name, w->name);
	else if (r->state == PAUSE_STATE_ENDED)
		cli_note(w->cli, "guest '%s' runs no more: its hypervisor has ended", w->name);
	else if (r->state == PAUSE_STATE_UNKNOWN && r->step[PAUSE_RESUME].outcome != PAUSE_SKIPPED)
		cli_note(w->cli, "guest '%s' may be paused: it could not be told to go on: %s; "
			 "'lamina guest cont %s' lets it go on", w->name,
			 r->step[PAUSE_RESUME].error, w->name);
	else if (rc < 0 && r->step[PAUSE_RESUME].outcome == PAUSE_DONE)
		cli_note(w->cli, "guest '%s' goes on", w->name);
	if (rc < 0 && layer_of(w))
		cli_note(w->cli, "layer %s is committed", layer_of(w));
	else if (rc < 0 && rc != -ECANCELED && r->step[PAUSE_SEAL].outcome == PAUSE_DONE)
		cli_note(w->cli, "what was sealed is kept: the next layer has it");
}

/* Of these nothing fails the pause, which is done. */
static void count(struct work *w, int rc)
{
	struct metrics_image images[IMAGES_MAX];
	struct metrics_pause pause = {&w->report, rc == 0, images, 0};
	struct err err = {""};

	if (!w->settings.metrics_file)
		return;
	if (w->report.commit)
		pause.nimages = w->layer->result.nimages;
	for (size_t i = 0; i < pause.nimages; i++)
		images[i] = (struct metrics_image){w->layer->taken.row.image[i],
						   w->layer->taken.size[i],
						   diff_of(&w->layer->result.image[i])};
	if (metrics_add(w->settings.metrics_file, &pause, &err) < 0)
		cli_note(w->cli, "this pause is not counted, and the metrics are as they were: %s",
			 err.text);
}

/* Whatever ended it: the next one is to know whether its diff would be right. */
static void keep_memory(struct work *w, int rc)
{
	const struct pause_step *step = w->report.step;
	enum pause_outcome snapshot = step[PAUSE_SNAPSHOT].outcome;

	if (snapshot == PAUSE_SKIPPED)
		pause_memory_restore(&w->memory);
	else if (step[PAUSE_SYNC].outcome == PAUSE_DONE && step[PAUSE_SEAL].outcome != PAUSE_DONE)
		pause_memory_unsealed(&w->memory);
	else if (snapshot == PAUSE_FAILED && rc == -EREMOTEIO && !w->plan.full)
		pause_memory_refused(&w->memory);
	else if (!layer_of(w))
		pause_memory_keep(&w->memory, NULL);
	pause_memory_end(&w->memory);
}

static void keep_layer(struct work *w)
{
	if (w->kept && layer_of(w))
		guest_args_change(w->cli, w->name, json_pack("{s:s}", "layer", layer_of(w)),
				  "of the new layer");
}

/* ---- the beginning ---- */

static int find_files(struct work *w)
{
	const char *live = guest_text(w->record, "live");
	int rc = guest_args_mount(w->cli, guest_text(w->record, "mount"), &w->mount);

	w->layer->o.name = live ? live : w->name;
	if (rc == 0 && asprintf(&w->dir, "%s/live/%s", w->mount, w->layer->o.name) < 0) {
		w->dir = NULL;
		rc = err_set(&w->cli->err, -ENOMEM, "out of memory");
	}
	if (rc == 0 && asprintf(&w->memfile, "%s/memfile", w->dir) < 0) {
		w->memfile = NULL;
		rc = err_set(&w->cli->err, -ENOMEM, "out of memory");
	}
	w->plan.dir = w->dir;
	w->memory = (struct pause_memory){.cli = w->cli, .name = w->name, .kept = w->kept,
					  .live = w->layer->o.name, .path = w->memfile};
	return rc;
}

/* Before the pause, so that it is short. */
static int open_store(struct work *w)
{
	const struct args *args = w->cli->args;
	struct live_commit_opts *o = &w->layer->o;
	int rc = cli_open(w->cli);

	if (rc == 0)
		rc = cli_wait(w->cli, args->wait, &o->lock_wait_ms);
	if (rc == 0)
		rc = find_files(w);
	if (rc == 0)
		rc = live_row_get(w->cli->store, o->name, &w->layer->taken.row, &w->cli->err);
	o->tag = args->tag;
	o->attrs = &w->attrs;
	o->one_moment = true;
	o->threads = args->threads;
	return rc;
}

static int read_words(struct work *w)
{
	const struct args *args = w->cli->args;
	struct err why = {""};
	int rc = cli_config(w->cli);

	if (rc < 0)
		return rc;
	if (args->tag && !decide_tag_name_ok(args->tag))
		return cli_usage(w->cli, "--tag: '%s' is no name for a tag", args->tag);
	rc = meta_add_all(w->cli, &args->meta, &w->attrs);
	if (rc)
		return rc;
	rc = pause_settings_load(w->cli->conf, w->name, &args->wishes, &w->settings, &why);
	if (rc == -EINVAL && !strncmp(why.text, "--", 2))
		return cli_usage(w->cli, "%s", why.text);
	if (rc < 0)
		w->cli->err = why;
	return rc;
}

/* The mark is another one's until we hold it. */
static int hold_guest(struct work *w)
{
	const char *rundir;
	json_t *record = NULL;
	const json_t *pausing;
	int rc = guest_args_rundir(w->cli, &rundir);

	if (rc == 0 && w->kept)
		rc = w->hold = guest_hold(rundir, w->name, "lamina pause", &w->cli->err);
	if (rc >= 0 && w->kept)
		rc = guest_load(rundir, w->name, &record, &w->cli->err);
	pausing = json_object_get(record, "pausing");
	w->marked = w->plan.unfinished = json_is_boolean(pausing);
	w->plan.left_paused = json_is_true(pausing);
	json_decref(record);
	return rc < 0 ? rc : 0;
}

static int prepare(struct work *w)
{
	const struct args *args = w->cli->args;
	int rc = read_words(w);

	if (rc == 0)
		rc = guest_args_load(w->cli, w->name, &args->guest, &w->record, &w->kept);
	if (rc == 0)
		rc = guest_args_plan(w->cli, w->record, &w->plan);
	if (rc == 0)
		rc = hold_guest(w);
	if (rc)
		return rc;
	w->plan.settings = &w->settings;
	w->plan.full = args->full;
	w->plan.dry_run = args->dry_run;
	w->plan.is_based = is_based;
	w->plan.seal = seal;
	w->plan.commit = commit;
	w->plan.begins = show_step;
	w->plan.stopped = cli_signals;
	w->plan.waits = show_wait;
	w->plan.ctx = w;
	return open_store(w);
}

static int work(struct work *w)
{
	struct cli *cli = w->cli;
	const struct args *args = cli->args;
	int rc = prepare(w), shown;

	/* One that fails before it begins is one, too, as soon as it is known of whom. */
	if (rc < 0 && w->record && !args->dry_run)
		count(w, rc);
	if (rc)
		return rc;
	cli_catch_all(cli);
	if (!cli->quiet)
		meter_begin(&cli->meter);
	if (!args->dry_run)
		pause_session_hold(cli, w->record);
	cli_hold_stops(true);
	rc = name_full(w, pause_run(&w->plan, &w->report, &cli->err));
	cli_hold_stops(false);
	if (!args->dry_run)
		keep_memory(w, rc);
	meter_end(&cli->meter);
	cli->interrupted = what_became(&w->report);
	if (layer_of(w))
		(void)snprintf(cli->done, sizeof(cli->done), "layer %s is committed", layer_of(w));
	if (!args->dry_run) {
		if (w->marked && w->report.state != PAUSE_STATE_UNKNOWN)
			mark(w, json_null());
		count(w, rc);
		keep_layer(w);
	}
	shown = print(w, rc);
	(void)fflush(stdout);
	tell_state(w, rc);
	return rc ? rc : shown;
}

static int run(struct cli *cli, int argc, char **argv)
{
	struct work w = {.cli = cli, .name = argv[0], .hold = -1,
			 .layer = calloc(1, sizeof(*w.layer))};
	int rc = w.layer ? work(&w) : err_set(&cli->err, -ENOMEM, "out of memory");

	(void)argc;
	pause_report_fini(&w.report);
	pause_settings_fini(&w.settings);
	attrs_fini(&w.attrs);
	json_decref(w.record);
	if (w.layer)
		live_layer_end(w.layer);
	free(w.layer);
	free(w.mount);
	free(w.dir);
	free(w.memfile);
	if (w.hold >= 0)
		close(w.hold);
	return rc;
}

const struct cmd cmd_pause = {
	.name = "pause",
	.operands = "GUEST",
	.purpose = "Makes a layer of a guest that runs: pauses it, has its hypervisor write its "
		   "memory, commits, and lets it go on.",
	.task = "pause the guest",
	.interrupted = "before the guest was paused",
	.notes = "GUEST is a name that lamina guest ls lists, or any with --hypervisor, --socket "
		 "and the others.\n\n"
		 "The steps are freeze, collapse, reclaim, drain (each only if it is asked for, "
		 "here or in lamina.conf, and told but not fatal when it fails), pause, snapshot, "
		 "sync, seal, resume, resumed (the agent is told), commit. Whatever fails, and "
		 "when it is interrupted, the guest goes on, unless it was paused before.",
	.opts = opts,
	.args_size = sizeof(struct args),
	.min = 1,
	.max = 1,
	.words = "@guest",
	.run = run,
};
