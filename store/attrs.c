/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/attrs.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/fmt.h"
#include "store/base/vec.h"
#include "store/format.h"
#include "store/index.h"
#include "store/store.h"

#define KEY_MAX 64

void attrs_fini(struct attrs *a)
{
	if (!a)
		return;
	for (size_t i = 0; i < a->n; i++) {
		free(a->v[i].key);
		free(a->v[i].value);
	}
	vec_fini(a);
}

static bool key_char_ok(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

bool attrs_key_ok(const char *key)
{
	size_t len = 0;

	while (len <= KEY_MAX && key_char_ok(key[len]))
		len++;
	return len > 0 && len <= KEY_MAX && key[len] == '\0';
}

/* How many bytes after `first` a character has, and the smallest value it may have. */
static int utf8_tail(uint8_t first, uint32_t *ret_min)
{
	if (first >= 0xc2 && first <= 0xdf)
		return *ret_min = 0x80, 1;
	if (first >= 0xe0 && first <= 0xef)
		return *ret_min = 0x800, 2;
	if (first >= 0xf0 && first <= 0xf4)
		return *ret_min = 0x10000, 3;
	return -1;
}

/* The length of the character at `p`, or 0: overlong, a surrogate, no UTF-8. */
static size_t utf8_char(const uint8_t *p, size_t left)
{
	uint32_t min = 0, c;
	int tail;

	if (p[0] < 0x80)
		return p[0] != 0;
	tail = utf8_tail(p[0], &min);
	if (tail < 0 || left < (size_t)tail + 1)
		return 0;
	c = p[0] & (0x3f >> tail);
	for (int i = 1; i <= tail; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < min || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	return (size_t)tail + 1;
}

static bool value_ok(const char *value)
{
	size_t len = strlen(value), n;

	for (size_t at = 0; at < len; at += n) {
		n = utf8_char((const uint8_t *)value + at, len - at);
		if (n == 0)
			return false;
	}
	return true;
}

/* At least what attrs_encode() writes for a pair. */
static size_t weight(const char *key, const char *value)
{
	return 8 + strlen(key) + strlen(value);
}

static size_t weight_of_all(const struct attrs *a)
{
	size_t sum = 8;

	for (size_t i = 0; i < a->n; i++)
		sum += weight(a->v[i].key, a->v[i].value);
	return sum;
}

/* Where `key` is or belongs. */
static size_t find_place(const struct attrs *a, const char *key, bool *ret_there)
{
	size_t i = 0;
	int order = 1;

	while (i < a->n && (order = strcmp(a->v[i].key, key)) < 0)
		i++;
	*ret_there = i < a->n && order == 0;
	return i;
}

static int insert_at(struct attrs *a, size_t i, const char *key, char *value)
{
	struct attr attr = {.key = strdup(key), .value = value};

	if (!attr.key || vec_push(a, attr) < 0) {
		free(attr.key);
		return -ENOMEM;
	}
	memmove(&a->v[i + 1], &a->v[i], (a->n - 1 - i) * sizeof(a->v[0]));
	a->v[i] = attr;
	return 0;
}

int attrs_set(struct attrs *a, const char *key, const char *value)
{
	size_t i, sum;
	char *copy;
	bool there;

	if (!attrs_key_ok(key) || !value_ok(value))
		return -EINVAL;
	i = find_place(a, key, &there);
	sum = weight_of_all(a) + weight(key, value);
	if (sum - (there ? weight(key, a->v[i].value) : 0) > META_MAX)
		return -EINVAL;
	copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	if (!there && insert_at(a, i, key, copy) < 0) {
		free(copy);
		return -ENOMEM;
	}
	if (there) {
		free(a->v[i].value);
		a->v[i].value = copy;
	}
	return 0;
}

int attrs_set_u64(struct attrs *a, const char *key, unsigned long long value)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%llu", value);
	return attrs_set(a, key, text);
}

const char *attrs_get(const struct attrs *a, const char *key)
{
	bool there;
	size_t i = find_place(a, key, &there);

	return there ? a->v[i].value : NULL;
}

static void encode_text(const char *text, struct buf *out)
{
	buf_varint(out, strlen(text));
	buf_bytes(out, text, strlen(text));
}

void attrs_encode(const struct attrs *a, struct buf *out)
{
	buf_varint(out, a->n);
	for (size_t i = 0; i < a->n; i++) {
		encode_text(a->v[i].key, out);
		encode_text(a->v[i].value, out);
	}
}

/* A malloc'd text without a NUL in it. */
static int decode_text(struct rd *rd, size_t max, char **ret)
{
	size_t len = rd_varint_max(rd, max);
	const char *bytes = rd_bytes(rd, len);

	if (!bytes || !rd_ok(rd) || memchr(bytes, '\0', len))
		return -EBADMSG;
	*ret = strndup(bytes, len);
	return *ret ? 0 : -ENOMEM;
}

static int decode_one(struct rd *rd, struct attrs *a)
{
	struct attr attr = {0};
	int rc = decode_text(rd, KEY_MAX, &attr.key);

	if (rc == 0)
		rc = decode_text(rd, META_MAX, &attr.value);
	if (rc == 0 && (!attrs_key_ok(attr.key) || !value_ok(attr.value)))
		rc = -EBADMSG;
	if (rc == 0 && a->n && strcmp(a->v[a->n - 1].key, attr.key) >= 0)
		rc = -EBADMSG;
	if (rc == 0)
		rc = vec_push(a, attr);
	if (rc < 0) {
		free(attr.key);
		free(attr.value);
	}
	return rc;
}

int attrs_decode(struct attrs *a, struct rd *rd)
{
	struct attrs fresh = {0};
	uint64_t n = rd_varint_max(rd, META_MAX);
	int rc = rd_ok(rd) ? 0 : -EBADMSG;

	for (uint64_t i = 0; i < n && rc == 0; i++)
		rc = decode_one(rd, &fresh);
	if (rc == 0 && weight_of_all(&fresh) > META_MAX)
		rc = -EBADMSG;
	if (rc < 0) {
		attrs_fini(&fresh);
		return rc;
	}
	*a = fresh;
	return 0;
}

struct loading {
	const struct digest *id;
	struct attrs attrs;
	struct err *err;
};

static int from_row(void *ctx, const struct index_decision *d)
{
	struct loading *l = ctx;
	char name[13];
	struct rd rd;
	int rc;

	if (!d->has_value)
		return 0;
	rd_init(&rd, d->value, d->value_len);
	rc = attrs_decode(&l->attrs, &rd);
	if (rc == 0 && !rd_done(&rd))
		rc = -EBADMSG;
	if (rc < 0)
		return err_set(l->err, rc, "the attributes of layer %s %s",
			       fmt_hex(name, l->id->b, 6),
			       rc == -ENOMEM ? "do not fit into memory" : "are damaged");
	return 0;
}

int attrs_load(struct store *store, const struct digest *id, struct attrs *ret, struct err *err)
{
	struct loading l = {.id = id, .err = err};
	struct index_decision what = {.kind = DECISION_ATTRS, .key = id->b, .key_len = DIGEST_LEN};
	int rc = index_decision_get(store->index, &what, from_row, &l, err);

	if (rc < 0 && rc != -ENOENT) {
		attrs_fini(&l.attrs);
		return rc;
	}
	*ret = l.attrs;
	return 0;
}
