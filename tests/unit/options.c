/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lamina-fuse's options: command line, lamina.conf, defaults (fuse/options.h, fuse/words.h). */
#include "fuse/options.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuse/words.h"
#include "tests/tap.h"

#define MAX_WORDS 16

static struct options o;
static struct err err;

/* Splits `line` at blanks; "_" stands for an empty word. */
static int parse(const char *line)
{
	static char text[1024];
	char *argv[MAX_WORDS + 1] = {(char *)"lamina-fuse"}, *save = NULL;
	int argc = 1;

	options_fini(&o);
	err = (struct err){""};
	(void)snprintf(text, sizeof(text), "%s", line);
	for (char *w = strtok_r(text, " ", &save); w && argc < MAX_WORDS;
	     w = strtok_r(NULL, " ", &save))
		argv[argc++] = strcmp(w, "_") ? w : (char *)"";
	return options_parse(&o, argc, argv, &err);
}

static const char *kernel(void)
{
	return (const char *)o.kernel.data;
}

static void write_conf(const char *text)
{
	FILE *f = fopen(tap_path("lamina.conf"), "we");

	if (!f || fputs(text, f) < 0 || fclose(f) != 0)
		bail("cannot write lamina.conf");
}

static void test_defaults(void)
{
	is_int(parse("store mnt"), 0, "a store and a mountpoint are enough");
	is_str(o.store, "store", "the store");
	is_str(o.mountpoint, "mnt", "the mountpoint");
	is_int(o.action, OPTIONS_MOUNT, "mounts");
	ok(!o.foreground && !o.debug && !o.allow_other && !o.sloppy && !o.pidfile,
	   "nothing that was not asked for");
	is_int(o.uid, geteuid(), "owner");
	is_int(o.gid, getegid(), "group");
	is_int(o.mode, 0440, "mode");
	is_int(o.dir_mode, 0550, "of directories");
	is_int(o.cache, 64 << 20, "64 MiB of chunks");
	is_int(o.threads, 10, "threads");
	is_int(o.readahead_kb, 2048, "2 MiB of read-ahead");
	is_str(kernel(), "", "nothing for the kernel");
}

static void test_command_line(void)
{
	is_int(parse("-f --pidfile p store -s mnt"), 0, "options and operands mixed");
	ok(o.foreground && o.sloppy, "flags");
	is_str(o.pidfile, "p", "an argument");
	is_int(parse("-o cache=1G,threads=3 --options=readahead=0,debug store mnt"), 0,
	       "several lists");
	is_int(o.cache, 1 << 30, "of the first");
	is_int(o.threads, 3, "its second word");
	is_int(o.readahead_kb, 0, "of the second");
	ok(o.debug, "its flag");
	is_int(parse("-o cache=1M -o cache=2M store mnt"), 0, "twice the same");
	is_int(o.cache, 2 << 20, "the last one counts");
	is_int(parse("--help"), 0, "--help needs no operands");
	is_int(o.action, OPTIONS_HELP, "and is seen");
	is_int(parse("-V"), 0, "neither does --version");
	is_int(o.action, OPTIONS_VERSION, "and is seen");
	is_int(parse("-- -store -mnt"), 0, "names that begin with a dash");
	is_str(o.store, "-store", "after --");
}

