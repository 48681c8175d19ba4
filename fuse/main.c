/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lamina-fuse: a store's layers as files.
 *
 * In order: options, fork, mountpoint, store, mount.  The kernel's first
 * request is answered before anybody is told that the mount is there, so from
 * then on it can be read.
 */
#include "config.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "fuse/daemonize.h"
#include "fuse/lowlevel.h"
#include "fuse/mountpoint.h"
#include "fuse/ops.h"
#include "fuse/options.h"
#include "fuse/server.h"
#include "fuse/watch.h"
#include "store/base/log.h"
#include "store/base/thread.h"
#include "store/digest.h"
#include "store/lease.h"

enum { EXIT_USAGE = 2, EXIT_BUSY = 4 };

/* A lease and its pack files are descriptors. */
static void raise_file_limit(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return;
	lim.rlim_cur = lim.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &lim);
}

/*
 * What is written to live images through mappings waits for us to take it.  So this process must
 * not wait for such pages to be written when it needs memory: the kernel finds it elsewhere.
 * Threads inherit it.  Not every user may ask for that.
 */
static void never_wait_for_ourselves(void)
{
	if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) < 0)
		log_debug("cannot become an I/O flusher: %s", strerror(errno));
}

/* Few arenas and a fixed threshold: what the caches drop goes back to the kernel. */
static void tame_malloc(void)
{
	(void)mallopt(M_ARENA_MAX, 2);
	(void)mallopt(M_MMAP_THRESHOLD, 128 << 10);
	(void)mallopt(M_TRIM_THRESHOLD, 1 << 20);
}

static void log_fuse(enum fuse_log_level level, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));

static void log_fuse(enum fuse_log_level level, const char *fmt, va_list ap)
{
	char text[512];
	size_t len;

	(void)vsnprintf(text, sizeof(text), fmt, ap);
	len = strlen(text);
	if (len && text[len - 1] == '\n')
		text[len - 1] = '\0';
	if (level <= FUSE_LOG_ERR)
		log_error("%s", text);
	else if (level == FUSE_LOG_WARNING)
		log_warn("%s", text);
	else
		log_debug("%s", text);
}

/* --- the session --- */

/* A comma or backslash in the store's path would end the word. */
static void put_escaped(struct buf *b, const char *text)
{
	for (; *text; text++) {
		if (*text == ',' || *text == '\\')
			buf_u8(b, '\\');
		buf_u8(b, (uint8_t)*text);
	}
}

static int session_words(const struct server *s, struct buf *b)
{
	char max_read[32];
	const char *kernel = (const char *)s->options->kernel.data;

	(void)snprintf(max_read, sizeof(max_read), ",max_read=%u", OPS_READ_MAX);
	buf_bytes(b, "default_permissions,subtype=lamina", 34);
	buf_bytes(b, max_read, strlen(max_read));
	if (s->options->allow_other)
		buf_bytes(b, ",allow_other", 12);
	if (s->options->debug)
		buf_bytes(b, ",debug", 6);
	buf_bytes(b, kernel, strlen(kernel));
	buf_bytes(b, ",fsname=", 8);
	put_escaped(b, s->store->path);
	buf_u8(b, '\0');
	return buf_error(b);
}

