/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What provision decides; tests/host/provision.sh has what it writes. */
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "src/host/provision-private.h"
#include "tests/fault.h"
#include "tests/tap.h"

#define AGENT_WORDS "Usage: lamina-agent [OPTION]...\n"
#define SYSCTL "root/etc/sysctl.d/90-lamina.conf"

#define JOURNAL_WANTED \
	"the journal is none, or a size as in 8M, a number of at most 7 digits with K, M or G: "

static struct provision_opts opts;
static struct provision_result result;
static struct err err;

static void put(const char *name, const char *text)
{
	FILE *f = fopen(tap_path(name), "w");

	if (!f || fputs(text, f) < 0 || fclose(f) != 0)
		bail("cannot write %s", name);
}

/* A static program for x86-64, as far as it is looked at. */
static void put_agent(const char *words)
{
	unsigned char program[64 + 56] = {
		0x7f, 'E', 'L', 'F', 2, 1, 1,
		[16] = 2, [18] = 62, [20] = 1, [32] = 64, [52] = 64, [54] = 56, [56] = 1, [64] = 1,
	};
	FILE *f = fopen(tap_path("agent"), "w");

	if (!f || fwrite(program, sizeof(program), 1, f) != 1 || fputs(words, f) < 0 ||
	    fclose(f) != 0)
		bail("cannot write the agent");
}

static void begin(void)
{
	opts = (struct provision_opts){.root = tap_path("root"), .agent = tap_path("agent")};
}

static int run(void)
{
	/* tap_path()'s buffers rotate. */
	char root[PATH_MAX], agent[PATH_MAX], token[PATH_MAX];

	(void)snprintf(root, sizeof(root), "%s", tap_path("root"));
	(void)snprintf(agent, sizeof(agent), "%s", tap_path("agent"));
	(void)snprintf(token, sizeof(token), "%s", tap_path("token"));
	opts.root = root;
	opts.agent = opts.agent ? agent : NULL;
	opts.token = opts.token ? token : NULL;
	return provision_run(&opts, &result, &err);
}

/* What is to be done with `path`, or -1: there is no step. */
static int action(const char *path)
{
	for (size_t i = 0; i < result.n; i++)
		if (!strcmp(result.step[i].path, path))
			return (int)result.step[i].action;
	return -1;
}

static void test_life(void)
{
	begin();
	opts.look = true;
	is_int(run(), 0, "a look");
	is_int(result.changes, 7, "finds seven files to write");
	ok(!result.done, "and has done nothing");
	is_int(access(tap_path(SYSCTL), F_OK), -1, "indeed");
	opts.look = false;
	is_int(run(), 0, "they are written");
	is_int(result.changes, 7, "all");
	ok(result.done, "and it is done");
	is_int(run(), 0, "again");
	is_int(result.changes, 0, "there is nothing to do");
	opts.agent = NULL;
	is_int(run(), 0, "without the agent");
	is_int(result.changes, 3, "it goes, with its unit and link");
	is_int(action("usr/local/sbin/lamina-agent"), PROVISION_REMOVE, "by name");
	opts.revert = true;
	is_int(run(), 0, "reverted");
	is_int(result.changes, 4, "the rest goes");
	is_int(rmdir(tap_path("root/etc")), 0, "and no directory is left");
	is_int(mkdir(tap_path("root/etc"), 0755), 0, "but those that were there");
	is_int(run(), 0, "reverted again");
	is_int(result.n, 0, "there is nothing");
}

