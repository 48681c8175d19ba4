/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* `lamina pager create`: the pager checks what is asked for; here it is only written down. */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/cli/out.h"
#include "src/cli/pager.h"
#include "store/base/io.h"

#define HANDOFF_TIMEOUT_MAX_MS 3600000

static int no_memory(struct cli *cli)
{
	return err_set(&cli->err, -ENOMEM, "out of memory");
}

static json_t *absolute(const char *path)
{
	char *whole = io_absolute(path);
	json_t *json = whole ? json_string(whole) : NULL;

	free(whole);
	return json;
}

static int put_path(json_t *body, const char *name, const char *path)
{
	return path ? json_object_set_new(body, name, absolute(path)) : 0;
}

static int put_text(json_t *body, const char *name, const char *text)
{
	return text ? json_object_set_new(body, name, json_string(text)) : 0;
}

static int put_holds(json_t *body, const struct opt_words *holds)
{
	json_t *list;
	int rc = 0;

	if (!holds->n)
		return 0;
	list = json_array();
	for (size_t i = 0; i < holds->n; i++)
		rc |= json_array_append_new(list, absolute(holds->v[i].text));
	return rc | json_object_set_new(body, "hold", list);
}

int pager_create_peer(struct cli *cli, const char *user, int64_t *ret)
{
	const struct passwd *pw;
	uint64_t uid;

	if (fmt_parse_u64(user, &uid) < 0) {
		pw = getpwnam(user);
		if (!pw)
			return cli_usage(cli, "--peer-uid: '%s' is neither a number nor a user",
					 user);
		uid = pw->pw_uid;
	}
	if (uid > INT64_MAX)
		return cli_usage(cli, "--peer-uid: '%s' is too large", user);
	*ret = (int64_t)uid;
	return 0;
}

static int put_peer(struct cli *cli, json_t *body, const char *user)
{
	int64_t uid;
	int rc = user ? pager_create_peer(cli, user, &uid) : 0;

	if (rc || !user)
		return rc;
	return json_object_set_new(body, "peer_uid", json_integer((json_int_t)uid)) < 0 ?
		no_memory(cli) : 0;
}

static int put_timeout(struct cli *cli, json_t *body, const char *text)
{
	uint64_t ms;

	if (!text)
		return 0;
	if (fmt_parse_duration_ms(text, &ms) < 0 || ms == 0 || ms > HANDOFF_TIMEOUT_MAX_MS)
		return cli_usage(cli, "--handoff-timeout: '%s' is not a duration from 1ms to 1h",
				 text);
	return json_object_set_new(body, "handoff_timeout_ms", json_integer((json_int_t)ms)) < 0 ?
		no_memory(cli) : 0;
}

/* Whether a word is one of a list, in which commas follow all but the last. */
static bool is_one_of(const char *word, const char *list)
{
	size_t len = strlen(word);

	for (const char *at = list; len && (at = strstr(at, word)); at++)
		if ((at == list || at[-1] == ' ') && (at[len] == ',' || at[len] == '\0'))
			return true;
	return false;
}

static int check_word(struct cli *cli, const char *option, const char *word, const char *list)
{
	if (!word || is_one_of(word, list))
		return 0;
	return cli_usage(cli, "--%s: '%s' is none of %s", option, word, list);
}

static int put_all(struct cli *cli, json_t *body, const char *id)
{
	const struct pager_args *args = cli->args;
	int rc = put_text(body, "id", id);

	rc |= put_path(body, "memfile", args->memfile);
	rc |= put_path(body, "socket", args->listen);
	rc |= put_text(body, "prefetch", args->prefetch);
	rc |= put_path(body, "trace", args->trace);
	rc |= put_path(body, "record", args->record);
	rc |= put_text(body, "on_error", args->on_error);
	if (args->detachable)
		rc |= json_object_set_new(body, "detachable", json_true());
	rc |= put_holds(body, &args->holds);
	if (rc < 0)
		return err_set(&cli->err, -EINVAL, "a name is not UTF-8, or memory ran out");
	rc = put_peer(cli, body, args->peer_uid);
	return rc ? rc : put_timeout(cli, body, args->handoff_timeout);
}

static int ask(struct cli *cli, const json_t *body)
{
	json_t *answer = NULL;
	int rc = pager_ask(cli, &(struct pager_request){"POST", "/sessions", body}, &answer, NULL);

	if (rc < 0)
		return rc;
	if (cli->json)
		return out_json(answer, &cli->err);
	puts(pager_text(answer, "socket"));
	json_decref(answer);
	return 0;
}

int pager_create(struct cli *cli, int argc, char **argv)
{
	const struct pager_args *args = cli->args;
	json_t *body;
	int rc;

	(void)argc;
	if (!args->memfile)
		return cli_usage(cli, "pager create wants --memfile");
	rc = check_word(cli, "prefetch", args->prefetch,
			"off, adaptive, 64K, 128K, 256K, 512K, 1M, 2M");
	if (rc == 0)
		rc = check_word(cli, "on-error", args->on_error, "wait, poison, stop");
	if (rc)
		return rc;
	body = json_object();
	rc = body ? put_all(cli, body, argv[0]) : no_memory(cli);
	if (rc == 0)
		rc = ask(cli, body);
	json_decref(body);
	return rc;
}
