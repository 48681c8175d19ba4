/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* provision-private: what the files of provision share. */
#ifndef LAMINA_HOST_PROVISION_PRIVATE_H
#define LAMINA_HOST_PROVISION_PRIVATE_H

#include <jansson.h>
#include <sys/types.h>

#include "src/host/provision.h"
#include "store/digest.h"

#define PROVISION_FILE_MAX (64u << 20)	/* bytes; what is larger is none of ours */
#define PROVISION_MANIFEST "etc/lamina/provision.json"

/* ---- provision-root: files below a root, whose links do not lead out of it ---- */

struct provision_data {
	enum {
		PROVISION_NONE, PROVISION_FILE, PROVISION_LINK, PROVISION_DIR, PROVISION_OTHER
	} kind;
	mode_t mode;		/* of a file: its permissions */
	char *data;		/* malloc'd, NUL-terminated: its bytes, or where the link points */
	size_t len;
};

/*
 * What is at `path`, or PROVISION_NONE.  A file above PROVISION_FILE_MAX, and what is neither file,
 * link nor directory, is PROVISION_OTHER.
 */
int provision_root_read(int root, const char *path, struct provision_data *ret, struct err *err);
/*
 * The first bytes of the file that `path` leads to in the guest, links followed; how many, at most
 * `len`.  -ENOENT, -EMEDIUMTYPE: it is no file, ...
 */
ssize_t provision_root_head(int root, const char *path, void *ret, size_t len);
/* Puts it there, whole at every moment, durably.  Its directory exists. */
int provision_root_write(int root, const char *path, const struct provision_data *what,
			 struct err *err);
/* As io_each_name(). */
int provision_root_each(int root, const char *path,
			int (*fn)(void *ctx, int dirfd, const char *name), void *ctx);
/* Removes what a killed provision_root_write() left beside it. */
int provision_root_tidy(int root, const char *path, struct err *err);
/* Removes it.  Fine if there is none. */
int provision_root_remove(int root, const char *path, struct err *err);
/* 1: there is such a directory, 0: there is none. */
int provision_root_has_dir(int root, const char *path, struct err *err);
/* One level; one that is there is fine. */
int provision_root_mkdir(int root, const char *path, struct err *err);
/* 0 also if there is none; -ENOTEMPTY. */
int provision_root_rmdir(int root, const char *path, struct err *err);

/* ---- provision-agent: what cannot work in the guest ---- */

/* -EINVAL: nobody could listen there, or reach it. */
int provision_agent_check_listen(const char *listen, bool token, struct err *err);
/* -ENOEXEC: `program`, which was read from `name`, is not the agent, or would not run. */
int provision_agent_check_program(const struct provision_data *program, const char *name,
				  int root, struct err *err);

/* ---- provision-files: what is wanted ---- */

/* -EINVAL: options that are wrong whatever the guest is. */
int provision_files_check(const struct provision_opts *opts, struct err *err);

/* All paths that provision ever writes, in the order in which they are written. */
extern const char *const provision_files_paths[PROVISION_FILES];

/* What is wanted at each; PROVISION_NONE: nothing.  provision_files_fini() frees. */
int provision_files_make(const struct provision_opts *opts, int root,
			 struct provision_data ret[PROVISION_FILES], struct err *err);
void provision_files_fini(struct provision_data files[PROVISION_FILES]);
/* What the administrator has to know of `want`, which it has made; `ret` gets notes. */
void provision_files_notes(const struct provision_opts *opts, int root,
			   const struct provision_data want[PROVISION_FILES],
			   struct provision_result *ret);

/* ---- provision-later: who is read after us ---- */

/*
 * A note for each file that systemd reads after `path` (which is in a directory of drop-ins, and
 * has what is in `want`) and that sets something of it otherwise.
 */
void provision_later_notes(int root, const char *path, const struct provision_data *want,
			   struct provision_result *ret);

/* ---- provision-manifest: what is ours ---- */

/* {"version": 1, "files": {PATH: ["file DIGEST"...]}, "dirs": [PATH...]}; new if there is none. */
int provision_manifest_load(int root, json_t **ret, struct err *err);
int provision_manifest_save(int root, json_t *manifest, struct err *err);
int provision_manifest_remove(int root, struct err *err);
bool provision_manifest_lists(const json_t *manifest, const char *path);
/* Whether `data` is what we have, or may have, written to `path`. */
bool provision_manifest_has(const json_t *manifest, const char *path,
			    const struct provision_data *data);
/* -ENOMEM. */
int provision_manifest_add(json_t *manifest, const char *path, const struct provision_data *data);
void provision_manifest_forget(json_t *manifest, const char *path);
/* A directory that we are about to make. */
int provision_manifest_add_dir(json_t *manifest, const char *path);
bool provision_manifest_has_dir(const json_t *manifest, const char *path);
void provision_manifest_forget_dir(json_t *manifest, const char *path);

/* ---- provision-fsck: whether an image is whole ---- */

/* Of `file`, which has the name `name` and is not mounted.  -EBADMSG: it is damaged. */
int provision_fsck(const char *name, int file, struct err *err);
/* -EBADMSG, and what to do. */
int provision_fsck_damaged(const char *name, struct err *err);

/* ---- provision-image: the root of an image ---- */

struct provision_image {
	int file;
	int loop;
	int root;	/* a directory */
};

/*
 * `force`: also one that was not unmounted.  `look`: nothing is written.  -EBADMSG: it is damaged;
 * -EBUSY.
 */
int provision_image_open(const struct provision_opts *opts, struct provision_image *ret,
			 struct err *err);
/* Everything that was written is on disk, or an error says that it may not be. */
int provision_image_close(struct provision_image *image, struct err *err);

#endif