static void test_somebody_else(void)
{
	begin();
	is_int(run(), 0, "provisioned");
	put(SYSCTL, "vm.compaction_proactiveness=20\n");
	opts.journal = "8M";
	is_err(run(), &err, -EEXIST, "1 file is there that lamina has not written, or somebody has "
	       "changed since: nothing is changed without --force");
	is_int(action("etc/sysctl.d/90-lamina.conf"), PROVISION_CONFLICT, "it is told which");
	is_int(action("etc/systemd/journald.conf.d/90-lamina.conf"), PROVISION_SKIPPED,
	       "what else is not changed");
	is_int(result.changes, 0, "nothing is");
	opts.journal = NULL;
	opts.look = true;
	is_int(run(), 0, "who looks");
	is_int(action("etc/systemd/journald.conf.d/90-lamina.conf"), PROVISION_SAME, "was not");
	opts.look = false;
	opts.force = true;
	is_int(run(), 0, "with force it is replaced");
	put(SYSCTL, "mine\n");
	opts.force = false;
	opts.revert = true;
	is_int(run(), 0, "a revert");
	is_int(result.conflicts, 1, "leaves what is changed");
	is_int(access(tap_path(SYSCTL), F_OK), 0, "in its place");
	is_int(access(tap_path("root/etc/lamina/provision.json"), F_OK), 0, "and known");
	is_int(access(tap_path("root/etc/systemd/journald.conf.d"), F_OK), -1, "nothing else");
	opts.revert = false;
	is_int(run(), -EEXIST, "and it is not ours when we come again");
	is_int(unlink(tap_path(SYSCTL)), 0, "it is removed");
	is_int(rmdir(tap_path("root/etc/sysctl.d")), 0, "with its directory");
}

static void test_not_ours(void)
{
	char same[256];
	FILE *f;

	begin();
	is_int(run(), 0, "provisioned");
	f = fopen(tap_path(SYSCTL), "r");
	if (!f || !fgets(same, sizeof(same), f) || !fgets(strchr(same, 0), 200, f))
		bail("no text");
	fclose(f);
	opts.revert = true;
	is_int(run(), 0, "reverted");
	(void)mkdir(tap_path("root/etc/sysctl.d"), 0755);
	put(SYSCTL, same);
	(void)chmod(tap_path(SYSCTL), 0644);
	opts.revert = false;
	is_int(run(), 0, "a file that is just as we want it, by chance");
	is_int(action("etc/sysctl.d/90-lamina.conf"), PROVISION_SAME, "is the same");
	opts.revert = true;
	is_int(run(), 0, "reverted");
	is_int(access(tap_path(SYSCTL), F_OK), 0, "it is still there");
	(void)unlink(tap_path(SYSCTL));
	(void)rmdir(tap_path("root/etc/sysctl.d"));
}

static void test_manifest(void)
{
	begin();
	(void)mkdir(tap_path("root/etc/lamina"), 0755);
	put("root/etc/lamina/provision.json", "{\"version\": 1, \"files\": 3}");
	is_err(run(), &err, -EBADMSG, "'/etc/lamina/provision.json' is damaged: remove it, and "
	       "what "
	       "provision wrote is taken for the administrator's");
	put("root/etc/lamina/provision.json", "{\"version\": 2, \"files\": {}, \"dirs\": []}");
	is_err(run(), &err, -EPROTONOSUPPORT, "'/etc/lamina/provision.json' is of a newer lamina");
	put("root/etc/passwd", "root");
	put("root/etc/lamina/provision.json", "{\"version\": 1, \"files\": {\"etc/passwd\": "
	    "[\"x\"], "
	    "\"etc/sysctl.d/90-lamina.conf\": {\"a\": 1}}, \"dirs\": [\"usr\", 7, null]}");
	opts.revert = true;
	is_int(run(), 0, "one with other files in it");
	is_int(access(tap_path("root/etc/passwd"), F_OK), 0, "costs them nothing");
	is_int(access(tap_path("root/etc/lamina"), F_OK), -1, "and does not keep it");
	(void)unlink(tap_path("root/etc/passwd"));
	(void)mkdir(tap_path("root/usr"), 0755);
}

static void refused(int code, const char *sentence)
{
	is_err(run(), &err, code, "%s", sentence);
	is_int(access(tap_path(SYSCTL), F_OK), -1, "nothing is written");
	begin();
}

