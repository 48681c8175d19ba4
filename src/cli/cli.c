/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/cli.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/cli/out.h"
#include "src/cli/table.h"
#include "store/decide.h"
#include "store/lease.h"

#define STORE_DEFAULT LOCALSTATEDIR "/lib/lamina"
#define LOCK_WAIT_DEFAULT "10s"

const struct opt cli_globals[] = {
	{OPT_TEXT, "store", 's', OPT_TO(struct cli, store_dir), "DIR", "@dir",
	 "the store (default: $LAMINA_STORE, else [store] path of lamina.conf, else "
	 STORE_DEFAULT ")"},
	{OPT_TEXT, "config", 'c', OPT_TO(struct cli, config), "FILE", "@file",
	 "read FILE as lamina.conf(5) (default: $LAMINA_CONF, else "
	 CONF_DEFAULT_PATH ")"},
	{OPT_FLAG, "json", 'j', OPT_TO(struct cli, json), NULL, NULL,
	 "print data as JSON; sizes in bytes, times in seconds"},
	{OPT_FLAG, "quiet", 'q', OPT_TO(struct cli, quiet), NULL, NULL,
	 "no progress and no tables: only ids and names, one a line"},
	{OPT_FLAG, "bytes", 'b', OPT_TO(struct cli, bytes), NULL, NULL,
	 "exact bytes where tables show sizes"},
	{OPT_FLAG, "help", 'h', OPT_TO(struct cli, help), NULL, NULL, "print this help"},
	{OPT_FLAG, "version", 'V', OPT_TO(struct cli, version), NULL, NULL,
	 "print the version"},
	OPT_TABLE_END
};

/* --- lamina.conf and the store --- */

int cli_config(struct cli *cli)
{
	return cli->conf ? 0 : conf_open(cli->config, &cli->conf, &cli->err);
}

const char *cli_config_get(const struct cli *cli, const char *section, const char *key)
{
	return conf_get(cli->conf, section, key);
}

bool cli_is_store(const struct cli *cli, const char *path)
{
	struct stat ours, theirs;

	return stat(path, &theirs) == 0 && fstat(cli->store->dirfd, &ours) == 0 &&
	       ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

int cli_store_path(struct cli *cli, const char **ret)
{
	const char *env = getenv("LAMINA_STORE"), *conf;
	int rc = cli_config(cli);

	if (rc < 0)
		return rc;
	conf = cli_config_get(cli, "store", "path");
	if (cli->store_dir)
		*ret = cli->store_dir;
	else if (env && *env)
		*ret = env;
	else
		*ret = conf && *conf ? conf : STORE_DEFAULT;
	return 0;
}

int cli_open(struct cli *cli)
{
	const char *path;
	int rc = cli_store_path(cli, &path);

	return rc < 0 ? rc : store_open(path, NULL, &cli->store, &cli->err);
}

void cli_end(struct cli *cli)
{
	meter_end(&cli->meter);
	store_close(cli->store);
	conf_free(cli->conf);
	cli->store = NULL;
	cli->conf = NULL;
}

/* --- waiting for another writer --- */

static char wait_sentence[64];

/* Nobody looks whether it was told to stop while it waits: the signal kills. */
static void on_wait_signal(int sig)
{
	(void)!write(STDERR_FILENO, wait_sentence, strlen(wait_sentence));
	(void)raise(sig);
}

static void catch_waiting(const struct cli *cli)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction sa = {.sa_handler = on_wait_signal, .sa_flags = (int)SA_RESETHAND}, old;

	(void)snprintf(wait_sentence, sizeof(wait_sentence), "lamina: %s: interrupted\n",
		       cli->cmd->name);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
			(void)sigaction(signals[i], &sa, NULL);
}

#define NO_DURATION "'%s' is not a duration such as 500ms, 30s, 10m or forever"

int cli_wait(struct cli *cli, const char *wait, uint64_t *ret_ms)
{
	const char *conf = cli_config_get(cli, "store", "lock_wait");
	bool given = wait != NULL;

	catch_waiting(cli);
	if (!wait)
		wait = conf ? conf : LOCK_WAIT_DEFAULT;
	if (!strcmp(wait, "forever"))
		*ret_ms = UINT64_MAX;
	else if (fmt_parse_duration_ms(wait, ret_ms) < 0)
		return given ? cli_usage(cli, "--wait: " NO_DURATION, wait) :
			       err_set(&cli->err, -EINVAL,
				       "lock_wait in lamina.conf: " NO_DURATION, wait);
	return 0;
}

/* --- layers --- */

int cli_layer_of_row(struct cli *cli, const struct index_layer *row, struct layer **ret)
{
	char id[CLI_ID_LEN];
	struct rd rd;
	int rc;

	rd_init(&rd, row->manifest, row->manifest_len);
	rc = layer_decode(&rd, row->seq, ret);
	if (rc < 0)
		return err_set(&cli->err, rc, "layer %s: the manifest is damaged",
			       cli_id(id, &row->id));
	return 0;
}

int cli_layer_id(struct cli *cli, const char *name, struct digest *ret)
{
	return decide_resolve(cli->store, name, ret, &cli->err);
}

int cli_layer_open(struct cli *cli, const char *name, struct layer **ret)
{
	struct digest id;
	int rc = cli_layer_id(cli, name, &id);

	if (rc < 0)
		return rc;
	/* The descriptor is left open: the lease ends with the process. */
	rc = lease_take(cli->store, &id, &cli->err);
	return rc < 0 ? rc : layer_open(cli->store, &id, ret, &cli->err);
}

