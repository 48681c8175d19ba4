/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/base/conf.h"
#include "store/base/io.h"
#include "tests/fault.h"
#include "tests/tap.h"

#include <fcntl.h>

static char conf_path[PATH_MAX];

static int load(const char *text, struct conf **conf, struct err *err)
{
	if (io_replace_file(AT_FDCWD, conf_path, text, strlen(text)) < 0)
		bail("cannot write a file");
	return conf_load(conf_path, conf, err);
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
	       "%s:3: neither '[section]' nor 'key = value'", conf_path);
	is_err(load("[a\n", &conf, &err), &err, -EINVAL,
	       "%s:1: neither '[section]' nor 'key = value'", conf_path);
	memset(line, 'x', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	memcpy(line, "[a]\nk = ", 8);
	is_err(load(line, &conf, &err), &err, -EINVAL, "%s:2: the line is too long", conf_path);
	ok(conf == NULL, "the output is untouched");
	is_err(conf_load(tap_tmpdir(), &conf, &err), &err, -EISDIR,
	       "cannot read '%s': it is a directory", tap_tmpdir());
}

static void test_no_memory(void)
{
	struct conf *conf = NULL;
	struct err err;
	int rc = -ENOMEM;

	if (io_replace_file(AT_FDCWD, conf_path, "[a]\nx = 1\ny = 2\n", 15) < 0)
		bail("cannot write a file");
	for (unsigned long n = 1; n < 100 && rc < 0; n++) {
		fault_arm(FAULT_MALLOC, n, ENOMEM);
		rc = conf_load(conf_path, &conf, &err);
		fault_disarm();
		if (rc < 0)
			is_err(rc, &err, -ENOMEM, "cannot read '%s': out of memory", conf_path);
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
	is_err(conf_check(conf, known, &err), &err, want_rc, "%s%s", *want ? conf_path : "", want);
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
}

int main(void)
{
	(void)snprintf(conf_path, sizeof(conf_path), "%s/x.conf", tap_tmpdir());
	test_values();
	test_bad_files();
	test_no_memory();
	test_check();
	return tap_done();
}
