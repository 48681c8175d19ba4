/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/graduate/args.h"

#include <getopt.h>
#include <stddef.h>

#include "store/base/conf.h"
#include "store/base/option.h"

static const char help[] =
"Usage: lamina-graduator [OPTION]...\n"
"Has guests that no longer need their pager graduated, as [graduation] of\n"
"lamina.conf(5) says.\n"
"\n"
"Options:\n"
"  -c, --config FILE     read FILE as lamina.conf(5) (default: $LAMINA_CONF,\n"
"                        else " CONF_DEFAULT_PATH ")\n"
"  -f, --foreground      stay in the foreground and log to standard error\n"
"  -j, --json            with --dry-run: print JSON\n"
"  -n, --dry-run         only print what would be done, and why\n"
"  -o, --once            graduate what is due, wait for that, and end\n"
"  -r, --runtime-dir DIR\n"
"                        where the pagers are\n"
"  -h, --help            print this help\n"
"  -V, --version         print the version\n"
"\n"
"Exit status: 0 ended, or running in the background; 1 failed, or with --once a\n"
"graduation did; 2 wrong usage; 4 another lamina-graduator runs.\n";

static const struct option long_options[] = {
	{"config", required_argument, NULL, 'c'},
	{"dry-run", no_argument, NULL, 'n'},
	{"foreground", no_argument, NULL, 'f'},
	{"help", no_argument, NULL, 'h'},
	{"json", no_argument, NULL, 'j'},
	{"once", no_argument, NULL, 'o'},
	{"runtime-dir", required_argument, NULL, 'r'},
	{"version", no_argument, NULL, 'V'},
	{NULL, 0, NULL, 0},
};

const char *args_help(void)
{
	return help;
}

/* Of several actions the most harmless counts. */
static void act(struct args *a, enum args_action action)
{
	if (action > a->action)
		a->action = action;
}

static void take_option(struct args *a, int letter)
{
	switch (letter) {
	case 'c':
		a->config = optarg;
		break;
	case 'f':
		a->foreground = true;
		break;
	case 'h':
		act(a, ARGS_HELP);
		break;
	case 'j':
		a->json = true;
		break;
	case 'n':
		act(a, ARGS_DRY_RUN);
		break;
	case 'o':
		act(a, ARGS_ONCE);
		break;
	case 'r':
		a->runtime_dir = optarg;
		break;
	default:
		act(a, ARGS_VERSION);
	}
}

int args_parse(struct args *a, int argc, char **argv, struct err *err)
{
	int letter;

	*a = (struct args){.action = ARGS_RUN};
	optind = 0;
	opterr = 0;
	while ((letter = getopt_long(argc, argv, ":c:fhjnor:V", long_options, NULL)) != -1) {
		if (letter == ':' || letter == '?')
			return option_bad(argv, letter, err);
		take_option(a, letter);
	}
	if (a->action >= ARGS_HELP)
		return 0;
	if (optind < argc)
		return err_set(err, -EINVAL, "unexpected '%s'", argv[optind]);
	if (a->json && a->action != ARGS_DRY_RUN)
		return err_set(err, -EINVAL, "--json goes with --dry-run");
	return 0;
}
