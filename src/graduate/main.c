/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lamina-graduator(8).  There is one to a runtime directory, by a lock in it that is held as
 * long as it runs.  All that can go wrong does so before it goes into the background.
 */
#include "config.h"

#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/graduate/api.h"
#include "src/graduate/args.h"
#include "src/graduate/control.h"
#include "src/graduate/dry-run.h"
#include "src/graduate/peer.h"
#include "store/base/detach.h"
#include "store/base/io.h"
#include "store/base/log.h"
#include "store/base/notify.h"

#define EXIT_USAGE 2
#define EXIT_BUSY 4

struct start {
	const struct args *args;
	char *config;			/* absolute; NULL: the one at the default place */
	struct settings settings;
	struct board board;
	int ready_fd;			/* where somebody waits; -1: nobody */
};

/* ---- settings ---- */

/* The daemon changes to another directory, and reads the file again. */
static int find_config(struct start *s, struct err *err)
{
	const char *env = getenv("LAMINA_CONF");
	const char *path = s->args->config ? s->args->config : env && *env ? env : NULL;

	if (!path)
		return 0;
	s->config = io_absolute(path);
	return s->config ? 0 : err_set(err, -ENOMEM, "cannot find '%s'", path);
}

static int take_runtime_dir(struct start *s, bool make, struct err *err)
{
	char **dir = &s->settings.runtime_dir, *given = NULL, *real;

	if (s->args->runtime_dir) {
		given = strdup(s->args->runtime_dir);
		if (!given)
			return err_set(err, -ENOMEM, "out of memory");
		free(*dir);
		*dir = given;
	}
	if (make && io_mkdirs(*dir, 0755, err) < 0)
		return -EIO;
	real = realpath(*dir, NULL);
	if (!real && !make)
		return 0;
	if (!real)
		return err_sys(err, -errno, "cannot use '%s'", *dir);
	free(*dir);
	*dir = real;
	return 0;
}

static int load(struct start *s, bool make, struct err *err)
{
	int rc = find_config(s, err);

	if (rc == 0)
		rc = settings_load(s->config, &s->settings, err);
	return rc < 0 ? rc : take_runtime_dir(s, make, err);
}

/* ---- one of a kind ---- */

static int open_api(struct start *s, struct api **ret, struct err *err)
{
	char *path = settings_socket(&s->settings);
	int rc;

	if (!path)
		return err_set(err, -ENOMEM, "out of memory");
	rc = api_new(path, &s->board, ret, err);
	free(path);
	return rc;
}

/* Signals are read from a descriptor; threads that are started later inherit this. */
static void block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGPIPE);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
}

/* ---- what is done ---- */

/* The terminal is left before threads start, the one who waits there afterwards. */
static int start(const struct start *s, struct api *api, struct err *err)
{
	int rc = s->ready_fd >= 0 ? detach_from_terminal(err) : 0;

	if (rc == 0)
		rc = api_start(api, err);
	if (rc < 0)
		return rc;
	if (s->ready_fd >= 0) {
		rc = io_write_all(s->ready_fd, "", 1);
		close(s->ready_fd);
	}
	if (notify_send("READY=1", -1, 0) < 0)
		log_warn("cannot tell systemd that it runs");
	return rc < 0 ? err_sys(err, rc, "nobody waits for it") : 0;
}

static int serve(struct start *s, struct api *api, struct err *err)
{
	struct control c = {.config = s->config, .runtime_dir = s->args->runtime_dir};
	int rc = control_init(&c, &s->settings, &s->board, err);

	if (rc < 0)
		return rc;
	rc = start(s, api, err);
	if (rc == 0)
		control_run(&c);
	control_fini(&c);
	return rc;
}

static int run_daemon(struct start *s, struct err *err)
{
	struct api *api = NULL;
	int rc = open_api(s, &api, err);

	if (rc == 0)
		rc = serve(s, api, err);
	api_free(api);
	return rc;
}

/* Whether all was done that --once is for. */
static int judge(const struct control *c, struct err *err)
{
	char failed[64] = "", silent[96] = "";

	if (!c->failures && !c->silent)
		return 0;
	if (c->failures)
		(void)snprintf(failed, sizeof(failed), "%u of the graduations failed", c->failures);
	if (c->silent)
		(void)snprintf(silent, sizeof(silent), "%" PRIu64 " of the pagers did not answer: "
			       "nothing was done for their sessions", c->silent);
	return err_set(err, -EIO, "%s%s%s", failed, *failed && *silent ? "; " : "", silent);
}

static int run_once(struct start *s, struct err *err)
{
	struct control c = {.config = s->config};
	int rc;

	if (!s->settings.enabled) {
		log_event(LOG_LEVEL_INFO, "disabled", (struct log_field[]){{0}});
		return 0;
	}
	rc = control_init(&c, &s->settings, &s->board, err);
	if (rc < 0)
		return rc;
	rc = control_once(&c, err);
	if (rc == 0)
		rc = judge(&c, err);
	control_fini(&c);
	return rc;
}

static int run_alone(struct start *s, struct err *err)
{
	bool once = s->args->action == ARGS_ONCE;
	int fd, rc;

	if (!once && !s->args->foreground) {
		s->ready_fd = rc = detach_begin("lamina-graduator", err);
		if (rc < 0)
			return rc;
	}
	fd = peer_lock(s->settings.runtime_dir, err);
	if (fd < 0)
		return fd;
	block_signals();
	board_init(&s->board);
	rc = once ? run_once(s, err) : run_daemon(s, err);
	board_fini(&s->board);
	close(fd);
	return rc;
}

static int run(const struct args *args)
{
	struct start s = {.args = args, .ready_fd = -1};
	bool dry = args->action == ARGS_DRY_RUN;
	struct err err = {""};
	int rc;

	log_init("lamina-graduator", LOG_LEVEL_INFO);
	if (!dry)
		log_as_json();
	rc = load(&s, !dry, &err);
	if (rc == 0 && dry)
		rc = dry_run(&s.settings, args->json, &err);
	else if (rc == 0)
		rc = run_alone(&s, &err);
	if (rc < 0 && dry)
		fprintf(stderr, "lamina-graduator: %s\n", err.text);
	else if (rc < 0)
		log_event(LOG_LEVEL_ERROR, "failed",
			  (struct log_field[]){LOG_STR("error", err.text), {0}});
	settings_fini(&s.settings);
	free(s.config);
	return rc == -EBUSY ? EXIT_BUSY : rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct args args;
	struct err err = {""};

	if (args_parse(&args, argc, argv, &err) < 0) {
		fprintf(stderr, "lamina-graduator: %s\nTry 'lamina-graduator --help'.\n", err.text);
		return EXIT_USAGE;
	}
	if (args.action == ARGS_VERSION)
		puts("lamina-graduator " PACKAGE_VERSION);
	else if (args.action == ARGS_HELP)
		fputs(args_help(), stdout);
	else
		return run(&args);
	return EXIT_SUCCESS;
}