char *cli_id(char out[CLI_ID_LEN], const struct digest *id)
{
	return fmt_hex(out, id->b, (CLI_ID_LEN - 1) / 2);
}

char *cli_size(const struct cli *cli, char out[FMT_SIZE_LEN], uint64_t bytes)
{
	if (!cli->bytes)
		return fmt_size(out, bytes);
	(void)snprintf(out, FMT_SIZE_LEN, "%llu", (unsigned long long)bytes);
	return out;
}

/* --- progress and signals --- */

/* Worker threads look at it, too. */
static atomic_int stop_signal;
static atomic_uint nsignals;

static void on_signal(int sig)
{
	stop_signal = sig;
	nsignals++;
}

unsigned cli_signals(void)
{
	return nsignals;
}

int cli_stopped(void)
{
	return stop_signal;
}

static void catch_one(int sig, int flags)
{
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = flags};

	(void)sigaction(sig, &sa, NULL);
}

/* The second signal kills: a crash at any point is safe. */
void cli_catch(void)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		catch_one(signals[i], (int)SA_RESETHAND);
}

/* Of those that end a process only what tells of a fault in it does. */
void cli_catch_all(struct cli *cli)
{
	static const int signals[] = {
		SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF,
		SIGIO, SIGPWR, SIGSTKFLT, SIGXCPU,
	};

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		catch_one(signals[i], 0);
	for (int sig = SIGRTMIN; sig <= SIGRTMAX; sig++)
		catch_one(sig, 0);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN);
	cli->catching = true;
}

void cli_hold_stops(bool hold)
{
	sigset_t stops;

	(void)sigemptyset(&stops);
	(void)sigaddset(&stops, SIGTSTP);
	(void)sigaddset(&stops, SIGTTIN);
	(void)sigaddset(&stops, SIGTTOU);
	(void)sigprocmask(hold ? SIG_BLOCK : SIG_UNBLOCK, &stops, NULL);
}

static int on_progress(void *ctx, const char *what, enum progress_unit unit, uint64_t done,
		       uint64_t total)
{
	struct cli *cli = ctx;

	/* Not before work has begun: who waits for a lock can simply be killed. */
	if (!cli->catching)
		cli_catch();
	cli->catching = true;
	if (cli_stopped())
		return 1;
	meter_show(&cli->meter, what, unit, done, total);
	return 0;
}

struct progress cli_progress(struct cli *cli)
{
	if (!cli->quiet)
		meter_begin(&cli->meter);
	return (struct progress){on_progress, cli};
}

/* --- what goes wrong --- */

static int status_of(int rc)
{
	switch (rc) {
	case -ECANCELED:
		return cli_stopped() ? 128 + cli_stopped() : CLI_FAILED;
	case -EBADMSG:
		return CLI_DAMAGE;
	case -EBUSY:
		return CLI_BUSY;
	default:
		return CLI_FAILED;
	}
}

static void put_line(const char *fmt, va_list ap)
{
	char *text = NULL;

	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	fprintf(stderr, "lamina: %s\n", text ? table_clean(text) : "out of memory");
	free(text);
}

__attribute__((format(printf, 1, 2))) static void say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	put_line(fmt, ap);
	va_end(ap);
}

static bool is_stopped(int rc)
{
	return rc == -ECANCELED && cli_stopped();
}

const char *cli_why(const struct cli *cli, int rc, struct err *ret)
{
	const char *became = cli->interrupted ? cli->interrupted : cli->cmd->interrupted;
	char buf[128];

	*ret = cli->err;
	if (is_stopped(rc))
		(void)err_set(ret, rc, "interrupted%s%s", became ? ", " : "",
			      became ? became : "");
	else if (!*ret->text)
		(void)err_set(ret, rc, "%s", strerror_r(-rc, buf, sizeof(buf)));
	return ret->text;
}

int cli_show_removed(struct cli *cli, int rc, json_t *removed)
{
	struct err why, trouble;
	json_t *error;
	int shown;

	if (!cli->json)
		return 0;
	error = rc < 0 ? out_sentence(cli_why(cli, rc, &why)) : NULL;
	shown = out_json(json_pack("{s:O, s:o*}", "removed", removed, "error", error), &trouble);
	if (shown < 0 && rc >= 0)
		cli->err = trouble;
	return shown;
}

int cli_fail(struct cli *cli, int rc)
{
	struct err why;

	(void)cli_why(cli, rc, &why);
	meter_end(&cli->meter);
	if (cli->json)
		out_error(why.text);
	(void)fflush(stdout);
	if (is_stopped(rc))
		say("%s: %s", cli->cmd->name, why.text);
	else
		say("cannot %s: %s", cli->cmd->task, why.text);
	return status_of(rc);
}

int cli_usage(struct cli *cli, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	put_line(fmt, ap);
	va_end(ap);
	fprintf(stderr, "Try 'lamina%s%s --help'.\n", cli->cmd ? " " : "",
		cli->cmd ? cli->cmd->name : "");
	return CLI_USAGE;
}

void cli_note(struct cli *cli, const char *fmt, ...)
{
	va_list ap;

	meter_end(&cli->meter);
	va_start(ap, fmt);
	put_line(fmt, ap);
	va_end(ap);
}
