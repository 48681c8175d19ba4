/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `lamina pager upgrade --takeover`: starts the new program where an old pager
 * runs, and looks at what it has then.  The new program returns once it
 * serves, or at once with a sentence; what it takes over, and that the old one
 * goes on if it does not, is the pagers' own doing.
 */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "src/cli/pager.h"
#include "src/rpc/address.h"

#define PROGRAM "lamina-pager"
#define SAID_MAX 4096		/* of what a program says */
#define SETTLE_TRIES 100	/* until the one that goes on answers */
#define SETTLE_MS 100

/* ---- programs ---- */

static bool try(char **ret, const char *dir, size_t len)
{
	char *path;

	if (asprintf(&path, "%.*s/" PROGRAM, (int)len, dir) < 0)
		return false;
	if (access(path, X_OK) == 0) {
		*ret = path;
		return true;
	}
	free(path);
	return false;
}

static bool try_path(char **ret, const char *list)
{
	for (size_t len; list && *list; list += len + (list[len] == ':')) {
		len = strcspn(list, ":");
		if (len && try(ret, list, len))
			return true;
	}
	return false;
}

/* Beside this program, where both are installed, or in PATH. */
static int find_program(struct cli *cli, char **ret)
{
	const struct pager_args *args = cli->args;
	char *own = realpath("/proc/self/exe", NULL), *slash = own ? strrchr(own, '/') : NULL;

	*ret = NULL;
	if (args->program)
		*ret = strdup(args->program);
	else if (!(slash && try(ret, own, (size_t)(slash - own))) &&
		 !try(ret, SBINDIR, strlen(SBINDIR)))
		(void)try_path(ret, getenv("PATH"));
	free(own);
	return *ret ? 0 : err_set(&cli->err, -ENOENT, "there is no " PROGRAM
				  " beside lamina or in PATH: --program says where it is");
}

static int start(char *const argv[], int output, pid_t *ret)
{
	posix_spawn_file_actions_t actions;
	int rc = posix_spawn_file_actions_init(&actions);

	if (rc)
		return -rc;
	rc = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	for (int fd = 1; !rc && fd <= 2; fd++)
		rc = posix_spawn_file_actions_adddup2(&actions, output, fd);
	if (!rc)
		rc = posix_spawn(ret, argv[0], &actions, NULL, argv, environ);
	(void)posix_spawn_file_actions_destroy(&actions);
	return -rc;
}

/* Its exit status; -errno: it could not be started, or a signal has ended it. */
static int finish(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}

/* Runs it to its end, or into the background; not a pipe, which that would keep open. */
static int run(struct cli *cli, char *const argv[], char said[SAID_MAX])
{
	int output = memfd_create("output", MFD_CLOEXEC), rc;
	ssize_t n = 0;
	pid_t pid;

	if (output < 0)
		return err_sys(&cli->err, -errno, "cannot start '%s'", argv[0]);
	rc = start(argv, output, &pid);
	if (rc == 0) {
		rc = finish(pid);
		n = pread(output, said, SAID_MAX - 1, 0);
	}
	said[n > 0 ? n : 0] = '\0';
	close(output);
	return rc < 0 ? err_sys(&cli->err, rc, "cannot run '%s'", argv[0]) : rc;
}

/* What a daemon of ours said last, without its name. */
static const char *last_line(char said[SAID_MAX])
{
	size_t len = strlen(said);
	char *line;

	while (len && said[len - 1] == '\n')
		said[--len] = '\0';
	line = strrchr(said, '\n');
	line = line ? line + 1 : said;
	if (!strncmp(line, PROGRAM ": ", strlen(PROGRAM ": ")))
		line += strlen(PROGRAM ": ");
	if (!strncmp(line, "error: ", strlen("error: ")))
		line += strlen("error: ");
	return *line ? line : "it does not say why";
}

