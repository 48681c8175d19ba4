/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A decision's record: refused, or exactly what encoding it again gives.  A
 * record made by a recipe (kind, lengths) is damaged in one place, so that what
 * lies behind the first fields is reached.
 */
#include <stdlib.h>
#include <string.h>

#include "store/decide.h"
#include "store/traces.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static uint32_t value_max(uint8_t kind)
{
	return kind == DECISION_TRACE ? TRACES_TEXT_MAX : META_MAX;
}

static int use(const uint8_t *data, size_t len)
{
	struct index_decision d = {.kind = 99};
	struct buf again = {0};
	struct rd rd;
	int rc;

	rd_init(&rd, data, len);
	rc = decide_decode(&rd, 1, &d);
	if (rc != 0) {
		if (rc != -EBADMSG || d.kind != 99)
			abort();
		return rc;
	}
	if (d.key_len > TAG_NAME_MAX || d.value_len > value_max(d.kind) || d.seq != 1)
		abort();
	decide_encode(&d, &again);
	if (again.len != len || memcmp(again.data, data, len) != 0)
		abort();
	buf_fini(&again);
	return 0;
}

static void use_recipe(const uint8_t *data)
{
	static const uint8_t zeros[256];
	/* No layer, delta 3, then an image. */
	static const uint8_t live[] = {
		[33] = 3, [41] = 1, [49] = 1, [50] = 4, [51] = 'd', [52] = 'i', [53] = 's',
		[54] = 'k',
	};
	static const char trace[] = "0123456789abcdef0123456789abcdef" "a-name.of-some_length";
	struct index_decision d = {.kind = 1 + data[0] % 5, .key = zeros, .key_len = DIGEST_LEN,
				   .value = zeros, .has_value = data[1] % 2};
	struct buf record = {0};

	if (d.kind == DECISION_TAG) {
		d.key = "a-tag.of-some_length";
		d.key_len = 1 + data[2] % 20;
	}
	if (d.kind == DECISION_TRACE) {
		d.key = trace;
		d.key_len = DIGEST_LEN + 1 + data[2] % 20;
	}
	if (d.kind == DECISION_LIVE) {
		d.key = "a-live-image";
		d.key_len = 1 + data[2] % 12;
		d.value = live;
	}
	if (d.has_value)
		d.value_len = d.kind == DECISION_TAG ? DIGEST_LEN :
			      d.kind == DECISION_LIVE ? sizeof(live) :
			      d.kind == DECISION_REMOVE ? 0 : data[3];
	decide_encode(&d, &record);
	if (buf_error(&record) < 0 || use(record.data, record.len) < 0)
		abort();
	record.data[data[4] % record.len] ^= data[5];
	(void)use(record.data, record.len);
	(void)use(record.data, data[6] % (record.len + 1));
	buf_fini(&record);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	(void)use(data, len);
	if (len >= 7)
		use_recipe(data);
	return 0;
}
