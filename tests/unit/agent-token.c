/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/agent/token.h"

#include <fcntl.h>

#include "tests/tap.h"

#define WORD "0123456789abcdef"

static struct err err;
static struct token token;
static const char *path;

/* In another file each time, so that it has another inode. */
static void put(const char *text, mode_t mode)
{
	const char *fresh = tap_path("fresh");
	int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC, mode);

	if (fd < 0 || write(fd, text, strlen(text)) < 0 || fchmod(fd, mode) < 0 || close(fd) < 0 ||
	    rename(fresh, path) < 0)
		bail("cannot write '%s'", path);
}


static bool check(const char *header)
{
	err.text[0] = '\0';
	return token_check(&token, header, &err);
}

static void test_files(void)
{
	char longer[TOKEN_MAX + 2];

	unlink(path);
	is_int(token_open(&token, path, &err), -ENOENT, "no file: %s", err.text);
	put(WORD "\n", 0640);
	is_err(token_open(&token, path, &err), &err, -EACCES,
	       "others may read the token '%s': its mode is to be 0600", path);
	put(WORD "\n", 0604);
	is_int(token_open(&token, path, &err), -EACCES, "one that anybody may read");
	ok(!check("Bearer " WORD), "lets nobody in");
	put("short\n", 0600);
	is_err(token_open(&token, path, &err), &err, -EINVAL,
	       "the token in '%s' has 5 characters, not 16 to 256", path);
	put("", 0600);
	is_int(token_open(&token, path, &err), -EINVAL, "an empty one");
	ok(!check("Bearer "), "lets nobody in, with an empty word neither");
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	put(longer, 0600);
	is_int(token_open(&token, path, &err), -EINVAL, "one character too many");
	longer[TOKEN_MAX] = '\0';
	put(longer, 0600);
	is_int(token_open(&token, path, &err), 0, "one less");
	put("0123456789 abcdef", 0600);
	is_err(token_open(&token, path, &err), &err, -EINVAL,
	       "the token in '%s' has characters other than visible ASCII", path);
	unlink(path);
	if (mkdir(path, 0700) == 0) {
		is_err(token_open(&token, path, &err), &err, -EINVAL, "the token '%s' is no file",
		       path);
		rmdir(path);
	}
}

static void test_check(void)
{
	put(WORD "\nwhatever\n", 0600);
	is_int(token_open(&token, path, &err), 0, "the first line is the word");
	ok(check("Bearer " WORD), "who knows it gets in");
	ok(check("bearer " WORD), "however the scheme is written");
	ok(!check(NULL), "without a header nobody does");
	ok(!check(""), "nor with an empty one");
	ok(!check(WORD), "nor without the scheme");
	ok(!check("Basic " WORD), "nor with another");
	ok(!check("Bearer "), "nor without a word");
	ok(!check("Bearer " WORD "0"), "nor with a longer one");
	ok(!check("Bearer 0123456789abcde"), "nor with a shorter one");
	ok(!check("Bearer 0123456789abcdeF"), "nor with another");
	ok(!check("Bearer 1123456789abcdef"), "nor with one that begins otherwise");
	is_str(err.text, "", "none of which is the file's fault");
}

static void test_change(void)
{
	put(WORD, 0400);
	is_int(token_open(&token, path, &err), 0, "a word without a line's end");
	ok(check("Bearer " WORD), "lets in");
	put("fedcba9876543210\n", 0600);
	ok(!check("Bearer " WORD), "a new word replaces it");
	ok(check("Bearer fedcba9876543210"), "at once");
	chmod(path, 0644);
	ok(!check("Bearer fedcba9876543210"), "when others may read it nobody gets in");
	ok(strstr(err.text, "its mode is to be 0600"), "and it is said why");
	chmod(path, 0600);
	ok(check("Bearer fedcba9876543210"), "until that is mended");
	unlink(path);
	ok(!check("Bearer fedcba9876543210"), "without a file nobody gets in");
	put(WORD "\n", 0600);
	ok(check("Bearer " WORD), "until there is one again");
	token_fini(&token);
	ok(!memmem(&token, sizeof(token), WORD, 16), "in the end it is forgotten");
}

int main(void)
{
	path = tap_path("token");
	test_files();
	test_check();
	test_change();
	return tap_done();
}
