/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A decision's record in a pack. */
#include "store/decide.h"

#include <string.h>

#include "store/append.h"
#include "store/live-row.h"
#include "store/traces.h"

void decide_encode(const struct index_decision *d, struct buf *out)
{
	buf_u8(out, d->kind);
	buf_varint(out, d->key_len);
	buf_bytes(out, d->key, d->key_len);
	buf_u8(out, d->has_value);
	buf_varint(out, d->has_value ? d->value_len : 0);
	buf_bytes(out, d->value, d->has_value ? d->value_len : 0);
}

static bool tag_key_ok(const struct index_decision *d)
{
	char name[TAG_NAME_MAX + 1];

	memcpy(name, d->key, d->key_len);
	name[d->key_len] = '\0';
	return strlen(name) == d->key_len && decide_tag_name_ok(name);
}

static bool live_ok(const struct index_decision *d)
{
	struct live_row row;

	return d->has_value ? live_row_decode(d, &row) == 0 : tag_key_ok(d);
}

static bool is_well_formed(const struct index_decision *d)
{
	switch (d->kind) {
	case DECISION_TAG:
		return tag_key_ok(d) && d->value_len == (d->has_value ? DIGEST_LEN : 0);
	case DECISION_REMOVE:
		return d->key_len == DIGEST_LEN && d->value_len == 0;
	case DECISION_ATTRS:
		return d->key_len == DIGEST_LEN;
	case DECISION_TRACE:
		return traces_key_ok(d->key, d->key_len);
	case DECISION_LIVE:
		return live_ok(d);
	default:
		return false;
	}
}

static uint32_t value_max(uint8_t kind)
{
	return kind == DECISION_TRACE ? TRACES_TEXT_MAX : META_MAX;
}

int decide_decode(struct rd *rd, uint64_t seq, struct index_decision *ret)
{
	struct index_decision d = {.seq = seq, .kind = rd_u8(rd)};
	uint8_t has_value;

	d.key_len = (uint32_t)rd_varint_max(rd, TAG_NAME_MAX);
	d.key = rd_bytes(rd, d.key_len);
	has_value = rd_u8(rd);
	d.has_value = has_value != 0;
	d.value_len = (uint32_t)rd_varint_max(rd, has_value ? value_max(d.kind) : 0);
	d.value = rd_bytes(rd, d.value_len);
	if (!rd_done(rd) || has_value > 1 || !is_well_formed(&d))
		return -EBADMSG;
	*ret = d;
	return 0;
}

int decide_append(struct append *a, struct index_decision *d, struct err *err)
{
	struct record r = {.type = RECORD_DECISION, .codec = CODEC_NONE};
	struct buf payload = {0};
	uint32_t pack;
	int rc;

	decide_encode(d, &payload);
	rc = buf_error(&payload);
	if (rc < 0) {
		buf_fini(&payload);
		return err_set(err, rc, "out of memory");
	}
	r.id = append_seq(a);
	r.len = (uint32_t)payload.len;
	rc = append_record(a, &r, payload.data, &pack, err);
	buf_fini(&payload);
	if (rc < 0)
		return rc;
	d->seq = r.id;
	d->pack = d->opack = pack;
	return 0;
}