static void test_modes(void)
{
	static const struct {
		const char *line;
		unsigned mode, dir_mode;
	} cases[] = {
		{"-o mode=0660 store mnt", 0660, 0550}, {"-o mode=444 store mnt", 0444, 0555},
		{"-o mode=0400 store mnt", 0400, 0500}, {"-o mode=0 store mnt", 0, 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		is_int(parse(cases[i].line), 0, "%s", cases[i].line);
		is_int(o.mode, cases[i].mode, "its mode");
		is_int(o.dir_mode, cases[i].dir_mode, "who may read may enter");
	}
}

static void test_owners(void)
{
	is_int(parse("-o uid=12,gid=34 store mnt"), 0, "numbers");
	is_int(o.uid, 12, "user");
	is_int(o.gid, 34, "group");
	is_int(parse("-o uid=root,gid=root store mnt"), 0, "names");
	is_int(o.uid, 0, "user");
	is_int(o.gid, 0, "group");
}

static void test_kernel_words(void)
{
	is_int(parse("-o ro,nosuid,noatime,defaults,x-systemd.automount,X-y=z,noexec store mnt"),
	       0, "what mount(8) says");
	is_str(kernel(), ",ro,nosuid,noexec", "the kernel's part is passed on");
	is_int(parse("-o context=\"a:b,c\",dev store mnt"), 0, "quoted commas");
	is_str(kernel(), ",context=a:b,c,dev", "stay in their word");
	is_int(parse("-o ,,rw,, store mnt"), 0, "empty words");
	is_str(kernel(), ",rw", "are nothing");
	is_int(parse("-s -o nonsense,rw,more=1 store mnt"), 0, "unknown words with --sloppy");
	is_str(kernel(), ",rw", "are passed over");
}

static void test_booleans(void)
{
	is_int(parse("-o allow_other store mnt"), 0, "no value");
	ok(o.allow_other, "is yes");
	is_int(parse("-o allow_other=true,allow_other=no store mnt"), 0, "a value");
	ok(!o.allow_other, "can say no");
	is_int(parse("-o clone_fd=on store mnt"), 0, "on");
	ok(o.clone_fd, "is yes");
}

static void test_conf(void)
{
	char line[512];

	write_conf("[store]\npath = /x\n[mount]\ncache = 3M\nallow_other = yes\nmode = 0400\n"
		   "[gc]\nratio = 0.5\n");
	setenv("LAMINA_CONF", tap_path("lamina.conf"), 1);
	is_int(parse("-o mode=0440 store mnt"), 0, "a file");
	is_int(o.cache, 3 << 20, "gives values");
	ok(o.allow_other, "of every kind");
	is_int(o.mode, 0440, "unless the command line does");
	setenv("LAMINA_CONF", "/dev/null", 1);
	(void)snprintf(line, sizeof(line), "store mnt -c %s", tap_path("lamina.conf"));
	is_int(parse(line), 0, "--config");
	is_int(o.mode, 0400, "wins over LAMINA_CONF");

	write_conf("[mount]\nsize = 3\n");
	is_err(parse(line), &err, -EINVAL, "%s:2: unknown key 'size' in section [mount]",
	       tap_path("lamina.conf"));
	write_conf("[gc]\nsize = 3\n");
	is_err(parse(line), &err, -EINVAL, "%s:2: unknown key 'size' in section [gc]",
	       tap_path("lamina.conf"));
	write_conf("[mount]\nthreads = many\n");
	is_err(parse(line), &err, -EINVAL,
	       "%s: option 'threads': 'many' is not a number from 1 to 256",
	       tap_path("lamina.conf"));
	is_err(parse("-c /nonexistent/x store mnt"), &err, -ENOENT,
	       "cannot open '/nonexistent/x': No such file or directory");
}

static void test_wrong(void)
{
	static const struct {
		const char *line, *text;
	} cases[] = {
		{"", "a store and a mountpoint are needed"},
		{"store", "a mountpoint is needed"},
		{"a b c", "unexpected 'c'"},
		{"-x a b", "unknown option '-x'"},
		{"--no a b", "unknown or ambiguous option '--no'"},
		{"--help=x", "unknown or ambiguous option '--help=x'"},
		{"a b -o", "option '-o' needs an argument"},
		{"-o nonsense a b", "unknown option 'nonsense'"},
		{"-o nonsense=1 a b", "unknown option 'nonsense'"},
		{"-o remount a b", "option 'remount' is not possible: unmount and mount again"},
		{"-o cache a b", "option 'cache': '' is not a size such as 64M"},
		{"-o cache=-1 a b", "option 'cache': '-1' is not a size such as 64M"},
		{"-o threads=257 a b", "option 'threads': '257' is not a number from 1 to 256"},
		{"-o readahead=65537 a b",
		 "option 'readahead': '65537' is not a number from 0 to 65536"},
		{"-o debug=maybe a b", "option 'debug': 'maybe' is not true or false"},
		{"-o uid=no.such.user a b", "option 'uid': 'no.such.user' is not a user"},
		{"-o uid=4294967295 a b", "option 'uid': '4294967295' is not a user"},
		{"-o gid=no.such.group a b", "option 'gid': 'no.such.group' is not a group"},
		{"-o mode=0700 a b", "option 'mode': '0700' is not an octal mode without execute "
				     "bits, such as 0440"},
		{"-o mode=04440 a b", "option 'mode': '04440' is not an octal mode without "
				      "execute bits, such as 0440"},
		{"-o mode=44x a b", "option 'mode': '44x' is not an octal mode without execute "
				    "bits, such as 0440"},
		{"-o mode=-4 a b", "option 'mode': '-4' is not an octal mode without execute "
				   "bits, such as 0440"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		is_err(parse(cases[i].line), &err, -EINVAL, "%s", cases[i].text);
}

static void test_long_list(void)
{
	static char list[5000];

	memset(list, 'x', sizeof(list) - 1);
	err = (struct err){""};
	is_err(words_take(&o, list, &err), &err, -EINVAL, "the list of options is too long");
}

static void test_help(void)
{
	const char *line = options_help(), *end;

	ok(strstr(line, "--pidfile") && strstr(line, "readahead="), "--help tells of options");
	for (; (end = strchr(line, '\n')); line = end + 1)
		if (end - line > 80)
			break;
	ok(!end, "in lines of at most 80 columns");
}

int main(void)
{
	setenv("LAMINA_CONF", "/dev/null", 1);
	test_defaults();
	test_command_line();
	test_modes();
	test_owners();
	test_kernel_words();
	test_booleans();
	test_conf();
	test_wrong();
	test_long_list();
	test_help();
	options_fini(&o);
	return tap_done();
}
