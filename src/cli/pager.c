/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/pager.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/rpc/http.h"

#define PAGE_LEN 1000		/* sessions that are asked for at once */

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

int pager_ask_at(struct cli *cli, const char *socket, const struct pager_request *request,
		 json_t **ret, int *ret_status)
{
	bool reads = strcmp(request->method, "GET") == 0;
	struct http_target to = {.socket = socket, .fd = -1,
				 .timeout_ms = reads ? PAGER_READ_MS : 0};
	struct http_answer answer;
	int rc = http_request(&to, request->method, request->path, request->body, &answer,
			      &cli->err);

	if (rc < 0)
		return rc == -EBADMSG ? -EPROTO : rc;	/* nothing of ours is damaged */
	rc = code_of(answer.status);
	if (rc < 0)
		(void)err_set(&cli->err, rc, "%s", http_answer_error(&answer));
	else if (!answer.json)
		rc = err_set(&cli->err, -EPROTO, "what answers at '%s' is no pager", socket);
	else
		*ret = json_incref(answer.json);
	if (ret_status)
		*ret_status = answer.status;
	http_answer_fini(&answer);
	return rc;
}

/* ---- which one ---- */

/* Whether it has a session there that has not ended; one that does not tell has none. */
static bool is_owner(struct cli *cli, const struct pagers_entry *pager, const char *path)
{
	static const char *const ended[] = {"graduated", "gone", "failed"};
	struct err before = cli->err;
	json_t *session = NULL;
	bool is = pager_ask_at(cli, pager->socket, &(struct pager_request){"GET", path, NULL},
			       &session, NULL) == 0;

	for (size_t i = 0; is && i < sizeof(ended) / sizeof(ended[0]); i++)
		is = strcmp(pager_text(session, "state"), ended[i]) != 0;
	json_decref(session);
	cli->err = before;
	return is;
}

static int find_owner(struct cli *cli, const struct pagers *pagers, const char *path,
		      const struct pagers_entry **ret)
{
	const struct pagers_entry *owner = NULL;

	for (size_t i = 0; i < pager_answering(pagers); i++) {
		const struct pagers_entry *e = &pagers->v[i];

		if (!is_owner(cli, e, path))
			continue;
		if (owner)
			return err_set(&cli->err, -EEXIST, "sessions of that id are on two pagers, "
				       "'%s' and '%s': --socket says which one is meant",
				       owner->socket, e->socket);
		owner = e;
	}
	*ret = owner;
	return 0;
}

int pager_owner(struct cli *cli, const struct pagers *pagers, const char *path,
		const struct pagers_entry **ret)
{
	size_t len = strlen("/sessions/");
	char *session;
	int rc;

	if (pager_answering(pagers) < 2) {
		*ret = NULL;
		return 0;
	}
	session = strndup(path, len + strcspn(path + len, "/?"));
	if (!session)
		return err_set(&cli->err, -ENOMEM, "out of memory");
	rc = find_owner(cli, pagers, session, ret);
	free(session);
	return rc;
}

/* The newest first, until one knows it. */
static int ask_each(struct cli *cli, const struct pagers *pagers,
		    const struct pager_request *request, json_t **ret, int *ret_status)
{
	const struct pagers_entry *silent = pager_silent(pagers);
	struct err text;
	int rc = 0, status = 0;

	for (size_t i = 0; i < pager_answering(pagers) && (i == 0 || status == 404); i++) {
		status = 0;
		rc = pager_ask_at(cli, pagers->v[i].socket, request, ret, &status);
	}
	if (ret_status)
		*ret_status = status;
	if (status != 404 || !silent)
		return rc;
	text = cli->err;
	return err_set(&cli->err, rc, "%s where pagers answer; %s", text.text, silent->err.text);
}

/* Of those that answer; NULL: the request does not tell. */
static const struct pagers_entry *choose(const struct pagers *pagers,
					 const struct pager_request *request)
{
	const struct pagers_entry *newest = pagers_newest(pagers);

	if (pager_answering(pagers) == 1)
		return &pagers->v[0];
	if (strcmp(request->path, "/sessions") != 0)
		return NULL;
	return newest ? newest : &pagers->v[0];	/* which says that it takes none */
}

