/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mount.lamina: what mount(8) runs for a file system of type lamina:
 *
 *	mount.lamina SPEC DIR [-sfnv] [-N NAMESPACE] [-t TYPE] [-o LIST]...
 *
 * It becomes lamina-fuse: the one beside it, else of PATH, else of bindir.
 */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/base/vec.h"

enum { EXIT_USAGE = 2 };

struct request {
	VEC(char *) argv;	/* of lamina-fuse */
	bool fake;
	bool verbose;
	bool help;
	bool version;
};

static const char usage[] =
"Usage: mount.lamina STORE MOUNTPOINT [-fnsv] [-t TYPE] [-o LIST]\n"
"Mounts a lamina store; mount(8) runs this for 'mount -t lamina'.\n"
"\n"
"  -f                    check the arguments, mount nothing\n"
"  -n                    nothing: there is no /etc/mtab to leave alone\n"
"  -o LIST               mount options, see lamina-fuse(8)\n"
"  -s                    pass over unknown mount options\n"
"  -t TYPE               nothing: the type is known\n"
"  -v                    print the command that mounts\n"
"  -h, --help            print this help\n"
"  -V, --version         print the version\n"
"\n"
"Exit status: 0 mounted, 1 failed, 2 wrong usage.\n";

static const struct option long_options[] = {
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{NULL, 0, NULL, 0},
};

static int push(struct request *r, const char *word)
{
	return vec_push(&r->argv, (char *)word);
}

static int push_pair(struct request *r, const char *word, const char *value)
{
	return push(r, word) < 0 || push(r, value) < 0 ? -ENOMEM : 0;
}

static int take_option(struct request *r, int letter)
{
	switch (letter) {
	case 'f':
		r->fake = true;
		return 0;
	case 'n':
	case 't':
		return 0;
	case 'o':
		return push_pair(r, "-o", optarg);
	case 's':
		return push(r, "-s");
	case 'v':
		r->verbose = true;
		return 0;
	case 'h':
		r->help = true;
		return 0;
	case 'V':
		r->version = true;
		return 0;
	case 'N':
		fputs("mount.lamina: mounting in another namespace is not possible\n", stderr);
		return -EINVAL;
	default:
		fprintf(stderr, "mount.lamina: wrong option\n%s", usage);
		return -EINVAL;
	}
}

static int parse(struct request *r, int argc, char **argv)
{
	int rc, letter;

	rc = push(r, "lamina-fuse");
	opterr = 0;
	while (rc == 0 &&
	       (letter = getopt_long(argc, argv, "fhN:no:st:vV", long_options, NULL)) != -1)
		rc = take_option(r, letter);
	if (rc < 0 || r->help || r->version)
		return rc;
	if (argc - optind != 2) {
		fprintf(stderr, "mount.lamina: a store and a mountpoint are needed\n%s", usage);
		return -EINVAL;
	}
	rc = push(r, "--");
	if (rc == 0)
		rc = push_pair(r, argv[optind], argv[optind + 1]);
	return rc == 0 ? push(r, NULL) : rc;
}

static void show(const struct request *r)
{
	for (size_t i = 0; r->argv.v[i]; i++)
		fprintf(stderr, "%s%s", i ? " " : "mount.lamina: ", r->argv.v[i]);
	fputc('\n', stderr);
}

/* execv() of lamina-fuse in the directory of this program. */
static void become_neighbour(char **argv)
{
	char path[PATH_MAX], *slash;
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - sizeof("lamina-fuse"));

	if (n <= 0)
		return;
	path[n] = '\0';
	slash = strrchr(path, '/');
	if (!slash)
		return;
	memcpy(slash + 1, "lamina-fuse", sizeof("lamina-fuse"));
	execv(path, argv);
}

static int become_lamina_fuse(char **argv)
{
	become_neighbour(argv);
	execvp(argv[0], argv);
	execv(BINDIR "/lamina-fuse", argv);
	fprintf(stderr, "mount.lamina: cannot run lamina-fuse: %s\n", strerror(errno));
	return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	struct request r = {0};
	int status = EXIT_SUCCESS;

	if (parse(&r, argc, argv) < 0) {
		status = EXIT_USAGE;
	} else if (r.help) {
		fputs(usage, stdout);
	} else if (r.version) {
		puts("mount.lamina " PACKAGE_VERSION);
	} else {
		if (r.verbose)
			show(&r);
		if (!r.fake)
			status = become_lamina_fuse(r.argv.v);
	}
	vec_fini(&r.argv);
	return status;
}
