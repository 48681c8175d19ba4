/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/args.h"

#include <getopt.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/conf.h"
#include "store/base/fmt.h"
#include "store/base/option.h"

#define SOCKET_MODE_DEFAULT 0660

static const char help[] =
"Usage: lamina-pager [OPTION]...\n"
"Serves the page faults of guests from their memory files.\n"
"\n"
"Options:\n"
"  -c, --config FILE     read FILE as lamina.conf(5) (default: $LAMINA_CONF,\n"
"                        else " CONF_DEFAULT_PATH ")\n"
"  -f, --foreground      stay in the foreground and log to standard error\n"
"  -m, --socket-mode OCTAL\n"
"                        who may speak to the socket (0660)\n"
"  -r, --runtime-dir DIR\n"
"                        where sockets are made; one pager a directory\n"
"  -s, --socket PATH     listen there (DIR/pager.sock)\n"
"  -t, --threads N       that serve faults (0: as many as suit the cores)\n"
"  -T, --takeover        take all sessions over from the pager that runs in\n"
"                        DIR, if there is one\n"
"  -u, --user NAME       run as NAME when started by root\n"
"  -h, --help            print this help\n"
"  -V, --version         print the version\n"
"\n"
"Exit status: 0 ended, or serving in the background; 1 failed; 2 wrong usage;\n"
"4 another pager serves there.\n";

const char *args_help(void)
{
	return help;
}

static const struct option long_options[] = {
	{"config", required_argument, NULL, 'c'},
	{"foreground", no_argument, NULL, 'f'},
	{"help", no_argument, NULL, 'h'},
	{"runtime-dir", required_argument, NULL, 'r'},
	{"socket", required_argument, NULL, 's'},
	{"socket-mode", required_argument, NULL, 'm'},
	{"takeover", no_argument, NULL, 'T'},
	{"threads", required_argument, NULL, 't'},
	{"user", required_argument, NULL, 'u'},
	{"version", no_argument, NULL, 'V'},
	{NULL, 0, NULL, 0},
};

/* ---- values ---- */

static int parse_threads(const char *text, unsigned *ret, struct err *err)
{
	uint64_t n;

	if (fmt_parse_u64(text, &n) < 0 || n > ARGS_THREADS_MAX)
		return err_set(err, -EINVAL, "threads: '%s' is not a number from 0 to %d", text,
			       ARGS_THREADS_MAX);
	*ret = (unsigned)n;
	return 0;
}

static int parse_mode(const char *text, mode_t *ret, struct err *err)
{
	char *end;
	unsigned long mode = strtoul(text, &end, 8);

	if (end == text || *end || *text == '-' || mode > 0777)
		return err_set(err, -EINVAL, "socket-mode: '%s' is not an octal mode", text);
	*ret = (mode_t)mode;
	return 0;
}

/* "KILL", "SIGKILL", "9". */
static int parse_signal(const char *text, int *ret, struct err *err)
{
	const char *name = strncmp(text, "SIG", 3) == 0 ? text + 3 : text;
	uint64_t n;

	if (fmt_parse_u64(text, &n) == 0 && n >= 1 && n < NSIG) {
		*ret = (int)n;
		return 0;
	}
	for (int sig = 1; sig < NSIG; sig++) {
		const char *known = sigabbrev_np(sig);

		if (known && strcmp(known, name) == 0) {
			*ret = sig;
			return 0;
		}
	}
	return err_set(err, -EINVAL, "stop_signal: '%s' is not a signal", text);
}

/* ---- the command line ---- */

/* It is read twice: for --config, and to win over that. */
static int take_option(struct args *a, int letter, const char **config, struct err *err)
{
	switch (letter) {
	case 'c':
		*config = optarg;
		return 0;
	case 'f':
		a->foreground = true;
		return 0;
	case 'h':
		a->action = ARGS_HELP;
		return 0;
	case 'm':
		return parse_mode(optarg, &a->socket_mode, err);
	case 'r':
		a->runtime_dir = optarg;
		return 0;
	case 's':
		a->socket = optarg;
		return 0;
	case 't':
		return parse_threads(optarg, &a->threads, err);
	case 'T':
		a->takeover = true;
		return 0;
	case 'u':
		a->user = optarg;
		return 0;
	default:
		a->action = ARGS_VERSION;
		return 0;
	}
}

static int read_command_line(struct args *a, int argc, char **argv, const char **config,
			     struct err *err)
{
	int letter, rc = 0;

	optind = 0;
	opterr = 0;
	while (rc == 0 && (letter = getopt_long(argc, argv, ":c:fhm:r:s:t:Tu:V", long_options,
						NULL)) != -1)
		rc = letter == ':' || letter == '?' ? option_bad(argv, letter, err)
						    : take_option(a, letter, config, err);
	if (rc == 0 && a->action == ARGS_RUN && optind < argc)
		rc = err_set(err, -EINVAL, "unexpected '%s'", argv[optind]);
	return rc;
}

/* ---- lamina.conf ---- */

static void take_text(const struct conf *conf, const char *key, const char **to)
{
	const char *text = conf_get(conf, "pager", key);

	if (text && *text)
		*to = text;
}

static int read_conf(struct args *a, const char *given, struct err *err)
{
	const char *threads, *signal_name;
	int rc = conf_open(given, &a->conf, err);

	if (rc < 0)
		return rc;
	take_text(a->conf, "runtime_dir", &a->runtime_dir);
	take_text(a->conf, "socket", &a->socket);
	take_text(a->conf, "stop_command", &a->stop_command);
	take_text(a->conf, "record_dirs", &a->record_dirs);
	threads = conf_get(a->conf, "pager", "threads");
	signal_name = conf_get(a->conf, "pager", "stop_signal");
	if (threads)
		rc = parse_threads(threads, &a->threads, err);
	if (rc == 0 && signal_name)
		rc = parse_signal(signal_name, &a->stop_signal, err);
	return rc < 0 ? err_wrap(err, rc, "%s", conf_path(a->conf)) : 0;
}

int args_parse(struct args *a, int argc, char **argv, struct err *err)
{
	const char *config = NULL;
	int rc;

	*a = (struct args){
		.runtime_dir = RUNSTATEDIR "/lamina",
		.socket_mode = SOCKET_MODE_DEFAULT,
		.stop_signal = SIGKILL,
		.record_dirs = "/",
	};
	rc = read_command_line(a, argc, argv, &config, err);
	if (rc < 0 || a->action != ARGS_RUN)
		return rc;
	rc = read_conf(a, config, err);
	return rc < 0 ? rc : read_command_line(a, argc, argv, &config, err);
}

void args_fini(struct args *a)
{
	conf_free(a->conf);
	a->conf = NULL;
}