static int session_new(struct server *s, struct err *err)
{
	struct buf words = {0};
	char *argv[] = {(char *)"lamina-fuse", (char *)"-o", NULL, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(3, argv);

	if (session_words(s, &words) == 0) {
		argv[2] = (char *)words.data;
		s->session = fuse_session_new(&args, &ops_table, sizeof(ops_table), s);
	}
	buf_fini(&words);
	fuse_opt_free_args(&args);
	return s->session ? 0 : err_set(err, -EINVAL, "cannot make a FUSE session");
}

/* Answers the kernel's INIT. */
static int session_greet(struct server *s, struct err *err)
{
	struct fuse_buf buf = {0};
	int rc = fuse_session_receive_buf(s->session, &buf);

	if (rc > 0)
		fuse_session_process_buf(s->session, &buf);
	free(buf.mem);
	if (rc <= 0 || fuse_session_exited(s->session))
		return err_set(err, rc < 0 ? rc : -ECONNABORTED,
			       "the kernel's FUSE and libfuse do not understand each other");
	return 0;
}

static int session_loop(struct server *s)
{
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	int rc;

	if (!config)
		return -ENOMEM;
	fuse_loop_cfg_set_clone_fd(config, s->options->clone_fd);
	fuse_loop_cfg_set_max_threads(config, s->options->threads);
	fuse_loop_cfg_set_idle_threads(config, s->options->threads);
	rc = fuse_session_loop_mt(s->session, config);
	fuse_loop_cfg_destroy(config);
	return rc;
}

/* --- from mounted to unmounted --- */

/* For the system's log; who stays in the foreground sees it anyway. */
static void tell(const struct server *s, const struct watch *watch, const char *what)
{
	if (!s->options->foreground)
		log_info("store '%s' %s '%s'", s->store->path, what, watch->mountpoint->path);
}

static int serve_mounted(struct server *s, struct watch *watch, struct err *err)
{
	struct err why = {""};
	int rc;

	rc = session_greet(s, err);
	if (rc == 0)
		rc = mountpoint_mounted(watch->mountpoint, err);
	if (rc < 0)
		return rc;
	if (mountpoint_set_readahead(watch->mountpoint, s->options->readahead_kb, &why) < 0)
		log_debug("read-ahead stays as it is: %s", why.text);
	rc = daemonize_ready(watch->daemonize, err);
	if (rc == 0)
		rc = watch_start(watch, err);
	if (rc < 0)
		return rc;
	tell(s, watch, "is mounted on");
	rc = session_loop(s);
	watch_stop(watch);
	tell(s, watch, "was unmounted from");
	return rc < 0 ? err_sys(err, rc, "the FUSE session failed") : 0;
}

static int mount_and_serve(struct server *s, struct watch *watch, struct err *err)
{
	int rc;

	rc = session_new(s, err);
	if (rc < 0)
		return rc;
	if (fuse_session_mount(s->session, watch->mountpoint->path) < 0) {
		rc = err_set(err, -EIO, "cannot mount on '%s'", watch->mountpoint->path);
	} else {
		rc = serve_mounted(s, watch, err);
		fuse_session_unmount(s->session);
	}
	fuse_session_destroy(s->session);
	return rc;
}

static int serve(struct server *s, struct mountpoint *mountpoint, struct daemonize *d,
		 struct err *err)
{
	struct watch watch;
	int rc;

	stats_init(&s->stats);
	file_list_init(&s->files);
	damage_init(&s->damage);
	rc = watch_init(&watch, s, mountpoint, d, err);
	if (rc == 0)
		rc = tree_new(s->store, &s->stats, &s->tree);
	if (rc == 0)
		rc = watch_look(&watch, err);
	if (rc == 0)
		rc = mount_and_serve(s, &watch, err);
	file_end_all(s);
	tree_free(s->tree);
	watch_fini(&watch);
	damage_fini(&s->damage);
	file_list_fini(&s->files);
	return rc;
}

/* A mount over the store's own directory would hide it from everybody. */
static int check_hiding(const char *store, const struct mountpoint *m, struct err *err)
{
	size_t len = strlen(m->path);

	if (!store || strncmp(store, m->path, len) != 0 || (store[len] && store[len] != '/'))
		return 0;
	return err_set(err, -EINVAL, "cannot mount on '%s': it would hide the store '%s'", m->path,
		       store);
}

/* recover and migration leave alone a store that is served. */
static int serve_leased(struct server *s, struct mountpoint *mountpoint, struct daemonize *d,
			struct err *err)
{
	static const struct digest none;
	int lease = lease_take(s->store, &none, err), rc;

	if (lease < 0)
		return lease;
	rc = serve(s, mountpoint, d, err);
	close(lease);
	return rc;
}

static int open_and_serve(const struct options *o, struct daemonize *d, struct err *err)
{
	struct mountpoint mountpoint = {0};
	struct server s = {.options = o};
	struct store_limits limits;
	char *path;
	int rc;

	store_limits_default(&limits);
	limits.chunk_cache = o->cache;
	rc = digest_init();
	if (rc < 0)
		return err_sys(err, rc, "cannot initialise libgcrypt");
	rc = mountpoint_prepare(o->mountpoint, &mountpoint, err);
	if (rc < 0)
		return rc;
	path = realpath(o->store, NULL);	/* it is shown, and we leave this directory */
	rc = check_hiding(path, &mountpoint, err);
	if (rc == 0)
		rc = store_open(path ? path : o->store, &limits, &s.store, err);
	free(path);
	if (rc == 0) {
		rc = serve_leased(&s, &mountpoint, d, err);
		store_close(s.store);
	}
	mountpoint_fini(&mountpoint);
	return rc;
}

static int run(const struct options *o)
{
	struct err err = {""};
	struct daemonize d;
	int rc;

	log_init("lamina-fuse", o->debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
	fuse_set_log_func(log_fuse);
	raise_file_limit();
	tame_malloc();
	never_wait_for_ourselves();
	thread_be_prompt();
	rc = daemonize_begin(&d, o->foreground, o->pidfile, &err);
	if (rc == 0)
		rc = open_and_serve(o, &d, &err);
	if (rc < 0)
		log_error("%s", err.text);
	daemonize_end(&d);
	return rc == -EBUSY ? EXIT_BUSY : rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct options options;
	struct err err = {""};
	int status = EXIT_SUCCESS;
	int rc = options_parse(&options, argc, argv, &err);

	if (rc < 0) {
		fprintf(stderr, "lamina-fuse: %s\n%s", err.text,
			rc == -EINVAL ? "Try 'lamina-fuse --help'.\n" : "");
		status = rc == -EINVAL ? EXIT_USAGE : EXIT_FAILURE;
	} else if (options.action == OPTIONS_HELP) {
		fputs(options_help(), stdout);
	} else if (options.action == OPTIONS_VERSION) {
		puts("lamina-fuse " PACKAGE_VERSION);
	} else {
		status = run(&options);
	}
	options_fini(&options);
	return status;
}
