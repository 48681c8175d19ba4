/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "fuse/options.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fuse/words.h"
#include "store/base/conf.h"
#include "store/base/option.h"
#include "store/base/vec.h"

#define CACHE_DEFAULT (64u << 20)
#define THREADS_DEFAULT 10
#define READAHEAD_KB_DEFAULT 2048

static const char help[] =
"Usage: lamina-fuse [OPTION]... STORE MOUNTPOINT\n"
"Shows the layers of a lamina store as read-only files.\n"
"\n"
"Options:\n"
"  -c, --config FILE     read FILE as lamina.conf(5) (default: $LAMINA_CONF,\n"
"                        else " CONF_DEFAULT_PATH ")\n"
"  -f, --foreground      stay in the foreground and log to standard error\n"
"  -o, --options LIST    mount options, separated by commas\n"
"  -p, --pidfile FILE    write the daemon's process id to FILE\n"
"  -s, --sloppy          pass over unknown mount options\n"
"  -h, --help            print this help\n"
"  -V, --version         print the version\n"
"\n"
"Mount options:\n"
"  allow_other           let other users in, as far as uid, gid and mode do\n"
"  allow_root            let root in too\n"
"  cache=SIZE            memory for decompressed chunks (64M)\n"
"  clone_fd              a channel to the kernel for each thread\n"
"  debug                 log every request\n"
"  mode=OCTAL            of the images (0440)\n"
"  readahead=KIB         read-ahead, needs root to be more than 128 (2048)\n"
"  ro                    refuse opens for writing too, as QEMU makes them\n"
"  threads=N             most requests served at a time (10)\n"
"  uid=USER, gid=GROUP   who owns the files (whoever runs lamina-fuse)\n"
"and dev, nodev, exec, noexec, suid, nosuid, rw and SELinux contexts; what only\n"
"mount(8) and fstab(5) care for is passed over.\n"
"\n"
"Exit status: 0 mounted (with -f: unmounted), 1 failed, 2 wrong usage.\n";

const char *options_help(void)
{
	return help;
}

/* What the command line says, before anything acts on it. */
struct given {
	const char *config;
	VEC(const char *) lists;
};

static const struct option long_options[] = {
	{"config", required_argument, NULL, 'c'},
	{"foreground", no_argument, NULL, 'f'},
	{"help", no_argument, NULL, 'h'},
	{"options", required_argument, NULL, 'o'},
	{"pidfile", required_argument, NULL, 'p'},
	{"sloppy", no_argument, NULL, 's'},
	{"version", no_argument, NULL, 'V'},
	{NULL, 0, NULL, 0},
};

static int take_option(struct options *o, struct given *g, int letter)
{
	switch (letter) {
	case 'c':
		g->config = optarg;
		return 0;
	case 'f':
		o->foreground = true;
		return 0;
	case 'h':
		o->action = OPTIONS_HELP;
		return 0;
	case 'o':
		return vec_push(&g->lists, optarg);
	case 'p':
		o->pidfile = optarg;
		return 0;
	case 's':
		o->sloppy = true;
		return 0;
	default:
		o->action = OPTIONS_VERSION;
		return 0;
	}
}

static int take_operands(struct options *o, int n, char **operands, struct err *err)
{
	if (n < 2)
		return err_set(err, -EINVAL, n == 0 ? "a store and a mountpoint are needed"
						    : "a mountpoint is needed");
	if (n > 2)
		return err_set(err, -EINVAL, "unexpected '%s'", operands[2]);
	o->store = operands[0];
	o->mountpoint = operands[1];
	return 0;
}

static int read_command_line(struct options *o, struct given *g, int argc, char **argv,
			     struct err *err)
{
	int letter;

	optind = 0;
	opterr = 0;
	while ((letter = getopt_long(argc, argv, ":c:fho:p:sV", long_options, NULL)) != -1) {
		if (letter == ':' || letter == '?')
			return option_bad(argv, letter, err);
		if (take_option(o, g, letter) < 0)
			return err_set(err, -ENOMEM, "out of memory");
	}
	if (o->action != OPTIONS_MOUNT)
		return 0;
	return take_operands(o, argc - optind, argv + optind, err);
}

static int take_conf(struct options *o, const struct conf *conf, struct err *err)
{
	int rc = 0;

	for (const char *const *known = conf_keys; *known && rc == 0; known++) {
		const char *key = strchr(*known, '.') + 1, *value;

		if (strncmp(*known, "mount.", strlen("mount.")) != 0)
			continue;
		value = conf_get(conf, "mount", key);
		if (value)
			rc = words_set(o, key, value, err);
	}
	return rc < 0 ? err_wrap(err, rc, "%s", conf_path(conf)) : 0;
}

static int read_conf(struct options *o, const char *given, struct err *err)
{
	struct conf *conf;
	int rc = conf_open(given, &conf, err);

	if (rc < 0)
		return rc;
	rc = take_conf(o, conf, err);
	conf_free(conf);
	return rc;
}

static int read_all(struct options *o, struct given *g, int argc, char **argv, struct err *err)
{
	int rc;

	rc = read_command_line(o, g, argc, argv, err);
	if (rc < 0 || o->action != OPTIONS_MOUNT)
		return rc;
	rc = read_conf(o, g->config, err);
	for (size_t i = 0; i < g->lists.n && rc == 0; i++)
		rc = words_take(o, g->lists.v[i], err);
	buf_u8(&o->kernel, '\0');
	if (rc == 0 && buf_error(&o->kernel) < 0)
		rc = err_set(err, -ENOMEM, "out of memory");
	return rc;
}

int options_parse(struct options *o, int argc, char **argv, struct err *err)
{
	struct given given = {0};
	int rc;

	*o = (struct options){
		.uid = geteuid(),
		.gid = getegid(),
		.mode = 0440,
		.dir_mode = 0550,
		.cache = CACHE_DEFAULT,
		.threads = THREADS_DEFAULT,
		.readahead_kb = READAHEAD_KB_DEFAULT,
	};
	rc = read_all(o, &given, argc, argv, err);
	vec_fini(&given.lists);
	return rc;
}

void options_fini(struct options *o)
{
	buf_fini(&o->kernel);
}
