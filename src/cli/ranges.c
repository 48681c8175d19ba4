/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/ranges.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/io.h"
#include "store/base/vec.h"

struct parser {
	const char *text;
	const char *p;
	const char *end;
	struct err *err;
};

static int fail(const struct parser *ps, const char *what)
{
	unsigned long line = 1, column = 1;

	for (const char *p = ps->text; p < ps->p; p++) {
		column++;
		if (*p == '\n') {
			line++;
			column = 1;
		}
	}
	return err_set(ps->err, -EINVAL, "line %lu, column %lu: %s", line, column, what);
}

/* The next byte that is not white space, not consumed; 0 at the end. */
static char peek(struct parser *ps)
{
	while (ps->p < ps->end &&
	       (*ps->p == ' ' || *ps->p == '\t' || *ps->p == '\n' || *ps->p == '\r'))
		ps->p++;
	return ps->p < ps->end ? *ps->p : '\0';
}

static bool take(struct parser *ps, char c)
{
	if (peek(ps) != c || ps->p == ps->end)
		return false;
	ps->p++;
	return true;
}

static int expect(struct parser *ps, char c, const char *what)
{
	return take(ps, c) ? 0 : fail(ps, what);
}

static int number(struct parser *ps, uint64_t *ret)
{
	const char *begin;
	uint64_t v = 0;

	(void)peek(ps);
	begin = ps->p;
	for (; ps->p < ps->end && *ps->p >= '0' && *ps->p <= '9'; ps->p++)
		if (__builtin_mul_overflow(v, (uint64_t)10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*ps->p - '0'), &v) || v > INT64_MAX)
			return fail(ps, "the number is too large");
	if (ps->p == begin)
		return fail(ps, "expected a number of bytes, without a sign");
	if (ps->p - begin > 1 && *begin == '0')
		return fail(ps, "a number begins with 0");
	if (ps->p < ps->end && (*ps->p == '.' || *ps->p == 'e' || *ps->p == 'E'))
		return fail(ps, "the number is not a whole number");
	*ret = v;
	return 0;
}

static bool word(struct parser *ps, const char *text)
{
	size_t len = strlen(text);

	(void)peek(ps);
	if ((size_t)(ps->end - ps->p) < len || memcmp(ps->p, text, len) != 0)
		return false;
	ps->p += len;
	return true;
}

/* Behind its "[". */
static int pair(struct parser *ps, struct input_range *ret)
{
	int rc = number(ps, &ret->off);

	if (rc == 0)
		rc = expect(ps, ',', "expected ',' and a length");
	if (rc == 0)
		rc = number(ps, &ret->len);
	return rc < 0 ? rc : expect(ps, ']', "expected ']' after offset and length");
}

/* One `"key": number`; bit 0 of *seen is "offset", bit 1 "length". */
static int member(struct parser *ps, struct input_range *ret, unsigned *seen)
{
	bool off = word(ps, "\"offset\"");
	bool len = !off && word(ps, "\"length\"");
	unsigned bit = off ? 1 : 2;
	int rc;

	if (!off && !len)
		return fail(ps, "expected \"offset\" or \"length\"");
	if (*seen & bit)
		return fail(ps, off ? "a second \"offset\"" : "a second \"length\"");
	*seen |= bit;
	rc = expect(ps, ':', "expected ':'");
	return rc < 0 ? rc : number(ps, off ? &ret->off : &ret->len);
}

/* Behind its "{". */
static int object(struct parser *ps, struct input_range *ret)
{
	unsigned seen = 0;
	int rc;

	do {
		rc = member(ps, ret, &seen);
		if (rc < 0)
			return rc;
	} while (take(ps, ','));
	if (seen != 3)
		return fail(ps, "a range has \"offset\" and \"length\"");
	return expect(ps, '}', "expected ',' or '}'");
}

static int add(struct parser *ps, struct ranges *r, struct input_range range)
{
	struct input_range *last = r->n ? &r->v[r->n - 1] : NULL;

	if (range.len > INT64_MAX - range.off)
		return fail(ps, "the range ends beyond 2^63");
	if (!range.len)
		return 0;
	if (last && last->off + last->len == range.off) {
		last->len += range.len;
		return 0;
	}
	if (r->n == RANGES_MAX)
		return fail(ps, "more than 16777216 ranges");
	return vec_push(r, range) < 0 ? err_set(ps->err, -ENOMEM, "out of memory") : 0;
}

static int element(struct parser *ps, struct ranges *r)
{
	struct input_range range = {0};
	int rc;

	if (take(ps, '['))
		rc = pair(ps, &range);
	else if (take(ps, '{'))
		rc = object(ps, &range);
	else
		rc = fail(ps, "expected a range: {\"offset\": N, \"length\": N} or [N, N]");
	return rc < 0 ? rc : add(ps, r, range);
}

static int array(struct parser *ps, struct ranges *r)
{
	int rc = expect(ps, '[', "expected '[': an array of ranges");

	if (rc < 0)
		return rc;
	if (!take(ps, ']')) {
		do
			rc = element(ps, r);
		while (rc == 0 && take(ps, ','));
		if (rc == 0)
			rc = expect(ps, ']', "expected ',' or ']'");
	}
	if (rc == 0 && (peek(ps), ps->p < ps->end))
		return fail(ps, "more text behind the array");
	return rc;
}

void ranges_fini(struct ranges *r)
{
	vec_fini(r);
}

int ranges_parse(const char *text, size_t len, struct ranges *ret, struct err *err)
{
	struct parser ps = {text, text, text + len, err};
	struct ranges r = {0};
	int rc = array(&ps, &r);

	if (rc < 0) {
		ranges_fini(&r);
		return rc;
	}
	*ret = r;
	return 0;
}

int ranges_load(const char *path, struct ranges *ret, struct err *err)
{
	char *text;
	size_t len;
	int rc = io_read_file(AT_FDCWD, path, RANGES_FILE_MAX, &text, &len);

	if (rc == -EFBIG)
		return err_set(err, rc, "ranges '%s': the file is larger than 64 MiB", path);
	if (rc < 0)
		return err_sys(err, rc, "cannot read ranges '%s'", path);
	rc = ranges_parse(text, len, ret, err);
	free(text);
	return rc < 0 ? err_wrap(err, rc, "ranges '%s'", path) : 0;
}