static int version_of(struct cli *cli, char *program, char **ret)
{
	char *argv[] = {program, (char *)"--version", NULL}, said[SAID_MAX];
	int rc = run(cli, argv, said);

	if (rc < 0)
		return rc;
	said[strcspn(said, "\n")] = '\0';
	if (rc || strncmp(said, PROGRAM " ", strlen(PROGRAM " ")) != 0)
		return err_set(&cli->err, -EINVAL, "'%s' is no " PROGRAM, program);
	*ret = strdup(said + strlen(PROGRAM " "));
	return *ret ? 0 : err_set(&cli->err, -ENOMEM, "out of memory");
}

/* ---- a pager ---- */

struct upgrade {
	struct cli *cli;
	char *program;
	char *version;		/* its */
	const struct pagers_entry *old;
	json_t *before;		/* the sessions of the old one */
};

static int peer_of(const char *socket_path, struct ucred *ret)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

	if (fd < 0)
		return -errno;
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", socket_path);
	rc = connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno :
								       address_peer(fd, ret);
	close(fd);
	return rc;
}

/*
 * The name of whom it runs as, if we are root and have to say so to become the same: the new
 * one is not to have more rights than the old one had.
 */
static int user_of(struct upgrade *u, char **ret)
{
	const char *socket_path = u->old->socket;
	const struct passwd *pw;
	struct ucred peer;
	int rc = peer_of(socket_path, &peer);

	*ret = NULL;
	if (rc < 0)
		return err_sys(&u->cli->err, rc, "cannot see who serves '%s'", socket_path);
	if (peer.uid == 0 || geteuid() != 0)
		return 0;
	pw = getpwuid(peer.uid);
	if (!pw)
		return err_set(&u->cli->err, -ENOENT, "user %u, who serves '%s', has no name",
			       (unsigned)peer.uid, socket_path);
	*ret = strdup(pw->pw_name);
	return *ret ? 0 : err_set(&u->cli->err, -ENOMEM, "out of memory");
}

static int start_new(struct upgrade *u, char *dir, char *user, char said[SAID_MAX])
{
	char *argv[9] = {u->program, (char *)"--takeover", (char *)"--runtime-dir", dir};
	int n = 4;

	if (user) {
		argv[n++] = (char *)"--user";
		argv[n++] = user;
	}
	if (u->cli->config) {
		argv[n++] = (char *)"--config";
		argv[n++] = (char *)u->cli->config;
	}
	return run(u->cli, argv, said);
}

/* > 0: it refuses. */
static int take_over(struct upgrade *u, char said[SAID_MAX])
{
	const char *path = u->old->socket;
	char *dir = strndup(path, (size_t)(strrchr(path, '/') - path)), *user = NULL;
	int rc = dir ? user_of(u, &user) : err_set(&u->cli->err, -ENOMEM, "out of memory");

	if (rc == 0)
		rc = start_new(u, dir, user, said);
	free(user);
	free(dir);
	return rc;
}

/* The version that answers there, into `ret`. */
static int answers(struct upgrade *u, char ret[64])
{
	json_t *answer = NULL;
	int rc = pager_ask_at(u->cli, u->old->socket,
			      &(struct pager_request){"GET", "/version", NULL}, &answer, NULL);

	if (rc == 0)
		(void)snprintf(ret, 64, "%s", pager_text(answer, "version"));
	json_decref(answer);
	return rc;
}

/* Which version is there when things have calmed down. */
static int settled(struct upgrade *u, const char *want, char ret[64])
{
	const struct timespec pause = {.tv_nsec = SETTLE_MS * 1000000L};
	int rc = -EAGAIN;

	for (int i = 0; i < SETTLE_TRIES; i++) {
		rc = answers(u, ret);
		if (rc == -ETIMEDOUT || (rc == 0 && !strcmp(ret, want)))
			break;
		(void)nanosleep(&pause, NULL);
	}
	return rc;
}

