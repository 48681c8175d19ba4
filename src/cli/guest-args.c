/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/guest-args.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/cli/cli.h"
#include "src/cli/mounts.h"
#include "src/cli/pager.h"
#include "src/host/guest.h"
#include "src/host/hyper.h"
#include "src/host/pause.h"
#include "src/rpc/address.h"

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

/* A record is read from anywhere. */
static int set_path(struct cli *cli, json_t *to, const char *member, const char *path)
{
	char *here = NULL, *whole = NULL;
	int rc;

	if (!path)
		return 0;
	if (*path == '/')
		return set_text(cli, to, member, path);
	here = getcwd(NULL, 0);
	if (!here || asprintf(&whole, "%s/%s", here, path) < 0)
		whole = NULL;
	rc = whole ? set_text(cli, to, member, whole) : no_memory(cli);
	free(whole);
	free(here);
	return rc;
}

static bool is_hypervisor(const char *name)
{
	for (size_t i = 0; hyper_names[i]; i++)
		if (!strcmp(hyper_names[i], name))
			return true;
	return false;
}

static int check_words(struct cli *cli, const struct guest_args *args)
{
	struct address address;
	struct err why = {""};

	if (args->hypervisor && !is_hypervisor(args->hypervisor))
		return cli_usage(cli, "--hypervisor: '%s' is neither firecracker nor qemu",
				 args->hypervisor);
	if (args->agent && address_parse(args->agent, &address, &why) < 0)
		return cli_usage(cli, "--agent: %s", why.text);
	return 0;
}

int guest_args_members(struct cli *cli, const struct guest_args *args, json_t *ret)
{
	const struct {
		const char *member, *value;
		bool path;
	} all[] = {
		{"hypervisor", args->hypervisor, false}, {"socket", args->socket, true},
		{"chroot", args->chroot, true}, {"agent", args->agent, false},
		{"agent_token_file", args->agent_token_file, true},
		{"live", args->live, false}, {"mount", args->mount, true},
	};
	int rc = check_words(cli, args);

	for (size_t i = 0; rc == 0 && i < sizeof(all) / sizeof(all[0]); i++)
		rc = all[i].path ? set_path(cli, ret, all[i].member, all[i].value)
				 : set_text(cli, ret, all[i].member, all[i].value);
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
		return cli_usage(cli, "'%s' is no name for a guest", name);
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
	struct stat store;
	char *found;
};

static int look(void *ctx, const char *path, const struct mounts_entry *entry)
{
	struct search *s = ctx;
	struct stat st;

	if (stat(entry->source, &st) == 0 && st.st_dev == s->store.st_dev &&
	    st.st_ino == s->store.st_ino) {
		free(s->found);
		s->found = strdup(path);
	}
	return 0;
}

int guest_args_mount(struct cli *cli, char **ret)
{
	struct search s = {.found = NULL};
	int rc = fstat(cli->store->dirfd, &s.store) < 0 ? -errno : mounts_each(look, &s);

	if (rc < 0)
		return err_sys(&cli->err, rc, "cannot look for mounts of the store");
	if (!s.found)
		return err_set(&cli->err, -ENOENT, "the store is not mounted");
	*ret = s.found;
	return 0;
}
