/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lamina-pager(8).  Gets together what a keeper needs, then is one: the
 * descriptors of another pager (--takeover) or of the time before (systemd),
 * the API's socket, and keeper.sock.  A lock in the runtime directory is held
 * meanwhile, so that of two that start at once one sees the other.
 */
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/pager/args.h"
#include "src/pager/graduated.h"
#include "src/pager/promised.h"
#include "src/pager/keeper.h"
#include "src/pager/notify.h"
#include "src/pager/signpost.h"
#include "src/pager/takeover.h"
#include "src/pager/unixsock.h"
#include "src/pager/version.h"
#include "store/base/detach.h"
#include "store/base/io.h"
#include "store/base/log.h"
#include "store/base/thread.h"

#define EXIT_USAGE 2
#define EXIT_BUSY 4
#define FILES_WANTED 1048576

struct start {
	const struct args *args;
	char runtime_dir[PATH_MAX];
	char socket[PATH_MAX];
	struct keep_table bags;
	bool stored;		/* `bags` is what systemd has */
	int listening;
	int ready_fd;
};

/* ---- this process ---- */

/* A session has five descriptors and more, twice in the worker. */
static void raise_file_limit(void)
{
	struct rlimit limit = {FILES_WANTED, FILES_WANTED};

	if (setrlimit(RLIMIT_NOFILE, &limit) == 0 || getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int become(const struct passwd *pw, struct err *err)
{
	if (initgroups(pw->pw_name, pw->pw_gid) < 0 ||
	    setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) < 0 ||
	    setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) < 0)
		return err_sys(err, -errno, "cannot become user '%s'", pw->pw_name);
	return 0;
}

/* A directory that is made here belongs to whom we become. */
static int make_runtime_dir(const char *path, const struct passwd *pw, struct err *err)
{
	struct stat st;
	int rc;

	if (stat(path, &st) == 0)
		return S_ISDIR(st.st_mode) ? 0 : err_set(err, -ENOTDIR, "'%s' is no directory",
							 path);
	rc = io_mkdirs(path, 0755, err);
	if (rc == 0 && pw && chown(path, pw->pw_uid, pw->pw_gid) < 0)
		rc = err_sys(err, -errno, "cannot give '%s' to '%s'", path, pw->pw_name);
	return rc;
}

static int find_user(const char *name, struct passwd **ret, struct err *err)
{
	*ret = NULL;
	if (!name || geteuid() != 0)
		return 0;
	*ret = getpwnam(name);
	return *ret ? 0 : err_set(err, -ENOENT, "there is no user '%s'", name);
}

static int name_socket(struct start *s, struct err *err)
{
	const char *given = s->args->socket;
	char *whole = given ? io_absolute(given) : NULL;
	int n = -1;

	if (!given)
		n = snprintf(s->socket, PATH_MAX, "%s/pager.sock", s->runtime_dir);
	else if (whole)
		n = snprintf(s->socket, PATH_MAX, "%s", whole);
	free(whole);
	return n < 0 || n >= PATH_MAX ? err_set(err, -ENAMETOOLONG, "the socket's path is too long")
				      : 0;
}

static int prepare(struct start *s, struct err *err)
{
	const char *dir = s->args->runtime_dir;
	struct passwd *pw;
	int rc = find_user(s->args->user, &pw, err);

	raise_file_limit();
	if (rc == 0)
		rc = make_runtime_dir(dir, pw, err);
	if (rc == 0 && !realpath(dir, s->runtime_dir))
		rc = err_sys(err, -errno, "cannot use '%s'", dir);
	if (rc == 0 && pw)
		rc = become(pw, err);
	if (rc == 0)
		rc = graduated_prepare(s->runtime_dir, err);
	if (rc == 0)
		rc = promised_prepare(s->runtime_dir, err);
	return rc < 0 ? rc : name_socket(s, err);
}

/* ---- descriptors ---- */

