/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What would not run, or not be heard, in the guest is refused before anything is written: it would
 * be noticed when the guest is paused, and then be hard to find.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "src/host/provision-private.h"
#include "src/rpc/address.h"

/* ---- its address ---- */

static bool is_ip(const char *host)
{
	struct in6_addr any;

	return inet_pton(AF_INET, host, &any) == 1 || inet_pton(AF_INET6, host, &any) == 1;
}

/* It listens before there is a resolver, and has none; systemd starts it in "/". */
static const char *what_is_off(const struct address *a)
{
	if (a->kind == ADDRESS_HYBRID)
		return "is how the host connects: the guest listens at vsock";
	if (a->kind == ADDRESS_UNIX)
		return a->path[0] == '/' ? NULL : "is no whole path: it begins with '/'";
	if (a->port == 0)
		return "has no port: the host has to know it";
	if (a->kind == ADDRESS_TCP)
		return is_ip(a->host) ? NULL : "has a name: the agent listens at an IP address, "
			"such as 0.0.0.0";
	return a->cid > ADDRESS_CID_HOST ? NULL : "is no CID of a guest's: say vsock:any";
}

/* What systemd would take for something else is none. */
int provision_agent_check_listen(const char *listen, bool token, struct err *err)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789.:_/@[]-";
	struct address address;
	const char *off;
	int rc = address_parse(listen, &address, err);

	if (rc < 0)
		return rc;
	off = what_is_off(&address);
	if (off)
		return err_set(err, -EINVAL, "'%s' %s", listen, off);
	if (listen[strspn(listen, plain)])
		return err_set(err, -EINVAL, "'%s' cannot be in a unit of systemd", listen);
	if (address.kind == ADDRESS_TCP && !token)
		return err_set(err, -EINVAL, "an agent that listens at TCP needs a token");
	return 0;
}

/* ---- ELF, of both sizes and both orders of bytes ---- */

#define ELF_HEAD 64u
#define ELF_IDENT 16
#define ELF_TYPE_EXEC 2
#define ELF_TYPE_DYN 3		/* also of a static program that is linked to go anywhere */
#define ELF_SEGMENT_INTERP 3
#define ELF_SEGMENTS_MAX 256u

struct elf {
	const unsigned char *data;
	size_t len;
	bool wide;		/* of 64 bits */
	bool big;		/* the first byte counts most */
	unsigned type;
	unsigned machine;
};

/* `n` bytes at `off`; 0 where it has none. */
static uint64_t number(const struct elf *e, uint64_t off, unsigned n)
{
	uint64_t ret = 0;

	if (off > e->len || n > e->len - off)
		return 0;
	for (unsigned i = 0; i < n; i++)
		ret = ret << 8 | e->data[off + (e->big ? i : n - 1 - i)];
	return ret;
}

/* Where 32 and 64 bits differ. */
static uint64_t field(const struct elf *e, uint64_t off, unsigned narrow, unsigned wide)
{
	return e->wide ? number(e, off + wide, 8) : number(e, off + narrow, 4);
}

static bool elf_init(struct elf *e, const void *data, size_t len)
{
	const unsigned char *ident = data;

	if (len < 52 || memcmp(ident, "\177ELF", 4) != 0 || ident[4] < 1 || ident[4] > 2 ||
	    ident[5] < 1 || ident[5] > 2)
		return false;
	*e = (struct elf){.data = data, .len = len, .wide = ident[4] == 2, .big = ident[5] == 2};
	e->type = (unsigned)number(e, ELF_IDENT, 2);
	e->machine = (unsigned)number(e, ELF_IDENT + 2, 2);
	return true;
}

/*
 * The path of the program that has to load it; "" if it needs none.  -EBADMSG: its segments are not
 * in the file.
 */
static int find_loader(const struct elf *e, char *ret, size_t size)
{
	uint64_t at = field(e, 0, 28, 32), len, off;
	unsigned each = (unsigned)number(e, e->wide ? 54 : 42, 2);
	unsigned n = (unsigned)number(e, e->wide ? 56 : 44, 2);

	*ret = '\0';
	if (n == 0 || n > ELF_SEGMENTS_MAX || each < (e->wide ? 56 : 32) || at > e->len ||
	    (uint64_t)each * n > e->len - at)
		return -EBADMSG;
	for (unsigned i = 0; i < n; i++, at += each) {
		if (number(e, at, 4) != ELF_SEGMENT_INTERP)
			continue;
		off = field(e, at, 4, 8);
		len = field(e, at, 16, 32);
		if (len < 2 || len > size || off > e->len || len > e->len - off)
			return -EBADMSG;
		memcpy(ret, e->data + off, len - 1);
		ret[len - 1] = '\0';
	}
	return 0;
}

