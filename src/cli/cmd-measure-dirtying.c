/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/cli/cli.h"
#include "src/cli/measure-show.h"
#include "src/cli/measure.h"
#include "src/cli/picture.h"
#include "src/cli/subject.h"
#include "src/cli/table.h"
#include "src/cli/words.h"
#include "src/cli/workload.h"
#include "store/base/io.h"
#include "store/base/vec.h"

#define CYCLES 3
#define CYCLES_MAX 1000
#define WORKLOADS 16

struct args {
	struct opt_words workloads;
	const char *cycles;
	const char *run;
	const char *command;
	const char *pause;
	const char *ab;
	const char *ab_guest;
	const char *svg;
};

#define TO(field) OPT_TO(struct args, field)

static const struct opt opts[] = {
	{OPT_WORDS, "workload", 'w', TO(workloads), "NAME", "idle 2s 5s 64k process pauses command",
	 "what the guest does before a pause: idle, 2s, 5s, 64k, process, pauses or command; may "
	 "be given again (default: all that can be done)"},
	{OPT_TEXT, "cycles", 'n', TO(cycles), "N", NULL,
	 "how often each is measured: 1 to 1000 (default: 3)"},
	{OPT_TEXT, "run", 'r', TO(run), "COMMAND", NULL,
	 "a shell's command that runs %s in the guest, as in 'ssh root@web %s': 64k and process "
	 "need it"},
	{OPT_TEXT, "workload-command", 'C', TO(command), "COMMAND", NULL,
	 "a shell's command on this host: the workload 'command'"},
	{OPT_TEXT, "pause", 'p', TO(pause), "OPTIONS", NULL,
	 "options of lamina pause, in one word, as in '--collapse --freeze web.slice'"},
	{OPT_TEXT, "ab", 0, TO(ab), "OPTIONS", NULL,
	 "compare: b is with these options of lamina pause, a with those of --pause"},
	{OPT_TEXT, "ab-guest", 0, TO(ab_guest), "GUEST", "@guest",
	 "compare: b is this other guest"},
	{OPT_TEXT, "svg", 0, TO(svg), "FILE", "@file", "draw it into FILE, too"},
	OPT_TABLE_END
};

struct work {
	struct cli *cli;
	unsigned cycles;
	const struct workload *workload[WORKLOADS];
	size_t nworkloads;
	unsigned configurations;
	struct words words[MEASURE_CONFIGURATIONS];
	struct subject subject[MEASURE_CONFIGURATIONS];
	struct measure_set set;
	struct measure_show show;
};

static bool is_stopped(void)
{
	return cli_stopped() != 0;
}

/* ---- which workloads ---- */

static int skip(struct work *w, const struct workload *workload, const char *why)
{
	cli_note(w->cli, "workload '%s' is skipped: %s", workload->name, why);
	if (json_array_append_new(w->show.skipped, json_pack("{s:s, s:s}", "workload",
							     workload->name, "why", why)) < 0)
		return err_set(&w->cli->err, -ENOMEM, "out of memory");
	return 0;
}

/* One that was asked for by name must be possible; of the others those that are not are told. */
static int add_workload(struct work *w, const struct workload *workload, bool asked)
{
	const struct args *args = w->cli->args;
	const struct workload_means means = {.run = args->run, .command = args->command};
	const char *lacks = workload_lacks(workload, &means);

	if (lacks && asked)
		return cli_usage(w->cli, "--workload %s: %s", workload->name, lacks);
	if (lacks && workload->own)
		return 0;
	if (lacks)
		return skip(w, workload, lacks);
	for (size_t i = 0; i < w->nworkloads; i++)
		if (w->workload[i] == workload)
			return 0;
	w->workload[w->nworkloads++] = workload;
	return 0;
}

static int pick_workloads(struct work *w)
{
	const struct args *args = w->cli->args;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < args->workloads.n; i++) {
		const struct workload *workload = workload_find(args->workloads.v[i].text);

		rc = workload ? add_workload(w, workload, true) :
			cli_usage(w->cli, "there is no workload '%s': there are idle, "
				  "2s, 5s, 64k, process, pauses and command",
				  args->workloads.v[i].text);
	}
	for (const struct workload *all = workload_all; rc == 0 && !args->workloads.n && all->name;
	     all++)
		rc = add_workload(w, all, false);
	return rc;
}

