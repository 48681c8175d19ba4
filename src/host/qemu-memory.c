/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/host/qemu-memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A command of the monitor for people, which has no other one; its text. */
static int ask_text(struct qmp *q, const char *line, json_t **ret, struct err *err)
{
	json_t *answer;
	int rc = qmp_ask(q, "human-monitor-command", json_pack("{s:s}", "command-line", line),
			 &answer, err);

	if (rc < 0)
		return rc;
	if (!json_is_string(answer)) {
		json_decref(answer);
		return qmp_strange(q, line, err);
	}
	*ret = answer;
	return 0;
}

/* ---- the backend ---- */

static int take_backend(struct qmp *q, const json_t *list, struct qemu_memory *ret, struct err *err)
{
	json_int_t size;
	int shared;

	if (json_array_size(list) != 1)
		return err_set(err, -ENOTSUP, "the guest's memory has %zu backends in QEMU; "
			       "there has to be one", json_array_size(list));
	if (json_unpack(json_array_get(list, 0), "{s:I, s:b}", "size", &size, "share",
			&shared) < 0 || size <= 0)
		return qmp_strange(q, "query-memdev", err);
	ret->len = (uint64_t)size;
	ret->shared = shared;
	return 0;
}

static int find_backend(struct qmp *q, struct qemu_memory *ret, struct err *err)
{
	json_t *list;
	int rc = qmp_ask(q, "query-memdev", NULL, &list, err);

	if (rc < 0)
		return rc;
	rc = take_backend(q, list, ret, err);
	json_decref(list);
	return rc;
}

static int find_address(struct qmp *q, struct qemu_memory *ret, struct err *err)
{
	const char *form = "Host virtual address for 0x0 (%63[^)]) is 0x%" SCNx64;
	json_t *text;
	int rc = ask_text(q, "gpa2hva 0", &text, err);

	if (rc < 0)
		return rc;
	if (sscanf(json_string_value(text), form, ret->name, &ret->addr) != 2)
		rc = err_set(err, -ENOTSUP, "QEMU does not tell where the guest's memory lies: "
			     "%.200s", json_string_value(text));
	json_decref(text);
	return rc;
}

int qemu_memory_find(struct qmp *q, struct qemu_memory *ret, struct err *err)
{
	struct qemu_memory found = {0};
	int rc = find_backend(q, &found, err);

	if (rc >= 0)
		rc = find_address(q, &found, err);
	if (rc >= 0)
		*ret = found;
	return rc;
}

/* ---- other memory ---- */

/*
 * What every QEMU of this machine makes anew: firmware and ROMs, the tables that firmware reads
 * at the next reset, flash (its contents are a disk's).
 */
static bool is_made_anew(const char *name)
{
	static const char *const begins[] = {"/rom@", "pc.bios", "pc.rom", "isa-bios",
					     "system.flash", "bios"};
	size_t len = strlen(name);

	for (size_t i = 0; i < sizeof(begins) / sizeof(*begins); i++)
		if (!strncmp(name, begins[i], strlen(begins[i])))
			return true;
	return len > 4 && !strcmp(name + len - 4, ".rom");
}

/* "      pc.bios    4 KiB  0x0...": the name is what stands before the page's size, two numbers. */
static bool take_name(const char *line, char ret[QEMU_MEMORY_MAX_NAME])
{
	int end = 0;

	return sscanf(line, " %63s %*u %*[KMG]iB 0x%*x%n", ret, &end) == 1 && end > 0;
}

bool qemu_memory_parse(const char *blocks, const char *own, char ret[QEMU_MEMORY_MAX_NAME])
{
	const char *line = strchr(blocks, '\n');	/* behind the heading */
	char name[QEMU_MEMORY_MAX_NAME];

	for (; line && line[1]; line = strchr(line + 1, '\n')) {
		if (!take_name(line + 1, name) || !strcmp(name, own) || is_made_anew(name))
			continue;
		strcpy(ret, name);
		return false;
	}
	return true;
}

int qemu_memory_alone(struct qmp *q, const struct qemu_memory *memory, struct err *err)
{
	char lost[QEMU_MEMORY_MAX_NAME];
	json_t *text;
	int rc = ask_text(q, "info ramblock", &text, err);

	if (rc < 0)
		return rc;
	if (!qemu_memory_parse(json_string_value(text), memory->name, lost))
		rc = err_set(err, -ENOTSUP, "the guest's device has memory of its own, '%s', which "
			     "QEMU saves only where the guest's memory is shared (share=on)", lost);
	json_decref(text);
	return rc;
}
