/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * First all is read and the steps are decided.  Then the manifest learns what will be written and
 * which directories will be made; then each file is replaced; then the manifest learns that this is
 * all. Who is killed in between leaves whole files, each of which the manifest knows for ours: the
 * next run goes on.
 */
#include "src/host/provision.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/host/provision-private.h"
#include "store/base/io.h"

struct run {
	const struct provision_opts *opts;
	int root;
	json_t *before;				/* the manifest as it was read */
	json_t *now;
	struct provision_data want[PROVISION_FILES];
	struct provision_data have[PROVISION_FILES];
	enum provision_action action[PROVISION_FILES];
	bool step[PROVISION_FILES];		/* else there is nothing to tell of it */
	size_t at;				/* what is being worked on; all: none yet */
	size_t conflicts;
	struct provision_result *result;
};

const char *provision_action_name(enum provision_action action)
{
	static const char *const names[] = {
		[PROVISION_SAME] = "same", [PROVISION_CREATE] = "create",
		[PROVISION_CHANGE] = "change", [PROVISION_REMOVE] = "remove",
		[PROVISION_CONFLICT] = "conflict", [PROVISION_FAILED] = "failed",
		[PROVISION_SKIPPED] = "skipped",
	};

	return names[action];
}

/* ---- the directories of a path ---- */

typedef int dir_fn(struct run *r, const char *dir, struct err *err);

/* Those above `path` but for the manifest's own, outermost first. */
static int each_dir(struct run *r, const char *path, dir_fn *fn, struct err *err)
{
	char dir[PATH_MAX];
	int rc = 0;

	for (const char *slash = strchr(path, '/'); rc == 0 && slash;
	     slash = strchr(slash + 1, '/')) {
		(void)memcpy(dir, path, (size_t)(slash - path));
		dir[slash - path] = '\0';
		if (strcmp(dir, "etc/lamina") != 0)
			rc = fn(r, dir, err);
	}
	return rc;
}

/* ---- deciding ---- */

static bool equal(const struct provision_data *a, const struct provision_data *b)
{
	return a->kind == b->kind && a->mode == b->mode && a->len == b->len &&
	       !memcmp(a->data, b->data, a->len);
}

static bool is_ours(const struct run *r, size_t i)
{
	return provision_manifest_has(r->before, provision_files_paths[i], &r->have[i]);
}

static void decide_wanted(struct run *r, size_t i)
{
	r->step[i] = true;
	if (r->have[i].kind == PROVISION_NONE)
		r->action[i] = PROVISION_CREATE;
	else if (equal(&r->have[i], &r->want[i]))
		r->action[i] = PROVISION_SAME;
	else if (r->have[i].kind != PROVISION_DIR && (is_ours(r, i) || r->opts->force))
		r->action[i] = PROVISION_CHANGE;
	else
		r->action[i] = PROVISION_CONFLICT;
}

/* What we once wrote and somebody has changed since is his. */
static void decide_unwanted(struct run *r, size_t i)
{
	bool listed = provision_manifest_lists(r->before, provision_files_paths[i]);

	if (!listed || r->have[i].kind == PROVISION_NONE)
		return;
	if (is_ours(r, i) ||
	    (r->opts->revert && r->opts->force && r->have[i].kind != PROVISION_DIR))
		r->action[i] = PROVISION_REMOVE;
	else if (r->opts->revert)
		r->action[i] = PROVISION_CONFLICT;
	else
		return;
	r->step[i] = true;
}

static bool is_written(const struct run *r, size_t i)
{
	return r->step[i] &&
	       (r->action[i] == PROVISION_CREATE || r->action[i] == PROVISION_CHANGE);
}

static bool is_conflict(const struct run *r, size_t i)
{
	return r->step[i] && r->action[i] == PROVISION_CONFLICT;
}

