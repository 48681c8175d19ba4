/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/host/fc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_VERSION_PART 9999
#define MAX_MEMORY_MIB (INT64_C(1) << 32)	/* 4 PiB */
#define ONE_SLOT (UINT64_C(3) << 30)		/* behind that x86 has a hole */
#define HINTING_DONE 1				/* of host_cmd: 0 and 1 are no run */

/* Up to four digits, and `end` behind them ('\0': whatever); or -1. */
static int take_number(const char **text, char end)
{
	int number = 0;
	const char *at = *text;

	for (; *at >= '0' && *at <= '9' && number <= MAX_VERSION_PART; at++)
		number = number * 10 + (*at - '0');
	if (at == *text || (end && *at != end) || number > MAX_VERSION_PART)
		return -1;
	*text = at + 1;
	return number;
}

int fc_parse_version(const char *text, struct fc_version *ret)
{
	struct fc_version version;

	if (*text == 'v')
		text++;
	version.major = take_number(&text, '.');
	if (version.major < 0)
		return -EBADMSG;
	version.minor = take_number(&text, '.');
	if (version.minor < 0)
		return -EBADMSG;
	version.patch = take_number(&text, '\0');
	if (version.patch < 0)
		version.patch = 0;
	*ret = version;
	return 0;
}

bool fc_since(const struct fc_version *version, int major, int minor)
{
	return version->major > major || (version->major == major && version->minor >= minor);
}

static enum hyper_state state_of(const char *text)
{
	static const struct {
		const char *text;
		enum hyper_state state;
	} known[] = {
		{"Not started", HYPER_NEW},
		{"Running", HYPER_RUNNING},
		{"Paused", HYPER_PAUSED},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (!strcmp(text, known[i].text))
			return known[i].state;
	return HYPER_OTHER;
}

int fc_parse_instance(const json_t *json, struct hyper_facts *ret)
{
	const char *app = json_string_value(json_object_get(json, "app_name"));
	const char *state = json_string_value(json_object_get(json, "state"));
	const char *version = json_string_value(json_object_get(json, "vmm_version"));
	struct fc_version numbers;

	if (!app || strcmp(app, "Firecracker") != 0 || !state || !version)
		return -EBADMSG;
	if (strlen(version) >= sizeof(ret->version) || fc_parse_version(version, &numbers) < 0)
		return -EBADMSG;
	strcpy(ret->version, version);
	ret->state = state_of(state);
	return 0;
}

static int take_mib(const json_t *json, uint64_t *ret)
{
	json_int_t mib = json_integer_value(json);

	if (!json_is_integer(json) || mib < 0 || mib > MAX_MEMORY_MIB)
		return -EBADMSG;
	*ret = (uint64_t)mib << 20;
	return 0;
}

/* What can be plugged in counts as memory of a snapshot, plugged or not. */
int fc_parse_memory(const json_t *json, struct fc_memory *ret)
{
	const json_t *machine = json_object_get(json, "machine-config");
	const json_t *more = json_object_get(json_object_get(json, "memory-hotplug"),
					     "total_size_mib");
	uint64_t size, plugged = 0;

	if (take_mib(json_object_get(machine, "mem_size_mib"), &size) < 0 || size == 0)
		return -EBADMSG;
	if (more && !json_is_null(more) && take_mib(more, &plugged) < 0)
		return -EBADMSG;
	*ret = (struct fc_memory){
		.size = size + plugged,
		.tracked = json_is_true(json_object_get(machine, "track_dirty_pages")),
		.slots = plugged > 0 || size > ONE_SLOT,
	};
	return 0;
}

static bool misplaces_slots(const struct fc_version *version)
{
	return version->major == 1 && version->minor == 14 && version->patch < 2;
}

bool fc_can_diff(const struct fc_version *version, const struct fc_memory *memory)
{
	return memory->tracked && fc_since(version, 1, 9) &&
	       !(memory->slots && misplaces_slots(version));
}

/*
 * The host's command is the number of a run (2 and up) until the guest has said that it has no
 * more, which is acknowledged for us.  What the guest said last may be of the run before.
 */
int fc_parse_hinting(const json_t *json)
{
	const json_t *command = json_object_get(json, "host_cmd");

	if (!json_is_integer(command) || json_integer_value(command) < 0)
		return -EBADMSG;
	return json_integer_value(command) <= HINTING_DONE;
}
