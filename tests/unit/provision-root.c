/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <sys/stat.h>

#include "src/host/provision-private.h"
#include "tests/fault.h"
#include "tests/tap.h"

static int root;

static void put(const char *name, const char *text)
{
	FILE *f = fopen(tap_path(name), "w");

	if (!f || fputs(text, f) < 0 || fclose(f) != 0)
		bail("cannot write %s", name);
}

static const char *text_of(const char *name)
{
	static char text[256];
	FILE *f = fopen(tap_path(name), "r");
	size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;

	if (!f)
		return NULL;
	text[n] = '\0';
	fclose(f);
	return text;
}

static int kind_of(const char *path)
{
	struct provision_data data;
	int rc = provision_root_read(root, path, &data, NULL);

	if (rc < 0)
		return rc;
	free(data.data);
	return (int)data.kind;
}

static int write_text(const char *path, const char *text, struct err *err)
{
	char copy[16];
	struct provision_data data = {PROVISION_FILE, 0640, copy, strlen(text)};

	(void)snprintf(copy, sizeof(copy), "%s", text);
	return provision_root_write(root, path, &data, err);
}

static void test_kinds(void)
{
	put("root/etc/file", "words");
	(void)symlink("/nowhere", tap_path("root/etc/link"));
	(void)mkfifo(tap_path("root/etc/fifo"), 0600);
	(void)symlink("/etc/loop", tap_path("root/etc/loop"));
	is_int(kind_of("etc/file"), PROVISION_FILE, "a file");
	is_int(kind_of("etc/link"), PROVISION_LINK, "a link is not followed");
	is_int(kind_of("etc/fifo"), PROVISION_OTHER, "a fifo is not waited for");
	is_int(kind_of("etc"), PROVISION_DIR, "a directory");
	is_int(kind_of("etc/none"), PROVISION_NONE, "nothing");
	is_int(kind_of("none/none"), PROVISION_NONE, "nothing in a directory that is not there");
	is_int(kind_of("etc/loop/x"), -ELOOP, "a loop of links");
	is_int(kind_of("etc/file/x"), -ENOTDIR, "a file is no directory");
	is_int(truncate(tap_path("root/etc/file"), PROVISION_FILE_MAX + 1l), 0, "a large one");
	is_int(kind_of("etc/file"), PROVISION_OTHER, "is not read");
}

/* "outside" is beside the root; in the guest its path is another one. */
static void test_outside(void)
{
	struct err err;

	(void)mkdir(tap_path("outside"), 0755);
	put("outside/file", "before");
	(void)symlink("../outside", tap_path("root/up"));
	(void)symlink("../../../../../../../../../../etc", tap_path("root/far"));
	(void)symlink(tap_path("outside"), tap_path("root/absolute"));
	is_int(kind_of("up/file"), PROVISION_NONE, "'..' does not lead out");
	is_int(kind_of("absolute/file"), PROVISION_NONE, "nor does a whole path");
	is_int(write_text("absolute/file", "after", &err), -ENOENT, "nothing is written there");
	is_str(err.text, "cannot write '/absolute/file': No such file or directory", "it says so");
	is_int(provision_root_remove(root, "up/file", &err), 0, "nothing is removed there");
	is_int(provision_root_mkdir(root, "up/dir", &err), -ENOENT, "no directory is made");
	is_str(text_of("outside/file"), "before", "the file outside is as it was");
	is_int(write_text("far/made", "x", &err), 0, "far up is the root's own etc");
	is_str(text_of("root/etc/made"), "x", "where the file is");
	put("outside/target", "before");
	(void)symlink(tap_path("outside/target"), tap_path("root/etc/evil"));
	is_int(write_text("etc/evil", "after", &err), 0, "a link is replaced");
	is_str(text_of("outside/target"), "before", "not what it points to");
	(void)symlink(tap_path("outside/target"), tap_path("root/etc/.trap.lamina-tmp"));
	is_int(write_text("etc/trap", "after", &err), 0, "nor is one with the name of our own");
	is_str(text_of("outside/target"), "before", "written through");
}

static void test_write(void)
{
	struct provision_data link = {PROVISION_LINK, 0, (char[]){"/etc/x"}, 6};
	struct stat st;
	struct err err;
	mode_t mask = umask(077);

	is_int(write_text("etc/new", "one", &err), 0, "a file is written");
	is_int(stat(tap_path("root/etc/new"), &st), 0, "and there");
	is_int(st.st_mode & 07777, 0640, "with its mode, whatever the umask");
	is_int(provision_root_mkdir(root, "etc/dir", &err), 0, "a directory is made");
	is_int(stat(tap_path("root/etc/dir"), &st), 0, "and there");
	is_int(st.st_mode & 07777, 0755, "for everybody to enter");
	is_int(provision_root_mkdir(root, "etc/dir", &err), 0, "twice is fine");
	umask(mask);
	is_int(provision_root_write(root, "etc/dir/l", &link, &err), 0, "a link");
	is_int(kind_of("etc/dir/l"), PROVISION_LINK, "is one");
	is_err(provision_root_rmdir(root, "etc/dir", &err), &err, -ENOTEMPTY,
	       "cannot remove directory '/etc/dir': Directory not empty");
	is_int(provision_root_remove(root, "etc/dir/l", &err), 0, "it is removed");
	is_int(provision_root_rmdir(root, "etc/dir", &err), 0, "and then the directory");
	is_int(provision_root_rmdir(root, "etc/dir", &err), 0, "which is gone");
	is_int(provision_root_has_dir(root, "etc/dir", &err), 0, "indeed");
	is_int(provision_root_has_dir(root, "etc", &err), 1, "others are not");
	is_int(write_text("etc", "x", &err) < 0, 1, "no file takes a directory's place");
}

/* Whatever fails: the old file or the new one, and nothing beside it. */
static void test_faults(void)
{
	static const enum fault_kind kinds[] = {FAULT_WRITE, FAULT_FSYNC, FAULT_RENAME};
	struct err err;

	for (size_t i = 0; i < 3; i++) {
		is_int(write_text("etc/whole", "old", &err), 0, "a file");
		fault_arm(kinds[i], 1, EIO);
		is_int(write_text("etc/whole", "new", &err), -EIO, "cannot be replaced");
		fault_disarm();
		is_str(text_of("root/etc/whole"), "old", "and is the old one");
		is_int(kind_of("etc/.whole.lamina-tmp"), PROVISION_NONE, "with nothing beside it");
	}
}

int main(void)
{
	(void)mkdir(tap_path("root"), 0755);
	(void)mkdir(tap_path("root/etc"), 0755);
	root = open(tap_path("root"), O_RDONLY | O_DIRECTORY);
	if (root < 0)
		bail("no root");
	test_kinds();
	test_outside();
	test_write();
	test_faults();
	close(root);
	return tap_done();
}