/* What can be neither entered nor made. */
static int check_dir(struct run *r, const char *dir, struct err *err)
{
	struct provision_data at;
	int rc = provision_root_has_dir(r->root, dir, err);

	if (rc != 0)
		return rc < 0 ? rc : 0;
	rc = provision_root_read(r->root, dir, &at, err);
	if (rc < 0 || at.kind == PROVISION_NONE)
		return rc;
	rc = err_set(err, -ENOTDIR, "'/%s' is a link to '%.128s', which is not in the guest: make "
		     "that directory there, or remove the link", dir, at.data ? at.data : "");
	free(at.data);
	return rc;
}

static int check_dirs(struct run *r, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < PROVISION_FILES; i++)
		if (is_written(r, i))
			rc = each_dir(r, provision_files_paths[i], check_dir, err);
	return rc == 0 && !r->opts->revert ? check_dir(r, "etc/lamina", err) : rc;
}

/* Who reverts does not mind that a directory has become something else. */
static int read_file(struct run *r, size_t i, struct err *err)
{
	int rc = provision_root_read(r->root, provision_files_paths[i], &r->have[i], err);

	return rc == -ENOTDIR && r->want[i].kind == PROVISION_NONE ? 0 : rc;
}

static int decide(struct run *r, struct err *err)
{
	int rc = provision_files_make(r->opts, r->root, r->want, err);

	for (size_t i = 0; rc == 0 && i < PROVISION_FILES; i++) {
		rc = read_file(r, i, err);
		if (rc < 0)
			return rc;
		if (r->want[i].kind != PROVISION_NONE)
			decide_wanted(r, i);
		else
			decide_unwanted(r, i);
		r->conflicts += is_conflict(r, i);
	}
	if (rc == 0)
		rc = check_dirs(r, err);
	if (rc == 0)
		provision_files_notes(r->opts, r->root, r->want, r->result);
	return rc;
}

/* ---- making and dropping directories ---- */

static int promise_dir(struct run *r, const char *dir, struct err *err)
{
	int rc = provision_root_has_dir(r->root, dir, err);

	if (rc == 0 && provision_manifest_add_dir(r->now, dir) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	return rc < 0 ? rc : 0;
}

static int make_dir(struct run *r, const char *dir, struct err *err)
{
	int rc = provision_root_has_dir(r->root, dir, err);

	return rc == 0 ? provision_root_mkdir(r->root, dir, err) : rc < 0 ? rc : 0;
}

/* Ours that is empty goes; one that others use is theirs after a revert. */
static int drop_dir(struct run *r, const char *dir, struct err *err)
{
	int rc;

	if (!provision_manifest_has_dir(r->now, dir))
		return 0;
	rc = provision_root_rmdir(r->root, dir, err);
	if (rc == 0)
		provision_manifest_forget_dir(r->now, dir);
	return rc == -ENOTEMPTY || rc == -ENOTDIR ? 0 : rc;
}

/* Innermost first: as often as there are levels. */
static int drop_dirs(struct run *r, const char *path, struct err *err)
{
	int rc = 0;

	for (const char *p = path; rc == 0 && *p; p++)
		if (*p == '/')
			rc = each_dir(r, path, drop_dir, err);
	return rc;
}

/* ---- taking the steps ---- */

static int promise(struct run *r, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < PROVISION_FILES; i++) {
		const char *path = provision_files_paths[i];

		if (!is_written(r, i))
			continue;
		rc = each_dir(r, path, promise_dir, err);
		if (rc == 0 && provision_manifest_add(r->now, path, &r->want[i]) < 0)
			rc = err_set(err, -ENOMEM, "out of memory");
	}
	if (rc == 0 && !json_equal(r->now, r->before))
		rc = provision_manifest_save(r->root, r->now, err);
	return rc;
}

static int write_file(struct run *r, size_t i, struct err *err)
{
	const char *path = provision_files_paths[i];
	int rc = each_dir(r, path, make_dir, err);

	if (rc == 0 && !strncmp(path, "etc/lamina/", 11))
		rc = provision_root_mkdir(r->root, "etc/lamina", err);
	return rc < 0 ? rc : provision_root_write(r->root, path, &r->want[i], err);
}

