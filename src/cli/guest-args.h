/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guest-args: how commands are told of a guest: by the name of a record (src/host/guest.h), by
 * options, or by both; options win.
 */
#ifndef LAMINA_CLI_GUEST_ARGS_H
#define LAMINA_CLI_GUEST_ARGS_H

#include <jansson.h>

#include "src/cli/opt.h"

struct cli;

struct guest_args {
	const char *hypervisor;
	const char *socket;
	const char *chroot;
	const char *agent;
	const char *agent_token_file;
	const char *live;
	const char *mount;
};

/* Its options; `type` has a `struct guest_args guest`.  `who` begins their help: "" or "add: ". */
#define GUEST_ARGS_OPTS(type, who)							\
	{OPT_TEXT, "hypervisor", 'H', OPT_TO(type, guest.hypervisor), "NAME",		\
	 "firecracker qemu", who "what runs it: firecracker or qemu"},			\
	{OPT_TEXT, "socket", 'S', OPT_TO(type, guest.socket), "PATH", "@file",		\
	 who "its socket: Firecracker's API, QEMU's QMP"},				\
	{OPT_TEXT, "chroot", 0, OPT_TO(type, guest.chroot), "DIR", "@dir",		\
	 who "the hypervisor's jail: paths that it is told begin there"},		\
	{OPT_TEXT, "agent", 'A', OPT_TO(type, guest.agent), "ADDRESS", NULL,		\
	 who "where lamina-agent is: unix:PATH, tcp:HOST:PORT, vsock:CID:PORT or "	\
	 "hybrid:PATH:PORT"},								\
	{OPT_TEXT, "agent-token-file", 'T', OPT_TO(type, guest.agent_token_file), "FILE", \
	 "@file", who "what has the agent's token in it"},				\
	{OPT_TEXT, "live", 'L', OPT_TO(type, guest.live), "LIVE", "@live",			\
	 who "its live image (default: the guest's name)"},				\
	{OPT_TEXT, "mount", 'M', OPT_TO(type, guest.mount), "DIR", "@dir",		\
	 who "where the store is mounted (default: where it is found)"}

/* Where records are. */
int guest_args_rundir(struct cli *cli, const char **ret);

/*
 * The record of `name`, with the options set in it, checked as far as words can be: *ret is the
 * caller's.  `*ret_kept` tells whether there is a record; if there is none the options alone
 * count.  CLI_USAGE with a sentence, or -errno.
 */
int guest_args_load(struct cli *cli, const char *name, const struct guest_args *args,
		    json_t **ret, bool *ret_kept);
/* The options alone, as members; paths made absolute.  CLI_USAGE, or -errno. */
int guest_args_members(struct cli *cli, const struct guest_args *args, json_t *ret);

/* Tells of paths in it that a pause could not use now: they may come later. */
void guest_args_note(struct cli *cli, const json_t *record);

struct pause_plan;
/* What a record says of hypervisor and agent; borrowed from it.  -EINVAL: it says too little. */
int guest_args_plan(struct cli *cli, const json_t *record, struct pause_plan *ret);

/*
 * Where the store of `cli`, which is open, is mounted: `said`, or where it is found; *ret is the
 * caller's.  -EINVAL: another store is mounted there; -ENOENT: it is mounted nowhere.
 */
int guest_args_mount(struct cli *cli, const char *said, char **ret);

/*
 * Changes members of a guest's record (NULL: memory ran out; it is ended).  What fails is told:
 * "the record does not tell WHAT".
 */
void guest_args_change(struct cli *cli, const char *name, json_t *change, const char *what);

#endif