static int ask_one(struct cli *cli, const struct pagers *pagers,
		   const struct pager_request *request, json_t **ret, int *ret_status)
{
	const struct pagers_entry *one = choose(pagers, request);

	if (!one)
		return err_set(&cli->err, -EINVAL, "there are %zu pagers, '%s' and others: "
			       "--socket says which one is meant", pager_answering(pagers),
			       pagers->v[0].socket);
	return pager_ask_at(cli, one->socket, request, ret, ret_status);
}

static int ask_owner(struct cli *cli, const struct pagers *pagers,
		     const struct pager_request *request, json_t **ret, int *ret_status)
{
	const struct pagers_entry *owner;
	int rc = pager_owner(cli, pagers, request->path, &owner);

	if (rc < 0)
		return rc;
	if (owner)
		return pager_ask_at(cli, owner->socket, request, ret, ret_status);
	return ask_each(cli, pagers, request, ret, ret_status);
}

int pager_ask(struct cli *cli, const struct pager_request *request, json_t **ret, int *ret_status)
{
	const struct pagers *pagers;
	int rc = pager_found(cli, &pagers);

	if (rc < 0)
		return rc;
	if (pagers->n == 1)
		return pager_ask_at(cli, pagers->v[0].socket, request, ret, ret_status);
	if (!pager_answering(pagers))
		return pager_silence(cli, &pagers->v[0]);
	if (strncmp(request->path, "/sessions/", 10) == 0)
		return ask_owner(cli, pagers, request, ret, ret_status);
	return ask_one(cli, pagers, request, ret, ret_status);
}

char *pager_path(const char *id, const char *rest)
{
	char *escaped = http_escape(id), *path = NULL;

	if (escaped && asprintf(&path, "/sessions/%s%s", escaped, rest) < 0)
		path = NULL;
	free(escaped);
	return path;
}

/* ---- all sessions ---- */

static int next_page(struct cli *cli, const char *socket, const char *path, json_t **ret)
{
	json_t *page = NULL;
	int rc = pager_ask_at(cli, socket, &(struct pager_request){"GET", path, NULL}, &page,
			      NULL);

	if (rc < 0)
		return rc;
	if (json_is_array(page)) {
		*ret = page;
		return 0;
	}
	json_decref(page);
	return err_set(&cli->err, -EPROTO, "the pager's answer is no list of sessions");
}

int pager_list_at(struct cli *cli, const char *socket, const char *query, json_t **ret)
{
	json_int_t after = 0, last;
	json_t *all = json_array(), *page = NULL;
	char path[128];
	size_t n;
	int rc = all ? 0 : -ENOMEM;

	do {
		last = after;
		(void)snprintf(path, sizeof(path), "/sessions?limit=%d&after=%lld%s", PAGE_LEN,
			       (long long)after, query);
		if (rc == 0)
			rc = next_page(cli, socket, path, &page);
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

static int add_sessions(struct cli *cli, const struct pagers_entry *pager, const char *query,
			json_t *all)
{
	json_t *sessions = NULL, *s;
	size_t i;
	int rc = pager_list_at(cli, pager->socket, query, &sessions);

	if (rc < 0)
		return rc;
	json_array_foreach(sessions, i, s) {
		rc |= json_object_set_new(s, "version", json_string(pager->version));
		rc |= json_object_set_new(s, "pager", json_string(pager->socket));
	}
	rc |= json_array_extend(all, sessions);
	json_decref(sessions);
	return rc < 0 ? err_set(&cli->err, -ENOMEM, "out of memory") : 0;
}

int pager_list(struct cli *cli, const char *query, json_t **ret)
{
	const struct pagers *pagers;
	json_t *all;
	int rc = pager_found(cli, &pagers);

	if (rc < 0)
		return rc;
	if (pagers->n > 1 && !pager_answering(pagers))
		return pager_silence(cli, &pagers->v[0]);
	if (pager_answering(pagers) < 2)
		return pager_list_at(cli, pagers->v[0].socket, query, ret);
	all = json_array();
	for (size_t i = 0; i < pager_answering(pagers) && rc == 0; i++)
		rc = add_sessions(cli, &pagers->v[i], query, all);
	if (rc == 0)
		*ret = all;
	else
		json_decref(all);
	return rc;
}
