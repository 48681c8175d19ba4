/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lamina-pager's options: command line, lamina.conf, defaults. */
#include "src/pager/args.h"

#include <signal.h>

#include "tests/tap.h"

#define MAX_WORDS 16

static struct args a;
static struct err err;

static int parse(const char *line)
{
	static char text[1024];
	char *argv[MAX_WORDS + 1] = {(char *)"lamina-pager"}, *save = NULL;
	int argc = 1;

	args_fini(&a);
	err = (struct err){""};
	(void)snprintf(text, sizeof(text), "%s", line);
	for (char *w = strtok_r(text, " ", &save); w && argc < MAX_WORDS;
	     w = strtok_r(NULL, " ", &save))
		argv[argc++] = w;
	return args_parse(&a, argc, argv, &err);
}

static void write_conf(const char *text)
{
	FILE *f = fopen(tap_path("lamina.conf"), "we");

	if (!f || fputs(text, f) < 0 || fclose(f) != 0)
		bail("cannot write lamina.conf");
}

static void test_defaults(void)
{
	is_int(parse(""), 0, "no options");
	is_int(a.action, ARGS_RUN, "it serves");
	ok(!a.foreground && !a.takeover && !a.socket && !a.user && !a.stop_command,
	   "nothing that was not asked for");
	is_int(a.socket_mode, 0660, "who may speak to the socket");
	is_int(a.stop_signal, SIGKILL, "how a guest is stopped");
	is_str(a.record_dirs, "/", "where traces may be recorded");
}

static void test_conf(void)
{
	char line[512];

	write_conf("[pager]\nruntime_dir = /r\nsocket = /s\nthreads = 3\nstop_signal = TERM\n"
		   "record_dirs = /a:/b\nstop_command = stop\n[mount]\ncache = 1M\n");
	(void)snprintf(line, sizeof(line), "--threads 5 -c %s", tap_path("lamina.conf"));
	is_int(parse(line), 0, "a file");
	is_str(a.runtime_dir, "/r", "gives");
	is_str(a.socket, "/s", "texts");
	is_str(a.record_dirs, "/a:/b", "lists");
	is_str(a.stop_command, "stop", "commands");
	is_int(a.stop_signal, SIGTERM, "and signals");
	is_int(a.threads, 5, "the command line wins");
	setenv("LAMINA_CONF", tap_path("lamina.conf"), 1);
	is_int(parse(""), 0, "a file that LAMINA_CONF names");
	is_int(a.threads, 3, "gives values, too");
	setenv("LAMINA_CONF", "/dev/null", 1);

	write_conf("[pager]\nthread = 3\n");
	is_err(parse(line), &err, -EINVAL, "%s:2: unknown key 'thread' in section [pager]",
	       tap_path("lamina.conf"));
	write_conf("[mount]\nsize = 3\n");
	is_err(parse(line), &err, -EINVAL, "%s:2: unknown key 'size' in section [mount]",
	       tap_path("lamina.conf"));
	write_conf("[pager]\nstop_signal = NONE\n");
	is_err(parse(line), &err, -EINVAL, "%s: stop_signal: 'NONE' is not a signal",
	       tap_path("lamina.conf"));
	is_err(parse("-c /nonexistent/x"), &err, -ENOENT,
	       "cannot open '/nonexistent/x': No such file or directory");
}

static void test_wrong(void)
{
	static const struct {
		const char *line, *text;
	} cases[] = {
		{"x", "unexpected 'x'"},
		{"-x", "unknown option '-x'"},
		{"--no", "unknown or ambiguous option '--no'"},
		{"--socket", "option '--socket' needs an argument"},
		{"-t 1025", "threads: '1025' is not a number from 0 to 1024"},
		{"-m 999", "socket-mode: '999' is not an octal mode"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		is_err(parse(cases[i].line), &err, -EINVAL, "%s", cases[i].text);
}

int main(void)
{
	setenv("LAMINA_CONF", "/dev/null", 1);
	test_defaults();
	test_conf();
	test_wrong();
	args_fini(&a);
	return tap_done();
}
