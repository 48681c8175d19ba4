/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/host/agent.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "src/rpc/address.h"
#include "src/rpc/http.h"
#include "store/base/clock.h"
#include "store/base/io.h"

struct agent {
	struct address address;
	char name[300];		/* what sentences call it */
	char *token;
	char *token_file;	/* where it is from */
	int timeout_ms;
	bool (*stopped)(void);
	struct http_client *client;	/* NULL: not connected */
	int fd;			/* of vsock and hybrid; else -1 */
	json_t *version;
};

/* ---- the token ---- */

static int open_token(const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC), rc = 0;
	struct stat st;

	if (fd < 0)
		return err_sys(err, -errno, "cannot open the token '%s'", path);
	if (fstat(fd, &st) < 0)
		rc = err_sys(err, -errno, "cannot look at the token '%s'", path);
	else if (!S_ISREG(st.st_mode))
		rc = err_set(err, -EINVAL, "the token '%s' is no regular file", path);
	else if (st.st_mode & 0077)
		rc = err_set(err, -EPERM, "the token '%s' can be read by others (mode %04o)", path,
			     st.st_mode & 07777);
	if (rc == 0)
		return fd;
	close(fd);
	return rc;
}

int agent_check_token(const char *path, struct err *err)
{
	int fd = open_token(path, err);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

/* One word: what stands around it does not count. */
static bool trim(char *text, size_t len)
{
	size_t from = strspn(text, " \t\r\n"), n = strcspn(text + from, " \t\r\n");

	if (n == 0 || text[from + n + strspn(text + from + n, " \t\r\n")] || strlen(text) != len)
		return false;
	for (size_t i = 0; i < n; i++)
		if (text[from + i] < '!' || text[from + i] > '~')
			return false;
	memmove(text, text + from, n);
	text[n] = '\0';
	return true;
}

static int read_token(const char *path, char **ret, struct err *err)
{
	char *text = calloc(1, AGENT_TOKEN_MAX + 2);
	int fd = text ? open_token(path, err) : err_set(err, -ENOMEM, "out of memory");
	ssize_t got = fd < 0 ? fd : io_pread(fd, text, AGENT_TOKEN_MAX + 1, 0);

	if (fd >= 0)
		close(fd);
	if (fd >= 0 && got < 0)
		err_sys(err, (int)got, "cannot read the token '%s'", path);
	if (got >= 0 && (got > AGENT_TOKEN_MAX || !trim(text, (size_t)got)))
		got = err_set(err, -EINVAL, "the token '%s' is not one word of at most %u bytes",
			      path, AGENT_TOKEN_MAX);
	if (got < 0) {
		free(text);
		return (int)got;
	}
	*ret = text;
	return 0;
}

/* ---- the connection ---- */

void agent_hang_up(struct agent *a)
{
	http_client_free(a->client);
	a->client = NULL;
	if (a->fd >= 0)
		close(a->fd);
	a->fd = -1;
}

static void aim(struct agent *a, struct http_target *to)
{
	*to = (struct http_target){.name = a->name, .token = a->token, .fd = -1,
				   .timeout_ms = a->timeout_ms, .stopped = a->stopped};
	if (a->address.kind == ADDRESS_UNIX) {
		to->socket = a->address.path;
	} else if (a->address.kind == ADDRESS_TCP) {
		to->host = a->address.host;
		to->port = (uint16_t)a->address.port;
	} else {
		to->fd = a->fd;
	}
}

static int connect_to(struct agent *a, int timeout_ms, struct err *err)
{
	struct http_target to;
	int rc = 0;

	if (a->address.kind == ADDRESS_VSOCK || a->address.kind == ADDRESS_HYBRID)
		rc = a->fd = address_connect(&a->address, timeout_ms, a->stopped, err);
	if (rc < 0)
		return rc;
	aim(a, &to);
	rc = http_client_new(&to, &a->client, err);
	if (rc < 0)
		agent_hang_up(a);
	return rc;
}

static int left_of(uint64_t end)
{
	uint64_t now = clock_ms();

	return end > now ? (int)(end - now) : 1;
}

/* ---- requests ---- */

static int code_of(int status)
{
	switch (status) {
	case 200:
		return 0;
	case 401:
		return -EACCES;
	case 404:
		return -ENOTSUP;
	case 409:
	case 503:
		return -EBUSY;
	default:
		return -EREMOTEIO;
	}
}

/* 401 is one status for no token and for another one than the agent's. */
static int refused(const struct agent *a, int rc, const struct http_answer *answer,
		   struct err *err)
{
	if (rc == -EACCES && a->token)
		return err_set(err, rc, "the agent at '%s' refuses the token in '%s'", a->name,
			       a->token_file);
	if (rc == -EACCES)
		return err_set(err, rc, "the agent at '%s' wants a token: --agent-token-file names "
			       "the file that has it", a->name);
	return err_set(err, rc, "the agent at '%s' refuses: %s", a->name,
		       http_answer_error(answer));
}

static int take_answer(struct agent *a, const struct http_answer *answer, json_t **ret,
		       struct err *err)
{
	int rc = code_of(answer->status);

	if (rc < 0)
		return refused(a, rc, answer, err);
	if (!json_is_object(answer->json))
		return err_set(err, -EPROTO, "what answers at '%s' is no agent", a->name);
	*ret = json_incref(answer->json);
	return 0;
}

static int ask_once(struct agent *a, struct http_ask *what, uint64_t end,
		    struct http_answer *ret, struct err *err)
{
	int rc = a->client ? 0 : connect_to(a, left_of(end), err);

	what->timeout_ms = left_of(end);
	return rc < 0 ? rc : http_client_ask(a->client, what, ret, err);
}

/* A connection that was kept may have ended meanwhile. */
static int ask(struct agent *a, struct http_ask *what, json_t **ret, struct err *err)
{
	uint64_t end = clock_ms() + (uint64_t)what->timeout_ms;
	struct http_answer answer;
	bool kept = a->client != NULL;
	int rc = ask_once(a, what, end, &answer, err);

	if (rc == -ECONNRESET && kept) {
		agent_hang_up(a);
		rc = ask_once(a, what, end, &answer, err);
	}
	if (rc < 0) {
		agent_hang_up(a);
		return rc == -EBADMSG ? -EPROTO : rc;	/* nothing of ours is damaged */
	}
	rc = take_answer(a, &answer, ret, err);
	http_answer_fini(&answer);
	return rc;
}

int agent_post(struct agent *a, const struct agent_ask *what, json_t **ret, struct err *err)
{
	struct http_ask post = {"POST", what->path, what->body, what->timeout_ms};

	return ask(a, &post, ret, err);
}

/* ---- what it is ---- */

const json_t *agent_version(const struct agent *a)
{
	return a->version;
}

bool agent_has(const struct agent *a, const char *feature)
{
	const json_t *word;
	size_t i;

	json_array_foreach(json_object_get(a->version, "features"), i, word)
		if (json_is_string(word) && !strcmp(json_string_value(word), feature))
			return true;
	return false;
}

static int ask_version(struct agent *a, struct err *err)
{
	struct http_ask get = {"GET", "/version", NULL, a->timeout_ms};
	int rc = ask(a, &get, &a->version, err);

	if (rc < 0 || json_is_string(json_object_get(a->version, "version")))
		return rc;
	return err_set(err, -EPROTO, "what answers at '%s' is no agent", a->name);
}

static int init(struct agent *a, const struct agent_target *to, struct err *err)
{
	int rc = address_parse(to->address, &a->address, err);

	(void)snprintf(a->name, sizeof(a->name), "%s", to->address);
	a->fd = -1;
	a->timeout_ms = to->timeout_ms;
	a->stopped = to->stopped;
	if (rc < 0 || !to->token_file)
		return rc;
	a->token_file = strdup(to->token_file);
	return a->token_file ? read_token(to->token_file, &a->token, err)
			     : err_set(err, -ENOMEM, "out of memory");
}

int agent_open(const struct agent_target *to, struct agent **ret, struct err *err)
{
	struct agent *a = calloc(1, sizeof(*a));
	int rc = a ? init(a, to, err) : err_set(err, -ENOMEM, "out of memory");

	if (rc == 0)
		rc = ask_version(a, err);
	if (rc < 0)
		agent_close(a);
	else
		*ret = a;
	return rc;
}

void agent_close(struct agent *a)
{
	if (!a)
		return;
	agent_hang_up(a);
	json_decref(a->version);
	if (a->token)
		explicit_bzero(a->token, strlen(a->token));
	free(a->token);
	free(a->token_file);
	free(a);
}

int agent_resumed(struct agent *a, int timeout_ms, json_t **ret, struct err *err)
{
	struct timespec now;
	json_t *body;
	int rc;

	if (!agent_has(a, "resumed"))
		return err_set(err, -ENOTSUP, "the agent at '%s' is too old to be told of a resume",
			       a->name);
	(void)clock_gettime(CLOCK_REALTIME, &now);
	body = json_pack("{s:f}", "now", (double)now.tv_sec + (double)now.tv_nsec / 1e9);
	if (!body)
		return err_set(err, -ENOMEM, "out of memory");
	rc = agent_post(a, &(struct agent_ask){"/resumed", body, timeout_ms}, ret, err);
	json_decref(body);
	return rc;
}