/* What is not there any more may have left directories. */
static int take_away(struct run *r, size_t i, struct err *err)
{
	const char *path = provision_files_paths[i];
	bool remove = r->step[i] && r->action[i] == PROVISION_REMOVE;
	int rc = remove ? provision_root_remove(r->root, path, err) : 0;

	return rc < 0 ? rc : drop_dirs(r, path, err);
}

static int take_steps(struct run *r, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < PROVISION_FILES; i++) {
		r->at = i;
		if (is_written(r, i))
			rc = write_file(r, i, err);
		else if (r->want[i].kind == PROVISION_NONE &&
			 provision_manifest_lists(r->before, provision_files_paths[i]))
			rc = take_away(r, i, err);
	}
	return rc;
}

/* After one that was killed. */
static int tidy(struct run *r, struct err *err)
{
	int rc = provision_root_tidy(r->root, PROVISION_MANIFEST, err);

	for (size_t i = 0; rc == 0 && i < PROVISION_FILES; i++)
		if (provision_manifest_lists(r->before, provision_files_paths[i]))
			rc = provision_root_tidy(r->root, provision_files_paths[i], err);
	return rc;
}

/* Of each file only what is there now; one that a revert leaves may be taken away by the next. */
static int settle(struct run *r, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < PROVISION_FILES; i++) {
		const char *path = provision_files_paths[i];
		bool ours = provision_manifest_has(r->now, path, &r->want[i]);

		if (r->opts->revert && is_conflict(r, i))
			continue;
		provision_manifest_forget(r->now, path);
		if (ours && provision_manifest_add(r->now, path, &r->want[i]) < 0)
			rc = err_set(err, -ENOMEM, "out of memory");
	}
	if (rc == 0 && ((r->opts->revert && !r->conflicts) ||
			!json_object_size(json_object_get(r->now, "files"))))
		return provision_manifest_remove(r->root, err);
	if (rc == 0 && !json_equal(r->now, r->before))
		rc = provision_manifest_save(r->root, r->now, err);
	return rc;
}

static bool is_change(enum provision_action action)
{
	return action == PROVISION_CREATE || action == PROVISION_CHANGE ||
	       action == PROVISION_REMOVE;
}

/* What is being worked on has failed, and what comes behind it is not begun. */
static void give_up(struct run *r)
{
	size_t first = r->at < PROVISION_FILES ? r->at : 0;

	for (size_t i = first; i < PROVISION_FILES; i++)
		if (is_change(r->action[i]))
			r->action[i] = i == r->at ? PROVISION_FAILED : PROVISION_SKIPPED;
}

static int refuse(const struct run *r, struct err *err)
{
	bool one = r->conflicts == 1;

	if (r->opts->force)
		return err_set(err, -EISDIR, "where %zu file%s to be %s director%s, which %s not "
			       "taken away: do that by hand", r->conflicts, one ? " is" : "s are",
			       one ? "is a" : "are", one ? "y" : "ies", one ? "is" : "are");
	return err_set(err, -EEXIST, "%zu file%s there that lamina has not written, or somebody "
		       "has changed since: nothing is changed without --force", r->conflicts,
		       one ? " is" : "s are");
}

static int apply(struct run *r, struct err *err)
{
	int rc;

	r->at = PROVISION_FILES;
	rc = r->conflicts && !r->opts->revert ? refuse(r, err) : tidy(r, err);
	if (rc == 0)
		rc = promise(r, err);
	if (rc == 0)
		rc = take_steps(r, err);
	if (rc < 0)
		give_up(r);
	return rc < 0 ? rc : settle(r, err);
}

static void tell(struct run *r)
{
	struct provision_result *to = r->result;

	for (size_t i = 0; i < PROVISION_FILES; i++) {
		if (!r->step[i])
			continue;
		to->step[to->n++] = (struct provision_step){provision_files_paths[i], r->action[i]};
		to->conflicts += r->action[i] == PROVISION_CONFLICT;
		to->changes += is_change(r->action[i]);
	}
}

