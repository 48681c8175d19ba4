/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A file's digests are all that we may have written to it: while it is being changed there are two,
 * the old one and the new one, and they are there before the file is touched.  A guest could put
 * anything in here: only paths and directories that provision knows are ever looked up.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/host/provision-private.h"
#include "store/base/fmt.h"
#include "store/format.h"

#define MANIFEST_MAX (1u << 20)
#define DIR "etc/lamina"
#define MARK_LEN (5 + DIGEST_HEX_LEN)

static json_t *empty(void)
{
	return json_pack("{s:i, s:{}, s:[]}", "version", 1, "files", "dirs");
}

static int no_memory(struct err *err)
{
	return err_set(err, -ENOMEM, "out of memory");
}

static int decode(const struct provision_data *data, json_t **ret, struct err *err)
{
	json_t *m = NULL;
	int version;

	if (data->kind == PROVISION_FILE && data->len <= MANIFEST_MAX)
		m = json_loadb(data->data, data->len, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(json_object_get(m, "files")) ||
	    !json_is_array(json_object_get(m, "dirs")) ||
	    json_unpack(m, "{s:i}", "version", &version) < 0) {
		json_decref(m);
		return err_set(err, -EBADMSG, "'/%s' is damaged: remove it, and what provision "
			       "wrote is taken for the administrator's", PROVISION_MANIFEST);
	}
	if (version != 1) {
		json_decref(m);
		return err_set(err, -EPROTONOSUPPORT, "'/%s' is of a newer lamina",
			       PROVISION_MANIFEST);
	}
	*ret = m;
	return 0;
}

int provision_manifest_load(int root, json_t **ret, struct err *err)
{
	struct provision_data data;
	int rc = provision_root_read(root, PROVISION_MANIFEST, &data, err);

	if (rc < 0)
		return rc;
	if (data.kind != PROVISION_NONE) {
		rc = decode(&data, ret, err);
		free(data.data);
		return rc;
	}
	*ret = empty();
	return *ret ? 0 : no_memory(err);
}

int provision_manifest_save(int root, json_t *manifest, struct err *err)
{
	struct provision_data data = {.kind = PROVISION_FILE, .mode = 0600};
	int rc;

	data.data = json_dumps(manifest, JSON_INDENT(2) | JSON_SORT_KEYS);
	if (!data.data)
		return no_memory(err);
	data.len = strlen(data.data);
	rc = provision_root_mkdir(root, DIR, err);
	if (rc == 0)
		rc = provision_root_write(root, PROVISION_MANIFEST, &data, err);
	free(data.data);
	return rc;
}

int provision_manifest_remove(int root, struct err *err)
{
	int rc = provision_root_remove(root, PROVISION_MANIFEST, err);

	if (rc == 0)
		rc = provision_root_rmdir(root, DIR, err);
	return rc == -ENOTEMPTY ? 0 : rc;
}

/* ---- files ---- */

static json_t *files(const json_t *m)
{
	return json_object_get(m, "files");
}

bool provision_manifest_lists(const json_t *manifest, const char *path)
{
	return json_object_get(files(manifest), path) != NULL;
}

/* "file 17fe..." */
static const char *mark_of(const struct provision_data *data, char mark[MARK_LEN])
{
	struct digest digest;

	digest_bytes(DIGEST_BLAKE2B_256, data->data, data->len, &digest);
	memcpy(mark, data->kind == PROVISION_LINK ? "link " : "file ", 5);
	(void)fmt_hex(mark + 5, digest.b, DIGEST_LEN);
	return mark;
}

static bool listed(const json_t *list, const char *text)
{
	const json_t *item;
	size_t i;

	json_array_foreach(list, i, item)
		if (json_is_string(item) && !strcmp(json_string_value(item), text))
			return true;
	return false;
}

bool provision_manifest_has(const json_t *manifest, const char *path,
			    const struct provision_data *data)
{
	char mark[MARK_LEN];

	if (data->kind != PROVISION_FILE && data->kind != PROVISION_LINK)
		return false;
	return listed(json_object_get(files(manifest), path), mark_of(data, mark));
}

int provision_manifest_add(json_t *manifest, const char *path, const struct provision_data *data)
{
	json_t *list = json_object_get(files(manifest), path);
	char mark[MARK_LEN];

	(void)mark_of(data, mark);
	if (json_is_array(list))
		return listed(list, mark) || json_array_append_new(list, json_string(mark)) == 0 ?
			0 : -ENOMEM;
	return json_object_set_new(files(manifest), path, json_pack("[s]", mark)) < 0 ? -ENOMEM : 0;
}

void provision_manifest_forget(json_t *manifest, const char *path)
{
	(void)json_object_del(files(manifest), path);
}

/* ---- directories ---- */

static json_t *dirs(const json_t *m)
{
	return json_object_get(m, "dirs");
}

int provision_manifest_add_dir(json_t *manifest, const char *path)
{
	if (listed(dirs(manifest), path))
		return 0;
	return json_array_append_new(dirs(manifest), json_string(path)) < 0 ? -ENOMEM : 0;
}

bool provision_manifest_has_dir(const json_t *manifest, const char *path)
{
	return listed(dirs(manifest), path);
}

void provision_manifest_forget_dir(json_t *manifest, const char *path)
{
	const json_t *item;
	size_t i;

	json_array_foreach(dirs(manifest), i, item)
		if (json_is_string(item) && !strcmp(json_string_value(item), path)) {
			(void)json_array_remove(dirs(manifest), i);
			return;
		}
}
