/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/agent/token.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "store/base/io.h"

static void forget(struct token *t)
{
	explicit_bzero(t->word, sizeof(t->word));
	t->len = 0;
}

static int check_file(const char *path, const struct stat *st, struct err *err)
{
	if (!S_ISREG(st->st_mode))
		return err_set(err, -EINVAL, "the token '%s' is no file", path);
	if (st->st_uid != geteuid() && st->st_uid != 0)
		return err_set(err, -EACCES, "the token '%s' belongs to somebody else", path);
	if (st->st_mode & (S_IRWXG | S_IRWXO))
		return err_set(err, -EACCES,
			       "others may read the token '%s': its mode is to be 0600", path);
	return 0;
}

static int take_word(struct token *t, const char *text, struct err *err)
{
	size_t len = strcspn(text, "\n");

	if (len < TOKEN_MIN || len > TOKEN_MAX)
		return err_set(err, -EINVAL, "the token in '%s' has %zu characters, not %d to %d",
			       t->path, len, TOKEN_MIN, TOKEN_MAX);
	for (size_t i = 0; i < len; i++)
		if (text[i] <= ' ' || text[i] > '~')
			return err_set(err, -EINVAL, "the token in '%s' has characters other than "
				       "visible ASCII", t->path);
	memcpy(t->word, text, len);
	t->len = len;
	return 0;
}

static int read_word(struct token *t, int fd, struct err *err)
{
	char text[TOKEN_MAX + 3] = "";
	ssize_t n = io_pread(fd, text, sizeof(text) - 1, 0);
	int rc = n < 0 ? err_sys(err, (int)n, "cannot read the token '%s'", t->path) :
		take_word(t, text, err);

	explicit_bzero(text, sizeof(text));
	return rc;
}

static int load(struct token *t, struct err *err)
{
	int fd = open(t->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), rc;

	forget(t);
	if (fd < 0)
		return err_sys(err, -errno, "cannot read the token '%s'", t->path);
	rc = fstat(fd, &t->read) < 0 ? err_sys(err, -errno, "cannot read the token '%s'", t->path) :
		check_file(t->path, &t->read, err);
	if (rc == 0)
		rc = read_word(t, fd, err);
	close(fd);
	return rc;
}

int token_open(struct token *t, const char *path, struct err *err)
{
	*t = (struct token){.path = path};
	return load(t, err);
}

static bool has_changed(const struct token *t)
{
	struct stat st;

	return stat(t->path, &st) < 0 || st.st_ino != t->read.st_ino ||
	       st.st_dev != t->read.st_dev || st.st_size != t->read.st_size ||
	       st.st_mode != t->read.st_mode || st.st_uid != t->read.st_uid ||
	       st.st_mtim.tv_sec != t->read.st_mtim.tv_sec ||
	       st.st_mtim.tv_nsec != t->read.st_mtim.tv_nsec;
}

/* As many steps whatever is in `given`. */
static bool is_same(const struct token *t, const char *given, size_t len)
{
	volatile unsigned char differs = len != t->len;

	for (size_t i = 0; i < TOKEN_MAX; i++)
		differs |= (unsigned char)(t->word[i] ^ (i < len ? given[i] : 0));
	return !differs;
}

bool token_check(struct token *t, const char *header, struct err *err)
{
	static const char scheme[] = "Bearer ";
	const char *given;

	if (has_changed(t) && load(t, err) < 0)
		return false;
	if (!header || strncasecmp(header, scheme, sizeof(scheme) - 1) != 0)
		return false;
	given = header + sizeof(scheme) - 1;
	return is_same(t, given, strlen(given)) && t->len;
}

void token_fini(struct token *t)
{
	forget(t);
}