/* ---- which configurations ---- */

static bool is_flag_of(const struct opt *all, char letter)
{
	for (const struct opt *o = all; o->kind != OPT_END; o++)
		if (o->kind == OPT_FLAG && o->letter == letter)
			return true;
	return false;
}

/* As --leave, --lea, -l, or -Cl. */
static bool is_option(const char *word, const char *name, char letter)
{
	if (!strncmp(word, "--", 2))
		return !strncmp(word + 2, name, strlen(word + 2));
	if (*word != '-')
		return false;
	for (const char *c = word + 1;
	     *c && (is_flag_of(cmd_pause.opts, *c) || is_flag_of(cli_globals, *c)); c++)
		if (*c == letter)
			return true;
	return false;
}

/* Those that would change what is printed, or leave the guest paused. */
static int check_options(struct cli *cli, const struct words *words)
{
	static const struct {
		const char *name;
		char letter;
	} bad[] = {{"leave", 'l'}, {"dry-run", 'n'}, {"quiet", 'q'}, {"help", 'h'},
		   {"version", 'V'}};

	for (size_t i = 0; i < words->n; i++)
		for (size_t k = 0; k < sizeof(bad) / sizeof(*bad); k++)
			if (is_option(words->v[i], bad[k].name, bad[k].letter))
				return cli_usage(cli, "%s is no option to measure with",
						 words->v[i]);
	return 0;
}

/* As lamina pause parses them: what it does not know is told before anything is measured. */
static int parse_options(struct cli *cli, struct words *words)
{
	struct cli globals = {0};
	char *argv[WORDS_MAX + 2] = {(char []){"pause"}};
	void *to = calloc(1, cmd_pause.args_size + 1);
	const struct opt_parser parser = {.set = {{cmd_pause.opts, to}, {cli_globals, &globals}}};
	int rc;

	if (!to)
		return err_set(&cli->err, -ENOMEM, "out of memory");
	memcpy(argv + 1, words->v, words->n * sizeof(*argv));
	rc = opt_parse(&parser, (int)words->n + 1, argv, &cli->err);
	opt_fini(&parser.set[0]);
	free(to);
	if (rc < 0)
		return cli_usage(cli, "lamina pause: %s", cli->err.text);
	return rc <= (int)words->n ? cli_usage(cli, "'%s' is no option of lamina pause", argv[rc])
				   : 0;
}

static int configure(struct work *w, unsigned i, const char *guest, const char *options)
{
	struct cli *cli = w->cli;
	int rc = words_split(options, &w->words[i], &cli->err);

	if (rc < 0)
		return cli_usage(cli, "%s", cli->err.text);
	w->subject[i] = (struct subject){guest, &w->words[i]};
	w->show.guest[i] = guest;
	w->show.options[i] = options;
	w->configurations = i + 1;
	rc = check_options(cli, &w->words[i]);
	return rc ? rc : parse_options(cli, &w->words[i]);
}

static int configure_all(struct work *w, const char *guest)
{
	const struct args *args = w->cli->args;
	const char *options = args->pause ? args->pause : "";
	int rc = configure(w, 0, guest, options);

	if (rc == 0 && (args->ab || args->ab_guest))
		rc = configure(w, 1, args->ab_guest ? args->ab_guest : guest,
			       args->ab ? args->ab : options);
	return rc;
}

/* ---- measuring ---- */

static int pause_once(struct work *w, unsigned i, struct measure *ret)
{
	int rc = subject_pause(w->cli, &w->subject[i], ret, w->show.warnings);

	return rc == -EINVAL ? cli_usage(w->cli, "%s", w->cli->err.text) : rc;
}

static int measure_once(struct work *w, const struct workload *workload, unsigned i, unsigned cycle)
{
	struct measure m = {.configuration = i, .workload = workload, .cycle = cycle};
	int rc = pause_once(w, i, &m);

	if (rc == 0)
		rc = subject_compare(w->cli, &m);
	if (rc == 0 && vec_push(&w->set, m) < 0)
		rc = err_set(&w->cli->err, -ENOMEM, "out of memory");
	return rc;
}

