/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/out.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/rpc/digits.h"
#include "store/base/fmt.h"

#define FLAGS (JSON_INDENT(2) | JSON_ENCODE_ANY)

static bool begun;		/* something was printed */

/* Indents every line of `text` but the first. */
static void put_indented(const char *text, unsigned depth)
{
	for (; *text; text++) {
		fputc(*text, stdout);
		if (*text == '\n')
			fprintf(stdout, "%*s", (int)(2 * depth), "");
	}
}

char *out_text(json_t *value)
{
	return value ? json_dumps(value, FLAGS | JSON_REAL_PRECISION(digits_of(value))) : NULL;
}

static int put_value(json_t *value, unsigned depth, struct err *err)
{
	char *text = out_text(value);

	json_decref(value);
	if (!text)
		return err_set(err, -ENOMEM, "cannot make JSON: out of memory");
	begun = true;
	put_indented(text, depth);
	free(text);
	return 0;
}

int out_json(json_t *value, struct err *err)
{
	int rc = put_value(value, 0, err);

	if (rc == 0)
		fputc('\n', stdout);
	return rc;
}

void out_array_begin(struct out_array *a, unsigned depth)
{
	begun = true;
	*a = (struct out_array){.depth = depth};
	fputc('[', stdout);
}

void out_array_next(struct out_array *a)
{
	fprintf(stdout, "%s\n%*s", a->any ? "," : "", (int)(2 * (a->depth + 1)), "");
	a->any = true;
}

int out_array_add(struct out_array *a, json_t *item, struct err *err)
{
	out_array_next(a);
	return put_value(item, a->depth + 1, err);
}

void out_array_end(struct out_array *a)
{
	if (a->any)
		fprintf(stdout, "\n%*s", (int)(2 * a->depth), "");
	fputc(']', stdout);
}

/* One that was cut off, or has a file's name in it, need not be UTF-8. */
json_t *out_sentence(const char *sentence)
{
	json_t *value = json_string(sentence);
	char *plain = value ? NULL : strdup(sentence);

	if (!plain)
		return value;
	for (char *c = plain; *c; c++)
		*c = (signed char)*c < 0 ? '?' : *c;
	value = json_string(plain);
	free(plain);
	return value;
}

void out_error(const char *sentence)
{
	struct err none;

	if (!begun)
		(void)out_json(json_pack("{s:o}", "error", out_sentence(sentence)), &none);
}

json_t *out_id(const struct digest *id)
{
	char hex[DIGEST_HEX_LEN];

	return json_string(fmt_hex(hex, id->b, DIGEST_LEN));
}

int out_close(void)
{
	/* What went wrong was forgotten since: it goes wrong again. */
	if (ferror(stdout))
		return write(STDOUT_FILENO, "\n", 1) < 0 ? -errno : -EIO;
	errno = 0;
	if (fclose(stdout) != 0)
		return errno ? -errno : -EIO;
	return 0;
}
