/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/host/qemu-state.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "src/host/qemu.h"
#include "tests/tap.h"

static struct err err;
static const struct hyper_target to = {.socket = "x", .timeout_ms = 30000};

/* ---- the head of a stream ---- */

static void test_head(void)
{
	/* As QEMU 7.2 writes it in a migration with x-ignore-shared. */
	static const char want[] =
		"QEVM" "\0\0\0\3"
		"\7" "\0\0\0\12" "pc-q35-7.2"
		"\5" "\32" "configuration/capabilities" "\0\0\0\1" "\0\0\0\1"
		"\17" "x-ignore-shared";
	unsigned char got[QEMU_STATE_HEAD];
	char machine[300];

	is_int(qemu_state_head("pc-q35-7.2", got), sizeof(want) - 1, "the head has its length");
	is_mem(got, want, sizeof(want) - 1, "and QEMU's bytes");
	memset(machine, 'm', sizeof(machine) - 1);
	machine[sizeof(machine) - 1] = '\0';
	ok(qemu_state_head(machine, got) <= QEMU_STATE_HEAD, "a long name does not overflow it");
}

static int sections(const char *head, size_t len)
{
	return qemu_state_sections((const unsigned char *)head, len);
}

static void test_sections(void)
{
	is_int(sections("QEVM\0\0\0\3\4", 9), 8, "sections behind magic and version");
	is_int(sections("QEVM\0\0\0\3\7", 9), 0, "a stream with its configuration is whole");
	is_int(sections("QEVM\0\0\0\3", 8), -EPROTO, "one that has ended is none");
	is_int(sections("", 0), -EPROTO, "nor is nothing");
	is_int(sections("QEVM\0\0\0\2\4", 9), -EPROTO, "nor one of another version");
	is_int(sections("\x7f" "ELF\2\1\1\0\0", 9), -EPROTO, "nor something else");
}

/* ---- what QEMU says ---- */

#define HEADING "              Block Name    PSize              Offset               Used\r\n"
#define ROW(name) name "    4 KiB  0x0000000000000000 0x0000000004000000 0x0000000004000000\r\n"

static void test_memory(void)
{
	char lost[QEMU_MEMORY_MAX_NAME] = "";

	ok(qemu_memory_parse(HEADING ROW("   ram") ROW("/rom@etc/acpi/tables") ROW("pc.bios")
			     ROW("pc.rom") ROW("0000:00:01.0/virtio-net-pci.rom")
			     ROW("system.flash0"), "ram", lost), "a machine without a screen");
	ok(!qemu_memory_parse(HEADING ROW("ram") ROW("   0000:00:01.0/vga.vram") ROW("pc.bios"),
			      "ram", lost), "one with a screen");
	is_str(lost, "0000:00:01.0/vga.vram", "which would be lost");
	ok(!qemu_memory_parse(HEADING ROW("ram2"), "ram", lost), "other memory");
	is_str(lost, "ram2", "is not the guest's");
	ok(qemu_memory_parse("", "ram", lost), "nothing");
	ok(qemu_memory_parse(HEADING "\n\n nonsense\n", "ram", lost), "and nonsense");
}

static void test_states(void)
{
	is_int(qemu_parse_state("inmigrate"), HYPER_NEW, "one that waits is new");
	is_int(qemu_parse_state("prelaunch"), HYPER_NEW, "so is one that was not started");
	is_int(qemu_parse_state("running"), HYPER_RUNNING, "running");
	is_int(qemu_parse_state("paused"), HYPER_PAUSED, "paused");
	is_int(qemu_parse_state("postmigrate"), HYPER_PAUSED, "and after a migration");
	is_int(qemu_parse_state("guest-panicked"), HYPER_OTHER, "a panic is another");
	is_int(qemu_parse_state(""), HYPER_OTHER, "and what is not known");
}

/* ---- files ---- */

static int memfd_with(const char *text, size_t len)
{
	int fd = memfd_create("x", MFD_CLOEXEC);

	if (write(fd, text, len) != (ssize_t)len)
		bail("memfd");
	return fd;
}

static void test_files(void)
{
	char path[PATH_MAX + 16], got[64] = "";
	int fd = memfd_with("a device state", 14), back;
	uint64_t len = 0;

	(void)snprintf(path, sizeof(path), "%s/state", tap_tmpdir());
	is_err(qemu_state_write(&to, fd, path, &len, &err), &err, -ENOENT,
	       "cannot write '%s': %s", path, strerror(ENOENT));
	(void)close(open(path, O_CREAT | O_WRONLY, 0600));
	(void)truncate(path, 1000);
	is_int(qemu_state_write(&to, fd, path, &len, &err), 0, "a state is written");
	is_int(len, 14, "its length is told");
	back = qemu_state_read(&to, path, &err);
	ok(back >= 0, "and read");
	is_int(pread(back, got, sizeof(got), 0), 14, "what was in the file before is gone");
	is_str(got, "a device state", "it is what was written");
	(void)close(back);
	is_err(qemu_state_read(&to, "/nonexistent/s", &err), &err, -ENOENT,
	       "cannot read '/nonexistent/s': %s", strerror(ENOENT));
	ok(qemu_state_read(&to, "/", &err) < 0, "a directory is no state");
	(void)close(fd);
}

/* A fifo that nobody reads hangs as a file of a stopped mount does. */
static void test_hanging(void)
{
	const struct hyper_target hasty = {.socket = "x", .timeout_ms = 300};
	int fd = memfd_with("x", 1);
	char path[PATH_MAX + 16];
	uint64_t len;

	(void)snprintf(path, sizeof(path), "%s/fifo", tap_tmpdir());
	if (mkfifo(path, 0600) < 0)
		bail("no fifo");
	is_err(qemu_state_write(&hasty, fd, path, &len, &err), &err, -ETIMEDOUT,
	       "'%s' hangs, for 300 ms now: does the daemon of its mount run?", path);
	(void)close(fd);
}

static void test_too_large(void)
{
	char path[PATH_MAX + 16];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/large", tap_tmpdir());
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	if (ftruncate(fd, QEMU_STATE_MAX + 4096) < 0)
		bail("no large file");
	(void)close(fd);
	is_err(qemu_state_read(&to, path, &err), &err, -EFBIG, "cannot read '%s': %s", path,
	       strerror(EFBIG));
}

int main(void)
{
	test_head();
	test_sections();
	test_memory();
	test_states();
	test_files();
	test_hanging();
	test_too_large();
	return tap_done();
}