static int measure_cycle(struct work *w, const struct workload *workload, unsigned i,
			 unsigned cycle)
{
	const struct args *args = w->cli->args;
	const struct workload_means means = {args->run, args->command, w->subject[i].guest,
					     is_stopped};
	char word[64];
	int rc;

	(void)snprintf(word, sizeof(word), "%s, %u of %u", workload->name, cycle, w->cycles);
	meter_word(&w->cli->meter, word);
	rc = workload_run(workload, &means, &w->cli->err);
	for (unsigned n = 0; rc == 0 && n < workload->pauses; n++)
		rc = measure_once(w, workload, i, (cycle - 1) * workload->pauses + n + 1);
	return rc;
}

/* What was written before we came is in a layer of its own, and counts for nothing. */
static int begin(struct work *w, unsigned i)
{
	struct measure m = {.configuration = i};

	if (i == 1 && !strcmp(w->subject[0].guest, w->subject[1].guest))
		return 0;
	return pause_once(w, i, &m);
}

/* a and b in turns, so that what drifts is in both; who is first changes, too. */
static int measure_all(struct work *w)
{
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < w->configurations; i++)
		rc = begin(w, i);
	for (unsigned cycle = 1; rc == 0 && cycle <= w->cycles; cycle++)
		for (size_t k = 0; rc == 0 && k < w->nworkloads; k++)
			for (unsigned i = 0; rc == 0 && i < w->configurations; i++)
				rc = measure_cycle(w, w->workload[k],
						   w->configurations > 1 ? (i + cycle + 1) % 2 : i,
						   cycle);
	meter_end(&w->cli->meter);
	return rc;
}

/* ---- telling ---- */

static int cannot_write(struct work *w, const char *path, int rc)
{
	return err_sys(&w->cli->err, rc, "cannot write '%s'", path);
}

/* Before anything is measured: what is there now is left until there is something to write. */
static int try_svg(struct work *w, const char *path)
{
	char beside[PATH_MAX];
	struct stat st;
	int fd;

	if (lstat(path, &st) == 0 && !S_ISREG(st.st_mode))
		return err_set(&w->cli->err, -EEXIST, "'%s' exists and is not a regular file",
			       path);
	if ((size_t)snprintf(beside, sizeof(beside), "%s.XXXXXX", path) >= sizeof(beside))
		return cannot_write(w, path, -ENAMETOOLONG);
	fd = mkostemp(beside, O_CLOEXEC);
	if (fd < 0)
		return cannot_write(w, path, -errno);
	(void)close(fd);
	(void)unlink(beside);
	return 0;
}

static int draw_into(struct work *w, FILE *out)
{
	char label[MEASURE_CONFIGURATIONS][256], title[256];
	struct picture picture = {.set = &w->set, .configurations = w->configurations,
				  .title = title};
	bool two = w->configurations > 1, guests = two && strcmp(w->show.guest[0],
								 w->show.guest[1]) != 0;

	(void)snprintf(title, sizeof(title), "What pauses of %s%s%s cost", w->show.guest[0],
		       guests ? " and " : "", guests ? w->show.guest[1] : "");
	for (unsigned i = 0; i < w->configurations; i++) {
		(void)snprintf(label[i], sizeof(label[i]), "%slamina pause %s%s%s",
			       two ? (i ? "b: " : "a: ") : "", w->show.options[i],
			       *w->show.options[i] ? " " : "", w->show.guest[i]);
		picture.label[i] = label[i];
	}
	return picture_svg(out, &picture);
}

static int draw(struct work *w, const char *path)
{
	char *data = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&data, &len);
	int rc = out ? draw_into(w, out) : -ENOMEM;

	if (out && fclose(out) != 0 && rc == 0)
		rc = -ENOMEM;
	if (rc == 0)
		rc = io_replace_file(AT_FDCWD, path, data, len);
	free(data);
	return rc < 0 ? cannot_write(w, path, rc) : 0;
}

