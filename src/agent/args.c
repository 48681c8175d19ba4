/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/agent/args.h"

#include <getopt.h>
#include <stddef.h>
#include <string.h>

#include "src/agent/freeze.h"
#include "store/base/fmt.h"
#include "store/base/option.h"

#define THAW_AFTER_MAX_S 86400

static const char help[] =
"Usage: lamina-agent [OPTION]...\n"
"In a guest: does what the host asks over HTTP to keep the next snapshot small.\n"
"\n"
"Options:\n"
"  -c, --cgroup-root DIR    where cgroups (version 2) are mounted\n"
"                           (default: /sys/fs/cgroup)\n"
"  -k, --kmsg FILE          warnings and errors go there, too; 'none': nowhere\n"
"                           (default: /dev/kmsg)\n"
"  -l, --listen ADDRESS     vsock:any:PORT, tcp:HOST:PORT or unix:PATH; may be\n"
"                           repeated (default: vsock:any:1052)\n"
"  -L, --log-level LEVEL    the least that GET /logs has: debug, info, warning or\n"
"                           error (default: debug)\n"
"  -p, --vsock-peer CID     who may come by vsock (default: 2, the host)\n"
"  -t, --token-file FILE    the secret of those who come by TCP\n"
"  -T, --thaw-after SECONDS what was frozen, and nobody has thawed, runs again\n"
"                           after so long, 1 to 86400 (default: 600)\n"
"  -h, --help               print this help\n"
"  -V, --version            print the version\n"
"\n"
"Exit status: 0 ended; 1 failed; 2 wrong usage.\n";

static const struct option long_options[] = {
	{"cgroup-root", required_argument, NULL, 'c'},
	{"help", no_argument, NULL, 'h'},
	{"kmsg", required_argument, NULL, 'k'},
	{"listen", required_argument, NULL, 'l'},
	{"log-level", required_argument, NULL, 'L'},
	{"thaw-after", required_argument, NULL, 'T'},
	{"token-file", required_argument, NULL, 't'},
	{"version", no_argument, NULL, 'V'},
	{"vsock-peer", required_argument, NULL, 'p'},
	{NULL, 0, NULL, 0},
};

const char *args_help(void)
{
	return help;
}

static int take_listen(struct args *a, const char *text, struct err *err)
{
	if (a->nlisten == ARGS_MAX_LISTEN)
		return err_set(err, -EINVAL, "at most %d addresses to listen on", ARGS_MAX_LISTEN);
	return address_parse(text, &a->listen[a->nlisten++], err);
}

static int take_peer(struct args *a, const char *text, struct err *err)
{
	uint64_t cid;

	if (fmt_parse_u64(text, &cid) < 0 || cid >= ADDRESS_CID_ANY)
		return err_set(err, -EINVAL, "'%s' is no CID", text);
	a->peer = (uint32_t)cid;
	return 0;
}

static int take_level(struct args *a, const char *text, struct err *err)
{
	if (logs_parse_level(text, &a->level) == 0)
		return 0;
	return err_set(err, -EINVAL, "'%s' is no level: debug, info, warning or error", text);
}

static int take_thaw_after(struct args *a, const char *text, struct err *err)
{
	uint64_t seconds;

	if (fmt_parse_u64(text, &seconds) < 0 || seconds < 1 || seconds > THAW_AFTER_MAX_S)
		return err_set(err, -EINVAL, "--thaw-after: '%s' is no number of seconds from 1 "
			       "to %d", text, THAW_AFTER_MAX_S);
	a->thaw_after_s = (unsigned)seconds;
	return 0;
}

static int take_option(struct args *a, int letter, struct err *err)
{
	switch (letter) {
	case 'c':
		a->cgroup_root = optarg;
		return 0;
	case 'k':
		a->kmsg = strcmp(optarg, "none") != 0 ? optarg : NULL;
		return 0;
	case 'l':
		return take_listen(a, optarg, err);
	case 'L':
		return take_level(a, optarg, err);
	case 'p':
		return take_peer(a, optarg, err);
	case 'T':
		return take_thaw_after(a, optarg, err);
	case 't':
		a->token_file = optarg;
		return 0;
	case 'h':
		a->action = ARGS_HELP;
		return 0;
	default:
		if (a->action == ARGS_RUN)
			a->action = ARGS_VERSION;
		return 0;
	}
}

static int check(struct args *a, struct err *err)
{
	for (unsigned i = 0; i < a->nlisten; i++) {
		if (a->listen[i].kind == ADDRESS_HYBRID)
			return err_set(err, -EINVAL, "'hybrid' is how the host connects: the guest "
				       "listens on vsock");
		if (a->listen[i].kind == ADDRESS_TCP && !a->token_file)
			return err_set(err, -EINVAL, "TCP needs --token-file");
	}
	if (a->nlisten == 0)
		a->listen[a->nlisten++] = (struct address){
			.kind = ADDRESS_VSOCK,
			.cid = ADDRESS_CID_ANY,
			.port = ARGS_PORT,
		};
	return 0;
}

int args_parse(struct args *a, int argc, char **argv, struct err *err)
{
	int letter, rc;

	*a = (struct args){
		.peer = ADDRESS_CID_HOST,
		.kmsg = "/dev/kmsg",
		.level = LOGS_DEBUG,
		.thaw_after_s = FREEZE_HOLD_MS / 1000,
	};
	optind = 0;
	opterr = 0;
	while ((letter = getopt_long(argc, argv, ":c:hk:l:L:p:t:T:V", long_options, NULL)) != -1) {
		if (letter == ':' || letter == '?')
			return option_bad(argv, letter, err);
		rc = take_option(a, letter, err);
		if (rc < 0)
			return rc;
	}
	if (a->action != ARGS_RUN)
		return 0;
	if (optind < argc)
		return err_set(err, -EINVAL, "unexpected '%s'", argv[optind]);
	return check(a, err);
}
