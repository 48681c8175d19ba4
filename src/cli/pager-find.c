/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which pagers are meant. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/cli/pager.h"

#define ROOT_DEFAULT RUNSTATEDIR "/lamina"

int pager_root(struct cli *cli, const char **ret)
{
	const char *root;
	int rc = cli_config(cli);

	if (rc < 0)
		return rc;
	root = cli_config_get(cli, "pager", "runtime_dir");
	*ret = root && *root ? root : ROOT_DEFAULT;
	return 0;
}

/* The one of --socket or of lamina.conf; NULL: none is named. */
static int named(struct cli *cli, const char **ret)
{
	const struct pager_args *args = cli->args;
	int rc = 0;

	*ret = args->socket;
	if (!*ret) {
		rc = cli_config(cli);
		if (rc == 0)
			*ret = cli_config_get(cli, "pager", "socket");
	}
	if (*ret && !**ret)
		*ret = NULL;
	return rc;
}

/* The one at `path`, whether it answers or not. */
static int only(struct cli *cli, char *path, struct pagers *ret)
{
	ret->v = path ? calloc(1, sizeof(*ret->v)) : NULL;
	if (!ret->v) {
		free(path);
		return err_set(&cli->err, -ENOMEM, "out of memory");
	}
	ret->v->socket = path;
	ret->n = 1;
	return 0;
}

static int find(struct cli *cli, struct pagers *ret)
{
	const char *root;
	char *path;
	int rc = pager_root(cli, &root);

	if (rc == 0)
		rc = pagers_find(root, PAGER_FIND_MS, ret, &cli->err);
	if (rc < 0 || ret->n > 0)
		return rc;
	if (asprintf(&path, "%s/pager.sock", root) < 0)
		path = NULL;
	return only(cli, path, ret);
}

int pager_found(struct cli *cli, const struct pagers **ret)
{
	struct pager_args *args = cli->args;
	const char *socket;
	int rc = 0;

	if (!args->found.n) {
		rc = named(cli, &socket);
		if (rc == 0)
			rc = socket ? only(cli, strdup(socket), &args->found)
				    : find(cli, &args->found);
	}
	if (rc == 0)
		*ret = &args->found;
	return rc;
}

void pager_forget(struct cli *cli)
{
	struct pager_args *args = cli->args;

	pagers_fini(&args->found);
}

size_t pager_answering(const struct pagers *pagers)
{
	size_t n = 0;

	while (n < pagers->n && pagers->v[n].version)
		n++;
	return n;
}

/* Where nobody listens, somebody has ended: that is not silence. */
const struct pagers_entry *pager_silent(const struct pagers *pagers)
{
	for (size_t i = pager_answering(pagers); pagers->n > 1 && i < pagers->n; i++)
		if (!pagers_has_ended(pagers->v[i].code))
			return &pagers->v[i];
	return NULL;
}

/* Nothing of ours is damaged when somebody does not speak HTTP. */
int pager_silence(struct cli *cli, const struct pagers_entry *pager)
{
	return err_set(&cli->err, pager->code == -EBADMSG ? -EPROTO : pager->code, "%s",
		       pager->err.text);
}