static int run_steps(struct run *r, struct err *err)
{
	int rc = provision_manifest_load(r->root, &r->before, err);
	bool decided;

	if (rc == 0) {
		r->now = json_deep_copy(r->before);
		rc = r->now ? decide(r, err) : err_set(err, -ENOMEM, "out of memory");
	}
	decided = rc == 0;
	if (rc == 0 && !r->opts->look) {
		rc = apply(r, err);
		r->result->done = rc == 0;
	}
	if (decided)
		tell(r);
	provision_files_fini(r->want);
	provision_files_fini(r->have);
	json_decref(r->now);
	json_decref(r->before);
	return rc;
}

/* ---- the root ---- */

/* An empty variable in front of a slash makes "/" of any root. */
static int check_other(const struct provision_opts *opts, const struct stat *st, struct err *err)
{
	struct stat own;

	if (opts->look || opts->revert || opts->force || stat("/", &own) < 0 ||
	    own.st_dev != st->st_dev || own.st_ino != st->st_ino)
		return 0;
	return err_set(err, -EPERM, "'%s' is the system that this runs on: if that is the guest, "
		       "say --force", opts->root);
}

static int check_root(const struct provision_opts *opts, int root, struct err *err)
{
	static const char *const needed[] = {"etc", "usr"};
	int rc = 1;

	for (size_t i = 0; rc > 0 && i < 2; i++) {
		rc = provision_root_has_dir(root, needed[i], err);
		if (rc == 0)
			return err_set(err, -EMEDIUMTYPE, "'%s' is no root of a system: it has no "
				       "directory '%s'", opts->root, needed[i]);
	}
	return rc < 0 ? rc : 0;
}

static int in_root(const struct provision_opts *opts, int root, struct provision_result *result,
		   struct err *err)
{
	struct run *r;
	int rc = check_root(opts, root, err);

	if (rc < 0)
		return rc;
	if (flock(root, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
		return err_set(err, -EBUSY, "another one provisions '%s'", opts->root);
	r = calloc(1, sizeof(*r));
	if (!r)
		return err_set(err, -ENOMEM, "out of memory");
	r->opts = opts;
	r->root = root;
	r->result = result;
	rc = run_steps(r, err);
	free(r);
	return rc;
}

static int in_image(const struct provision_opts *opts, struct provision_result *result,
		    struct err *err)
{
	struct provision_image image;
	struct err late;
	int rc = provision_image_open(opts, &image, err), closed;

	if (rc < 0)
		return rc;
	rc = in_root(opts, image.root, result, err);
	closed = provision_image_close(&image, &late);
	if (rc == 0 && closed < 0) {
		*err = late;
		result->done = false;
		rc = closed;
	}
	return rc;
}

int provision_check(const struct provision_opts *opts, struct err *err)
{
	return opts->revert ? 0 : provision_files_check(opts, err);
}

int provision_run(const struct provision_opts *opts, struct provision_result *ret,
		  struct err *err)
{
	struct stat st;
	int root, rc = provision_check(opts, err);

	memset(ret, 0, sizeof(*ret));
	if (rc < 0)
		return rc;
	if (digest_init() < 0)
		return err_set(err, -EIO, "libgcrypt cannot be used");
	if (stat(opts->root, &st) < 0)
		return err_sys(err, -errno, "cannot open '%s'", opts->root);
	if (S_ISREG(st.st_mode))
		return in_image(opts, ret, err);
	if (!S_ISDIR(st.st_mode))
		return err_set(err, -EMEDIUMTYPE, "'%s' is neither a directory nor an image",
			       opts->root);
	rc = check_other(opts, &st, err);
	if (rc < 0)
		return rc;
	root = open(opts->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return err_sys(err, -errno, "cannot open '%s'", opts->root);
	rc = in_root(opts, root, ret, err);
	(void)close(root);
	return rc;
}
