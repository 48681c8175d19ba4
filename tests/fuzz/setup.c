/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What POST /sessions asks for: refused with a sentence that can be sent back as
 * JSON; or taken, and then it is the same after it was written and read again.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "src/pager/setup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_refused(const struct err *err)
{
	json_t *sentence = json_string(err->text);

	if (!*err->text || !sentence)
		abort();
	json_decref(sentence);
}

static void check_taken(const struct setup *setup)
{
	struct setup again;
	struct err err;
	json_t *json = setup_to_json(setup), *same;

	if (!json || setup_from_json(json, "/elsewhere", &again, &err) < 0)
		abort();
	same = setup_to_json(&again);
	if (!json_equal(json, same) || strcmp(setup->id, again.id) != 0 ||
	    strcmp(setup->socket, again.socket) != 0 || setup->nholds != again.nholds)
		abort();
	json_decref(same);
	json_decref(json);
	setup_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	json_t *json = json_loadb((const char *)data, len, JSON_REJECT_DUPLICATES, NULL);
	struct err err = {""};
	struct setup setup;

	if (!json)
		return 0;
	if (setup_from_json(json, "/run/pager", &setup, &err) < 0) {
		check_refused(&err);
	} else {
		check_taken(&setup);
		setup_fini(&setup);
	}
	json_decref(json);
	return 0;
}
