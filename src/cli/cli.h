/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cli: what the subcommands share: global options, lamina.conf, the open
 * store, how layers are named, how sizes look, how work is shown and stopped.
 *
 * Functions return >= 0, or -errno with the sentence in cli->err.
 */
#ifndef LAMINA_CLI_CLI_H
#define LAMINA_CLI_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "src/cli/cmd.h"
#include "src/cli/meter.h"
#include "store/base/conf.h"
#include "store/base/err.h"
#include "store/base/fmt.h"
#include "store/index.h"
#include "store/layer.h"
#include "store/progress.h"
#include "store/store.h"

enum cli_status {
	CLI_DONE = 0,
	CLI_FAILED = 1,
	CLI_USAGE = 2,
	CLI_DAMAGE = 3,
	CLI_BUSY = 4,
};

struct cli {
	const char *store_dir;	/* --store, or NULL */
	const char *config;	/* --config, or NULL */
	bool json;
	bool quiet;
	bool bytes;
	bool help;
	bool version;

	const struct cmd *cmd;	/* the one that runs */
	void *args;		/* its options: a struct of cmd->args_size bytes */
	struct conf *conf;	/* NULL: there is no file */
	struct store *store;
	struct meter meter;
	bool catching;		/* signals stop the work instead of killing us */
	const char *interrupted;	/* what became of it, or NULL: what cmd says */
	char done[96];		/* what is done even if it cannot be printed, or "" */
	struct err err;
};

extern const struct opt cli_globals[];

/* Every command that takes the writer's lock has it; `type` holds `const char *wait`. */
#define CLI_OPT_WAIT(type)						\
	{								\
		OPT_TEXT, "wait", 'w', OPT_TO(type, wait), "DURATION", NULL, \
		"wait so long for another writer, as in 30s, 10m or "	\
		"forever (default: [store] lock_wait of lamina.conf, else 10s)" \
	}

/* Loads and checks lamina.conf, once.  No file at the default place is fine. */
int cli_config(struct cli *cli);
/* A value of lamina.conf, or NULL. */
const char *cli_config_get(const struct cli *cli, const char *section, const char *key);
/* Where the store is: --store, $LAMINA_STORE, lamina.conf, or the default. */
int cli_store_path(struct cli *cli, const char **ret);
/* Whether `path` is the store that is open. */
bool cli_is_store(const struct cli *cli, const char *path);
/* Opens the store into cli->store. */
int cli_open(struct cli *cli);
/* Closes everything. */
void cli_end(struct cli *cli);

/*
 * What --wait (or NULL) comes to, in milliseconds.  From now on, until work has
 * begun, a signal ends us with a sentence.
 */
int cli_wait(struct cli *cli, const char *wait, uint64_t *ret_ms);

/* The id of a layer named by tag, id or prefix. */
int cli_layer_id(struct cli *cli, const char *name, struct digest *ret);
/* Opens it and holds a lease on it as long as the process lives. */
int cli_layer_open(struct cli *cli, const char *name, struct layer **ret);

#define CLI_ID_LEN 13
/* The first 12 digits of an id, enough for people. */
char *cli_id(char out[CLI_ID_LEN], const struct digest *id);
/* A size for a table: "17.8 MiB", or exact with --bytes. */
char *cli_size(const struct cli *cli, char out[FMT_SIZE_LEN], uint64_t bytes);

/* Shows work on a terminal, and stops it at SIGINT, SIGTERM or SIGHUP. */
struct progress cli_progress(struct cli *cli);
/* The signal that asked to stop, or 0.  Only after cli_catch(). */
int cli_stopped(void);
unsigned cli_signals(void);	/* how many have */
void cli_catch(void);
/* For work that must not end halfway: no signal kills, however often it comes. */
void cli_catch_all(struct cli *cli);
/* While they are held, Ctrl-Z does not stop us, nor our children: it does when they are let go. */
void cli_hold_stops(bool hold);

/*
 * What these print is one line each, through table_clean(): a guest, its hypervisor or a file may
 * have had a say in it.
 */
/* Why a command failed that is to end with `rc`, as cli_fail() says it: ret->text. */
const char *cli_why(const struct cli *cli, int rc, struct err *ret);
/* With --json {"removed": [...]}, and "error" if `rc` is a failure; else nothing. */
int cli_show_removed(struct cli *cli, int rc, json_t *removed);
/*
 * Prints "lamina: cannot TASK: SENTENCE" for a failed command, and with --json, if nothing was
 * printed there, an object with it; its exit status.
 */
int cli_fail(struct cli *cli, int rc);
/* Prints a sentence and where to read more; CLI_USAGE. */
int cli_usage(struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A line on stderr: "lamina: ...". */
void cli_note(struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* What a row of decide_layer_each() says, unverified; layer_unref() it. */
int cli_layer_of_row(struct cli *cli, const struct index_layer *row, struct layer **ret);

#endif