static int refused(struct upgrade *u, const char *why)
{
	const struct pagers_entry *old = u->old;
	struct err *err = &u->cli->err;
	char version[64];

	if (settled(u, old->version, version) < 0)
		return err_set(err, -EIO, "version %s did not take over from the pager at '%s': "
			       "%s; nobody answers there now", u->version, old->socket, why);
	return err_set(err, -EIO, "version %s did not take over from the pager at '%s': %s; "
		       "version %s serves on", u->version, old->socket, why, version);
}

/* The members are ids; NULL: no memory. */
static json_t *set_of(const json_t *sessions)
{
	json_t *set = json_object();
	const json_t *s;
	size_t i;

	json_array_foreach(sessions, i, s)
		if (json_object_set_new(set, pager_text(s, "id"), json_true()) < 0) {
			json_decref(set);
			return NULL;
		}
	return set;
}

/* Those that are not there any more are named. */
static int count_moved(struct upgrade *u, const json_t *after, size_t *ret)
{
	json_t *ids = set_of(after);
	const json_t *s;
	size_t i;

	if (!ids)
		return err_set(&u->cli->err, -ENOMEM, "out of memory");
	*ret = 0;
	json_array_foreach(u->before, i, s) {
		if (json_object_get(ids, pager_text(s, "id")))
			++*ret;
		else
			cli_note(u->cli, "session '%s' has not come over from '%s'",
				 pager_text(s, "id"), u->old->socket);
	}
	json_decref(ids);
	return 0;
}

static int tell(struct upgrade *u, size_t moved, json_t *report)
{
	size_t all = json_array_size(u->before);
	const struct pagers_entry *old = u->old;
	char text[512];
	int rc;

	(void)snprintf(text, sizeof(text), "pager %s at %s is version %s now: %zu of %zu "
		       "sessions have moved", old->version, old->socket, u->version, moved, all);
	rc = pager_report(u->cli, report,
			  json_pack("{s:s, s:s, s:s, s:s, s:I, s:I}", "socket", old->socket,
				    "version", old->version, "action", "takeover",
				    "new_version", u->version, "sessions", (json_int_t)all,
				    "moved", (json_int_t)moved), text);
	if (rc < 0 || moved == all)
		return rc;
	return err_set(&u->cli->err, -EIO, "%zu of %zu sessions at '%s' have not moved",
		       all - moved, all, old->socket);
}

static int check(struct upgrade *u, json_t *report)
{
	json_t *after = NULL;
	char version[64];
	size_t moved = 0;
	int rc = settled(u, u->version, version);

	if (rc == 0 && strcmp(version, u->version) != 0)
		rc = err_set(&u->cli->err, -EIO, "at '%s' still version %s answers",
			     u->old->socket, version);
	if (rc == 0)
		rc = pager_list_at(u->cli, u->old->socket, "", &after);
	if (rc == 0)
		rc = count_moved(u, after, &moved);
	if (rc == 0)
		rc = tell(u, moved, report);
	json_decref(after);
	return rc;
}

static int upgrade(struct upgrade *u, json_t *report)
{
	char said[SAID_MAX];
	int rc = pager_list_at(u->cli, u->old->socket, "", &u->before);

	if (rc == 0)
		rc = take_over(u, said);
	if (rc > 0)
		rc = refused(u, last_line(said));
	else if (rc == 0)
		rc = check(u, report);
	json_decref(u->before);
	u->before = NULL;
	return rc;
}

int pager_takeover(struct cli *cli, const struct pagers *pagers, json_t *report)
{
	struct upgrade u = {.cli = cli};
	int rc = find_program(cli, &u.program);

	if (rc == 0)
		rc = version_of(cli, u.program, &u.version);
	if (rc < 0)
		rc = pager_failed(cli, 0, rc);
	for (size_t i = 0; u.version && i < pager_answering(pagers); i++) {
		u.old = &pagers->v[i];
		if (pagers_version_cmp(u.old->version, u.version) < 0)
			rc = pager_failed(cli, rc, upgrade(&u, report));
	}
	free(u.program);
	free(u.version);
	return rc;
}
