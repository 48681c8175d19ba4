/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/base/err.h"
#include "tests/tap.h"

static void test_sentences(void)
{
	struct err err;
	int rc;

	rc = err_set(&err, -EBADMSG, "chunk %d: digest differs", 7);
	is_err(rc, &err, -EBADMSG, "chunk 7: digest differs");
	rc = err_wrap(&err, rc, "layer '%s'", "abc");
	is_err(rc, &err, -EBADMSG, "layer 'abc': chunk 7: digest differs");
	rc = err_sys(&err, -ENOENT, "cannot open '%s'", "/x");
	is_err(rc, &err, -ENOENT, "cannot open '/x': No such file or directory");
	rc = err_wrap(&err, -EIO, "store '/s'");
	is_err(rc, &err, -EIO, "store '/s': cannot open '/x': No such file or directory");
}

static void test_null(void)
{
	is_int(err_set(NULL, -EINVAL, "x"), -EINVAL, "set without an err");
	is_int(err_sys(NULL, -EINVAL, "x"), -EINVAL, "sys without an err");
	is_int(err_wrap(NULL, -EINVAL, "x"), -EINVAL, "wrap without an err");
}

static void test_limits(void)
{
	struct err err;
	char text[2 * sizeof(err.text)];

	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	err_set(&err, -EIO, "%s", text);
	is_int(strlen(err.text), sizeof(err.text) - 1, "a long sentence is cut");
	err_sys(&err, -EIO, "%s", text);
	is_int(strlen(err.text), sizeof(err.text) - 1, "with an errno too");
	err_set(&err, -EIO, "inner");
	err_wrap(&err, -EIO, "%s", text);
	is_int(strlen(err.text), sizeof(err.text) - 1, "and a long wrap");
	err_set(&err, -EIO, "%s", text);
	err_wrap(&err, -EIO, "outer");
	ok(!strncmp(err.text, "outer: aaa", 10), "what is wrapped loses its end");
	err_set(&err, -EIO, "inner");
	err_wrap(&err, -EIO, "outer %s", err.text);
	is_str(err.text, "outer inner: inner", "a sentence may be its own argument");
}

int main(void)
{
	test_sentences();
	test_null();
	test_limits();
	return tap_done();
}
