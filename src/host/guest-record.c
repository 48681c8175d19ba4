/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/host/guest-record.h"

#include <limits.h>
#include <stdbool.h>
#include <string.h>

#include "src/host/guest.h"
#include "src/host/hyper.h"
#include "store/live-row.h"

#define ADDRESS_MAX 320u
#define LAYER_MAX 128u	/* characters of an id */
#define WORD_MAX 63u

static const struct {
	const char *name;
	json_type type;
	size_t max;		/* bytes of a text */
} members[] = {
	{"name", JSON_STRING, GUEST_NAME_MAX}, {"hypervisor", JSON_STRING, WORD_MAX},
	{"socket", JSON_STRING, PATH_MAX}, {"chroot", JSON_STRING, PATH_MAX},
	{"agent", JSON_STRING, ADDRESS_MAX}, {"agent_token_file", JSON_STRING, PATH_MAX},
	{"live", JSON_STRING, GUEST_NAME_MAX}, {"mount", JSON_STRING, PATH_MAX},
	{"layer", JSON_STRING, LAYER_MAX}, {"session", JSON_STRING, GUEST_NAME_MAX},
	{"pager", JSON_STRING, PATH_MAX}, {"backend", JSON_STRING, WORD_MAX},
	{"pid", JSON_INTEGER, 0}, {"pid_start", JSON_INTEGER, 0}, {"command", JSON_ARRAY, 0},
	{"cwd", JSON_STRING, PATH_MAX}, {"log", JSON_STRING, PATH_MAX},
	{"no_trace", JSON_TRUE, 0}, {"created", JSON_INTEGER, 0},
	{"pausing", JSON_TRUE, 0}, {"memory", JSON_OBJECT, 0},
};

static bool is_of(const json_t *value, json_type type)
{
	if (!value || json_is_null(value))
		return true;
	if (type == JSON_TRUE)
		return json_is_boolean(value);
	return json_typeof(value) == type;
}

static bool are_texts(const json_t *array)
{
	const json_t *item;
	size_t i;

	json_array_foreach(array, i, item)
		if (!json_is_string(item))
			return false;
	return true;
}

static int check_member(const char *name, const json_t *record, size_t i, struct err *err)
{
	const json_t *value = json_object_get(record, members[i].name);

	if (!is_of(value, members[i].type))
		return err_set(err, -EBADMSG, "the record of guest '%s' has a '%s' of the wrong "
			       "type", name, members[i].name);
	if (json_is_string(value) && json_string_length(value) > members[i].max)
		return err_set(err, -EBADMSG, "the record of guest '%s' has a '%s' that is too "
			       "long: at most %zu bytes", name, members[i].name, members[i].max);
	return 0;
}

static bool is_among(const char *const *words, const char *word)
{
	for (; *words; words++)
		if (!strcmp(*words, word))
			return true;
	return false;
}

/* What is looked for or opened by it must not be elsewhere. */
static int check_words(const char *name, const json_t *record, struct err *err)
{
	static const char *const backends[] = {"uffd", "file", NULL};
	const char *hypervisor = guest_text(record, "hypervisor");
	const char *backend = guest_text(record, "backend");
	const char *live = guest_text(record, "live");

	if (hypervisor && !is_among(hyper_names, hypervisor))
		return err_set(err, -EBADMSG, "the record of guest '%s' has a 'hypervisor' that is "
			       "neither firecracker nor qemu: '%s'", name, hypervisor);
	if (backend && !is_among(backends, backend))
		return err_set(err, -EBADMSG, "the record of guest '%s' has a 'backend' that is "
			       "neither uffd nor file: '%s'", name, backend);
	if (live && !live_row_name_ok(live))
		return err_set(err, -EBADMSG, "the record of guest '%s' has a 'live' that is no "
			       "name for a live image: '%s'", name, live);
	return 0;
}

int guest_record_check(const char *name, const json_t *record, struct err *err)
{
	const char *own = guest_text(record, "name");
	int rc = 0;

	if (!json_is_object(record))
		return err_set(err, -EBADMSG, "the record of guest '%s' is no JSON object", name);
	for (size_t i = 0; rc == 0 && i < sizeof(members) / sizeof(members[0]); i++)
		rc = check_member(name, record, i, err);
	if (rc < 0)
		return rc;
	if (!are_texts(json_object_get(record, "command")))
		return err_set(err, -EBADMSG, "the record of guest '%s' has a 'command' that is "
			       "not of texts", name);
	if (!own)
		return err_set(err, -EBADMSG, "the record of guest '%s' does not say whose it is: "
			       "it has no 'name'", name);
	if (strcmp(own, name) != 0)
		return err_set(err, -EBADMSG, "the record of guest '%s' is another one's: '%s'",
			       name, own);
	return check_words(name, record, err);
}

int guest_record_decode(const char *name, const char *text, size_t len, json_t **ret,
			struct err *err)
{
	json_error_t why;
	json_t *record = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
	int rc;

	if (!record)
		return err_set(err, -EBADMSG, "the record of guest '%s' is damaged: %s", name,
			       why.text);
	rc = guest_record_check(name, record, err);
	if (rc < 0)
		json_decref(record);
	else
		*ret = record;
	return rc;
}
