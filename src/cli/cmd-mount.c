/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "src/cli/cli.h"
#include "src/cli/mounts.h"
#include "store/base/vec.h"

struct args {
	struct opt_words options;
	bool foreground;
	const char *pidfile;
};

static const struct opt opts[] = {
	{OPT_WORDS, "options", 'o', OPT_TO(struct args, options), "LIST",
	 "allow_other cache= mode= readahead= threads= uid= gid= ro",
	 "mount options, separated by commas, such as allow_other, cache=SIZE, mode=OCTAL, "
	 "uid=USER, gid=GROUP; see lamina-fuse(8); may be given again"},
	{OPT_FLAG, "foreground", 'f', OPT_TO(struct args, foreground), NULL, NULL,
	 "stay in the foreground and log to standard error"},
	{OPT_TEXT, "pidfile", 'p', OPT_TO(struct args, pidfile), "FILE", "@file",
	 "write the daemon's process id to FILE"},
	OPT_TABLE_END
};

struct words {
	const char **v;
	size_t n;
	size_t cap;
	bool bad;
};

static void add(struct words *w, const char *word)
{
	if (vec_push(w, word) < 0)
		w->bad = true;
}

/* The directory that this program is in, without a slash; NULL if unknown. */
static char *own_directory(void)
{
	char *path = realpath("/proc/self/exe", NULL), *slash = path ? strrchr(path, '/') : NULL;

	if (slash)
		*slash = '\0';
	return path;
}

static bool try(char **ret, const char *dir, const char *rest)
{
	char *path;

	if (!dir || asprintf(&path, "%s%s", dir, rest) < 0)
		return false;
	if (access(path, X_OK) == 0) {
		*ret = path;
		return true;
	}
	free(path);
	return false;
}

/* $LAMINA_FUSE, beside this program, as in the build tree, or else in PATH. */
static char *find_program(void)
{
	char *own = own_directory(), *ret = NULL;

	if (!try(&ret, getenv("LAMINA_FUSE"), "") && !try(&ret, own, "/lamina-fuse") &&
	    !try(&ret, own, "/../fuse/lamina-fuse"))
		ret = strdup("lamina-fuse");
	free(own);
	return ret;
}

/* What a killed daemon left is none: lamina-fuse takes its place. */
static int check_free(struct cli *cli, const char *path)
{
	struct mounts_entry there;
	struct statvfs st;

	if (statvfs(path, &st) < 0 || mounts_find(path, &there) < 0 ||
	    strcmp(there.type, MOUNTS_OURS) != 0)
		return 0;
	return err_set(&cli->err, -EBUSY, "'%s' is mounted already: store '%s'", path,
		       there.source);
}

static void make_words(struct words *w, const struct cli *cli)
{
	const struct args *args = cli->args;

	if (cli->config) {
		add(w, "--config");
		add(w, cli->config);
	}
	if (args->foreground)
		add(w, "--foreground");
	if (args->pidfile) {
		add(w, "--pidfile");
		add(w, args->pidfile);
	}
	for (size_t i = 0; i < args->options.n; i++) {
		add(w, "-o");
		add(w, args->options.v[i].text);
	}
	add(w, "--");
}

/* Its exit statuses are ours, so it takes our place. */
static int run(struct cli *cli, int argc, char **argv)
{
	struct words w = {0};
	/* Absolute if it can be: `lamina umount` finds the daemon by it. */
	char *program = find_program(), *mnt = realpath(argv[0], NULL);
	const char *store;
	int rc = cli_store_path(cli, &store);

	(void)argc;
	if (rc == 0 && mnt)
		rc = check_free(cli, mnt);
	if (rc == 0) {
		add(&w, program);
		make_words(&w, cli);
		add(&w, store);
		add(&w, mnt ? mnt : argv[0]);
		add(&w, NULL);
		rc = err_set(&cli->err, -ENOMEM, "out of memory");
	}
	if (w.n && !w.bad && program) {
		execvp(program, (char **)w.v);
		rc = err_sys(&cli->err, -errno, "cannot run '%s'", program);
	}
	vec_fini(&w);
	free(mnt);
	free(program);
	return rc;
}

const struct cmd cmd_mount = {
	.name = "mount",
	.operands = "MOUNTPOINT",
	.purpose = "Shows the store's layers as files below MOUNTPOINT.",
	.task = "mount",
	.notes = "Starts lamina-fuse(8), and returns once the mount can be read; --foreground "
		 "stays until it is unmounted. What [mount] of lamina.conf(5) says holds unless "
		 "an option says otherwise.",
	.opts = opts,
	.args_size = sizeof(struct args),
	.min = 1,
	.max = 1,
	.words = "@dir",
	.run = run,
};
