/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/ranges.h"

#include <stdlib.h>
#include <string.h>

#include "tests/tap.h"

static struct ranges r;
static struct err err;

static int parse(const char *text)
{
	ranges_fini(&r);
	err.text[0] = '\0';
	return ranges_parse(text, strlen(text), &r, &err);
}

static void is_ranges(const char *text, const char *want)
{
	char got[256] = "";

	is_int(parse(text), 0, "%s", text);
	for (size_t i = 0; i < r.n; i++)
		(void)snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%llu+%llu",
			       i ? " " : "", (unsigned long long)r.v[i].off,
			       (unsigned long long)r.v[i].len);
	is_str(got, want, "its ranges");
}

static void is_bad(const char *text, const char *why)
{
	is_err(parse(text), &err, -EINVAL, "%s", why);
	is_int(r.n, 0, "nothing comes out");
}

static void good(void)
{
	is_ranges("[]", "");
	is_ranges(" \t\r\n[ \n ] \n", "");
	is_ranges("[[0,4096]]", "0+4096");
	is_ranges("[{\"offset\":1,\"length\":2}]", "1+2");
	is_ranges("[{\"length\":2,\"offset\":1}, [ 9 , 1 ]]", "1+2 9+1");
	is_ranges("[[0,10],[10,5],[20,1]]", "0+15 20+1");
	is_ranges("[[5,0],[0,0]]", "");
	is_ranges("[[20,1],[0,10]]", "20+1 0+10");
	is_ranges("[[9223372036854775806,1]]", "9223372036854775806+1");
}

static void bad(void)
{
	is_bad("", "line 1, column 1: expected '[': an array of ranges");
	is_bad("[[0,1]", "line 1, column 7: expected ',' or ']'");
	is_bad("[[0,1],\n [2", "line 2, column 4: expected ',' and a length");
	is_bad("[[0,1]]]", "line 1, column 8: more text behind the array");
	is_bad("[1,2]",
	       "line 1, column 2: expected a range: {\"offset\": N, \"length\": N} or [N, N]");
	is_bad("[{\"offset\":0,\"length\":1,}]",
	       "line 1, column 25: expected \"offset\" or \"length\"");
	is_bad("[{\"offset\":0,\"length\":1", "line 1, column 24: expected ',' or '}'");
	is_bad("[[+1,2]]", "line 1, column 3: expected a number of bytes, without a sign");
	is_bad("[[9223372036854775808,0]]", "line 1, column 21: the number is too large");
	is_bad("[[00,1]]", "line 1, column 5: a number begins with 0");
	is_bad("[\"\\u0000\"]",
	       "line 1, column 2: expected a range: {\"offset\": N, \"length\": N} or [N, N]");
	is_err(ranges_parse("[[1,2]\0,[3,4]]", 14, &r, &err), &err, -EINVAL,
	       "line 1, column 7: expected ',' or ']'");
}

/* Cut anywhere, a text is refused, and never read beyond its end. */
static void cut(void)
{
	static const char text[] = "[{\"offset\": 12, \"length\": 34}, [56, 78]]";
	int refused = 0;

	for (size_t len = 0; len < strlen(text); len++) {
		char *copy = malloc(len + 1);

		memcpy(copy, text, len);
		refused += ranges_parse(copy, len, &r, &err) == -EINVAL;
		free(copy);
	}
	is_int(refused, (int)strlen(text), "every text that is cut is refused");
}

static void file(const char *text)
{
	FILE *f = fopen(tap_path("ranges.json"), "w");

	if (!f || fputs(text, f) < 0 || fclose(f) != 0)
		bail("cannot write");
}

static void files(void)
{
	const char *path = tap_path("ranges.json");

	file("[[1,2]]");
	is_int(ranges_load(path, &r, &err), 0, "a file");
	is_int(r.n, 1, "is read");
	ranges_fini(&r);
	file("[[1,2]\n[3,4]]");
	is_err(ranges_load(path, &r, &err), &err, -EINVAL,
	       "ranges '%s': line 2, column 1: expected ',' or ']'", path);
	is_err(ranges_load("/nonexistent", &r, &err), &err, -ENOENT,
	       "cannot read ranges '/nonexistent': No such file or directory");
	is_err(ranges_load(tap_tmpdir(), &r, &err), &err, -EISDIR,
	       "cannot read ranges '%s': Is a directory", tap_tmpdir());
	if (truncate(path, RANGES_FILE_MAX + 1) < 0)
		bail("cannot truncate");
	is_err(ranges_load(path, &r, &err), &err, -EFBIG,
	       "ranges '%s': the file is larger than 64 MiB", path);
}

int main(void)
{
	good();
	bad();
	cut();
	files();
	ranges_fini(&r);
	return tap_done();
}
