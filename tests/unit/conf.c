/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/base/conf.h"
#include "store/base/io.h"
#include "tests/fault.h"
#include "tests/tap.h"

#include <fcntl.h>

static char file[PATH_MAX];

static int load(const char *text, struct conf **conf, struct err *err)
{
	if (io_replace_file(AT_FDCWD, file, text, strlen(text)) < 0)
		bail("cannot write a file");
	return conf_load(file, conf, err);
}

static void test_values(void)
{
	struct conf *conf = NULL;
	struct err err;

	is_int(load("# a comment\n; another\n[store]\npath = /a b\n  level=3\n\n"
		    "[guest web-1]\npath = x\n[store]\npath = /c ; last\nempty =\n",
		    &conf, &err), 0, "a file");
	is_str(conf_get(conf, "store", "path"), "/c", "the last value counts");
	is_str(conf_get(conf, "store", "level"), "3", "an indented key is a key");
	is_str(conf_get(conf, "store", "empty"), "", "an empty value");
	is_str(conf_get(conf, "guest web-1", "path"), "x", "a section of two words");
	is_str(conf_get(conf, "store", "none"), NULL, "no such key");
	is_str(conf_get(conf, "none", "path"), NULL, "no such section");
	is_err(conf_refuse(conf, "store", "level", "a colour", &err), &err, -EINVAL,
	       "%s:5: level in section [store]: '3' is not a colour", file);
	is_str(conf_path(conf), file, "its path");
	is_str(conf_get(NULL, "store", "path"), NULL, "no file has no values");
	is_str(conf_path(NULL), NULL, "and no path");
	conf_free(conf);
	conf_free(NULL);
}