static void test_refusals(void)
{
	static const char *const bad[] = {"", "\n", "fifteen-letters\n", "sixteen letters!\n",
					  "0123456789abcde\t\n"};
	char text[512];

	begin();
	opts.journal = "8MiB";
	refused(-EINVAL, JOURNAL_WANTED "not '8MiB'");
	opts.journal = "8M\nStorage=x";
	refused(-EINVAL, JOURNAL_WANTED "not '8M\nStorage=x'");
	opts.journal = "00M";
	refused(-EINVAL, JOURNAL_WANTED "not '00M'");
	opts.listen = "tcp:0.0.0.0:1052";
	refused(-EINVAL, "an agent that listens at TCP needs a token");
	opts.listen = "hybrid:/x:1";
	refused(-EINVAL, "'hybrid:/x:1' is how the host connects: the guest listens at vsock");
	opts.listen = "unix:/run/%n";
	refused(-EINVAL, "'unix:/run/%n' cannot be in a unit of systemd");
	put("agent", "#!/bin/sh\n");
	(void)snprintf(text, sizeof(text), "'%s' is no program of Linux, but a script",
		       tap_path("agent"));
	refused(-ENOEXEC, text);
	put("agent", "\177ELF\2\1 and more, but of no type that is known, and long enough");
	(void)snprintf(text, sizeof(text), "'%s' is not linked to a program", tap_path("agent"));
	refused(-ENOEXEC, text);
	put_agent("Usage: lamina [OPTION]...\n");
	(void)snprintf(text, sizeof(text), "'%s' is another program than lamina-agent",
		       tap_path("agent"));
	refused(-ENOEXEC, text);
	put_agent(AGENT_WORDS);
	(void)snprintf(text, sizeof(text), "the first line of '%s' is no token: it has 16 to 256 "
		       "visible characters", tap_path("token"));
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		put("token", bad[i]);
		(void)chmod(tap_path("token"), 0600);
		opts.token = "";
		refused(-EMEDIUMTYPE, text);
	}
}

static void test_places(void)
{
	char text[512];
	int root;

	begin();
	(void)snprintf(text, sizeof(text), "another one provisions '%s'", tap_path("root"));
	root = open(tap_path("root"), O_RDONLY | O_DIRECTORY);
	is_int(flock(root, LOCK_EX), 0, "while another one is there");
	refused(-EBUSY, text);
	close(root);
	(void)rmdir(tap_path("root/usr"));
	(void)snprintf(text, sizeof(text), "'%s' is no root of a system: it has no directory 'usr'",
		       tap_path("root"));
	refused(-EMEDIUMTYPE, text);
	(void)mkdir(tap_path("root/usr"), 0755);
}

/* Whatever allocation fails: a sentence, and the next run is as if it had not been. */
static void test_memory(void)
{
	unsigned long i = 0;
	bool struck = true, good = true;
	int rc;

	for (i = 1; good && struck && i < 2000; i++) {
		begin();
		fault_arm(FAULT_MALLOC, i, ENOMEM);
		rc = run();
		struck = fault_struck();
		fault_disarm();
		good = good && (rc == 0 || rc == -ENOMEM);
		opts.revert = true;
		good = good && run() == 0;
		good = good && rmdir(tap_path("root/etc")) == 0;
		if (!good)
			tap_diag("allocation %lu: %d: %s", i, rc, err.text);
		(void)mkdir(tap_path("root/etc"), 0755);
	}
	ok(good && i > 5, "without memory it fails, and leaves what can be reverted");
}

int main(void)
{
	(void)mkdir(tap_path("root"), 0755);
	(void)mkdir(tap_path("root/etc"), 0755);
	(void)mkdir(tap_path("root/usr"), 0755);
	put_agent(AGENT_WORDS);
	test_life();
	test_somebody_else();
	test_not_ours();
	test_manifest();
	test_refusals();
	test_places();
	test_memory();
	return tap_done();
}
