/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* `lamina pager upgrade`: old pagers drain and end, or are taken over (pager-takeover.c). */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "src/cli/out.h"
#include "src/cli/pager.h"

int pager_failed(struct cli *cli, int before, int rc)
{
	if (rc == 0)
		return before;
	cli_note(cli, "%s", cli->err.text);
	return -EIO;
}

int pager_report(struct cli *cli, json_t *report, json_t *item, const char *text)
{
	if (!item || json_array_append_new(report, item) < 0)
		return err_set(&cli->err, -ENOMEM, "out of memory");
	if (!cli->json && !cli->quiet)
		puts(text);
	return 0;
}

/* One of a version that does not know how to end drains all the same. */
static int ask(struct cli *cli, const char *socket, json_t **ret, bool *ret_exits)
{
	json_t *body = json_pack("{s:b}", "exit", 1);
	int status = 0, rc;

	if (!body)
		return err_set(&cli->err, -ENOMEM, "out of memory");
	rc = pager_ask_at(cli, socket, &(struct pager_request){"POST", "/drain", body}, ret,
			  &status);
	json_decref(body);
	*ret_exits = status != 400;
	if (status != 400)
		return rc;
	return pager_ask_at(cli, socket, &(struct pager_request){"POST", "/drain", NULL}, ret,
			    NULL);
}

static int drain(struct cli *cli, const struct pagers_entry *p, json_t *report)
{
	json_t *answer = NULL;
	char text[512];
	json_int_t left;
	bool exits = true;
	int rc = ask(cli, p->socket, &answer, &exits);

	if (rc < 0)
		return err_wrap(&cli->err, rc, "pager %s at '%s'", p->version, p->socket);
	left = json_integer_value(pager_at(answer, "left"));
	json_decref(answer);
	(void)snprintf(text, sizeof(text), "pager %s at %s drains: %lld session%s left%s",
		       p->version, p->socket, (long long)left, left == 1 ? " is" : "s are",
		       exits ? ", with the last it ends" : "; it does not end by itself");
	return pager_report(cli, report,
			    json_pack("{s:s, s:s, s:s, s:b, s:I}", "socket", p->socket,
				      "version", p->version, "action", "drain", "exits", exits,
				      "left", left), text);
}

static int drain_all(struct cli *cli, const struct pagers *pagers, json_t *report)
{
	int rc = 0;

	for (size_t i = 0; i < pagers->n; i++)
		if (pagers->v[i].outdated)
			rc = pager_failed(cli, rc, drain(cli, &pagers->v[i], report));
	return rc;
}

static void tell_nothing(const struct cli *cli, const struct pagers *pagers)
{
	size_t n = pager_answering(pagers);

	if (!cli->json && !cli->quiet)
		printf("nothing is outdated: %zu pager%s version %s\n", n,
		       n == 1 ? " is" : "s are", pagers->v[0].version);
}

static int upgrade(struct cli *cli, const struct pagers *pagers, json_t *report)
{
	const struct pager_args *args = cli->args;
	const struct pagers_entry *silent = pager_silent(pagers);
	int rc = args->takeover ? pager_takeover(cli, pagers, report)
				: drain_all(cli, pagers, report);

	if (silent)
		rc = pager_failed(cli, rc, pager_silence(cli, silent));
	if (rc == 0 && json_array_size(report) == 0)
		tell_nothing(cli, pagers);
	if (cli->json && out_json(json_incref(report), &cli->err) < 0)
		return -ENOMEM;
	return rc < 0 ? err_set(&cli->err, rc, "not all of them are done") : 0;
}

static int upgrade_found(struct cli *cli, const struct pagers *pagers, const char *root)
{
	json_t *report;
	int rc;

	if (!pager_answering(pagers) && pagers->n)
		return pager_silence(cli, &pagers->v[0]);
	if (!pagers->n)
		return err_set(&cli->err, -ENOENT, "there is no pager in '%s'", root);
	report = json_array();
	if (!report)
		return err_set(&cli->err, -ENOMEM, "out of memory");
	rc = upgrade(cli, pagers, report);
	json_decref(report);
	return rc;
}

int pager_upgrade(struct cli *cli, int argc, char **argv)
{
	const struct pager_args *args = cli->args;
	struct pagers pagers = {0};
	const char *root;
	int rc;

	(void)argc;
	(void)argv;
	if (args->socket)
		return cli_usage(cli, "pager upgrade has no --socket: it finds the pagers");
	if (args->program && !args->takeover)
		return cli_usage(cli, "--program goes with --takeover");
	rc = pager_root(cli, &root);
	if (rc == 0)
		rc = pagers_find(root, PAGER_FIND_MS, &pagers, &cli->err);
	if (rc == 0)
		rc = upgrade_found(cli, &pagers, root);
	pagers_fini(&pagers);
	return rc;
}
