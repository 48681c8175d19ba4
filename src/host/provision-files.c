/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The root is made to discard by a unit that remounts it: that holds with and without a line for it
 * in fstab (most images of microVMs have none, and then systemd does not remount it), in a
 * directory as in an image, and no file of the administrator's has to be changed and changed back.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/host/agent.h"
#include "src/host/provision-private.h"
#include "store/base/io.h"

#define AGENT "/usr/local/sbin/lamina-agent"
#define TOKEN "/etc/lamina/agent-token"
#define UNITS "/etc/systemd/system/"
#define TOKEN_MAX 4096u
#define TOKEN_WORD_MIN 16u	/* lamina-agent(8) takes no other */
#define TOKEN_WORD_MAX 256u
#define WRITTEN_BY "# Written by lamina guest provision; lamina-guest(1) says why.\n"

enum {
	SYSCTL, JOURNALD, AGENT_PROGRAM, AGENT_TOKEN, AGENT_UNIT, AGENT_WANTS, DISCARD_UNIT,
	DISCARD_WANTS, GRUB
};

const char *const provision_files_paths[PROVISION_FILES] = {
	[SYSCTL] = "etc/sysctl.d/90-lamina.conf",
	[JOURNALD] = "etc/systemd/journald.conf.d/90-lamina.conf",
	[AGENT_PROGRAM] = "usr/local/sbin/lamina-agent",
	[AGENT_TOKEN] = "etc/lamina/agent-token",
	[AGENT_UNIT] = "etc/systemd/system/lamina-agent.service",
	[AGENT_WANTS] = "etc/systemd/system/multi-user.target.wants/lamina-agent.service",
	[DISCARD_UNIT] = "etc/systemd/system/lamina-discard.service",
	[DISCARD_WANTS] = "etc/systemd/system/local-fs.target.wants/lamina-discard.service",
	[GRUB] = "etc/default/grub.d/lamina.cfg",
};

static const char sysctl[] =
	WRITTEN_BY
	"vm.compaction_proactiveness=0\n";

static const char journald[] =
	WRITTEN_BY
	"[Journal]\n"
	"%s"
	"ForwardToSyslog=no\n"
	"ForwardToKMsg=yes\n"
	"MaxLevelKMsg=warning\n"
	"MaxLevelConsole=warning\n";

static const char agent_unit[] =
	WRITTEN_BY
	"[Unit]\n"
	"Description=lamina's agent in the guest\n"
	"Documentation=man:lamina-agent(8)\n"
	"\n"
	"[Service]\n"
	"ExecStart=" AGENT " --listen %s%s\n"
	"Restart=always\n"
	"RestartSec=1s\n"
	"# Lines would end in the journal, and dirty memory.\n"
	"StandardOutput=null\n"
	"StandardError=kmsg\n"
	"OOMScoreAdjust=-900\n"
	"\n"
	"[Install]\n"
	"WantedBy=multi-user.target\n";

static const char discard_unit[] =
	WRITTEN_BY
	"[Unit]\n"
	"Description=discard what is freed on the root file system\n"
	"Documentation=man:lamina-guest(1)\n"
	"DefaultDependencies=no\n"
	"After=systemd-remount-fs.service\n"
	"Before=local-fs.target shutdown.target\n"
	"Conflicts=shutdown.target\n"
	"\n"
	"[Service]\n"
	"Type=oneshot\n"
	"RemainAfterExit=yes\n"
	"# As it is mounted, whatever fstab calls it.  One that cannot is as good as before.\n"
	"ExecStart=-/bin/mount --options-source mtab -o remount,discard /\n"
	"\n"
	"[Install]\n"
	"WantedBy=local-fs.target\n";

static const char grub[] =
	WRITTEN_BY
	"GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX init_on_free=1\"\n";

static int no_memory(struct err *err)
{
	return err_set(err, -ENOMEM, "out of memory");
}

static int put(struct provision_data *to, char *text, mode_t mode, struct err *err)
{
	if (!text)
		return no_memory(err);
	*to = (struct provision_data){mode ? PROVISION_FILE : PROVISION_LINK, mode, text,
				      strlen(text)};
	return 0;
}

/* ---- options ---- */

static bool is_journal_size(const char *text)
{
	size_t digits = strspn(text, "0123456789");

	return digits > 0 && digits < 8 && strspn(text, "0") < digits && text[digits] &&
	       strchr("KMG", text[digits]) && !text[digits + 1];
}

static int put_journald(const struct provision_opts *opts, struct provision_data *to,
			struct err *err)
{
	char storage[64] = "Storage=none\n", *text;

	if (opts->journal && strcmp(opts->journal, "none") != 0)
		(void)snprintf(storage, sizeof(storage), "Storage=persistent\nSystemMaxUse=%s\n",
			       opts->journal);
	if (asprintf(&text, journald, storage) < 0)
		text = NULL;
	return put(to, text, 0644, err);
}

int provision_files_check(const struct provision_opts *opts, struct err *err)
{
	if (opts->journal && strcmp(opts->journal, "none") != 0 && !is_journal_size(opts->journal))
		return err_set(err, -EINVAL, "the journal is none, or a size as in 8M, a number of "
			       "at most 7 digits with K, M or G: not '%s'", opts->journal);
	return !opts->listen ? 0 :
		provision_agent_check_listen(opts->listen, opts->token != NULL, err);
}

/* ---- the agent ---- */

