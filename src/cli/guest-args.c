/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/guest-args.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/cli/cli.h"
#include "src/cli/mounts.h"
#include "src/cli/pager.h"
#include "src/host/agent.h"
#include "src/host/guest.h"
#include "src/host/hyper.h"
#include "src/host/pause.h"
#include "src/rpc/address.h"
#include "store/base/io.h"
#include "store/live-row.h"

int guest_args_rundir(struct cli *cli, const char **ret)
{
	return pager_root(cli, ret);
}

static int no_memory(struct cli *cli)
{
	return err_set(&cli->err, -ENOMEM, "out of memory");
}

/* ---- options ---- */

static int set_text(struct cli *cli, json_t *to, const char *member, const char *text)
{
	if (!text || json_object_set_new(to, member, json_string(text)) == 0)
		return 0;
	return err_set(&cli->err, -EINVAL, "'%s' is not UTF-8, or memory ran out", text);
}

/* A record is read from anywhere: the path that is at `text` + `at`, if any, is made absolute. */
static int set_path(struct cli *cli, json_t *to, const char *member, const char *text, size_t at)
{
	char *path = NULL, *whole = NULL;
	int rc;

	if (!text || !text[at])
		return set_text(cli, to, member, text);
	path = io_absolute(text + at);
	if (!path || asprintf(&whole, "%.*s%s", (int)at, text, path) < 0)
		whole = NULL;
	rc = whole ? set_text(cli, to, member, whole) : no_memory(cli);
	free(whole);
	free(path);
	return rc;
}

/* Where in an address its socket's path is; else its length. */
static size_t path_in(const char *address)
{
	static const char *const with_path[] = {"unix:", "hybrid:"};

	for (size_t i = 0; i < sizeof(with_path) / sizeof(with_path[0]); i++)
		if (!strncmp(address, with_path[i], strlen(with_path[i])))
			return strlen(with_path[i]);
	return strlen(address);
}

static bool is_hypervisor(const char *name)
{
	for (size_t i = 0; hyper_names[i]; i++)
		if (!strcmp(hyper_names[i], name))
			return true;
	return false;
}

static int check_hypervisor(struct cli *cli, const char *name)
{
	if (!name || is_hypervisor(name))
		return 0;
	return cli_usage(cli, "--hypervisor: '%s' is neither firecracker nor qemu", name);
}

/* An address to listen at may have what nobody can connect to. */
static int check_agent(const char *text, struct err *why)
{
	struct address address;
	int rc = address_parse(text, &address, why);

	if (rc < 0)
		return rc;
	if (address.kind != ADDRESS_UNIX && address.port == 0)
		return err_set(why, -EINVAL, "'%.300s': port 0 is none to connect to", text);
	if (address.kind == ADDRESS_VSOCK && address.cid == ADDRESS_CID_ANY)
		return err_set(why, -EINVAL, "'%.300s': 'any' is no CID to connect to", text);
	return 0;
}

/* Checked as given and as it is kept: a whole path may be too long for a socket's. */
static int set_agent(struct cli *cli, json_t *to, const char *text)
{
	struct err why = {""};
	int rc = text ? check_agent(text, &why) : 0;

	if (rc == 0 && text)
		rc = set_path(cli, to, "agent", text, path_in(text));
	if (rc == 0 && text && check_agent(guest_text(to, "agent"), &why) < 0)
		rc = -EINVAL;
	return *why.text ? cli_usage(cli, "--agent: %s", why.text) : rc;
}

static int set_socket(struct cli *cli, json_t *to, const char *text)
{
	struct address address;
	struct err why = {""};
	int rc = set_path(cli, to, "socket", text, 0);

	if (rc == 0 && text && address_unix(guest_text(to, "socket"), &address, &why) < 0)
		rc = cli_usage(cli, "--socket: %s", why.text);
	return rc;
}

static int set_live(struct cli *cli, json_t *to, const char *text)
{
	if (text && !live_row_name_ok(text))
		return cli_usage(cli, "--live: '%s' is no name for a live image", text);
	return set_text(cli, to, "live", text);
}

static void note_dir(struct cli *cli, const char *option, const char *path)
{
	struct stat st;
	int rc = !path ? 0 : stat(path, &st) < 0 ? -errno : S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
	struct err why = {""};

	if (rc < 0)
		cli_note(cli, "warning: --%s: %s", option,
			 (err_sys(&why, rc, "cannot use '%s'", path), why.text));
}

void guest_args_note(struct cli *cli, const json_t *record)
{
	const char *token = guest_text(record, "agent_token_file");
	struct err why = {""};

	note_dir(cli, "chroot", guest_text(record, "chroot"));
	note_dir(cli, "mount", guest_text(record, "mount"));
	if (token && agent_check_token(token, &why) < 0)
		cli_note(cli, "warning: --agent-token-file: %s", why.text);
}

