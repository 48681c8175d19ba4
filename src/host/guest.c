/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * RUNDIR/guests/.lock is held by who writes a record, from reading it until it is renamed into
 * place: for moments.  RUNDIR/guests/NAME.lock is held by who works on the guest, for as long as
 * that takes, and is removed with the record; .PID.lock by who works on that hypervisor, and
 * .live-DEVICE-INODE-NAME.lock, of the store's directory, by who has that live image for a guest;
 * .socket-DEVICE-INODE-NAME.lock, of the socket's directory, by who has a hypervisor begin there.
 */
#include "src/host/guest.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/host/guest-lock.h"
#include "src/host/guest-record.h"
#include "store/base/io.h"
#include "store/base/proc.h"
#include "store/base/vec.h"
#include "store/live-row.h"

#define FILE_LEN (GUEST_NAME_MAX + sizeof(".json.tmp"))

bool guest_name_ok(const char *name)
{
	return name[0] != '-' && live_row_name_ok(name);
}

const char *guest_text(const json_t *record, const char *member)
{
	return json_string_value(json_object_get(record, member));
}

int guest_pid(const json_t *record)
{
	json_int_t pid = json_integer_value(json_object_get(record, "pid"));

	const json_t *began = json_object_get(record, "pid_start");
	uint64_t start;
	int rc;

	if (pid <= 0 || pid > INT32_MAX)
		return 0;
	rc = proc_start((pid_t)pid, &start);
	if (rc == -ESRCH || (rc == 0 && json_is_integer(began) &&
			     (uint64_t)json_integer_value(began) != start))
		return 0;
	return (int)pid;
}

/* ---- the directory ---- */

static int check_owner(const char *what, const struct stat *st, struct err *err)
{
	if (st->st_uid != 0 && st->st_uid != geteuid())
		return err_set(err, -EPERM, "%s is of user %u, neither root's nor ours", what,
			       st->st_uid);
	if (st->st_mode & 0022)
		return err_set(err, -EPERM, "%s can be written by others", what);
	return 0;
}

/* 0 and no directory where there is none. */
static int open_dir(const char *rundir, int *ret, struct err *err)
{
	char path[PATH_MAX], what[PATH_MAX + 2];
	struct stat st;
	int rc, fd;

	if ((size_t)snprintf(path, sizeof(path), "%s/guests", rundir) >= sizeof(path))
		return err_set(err, -ENAMETOOLONG, "'%s' is too long", rundir);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0) {
		rc = -errno;
		*ret = -1;
		return rc == -ENOENT ? 0 : err_sys(err, rc, "cannot open '%s'", path);
	}
	(void)snprintf(what, sizeof(what), "'%s'", path);
	rc = fstat(fd, &st) < 0 ? -errno : check_owner(what, &st, err);
	if (rc < 0)
		close(fd);
	else
		*ret = fd;
	return rc;
}

static int make_dir(const char *rundir, int *ret, struct err *err)
{
	char path[PATH_MAX];
	int rc;

	(void)snprintf(path, sizeof(path), "%s/guests", rundir);
	rc = io_mkdirs(path, 0755, err);
	if (rc == 0)
		rc = open_dir(rundir, ret, err);
	return rc == 0 && *ret < 0 ? err_set(err, -ENOENT, "'%s' is gone", path) : rc;
}

/* ---- reading ---- */

