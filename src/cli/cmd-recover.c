/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "src/cli/cli.h"
#include "src/cli/out.h"
#include "store/digest.h"
#include "store/recover.h"

static void on_note(void *ctx, const char *line)
{
	cli_note(ctx, "%s", line);
}

static int print(struct cli *cli, const struct recover_result *r)
{
	/* Without the old index nobody knows of a layer that left no trace in the packs. */
	const char *found = r->compared ? "recovered" : "found";
	const char *lost = r->compared ? "lost" : "known to be lost";
	char time[FMT_SIZE_LEN];

	if (cli->json)
		return out_json(json_pack("{s:I, s:I, s:I, s:I, s:I, s:b, s:I, s:I, s:I, s:I, "
					  "s:f}",
					  "packs", (json_int_t)r->packs,
					  "records", (json_int_t)r->records,
					  "damaged", (json_int_t)r->damaged,
					  "layers", (json_int_t)r->layers,
					  "lost", (json_int_t)r->lost,
					  "compared", (int)r->compared,
					  "removed", (json_int_t)r->removed,
					  "tags", (json_int_t)r->tags,
					  "live_images", (json_int_t)r->live,
					  "live_lost", (json_int_t)r->live_lost,
					  "seconds", r->seconds),
				&cli->err);
	if (cli->quiet)
		return 0;
	printf("read %llu packs, %llu records in %s; damaged places skipped: %llu\n"
	       "layers: %llu %s, %llu %s, %llu stay removed; tags: %llu",
	       (unsigned long long)r->packs, (unsigned long long)r->records,
	       fmt_duration(time, r->seconds), (unsigned long long)r->damaged,
	       (unsigned long long)r->layers, found, (unsigned long long)r->lost, lost,
	       (unsigned long long)r->removed, (unsigned long long)r->tags);
	if (r->live || r->live_lost)
		printf("; live images: %llu, of which %llu cannot be opened",
		       (unsigned long long)r->live, (unsigned long long)r->live_lost);
	putchar('\n');
	return 0;
}

static int run(struct cli *cli, int argc, char **argv)
{
	struct recover_opts o = {.note = on_note, .ctx = cli};
	struct recover_result r;
	const char *path;
	int rc = cli_store_path(cli, &path);

	(void)argc;
	(void)argv;
	if (rc < 0)
		return rc;
	o.progress = cli_progress(cli);
	rc = recover_run(path, &o, &r, &cli->err);
	meter_end(&cli->meter);
	if (rc == 0)
		rc = print(cli, &r);
	return rc == 0 && (r.lost || r.damaged || r.live_lost) ? CLI_DAMAGE : rc;
}

const struct cmd cmd_recover = {
	.name = "recover",
	.purpose = "Rebuilds index.db from the packs.",
	.task = "recover the store",
	.interrupted = "index.db is as it was",
	.notes = "For a store whose index.db is lost or damaged. Layers, tags, attributes and "
		 "live images come back, and what was removed stays removed. The old index.db "
		 "is kept as "
		 "index.db.broken; one that can be read says which store this is and which "
		 "layers there were. A layer that is no longer whole is left out; it is named "
		 "on standard error, as is every damaged place that was skipped, and the exit "
		 "status is then 3. Unmount the store first.",
	.run = run,
};