static int tell(struct work *w)
{
	const struct args *args = w->cli->args;
	const json_t *warning;
	size_t i;
	int rc = 0;

	json_array_foreach(w->show.warnings, i, warning)
		cli_note(w->cli, "warning: %s", json_string_value(warning));
	w->show.configurations = w->configurations;
	if (w->cli->json)
		rc = measure_show_json(&w->show);
	else if (w->set.n && !w->cli->quiet)
		rc = measure_show_text(&w->show);
	return rc == 0 && args->svg && w->set.n ? draw(w, args->svg) : rc;
}

/* What was measured is told even if it could not go on. */
static int measure_and_tell(struct work *w)
{
	struct err first;
	int rc, told;

	cli_catch_all(w->cli);
	if (!w->cli->quiet)
		meter_begin(&w->cli->meter);
	rc = measure_all(w);
	first = w->cli->err;
	if (rc < 0)
		w->show.error = rc == -ECANCELED && cli_stopped() ? "interrupted" :
			table_clean(first.text);	/* of a command, maybe */
	told = rc == 0 || w->set.n || (rc < 0 && w->cli->json) ? tell(w) : 0;
	if (rc < 0)
		w->cli->err = first;
	return rc ? rc : told;
}

static int check_numbers(struct work *w)
{
	const struct args *args = w->cli->args;
	uint64_t cycles = CYCLES;

	if (args->cycles && (fmt_parse_u64(args->cycles, &cycles) < 0 || !cycles ||
			     cycles > CYCLES_MAX))
		return cli_usage(w->cli, "--cycles: '%s' is not a number from 1 to %u",
				 args->cycles, CYCLES_MAX);
	w->cycles = (unsigned)cycles;
	return 0;
}

static int check_words(struct work *w)
{
	const struct args *args = w->cli->args;
	char *tried = NULL;

	if (args->command && !*args->command)
		return cli_usage(w->cli, "--workload-command is empty");
	if (args->svg && (!*args->svg || !strcmp(args->svg, "-")))
		return cli_usage(w->cli, "--svg wants a file: stdout has the tables");
	if (args->run && words_fill(args->run, "true", &tried, &w->cli->err) < 0)
		return cli_usage(w->cli, "--run: %s", w->cli->err.text);
	free(tried);
	return 0;
}

static int work(struct work *w, const char *guest)
{
	const struct args *args = w->cli->args;
	int rc = check_numbers(w);

	if (rc == 0)
		rc = check_words(w);
	if (rc == 0)
		rc = configure_all(w, guest);
	if (rc == 0)
		rc = pick_workloads(w);
	if (rc == 0 && args->svg)
		rc = try_svg(w, args->svg);
	return rc ? rc : measure_and_tell(w);
}

static int run(struct cli *cli, int argc, char **argv)
{
	struct work w = {.cli = cli, .show = {.cli = cli}};
	int rc;

	(void)argc;
	w.show.set = &w.set;
	w.show.skipped = json_array();
	w.show.warnings = json_array();
	rc = w.show.skipped && w.show.warnings ? work(&w, argv[0]) :
		err_set(&cli->err, -ENOMEM, "out of memory");
	for (unsigned i = 0; i < MEASURE_CONFIGURATIONS; i++)
		words_fini(&w.words[i]);
	vec_fini(&w.set);
	json_decref(w.show.skipped);
	json_decref(w.show.warnings);
	return rc;
}

const struct cmd cmd_measure_dirtying = {
	.name = "measure-dirtying",
	.operands = "GUEST",
	.purpose = "Measures what pauses of a guest cost: it works, is paused, goes on, again and "
		   "again.",
	.task = "measure the guest",
	.interrupted = "and the guest goes on",
	.notes = "Of each pause and image: pages that changed since the pause before, frames of 2 "
		 "MiB in which they are, how full of them these are, bytes that the store grew "
		 "by, and how long the guest stood still.\n\n"
		 "With --ab or --ab-guest two configurations are measured in turns, and it is told "
		 "by how much b differs from a, and how sure that is.\n\n"
		 "Each pause leaves a layer: a child of the one before, without a tag.",
	.opts = opts,
	.args_size = sizeof(struct args),
	.min = 1,
	.max = 1,
	.words = "@guest",
	.run = run,
};