static int open_record(int dirfd, const char *name, struct err *err)
{
	char file[FILE_LEN], what[GUEST_NAME_MAX + 32];
	struct stat st;
	int fd, rc;

	(void)snprintf(file, sizeof(file), "%s.json", name);
	(void)snprintf(what, sizeof(what), "the record of guest '%s'", name);
	fd = openat(dirfd, file, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return err_set(err, -ENOENT, "there is no guest '%s'", name);
	if (fd < 0 && errno == ELOOP)
		return err_set(err, -EBADMSG, "%s is a symbolic link", what);
	if (fd < 0)
		return err_sys(err, -errno, "cannot open %s", what);
	rc = fstat(fd, &st) < 0 ? -errno : 0;
	if (rc == 0 && !S_ISREG(st.st_mode))
		rc = err_set(err, -EBADMSG, "%s is no regular file", what);
	if (rc == 0)
		rc = check_owner(what, &st, err) < 0 ? -EBADMSG : 0;
	if (rc == 0)
		return fd;
	close(fd);
	return rc;
}

static int read_record(int dirfd, const char *name, json_t **ret, struct err *err)
{
	char *text = malloc(GUEST_RECORD_MAX + 1);
	int fd = text ? open_record(dirfd, name, err) : err_set(err, -ENOMEM, "out of memory");
	ssize_t got;
	int rc;

	if (fd < 0) {
		free(text);
		return fd;
	}
	got = io_pread(fd, text, GUEST_RECORD_MAX + 1, 0);
	if (got < 0)
		rc = err_sys(err, (int)got, "cannot read the record of guest '%s'", name);
	else if (got > GUEST_RECORD_MAX)
		rc = err_set(err, -EBADMSG, "the record of guest '%s' is too large", name);
	else
		rc = guest_record_decode(name, text, (size_t)got, ret, err);
	close(fd);
	free(text);
	return rc;
}

/* Of one that is not to be believed: where it is, and what can be done. */
static int load(const char *rundir, int dirfd, const char *name, json_t **ret, struct err *err)
{
	struct err why = {""};
	int rc = read_record(dirfd, name, ret, &why);

	if (rc == -EBADMSG)
		return err_set(err, rc, "%s ('%s/guests/%s.json'): 'lamina guest rm %s' forgets "
			       "it, then 'lamina guest add', or --hypervisor and --socket, say "
			       "what runs it", why.text, rundir, name, name);
	if (rc < 0 && err)
		*err = why;
	return rc;
}

static int check_name(const char *name, struct err *err)
{
	return guest_name_ok(name) ? 0
		: err_set(err, -EINVAL, "'%s' is no name for a guest: " GUEST_NAME_RULE, name);
}

int guest_load(const char *rundir, const char *name, json_t **ret, struct err *err)
{
	int dirfd, rc = check_name(name, err);

	if (rc == 0)
		rc = open_dir(rundir, &dirfd, err);
	if (rc < 0)
		return rc;
	if (dirfd < 0)
		return err_set(err, -ENOENT, "there is no guest '%s'", name);
	rc = load(rundir, dirfd, name, ret, err);
	close(dirfd);
	return rc;
}

/* ---- all ---- */

struct names {
	VEC(char *) list;
};

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add_name(void *ctx, int dirfd, const char *file)
{
	struct names *names = ctx;
	size_t len = strlen(file);
	char *name;

	(void)dirfd;
	if (len < 6 || strcmp(file + len - 5, ".json") != 0)
		return 0;
	name = strndup(file, len - 5);
	if (name && !guest_name_ok(name)) {
		free(name);
		return 0;
	}
	if (name && vec_push(&names->list, name) == 0)
		return 0;
	free(name);
	return -ENOMEM;
}

static int list_names(int dirfd, struct names *names)
{
	int rc = io_each_name(dirfd, ".", add_name, names);

	if (names->list.n)
		qsort(names->list.v, names->list.n, sizeof(char *), by_name);
	return rc;
}

/* One that was removed meanwhile is not there. */
static int see(const char *rundir, int dirfd, const char *name,
	       int (*fn)(void *, const struct guest_seen *), void *ctx)
{
	struct err why = {""};
	struct guest_seen seen = {.name = name, .why = &why};
	int rc;

	seen.code = load(rundir, dirfd, name, &seen.record, &why);
	if (seen.code == -ENOENT)
		return 0;
	rc = fn(ctx, &seen);
	json_decref(seen.record);
	return rc;
}

int guest_each(const char *rundir, int (*fn)(void *ctx, const struct guest_seen *seen), void *ctx,
	       struct err *err)
{
	struct names names = {{0}};
	int dirfd, rc = open_dir(rundir, &dirfd, err);

	if (rc < 0 || dirfd < 0)
		return rc;
	rc = list_names(dirfd, &names);
	if (rc < 0)
		err_sys(err, rc, "cannot read '%s/guests'", rundir);
	for (size_t i = 0; i < names.list.n; i++) {
		if (rc == 0)
			rc = see(rundir, dirfd, names.list.v[i], fn, ctx);
		free(names.list.v[i]);
	}
	vec_fini(&names.list);
	close(dirfd);
	return rc;
}

/* ---- who works on it ---- */

static int hold(const char *rundir, const char *lock, const char *what,
		struct guest_lock_holder *ret, struct err *err)
{
	int dirfd, rc = make_dir(rundir, &dirfd, err);

	if (rc < 0)
		return rc;
	rc = guest_lock_take(dirfd, lock, what, ret, err);
	close(dirfd);
	return rc;
}

static int busy(const char *name, const struct guest_lock_holder *holder, struct err *err)
{
	char whom[GUEST_NAME_MAX + 16];

	(void)snprintf(whom, sizeof(whom), "guest '%s'", name);
	return guest_lock_busy(holder, whom, "", err);
}

int guest_hold(const char *rundir, const char *name, const char *what, struct err *err)
{
	struct guest_lock_holder holder;
	int rc = check_name(name, err);

	if (rc == 0)
		rc = hold(rundir, name, what, &holder, err);
	return rc == -EBUSY ? busy(name, &holder, err) : rc;
}

void guest_drop(const char *rundir, const char *name, int fd)
{
	char file[FILE_LEN];
	struct stat st;
	int dirfd;

	if (fd < 0)
		return;
	(void)snprintf(file, sizeof(file), "%s.json", name);
	if (open_dir(rundir, &dirfd, NULL) < 0 || dirfd < 0) {
		close(fd);
		return;
	}
	if (fstatat(dirfd, file, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
		guest_lock_drop(dirfd, name, fd);
	else
		close(fd);
	close(dirfd);
}

/* Of held->lock, which stays only if it is. */
static int hold_for(const char *rundir, const char *what, const char *whom, const char *more,
		    struct guest_held *held, struct err *err)
{
	struct guest_lock_holder holder;
	int rc = held->fd = hold(rundir, held->lock, what, &holder, err);

	if (rc < 0)
		held->lock[0] = '\0';
	return rc == -EBUSY ? guest_lock_busy(&holder, whom, more, err) : rc < 0 ? rc : 0;
}

int guest_hold_process(const char *rundir, pid_t pid, const char *what, struct guest_held *ret,
		       struct err *err)
{
	char whom[64];

	(void)snprintf(ret->lock, sizeof(ret->lock), ".%d", (int)pid);
	(void)snprintf(whom, sizeof(whom), "process %d, the hypervisor", (int)pid);
	return hold_for(rundir, what, whom, "", ret, err);
}

int guest_hold_live(const char *rundir, const struct guest_live_at *live, const char *what,
		    struct guest_held *ret, struct err *err)
{
	char whom[GUEST_NAME_MAX + 16];
	int rc = check_name(live->name, err);

	ret->lock[0] = '\0';
	if (rc < 0)
		return rc;
	(void)snprintf(ret->lock, sizeof(ret->lock), ".live-%llx-%llx-%s",
		       (unsigned long long)live->dev, (unsigned long long)live->ino, live->name);
	(void)snprintf(whom, sizeof(whom), "live image '%s'", live->name);
	return hold_for(rundir, what, whom, ": --live names another", ret, err);
}

int guest_hold_socket(const char *rundir, const struct guest_socket_at *at, const char *what,
		      struct guest_held *ret, struct err *err)
{
	char whom[GUEST_SOCKET_MAX + 16];

	(void)snprintf(ret->lock, sizeof(ret->lock), ".socket-%llx-%llx-%s",
		       (unsigned long long)at->dev, (unsigned long long)at->ino, at->name);
	for (char *c = ret->lock; *c; c++)
		if (*c == '/')
			*c = '!';
	(void)snprintf(whom, sizeof(whom), "socket '%s'", at->name);
	return hold_for(rundir, what, whom, ": --socket names another", ret, err);
}

void guest_let_go(const char *rundir, struct guest_held *held)
{
	int dirfd = -1;

	if (!guest_is_held(held))
		return;
	if (open_dir(rundir, &dirfd, NULL) == 0 && dirfd >= 0) {
		guest_lock_drop(dirfd, held->lock, held->fd);
		close(dirfd);
	} else {
		close(held->fd);
	}
	held->lock[0] = '\0';
}

/* ---- writing ---- */

static int begin(const char *rundir, const char *name, int *ret_dir, int *ret_lock, struct err *err)
{
	int rc = check_name(name, err);

	if (rc == 0)
		rc = make_dir(rundir, ret_dir, err);
	if (rc < 0)
		return rc;
	*ret_lock = guest_lock_dir(*ret_dir, err);
	if (*ret_lock < 0)
		close(*ret_dir);
	return *ret_lock < 0 ? *ret_lock : 0;
}

/* What is to be written on: what is there, or nothing. */
static int base_of(const char *rundir, int dirfd, const char *name, enum guest_write how,
		   json_t **ret, struct err *err)
{
	json_t *old = NULL;
	int rc = how == GUEST_REPLACE ? -ENOENT : load(rundir, dirfd, name, &old, err);

	if (how == GUEST_UPDATE || (rc < 0 && rc != -ENOENT)) {
		*ret = old;
		return rc;
	}
	json_decref(old);
	if (rc == 0)
		return err_set(err, -EEXIST, "there is a guest '%s' already", name);
	*ret = json_object();
	return *ret ? 0 : err_set(err, -ENOMEM, "out of memory");
}

static int store(int dirfd, const char *name, const json_t *record, struct err *err)
{
	char file[FILE_LEN], *text = json_dumps(record, JSON_INDENT(2));
	mode_t mask = umask(022);
	int rc = text ? 0 : -ENOMEM;

	(void)snprintf(file, sizeof(file), "%s.json", name);
	if (rc == 0 && strlen(text) > GUEST_RECORD_MAX)
		rc = -EFBIG;
	if (rc == 0)
		rc = io_replace_file(dirfd, file, text, strlen(text));
	(void)umask(mask);
	free(text);
	return rc < 0 ? err_sys(err, rc, "cannot write the record of guest '%s'", name) : 0;
}

static int write_on(const char *rundir, int dirfd, const char *name, const json_t *changes,
		    enum guest_write how, struct err *err)
{
	json_t *record = NULL;
	int rc = base_of(rundir, dirfd, name, how, &record, err);

	if (rc < 0)
		return rc;
	if (json_object_set_new(record, "name", json_string(name)) < 0 ||
	    json_object_update(record, (json_t *)changes) < 0)
		rc = err_set(err, -ENOMEM, "out of memory");
	if (rc == 0)
		rc = guest_record_check(name, record, err);
	if (rc == 0)
		rc = store(dirfd, name, record, err);
	json_decref(record);
	return rc;
}

int guest_write(const char *rundir, const char *name, const json_t *changes, enum guest_write how,
		struct err *err)
{
	int dirfd, lock, rc = begin(rundir, name, &dirfd, &lock, err);

	if (rc < 0)
		return rc;
	rc = write_on(rundir, dirfd, name, changes, how, err);
	close(lock);
	close(dirfd);
	return rc;
}

static int unlink_record(int dirfd, const char *name, struct err *err)
{
	char file[FILE_LEN];

	(void)snprintf(file, sizeof(file), "%s.json", name);
	if (unlinkat(dirfd, file, 0) == 0)
		return 0;
	return errno == ENOENT ? err_set(err, -ENOENT, "there is no guest '%s'", name)
			       : err_sys(err, -errno, "cannot remove guest '%s'", name);
}

int guest_remove(const char *rundir, const char *name, struct err *err)
{
	struct guest_lock_holder holder;
	int dirfd, lock, held, rc = begin(rundir, name, &dirfd, &lock, err);

	if (rc < 0)
		return rc;
	rc = held = guest_lock_take(dirfd, name, "lamina guest rm", &holder, err);
	if (rc == -EBUSY)
		(void)busy(name, &holder, err);
	if (rc >= 0) {
		rc = unlink_record(dirfd, name, err);
		guest_lock_drop(dirfd, name, held);
	}
	close(lock);
	close(dirfd);
	return rc;
}
