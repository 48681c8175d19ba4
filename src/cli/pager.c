/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/pager.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/rpc/http.h"

#define SOCKET_DEFAULT RUNSTATEDIR "/lamina/pager.sock"
#define PAGE_LEN 1000		/* sessions that are asked for at once */

static int socket_path(struct cli *cli, const char **ret)
{
	const struct pager_args *args = cli->args;
	const char *conf;
	int rc;

	*ret = args->socket;
	if (*ret)
		return 0;
	rc = cli_config(cli);
	if (rc < 0)
		return rc;
	conf = cli_config_get(cli, "pager", "socket");
	*ret = conf && *conf ? conf : SOCKET_DEFAULT;
	return 0;
}

static int code_of(int status)
{
	if (status < 300)
		return 0;
	switch (status) {
	case 400:
		return -EINVAL;
	case 404:
		return -ENOENT;
	case 409:
		return -EBUSY;
	default:
		return -EIO;
	}
}

int pager_ask(struct cli *cli, const struct pager_request *request, json_t **ret, int *ret_status)
{
	struct http_target to = {.fd = -1};
	struct http_answer answer;
	int rc = socket_path(cli, &to.socket);

	if (rc < 0)
		return rc;
	rc = http_request(&to, request->method, request->path, request->body, &answer, &cli->err);
	if (rc < 0)
		return rc == -EBADMSG ? -EPROTO : rc;	/* nothing of ours is damaged */
	rc = code_of(answer.status);
	if (rc < 0)
		(void)err_set(&cli->err, rc, "%s", http_answer_error(&answer));
	else if (!answer.json)
		rc = err_set(&cli->err, -EPROTO, "what answers at '%s' is no pager", to.socket);
	else
		*ret = json_incref(answer.json);
	if (ret_status)
		*ret_status = answer.status;
	http_answer_fini(&answer);
	return rc;
}

char *pager_path(const char *id, const char *rest)
{
	char *escaped = http_escape(id), *path = NULL;

	if (escaped && asprintf(&path, "/sessions/%s%s", escaped, rest) < 0)
		path = NULL;
	free(escaped);
	return path;
}

static int next_page(struct cli *cli, const char *query, json_int_t after, json_t **ret)
{
	char path[128];
	int rc;

	(void)snprintf(path, sizeof(path), "/sessions?limit=%d&after=%lld%s", PAGE_LEN,
		       (long long)after, query);
	rc = pager_ask(cli, &(struct pager_request){"GET", path, NULL}, ret, NULL);
	if (rc < 0 || json_is_array(*ret))
		return rc;
	json_decref(*ret);
	return err_set(&cli->err, -EPROTO, "the pager's answer is no list of sessions");
}

int pager_list(struct cli *cli, const char *query, json_t **ret)
{
	json_int_t after = 0, last;
	json_t *all = json_array(), *page = NULL;
	size_t n;
	int rc = all ? 0 : -ENOMEM;

	do {
		last = after;
		if (rc == 0)
			rc = next_page(cli, query, after, &page);
		if (rc < 0) {
			json_decref(all);
			return rc;
		}
		n = json_array_size(page);
		if (n)
			after = (json_int_t)pager_number(json_array_get(page, n - 1), "number");
		if (json_array_extend(all, page) < 0)
			rc = -ENOMEM;
		json_decref(page);
	} while (n == PAGE_LEN && after > last);
	*ret = all;
	return rc;
}