static int read_host(const char *path, size_t max, struct provision_data *to, struct err *err)
{
	int rc = io_read_regular(AT_FDCWD, path, max, &to->data, &to->len);

	if (rc < 0)
		return err_sys(err, rc, "cannot read '%s'", path);
	to->kind = PROVISION_FILE;
	return 0;
}

static int put_program(const char *path, int root, struct provision_data *to, struct err *err)
{
	int rc = read_host(path, PROVISION_FILE_MAX, to, err);

	to->mode = 0755;
	return rc < 0 ? rc : provision_agent_check_program(to, path, root, err);
}

/* As the agent wants it: the first line, of visible characters. */
static int put_token(const char *path, struct provision_data *to, struct err *err)
{
	int rc = agent_check_token(path, err);
	size_t len = 0;

	if (rc == 0)
		rc = read_host(path, TOKEN_MAX, to, err);
	if (rc < 0)
		return rc;
	to->mode = 0600;
	while (to->data[len] > ' ' && to->data[len] < 0x7f)
		len++;
	if ((to->data[len] && to->data[len] != '\n') || len < TOKEN_WORD_MIN ||
	    len > TOKEN_WORD_MAX)
		return err_set(err, -EMEDIUMTYPE, "the first line of '%s' is no token: it has "
			       "%u to %u visible characters", path, TOKEN_WORD_MIN, TOKEN_WORD_MAX);
	return 0;
}

static int put_agent(const struct provision_opts *opts, int root, struct provision_data *files,
		     struct err *err)
{
	const char *listen = opts->listen ? opts->listen : PROVISION_LISTEN;
	char *text;
	int rc = put_program(opts->agent, root, &files[AGENT_PROGRAM], err);

	if (rc == 0 && opts->token)
		rc = put_token(opts->token, &files[AGENT_TOKEN], err);
	if (rc < 0)
		return rc;
	if (asprintf(&text, agent_unit, listen, opts->token ? " --token-file " TOKEN : "") < 0)
		text = NULL;
	rc = put(&files[AGENT_UNIT], text, 0644, err);
	return rc < 0 ? rc : put(&files[AGENT_WANTS], strdup(UNITS "lamina-agent.service"), 0, err);
}

/* ---- all ---- */

static int has_grub(int root, struct err *err)
{
	struct provision_data conf;
	int rc = provision_root_has_dir(root, "etc/default/grub.d", err);

	if (rc != 0)
		return rc;
	rc = provision_root_read(root, "etc/default/grub", &conf, err);
	if (rc < 0)
		return rc;
	free(conf.data);
	return conf.kind != PROVISION_NONE;
}

static int make(const struct provision_opts *opts, int root, struct provision_data *files,
		struct err *err)
{
	int rc = put(&files[SYSCTL], strdup(sysctl), 0644, err);

	if (rc == 0)
		rc = put_journald(opts, &files[JOURNALD], err);
	if (rc == 0 && opts->agent)
		rc = put_agent(opts, root, files, err);
	if (rc == 0)
		rc = put(&files[DISCARD_UNIT], strdup(discard_unit), 0644, err);
	if (rc == 0)
		rc = put(&files[DISCARD_WANTS], strdup(UNITS "lamina-discard.service"), 0, err);
	if (rc < 0 || !opts->init_on_free)
		return rc;
	rc = has_grub(root, err);
	return rc > 0 ? put(&files[GRUB], strdup(grub), 0644, err) : rc;
}

int provision_files_make(const struct provision_opts *opts, int root,
			 struct provision_data ret[PROVISION_FILES], struct err *err)
{
	int rc;

	memset(ret, 0, PROVISION_FILES * sizeof(*ret));
	rc = opts->revert ? 0 : make(opts, root, ret, err);
	if (rc < 0)
		provision_files_fini(ret);
	return rc;
}

void provision_files_fini(struct provision_data files[PROVISION_FILES])
{
	for (size_t i = 0; i < PROVISION_FILES; i++) {
		free(files[i].data);
		files[i] = (struct provision_data){.kind = PROVISION_NONE};
	}
}

/* ---- notes ---- */

static void note(struct provision_result *r, const char *text)
{
	if (r->nnotes < PROVISION_NOTES)
		(void)snprintf(r->note[r->nnotes++], PROVISION_NOTE_LEN, "%s", text);
}

/* Units alone do not tell: packages bring theirs also where there is none. */
static bool has_systemd(int root)
{
	char byte;

	return provision_root_head(root, "usr/lib/systemd/systemd", &byte, 1) >= 0 ||
	       provision_root_head(root, "lib/systemd/systemd", &byte, 1) >= 0;
}

static void note_init_on_free(const struct provision_data *grub_file, struct provision_result *ret)
{
	if (grub_file->kind != PROVISION_NONE)
		note(ret, "run update-grub in the guest and boot it anew: init_on_free=1 counts "
		     "from then on");
	else
		note(ret, "it has no GRUB: add init_on_free=1 to the kernel's command line where "
		     "the guest is started, as in Firecracker's boot_args or QEMU's -append");
}

void provision_files_notes(const struct provision_opts *opts, int root,
			   const struct provision_data want[PROVISION_FILES],
			   struct provision_result *ret)
{
	if (opts->revert)
		return;
	if (!has_systemd(root))
		note(ret, "there is no systemd in it: start lamina-agent and set "
		     "vm.compaction_proactiveness=0 by its own means");
	if (opts->init_on_free)
		note_init_on_free(&want[GRUB], ret);
	provision_later_notes(root, provision_files_paths[SYSCTL], &want[SYSCTL], ret);
	provision_later_notes(root, provision_files_paths[JOURNALD], &want[JOURNALD], ret);
}