static void test_bad_files(void)
{
	char line[4096];
	struct conf *conf = NULL;
	struct err err;

	is_err(conf_load(tap_path("none"), &conf, &err), &err, -ENOENT,
	       "cannot open '%s/none': No such file or directory", tap_tmpdir());
	is_err(load("[a]\nx = 1\nwhat is this\n", &conf, &err), &err, -EINVAL,
	       "%s:3: neither '[section]' nor 'key = value'", file);
	is_err(load("[a\n", &conf, &err), &err, -EINVAL,
	       "%s:1: neither '[section]' nor 'key = value'", file);
	memset(line, 'x', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	memcpy(line, "[a]\nk = ", 8);
	is_err(load(line, &conf, &err), &err, -EINVAL, "%s:2: the line is too long", file);
	ok(conf == NULL, "the output is untouched");
	is_err(conf_load(tap_tmpdir(), &conf, &err), &err, -EISDIR,
	       "cannot read '%s': it is a directory", tap_tmpdir());
}

static void test_no_memory(void)
{
	struct conf *conf = NULL;
	struct err err;
	int rc = -ENOMEM;

	if (io_replace_file(AT_FDCWD, file, "[a]\nx = 1\ny = 2\n", 15) < 0)
		bail("cannot write a file");
	for (unsigned long n = 1; n < 100 && rc < 0; n++) {
		fault_arm(FAULT_MALLOC, n, ENOMEM);
		rc = conf_load(file, &conf, &err);
		fault_disarm();
		if (rc < 0)
			is_err(rc, &err, -ENOMEM, "cannot read '%s': out of memory", file);
	}
	is_int(rc, 0, "in the end it is read");
	conf_free(conf);
}

static void check(const char *text, const char *const *known, int want_rc, const char *want)
{
	struct conf *conf = NULL;
	struct err err = {""};

	if (load(text, &conf, &err) < 0)
		bail("cannot load: %s", err.text);
	is_err(conf_check(conf, known, &err), &err, want_rc, "%s%s", *want ? file : "", want);
	conf_free(conf);
}

static void test_check(void)
{
	static const char *const known[] = {"store.path", "store.level", "guest.*", NULL};

	check("[store]\npath = 1\n[guest web-1]\nanything = 2\n", known, 0, "");
	check("[store]\n\npaht = 1\n", known, -EINVAL, ":3: unknown key 'paht' in section [store]");
	check("[stor]\npath = 1\n", known, -EINVAL, ":1: unknown section [stor]");
	check("[storee]\npath = 1\n", known, -EINVAL, ":1: unknown section [storee]");
	check("[store]\n\n [nosuch] ; empty\n", known, -EINVAL, ":3: unknown section [nosuch]");
	check("[]\n", known, -EINVAL, ":1: unknown section []");
	check("[guest]\n[store]\n", known, 0, "");
	check("path = 1\n", known, -EINVAL, ":1: 'path' stands before any [section]");
	check("[store]\npath = 1\nlevel = 2\npath = 1\n", known, -EINVAL,
	      ":4: key 'path' of section [store] was given in line 2 already");
	check("[store]\npath = 1\n[guest]\npath = 2\n[guest b]\npath = 3\n[store]\nlevel = 4\n",
	      known, 0, "");
	check("[store]\npath = 1\n[guest]\n[store]\npath =\n", known, -EINVAL,
	      ":5: key 'path' of section [store] was given in line 2 already");
	check("[guest]\nany = 1\nany = 2\n", known, -EINVAL,
	      ":3: key 'any' of section [guest] was given in line 2 already");
}

static void write_conf(const char *path, const char *text)
{
	if (io_replace_file(AT_FDCWD, path, text, strlen(text)) < 0)
		bail("cannot write a file");
}

/* Whose [store] path is found. */
static void is_opened(const char *given, const char *want, const char *what)
{
	struct conf *conf = NULL;
	struct err err = {""};

	is_int(conf_open(given, &conf, &err), 0, "%s", what);
	is_str(conf_get(conf, "store", "path"), want, "is read");
	conf_free(conf);
}

static void refuses(const char *text, const char *want)
{
	struct conf *conf = NULL;
	struct err err = {""};

	write_conf(file, text);
	is_err(conf_open(file, &conf, &err), &err, -EINVAL, "%s%s", file, want);
	ok(conf == NULL, "there is no conf");
}

/* Daemons change to another directory, and a record is read from anywhere. */
static void test_paths(void)
{
	struct conf *conf = NULL;
	struct err err = {""};

	refuses("[pager]\nruntime_dir = run\n",
		":2: runtime_dir in section [pager]: 'run' is not an absolute path");
	refuses("[pager]\nsocket = ./s\n",
		":2: socket in section [pager]: './s' is not an absolute path");
	refuses("[pager]\nrecord_dirs = /a:b\n",
		":2: record_dirs in section [pager]: '/a:b' is not absolute paths with colons "
		"between them");
	refuses("[graduation]\nruntime_dir = run\n",
		":2: runtime_dir in section [graduation]: 'run' is not an absolute path");
	refuses("[graduation]\n\nmetrics_socket = m\n",
		":3: metrics_socket in section [graduation]: 'm' is not an absolute path");
	refuses("[pause]\nmetrics_file = m\n",
		":2: metrics_file in section [pause]: 'm' is not an absolute path");
	refuses("[guest web-*]\nmetrics_file = m\n[guest db]\nmetrics_file = /m\n",
		":2: metrics_file in section [guest web-*]: 'm' is not an absolute path");
	write_conf(file, "[pager]\nruntime_dir =\nrecord_dirs = /a::/b:\n[pause]\n"
			 "metrics_file =\n");
	is_int(conf_open(file, &conf, &err), 0, "an empty one is none");
	conf_free(conf);
}

static void test_open(void)
{
	const char *other = tap_path("other.conf");
	struct conf *conf = NULL;
	struct err err = {""};

	write_conf(file, "[store]\npath = /given\n[mount]\ncache = 1M\n[pager]\nsocket = /s\n");
	write_conf(other, "[store]\npath = /other\n");
	setenv("LAMINA_CONF", other, 1);
	is_opened(file, "/given", "a file that is named");
	is_opened(NULL, "/other", "else that of LAMINA_CONF");
	setenv("LAMINA_CONF", tap_path("none"), 1);
	is_err(conf_open(NULL, &conf, &err), &err, -ENOENT,
	       "cannot open '%s/none': No such file or directory", tap_tmpdir());
	is_err(conf_open("", &conf, &err), &err, -ENOENT,
	       "cannot open '': No such file or directory");
	for (size_t i = 0; i < 4; i++) {
		static const char *const section[] = {"store", "mount", "gc", "pager"};
		char text[64];

		(void)snprintf(text, sizeof(text), "[%s]\nnosuch = 1\n", section[i]);
		write_conf(file, text);
		is_err(conf_open(file, &conf, &err), &err, -EINVAL,
		       "%s:2: unknown key 'nosuch' in section [%s]", file, section[i]);
	}
	ok(conf == NULL, "the output is untouched");
}

/* Nothing stands at the default place of a build that nobody has installed. */
static void test_default(void)
{
	struct conf *conf = (struct conf *)&conf;
	struct err err = {""};

	if (access(CONF_DEFAULT_PATH, F_OK) == 0) {
		tap_skip("there is a " CONF_DEFAULT_PATH);
		return;
	}
	setenv("LAMINA_CONF", "", 1);
	is_int(conf_open(NULL, &conf, &err), 0, "no file at the default place");
	ok(conf == NULL, "is no conf");
}

int main(void)
{
	(void)snprintf(file, sizeof(file), "%s/x.conf", tap_tmpdir());
	test_values();
	test_bad_files();
	test_no_memory();
	test_check();
	test_open();
	test_paths();
	test_default();
	return tap_done();
}