static void name_machine(const struct elf *e, char out[32])
{
	static const struct {
		unsigned machine;
		const char *name;
	} names[] = {
		{3, "x86"}, {8, "MIPS"}, {20, "PowerPC"}, {21, "PowerPC64"}, {22, "S/390"},
		{40, "ARM"}, {62, "x86-64"}, {183, "AArch64"}, {243, "RISC-V"}, {258, "LoongArch"},
	};
	const char *bits = e->wide ? "64" : "32", *order = e->big ? ", big-endian" : "";

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].machine == e->machine) {
			(void)snprintf(out, 32, "%s", names[i].name);
			return;
		}
	(void)snprintf(out, 32, "machine %u, %s bits%s", e->machine, bits, order);
}

/* ---- the guest's ---- */

/* 1: `ret` is what the guest's programs are for; 0: it has none that tells. */
static int look_at_guest(int root, char head[ELF_HEAD], struct elf *ret)
{
	static const char *const programs[] = {
		"sbin/init", "usr/lib/systemd/systemd", "lib/systemd/systemd", "bin/sh",
		"usr/bin/sh", "usr/bin/env", "bin/busybox",
	};

	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++) {
		ssize_t n = provision_root_head(root, programs[i], head, ELF_HEAD);

		if (n > 0 && elf_init(ret, head, (size_t)n))
			return 1;
	}
	return 0;
}

static int check_machine(const struct elf *e, const char *name, int root, struct err *err)
{
	char head[ELF_HEAD], has[32], wants[32];
	struct elf guest;

	if (!look_at_guest(root, head, &guest) ||
	    (guest.machine == e->machine && guest.wide == e->wide && guest.big == e->big))
		return 0;
	name_machine(e, has);
	name_machine(&guest, wants);
	return err_set(err, -ENOEXEC, "'%s' is for another machine (%s) than the guest's programs "
		       "(%s)", name, has, wants);
}

static int check_loader(const struct elf *e, const char *name, int root, struct err *err)
{
	char loader[256], byte;

	if (find_loader(e, loader, sizeof(loader)) < 0)
		return err_set(err, -ENOEXEC, "'%s' is not whole: its segments are missing", name);
	if (!*loader || provision_root_head(root, loader, &byte, 1) == 1)
		return 0;
	return err_set(err, -ENOEXEC, "'%s' is linked with shared libraries, and the guest lacks "
		       "'%.128s': take a static one", name, loader);
}

/* It prints "Usage: lamina-agent [OPTION]...".  We have these words, too, but not side by side. */
static bool is_agent(const struct provision_data *program)
{
	static const char before[] = "Usage: ", name[] = "lamina-agent [OPTION]";
	const char *at = program->data, *end = at + program->len;

	while ((at = memmem(at, (size_t)(end - at), name, sizeof(name) - 1))) {
		if ((size_t)(at - program->data) >= sizeof(before) - 1 &&
		    !memcmp(at - (sizeof(before) - 1), before, sizeof(before) - 1))
			return true;
		at++;
	}
	return false;
}

int provision_agent_check_program(const struct provision_data *program, const char *name,
				  int root, struct err *err)
{
	struct elf elf;
	int rc;

	if (program->len == 0)
		return err_set(err, -ENOEXEC, "'%s' is empty: the agent is a program", name);
	if (!elf_init(&elf, program->data, program->len))
		return err_set(err, -ENOEXEC, "'%s' is no program of Linux%s", name,
			       !memcmp(program->data, "#!", 2) ? ", but a script" : "");
	if (elf.type != ELF_TYPE_EXEC && elf.type != ELF_TYPE_DYN)
		return err_set(err, -ENOEXEC, "'%s' is not linked to a program", name);
	rc = check_machine(&elf, name, root, err);
	if (rc == 0)
		rc = check_loader(&elf, name, root, err);
	if (rc == 0 && !is_agent(program))
		rc = err_set(err, -ENOEXEC, "'%s' is another program than lamina-agent", name);
	return rc;
}