static int lock(const struct start *s, struct err *err)
{
	char path[PATH_MAX + 16];
	int fd, rc;

	(void)snprintf(path, sizeof(path), "%s/keeper.lock", s->runtime_dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(err, -errno, "cannot open '%s'", path);
	do
		rc = flock(fd, LOCK_EX);
	while (rc < 0 && errno == EINTR);
	return fd;
}

/* 1: all there is is ours now; 0: nobody is there. */
static int look_for_other(struct start *s, struct err *err)
{
	struct keep_table theirs;
	char count[KEEP_COUNT_LEN];
	int rc;

	if (!s->args->takeover) {
		rc = takeover_probe(s->runtime_dir, err);
		return rc > 0 ? err_set(err, -EBUSY, "a pager serves '%s' already", s->runtime_dir)
			      : rc;
	}
	rc = takeover_take(s->runtime_dir, &theirs, err);
	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	s->stored = false;
	keep_table_fini(&s->bags);	/* what systemd had are copies of these */
	s->bags = theirs;
	log_info("took over %s", keep_count(&theirs, count));
	return 1;
}

/* The one that systemd kept is as good as a fresh one if its name is ours still. */
static bool adopt_api(const struct start *s)
{
	int fd = keep_bag_fd(keep_table_find(&s->bags, KEEP_BAG_PAGER), KEEP_API);

	return fd >= 0 && unixsock_is_at(fd, s->socket);
}

static int make_api(struct start *s, struct err *err)
{
	struct keep_msg msg = {.word = KEEP_BAG, .bag = KEEP_BAG_PAGER, .n = 1,
			       .role = {KEEP_API}};
	int fd = unixsock_connect(s->socket, SOCK_STREAM | SOCK_NONBLOCK), rc;

	if (fd >= 0 || fd == -EAGAIN) {
		if (fd >= 0)
			close(fd);
		return err_set(err, -EBUSY, "a pager answers on '%s' already", s->socket);
	}
	signpost_clear(s->runtime_dir, s->socket);
	msg.fd[0] = fd = unixsock_replace(s->socket, SOCK_STREAM, s->args->socket_mode, err);
	if (fd < 0)
		return fd;
	rc = keep_table_put(&s->bags, &msg);
	if (rc < 0) {
		close(fd);
		return err_sys(err, rc, "cannot keep the socket");
	}
	return 0;
}

static int open_api(struct start *s, struct err *err)
{
	char count[KEEP_COUNT_LEN];

	if (s->stored)
		log_info("systemd has kept %s", keep_count(&s->bags, count));
	return adopt_api(s) ? 0 : make_api(s, err);
}

/*
 * A socket that was taken over is where it was, whatever we were told; and one that was
 * kept may have a link to it as its name.
 */
static void find_api(struct start *s, bool taken)
{
	struct err err = {""};

	if (taken || !s->args->socket)
		(void)signpost_read(s->runtime_dir, s->socket);
	if (signpost_put(s->runtime_dir, s->socket, &err) < 0)
		log_warn("%s", err.text);
}

static int gather(struct start *s, struct err *err)
{
	int fd = lock(s, err), rc;

	if (fd < 0)
		return fd;
	rc = look_for_other(s, err);
	if (rc == 0)
		rc = open_api(s, err);
	if (rc >= 0) {
		find_api(s, rc > 0);
		s->listening = takeover_listen(s->runtime_dir, err);
	}
	close(fd);
	if (rc < 0 || s->listening >= 0)
		return rc < 0 ? rc : 0;
	if (rc == 0)
		return s->listening;
	log_error("%s", err->text);	/* guests depend on us now: no reason to end */
	return 0;
}

/* ---- the beginning ---- */

static int keep(struct start *s, struct err *err)
{
	const struct sandbox sandbox = {s->runtime_dir, s->args->record_dirs};
	const struct keeper_config config = {
		.runtime_dir = s->runtime_dir,
		.threads = s->args->threads,
		.socket = s->socket,
		.stop_signal = s->args->stop_signal,
		.stop_command = s->args->stop_command,
		.sandbox = &sandbox,
		.worker = worker_main,
		.stored = s->stored,
		.ready_fd = s->ready_fd,
	};

	if (!s->args->foreground && detach_from_terminal(err) < 0)
		log_warn("%s", err->text);
	return keeper_run(&config, &s->bags, s->listening, err);
}

static int run(const struct args *args)
{
	struct start s = {.args = args, .ready_fd = -1};
	struct err err = {""};
	int rc = 0;

	log_init("lamina-pager", LOG_LEVEL_INFO);
	thread_be_prompt();
	s.stored = notify_take(&s.bags) > 0;
	if (!args->foreground)
		s.ready_fd = rc = detach_begin("lamina-pager", &err);
	if (rc >= 0)
		rc = prepare(&s, &err);
	if (rc == 0)
		rc = gather(&s, &err);
	if (rc == 0)
		rc = keep(&s, &err);
	keep_table_fini(&s.bags);
	if (rc < 0)
		log_error("%s", err.text);
	return rc == -EBUSY ? EXIT_BUSY : rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct args args;
	struct err err = {""};
	int status = EXIT_SUCCESS, rc = args_parse(&args, argc, argv, &err);

	if (rc < 0) {
		fprintf(stderr, "lamina-pager: %s\n%s", err.text,
			rc == -EINVAL ? "Try 'lamina-pager --help'.\n" : "");
		status = rc == -EINVAL ? EXIT_USAGE : EXIT_FAILURE;
	} else if (args.action == ARGS_HELP) {
		fputs(args_help(), stdout);
	} else if (args.action == ARGS_VERSION) {
		puts("lamina-pager " VERSION_TEXT);
	} else {
		status = run(&args);
	}
	args_fini(&args);
	return status;
}