int guest_args_members(struct cli *cli, const struct guest_args *args, json_t *ret)
{
	const struct {
		const char *member, *value;
	} paths[] = {
		{"chroot", args->chroot},
		{"agent_token_file", args->agent_token_file}, {"mount", args->mount},
	};
	int rc = check_hypervisor(cli, args->hypervisor);

	if (rc == 0)
		rc = set_text(cli, ret, "hypervisor", args->hypervisor);
	if (rc == 0)
		rc = set_agent(cli, ret, args->agent);
	if (rc == 0)
		rc = set_socket(cli, ret, args->socket);
	if (rc == 0)
		rc = set_live(cli, ret, args->live);
	for (size_t i = 0; rc == 0 && i < sizeof(paths) / sizeof(paths[0]); i++)
		rc = set_path(cli, ret, paths[i].member, paths[i].value, 0);
	return rc;
}

/* ---- a record and they ---- */

int guest_args_load(struct cli *cli, const char *name, const struct guest_args *args,
		    json_t **ret, bool *ret_kept)
{
	const char *rundir;
	json_t *record = NULL;
	int rc = guest_args_rundir(cli, &rundir);

	if (rc < 0)
		return rc;
	if (!guest_name_ok(name))
		return cli_usage(cli, "'%s' is no name for a guest: " GUEST_NAME_RULE, name);
	rc = guest_load(rundir, name, &record, &cli->err);
	*ret_kept = rc == 0;
	if (rc == -ENOENT && args->socket) {
		record = json_pack("{s:s}", "name", name);
		rc = record ? 0 : no_memory(cli);
	}
	if (rc == 0)
		rc = guest_args_members(cli, args, record);
	if (rc)
		json_decref(record);
	else
		*ret = record;
	return rc;
}

int guest_args_plan(struct cli *cli, const json_t *record, struct pause_plan *ret)
{
	const char *name = guest_text(record, "name");

	ret->hypervisor = guest_text(record, "hypervisor");
	ret->socket = guest_text(record, "socket");
	ret->chroot = guest_text(record, "chroot");
	ret->agent = guest_text(record, "agent");
	ret->token_file = guest_text(record, "agent_token_file");
	if (ret->hypervisor && ret->socket)
		return 0;
	return err_set(&cli->err, -EINVAL, "of guest '%s' it is not known what runs it: "
		       "--hypervisor and --socket say", name);
}

/* ---- the mount ---- */

struct search {
	const struct cli *cli;
	char *found;
};

static int look(void *ctx, const char *path, const struct mounts_entry *entry)
{
	struct search *s = ctx;

	if (cli_is_store(s->cli, entry->source)) {
		free(s->found);
		s->found = strdup(path);
	}
	return 0;
}

static int find_mount(struct cli *cli, char **ret)
{
	struct search s = {.cli = cli};
	int rc = mounts_each(look, &s);

	if (rc < 0)
		return err_sys(&cli->err, rc, "cannot look for mounts of the store");
	if (!s.found)
		return err_set(&cli->err, -ENOENT, "the store is not mounted: 'lamina mount' "
			       "does that");
	*ret = s.found;
	return 0;
}

/* What cannot be found (a bind mount) is believed. */
static int check_mount(struct cli *cli, const char *mount)
{
	struct mounts_entry entry;

	if (mounts_find(mount, &entry) < 0 || strcmp(entry.type, MOUNTS_OURS) != 0 ||
	    access(entry.source, F_OK) < 0 || cli_is_store(cli, entry.source))
		return 0;
	return err_set(&cli->err, -EINVAL, "'%s' is a mount of the store '%s', not of '%s': "
		       "--mount or --store says which", mount, entry.source, cli->store->path);
}

int guest_args_mount(struct cli *cli, const char *said, char **ret)
{
	int rc;

	if (!said)
		return find_mount(cli, ret);
	rc = check_mount(cli, said);
	if (rc < 0)
		return rc;
	*ret = strdup(said);
	return *ret ? 0 : no_memory(cli);
}

/* ---- changing it ---- */

void guest_args_change(struct cli *cli, const char *name, json_t *change, const char *what)
{
	const char *rundir;
	struct err err = {""};
	int rc = change ? guest_args_rundir(cli, &rundir) : no_memory(cli);

	if (rc < 0)
		err = cli->err;
	else
		rc = guest_write(rundir, name, change, GUEST_UPDATE, &err);
	if (rc < 0)
		cli_note(cli, "the record does not tell %s: %s", what, err.text);
	json_decref(change);
}
