/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/meta.h"

#include <stdio.h>
#include <string.h>

#include "src/cli/cli.h"

static int add(struct cli *cli, const char *text, struct attrs *attrs)
{
	const char *eq = strchr(text, '=');
	char key[72];
	int rc;

	(void)snprintf(key, sizeof(key), "%.*s", eq ? (int)(eq - text) : 0, text);
	if (!eq || eq - text > 64 || !attrs_key_ok(key))
		return cli_usage(cli, "--meta: '%s' is not KEY=VALUE with 1 to 64 of a-z 0-9 "
				 ". _ - in KEY", text);
	if (!strncmp(key, "lamina.", strlen("lamina.")))
		return cli_usage(cli, "--meta: '%s': keys that begin with 'lamina.' are "
				 "commit's own", key);
	rc = attrs_set(attrs, key, eq + 1);
	if (rc == -EINVAL)
		return err_set(&cli->err, rc, "--meta %s: the value is not UTF-8, or all "
			       "metadata is more than %u KiB", key, META_MAX >> 10);
	return rc < 0 ? err_set(&cli->err, rc, "out of memory") : 0;
}

int meta_add_all(struct cli *cli, const struct opt_words *words, struct attrs *ret)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < words->n; i++)
		rc = add(cli, words->v[i].text, ret);
	return rc;
}
