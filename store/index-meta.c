/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "store/base/fmt.h"
#include "store/index-private.h"

static int64_t sum_of(const char *name, const char *value)
{
	struct index_sum sum;

	index_sum_init(&sum, 'm');
	index_sum_bytes(&sum, name, strlen(name) + 1);
	return index_sum_end(&sum, value, strlen(value));
}

static const char *text_col(struct index_query *q, int column)
{
	const unsigned char *text = q->rc < 0 ? NULL : sqlite3_column_text(q->stmt, column);

	return text ? (const char *)text : "";
}

/* The value of a row (name, value, crc). */
static const char *row_value(struct index_query *q)
{
	const char *name = text_col(q, 0), *value = text_col(q, 1);

	if ((int64_t)index_query_col(q, 2) != sum_of(name, value))
		index_query_damaged(q, "the checksum of parameter '%.64s' differs", name);
	return value;
}

static void check(struct index_query *q)
{
	(void)row_value(q);
}

const struct index_table index_meta_table = {"SELECT name, value, crc FROM meta", check};

int index_meta_get(struct index *ix, const char *name, char *out, size_t size, struct err *err)
{
	struct index_query q;
	const char *value;
	bool found;
	int rc;

	index_query_begin(&q, ix, INDEX_META_GET,
			  "SELECT name, value, crc FROM meta WHERE name = ?");
	index_query_text(&q, name);
	found = index_query_step(&q);
	if (found) {
		value = row_value(&q);
		if (q.rc == 0 && strlen(value) >= size)
			index_query_damaged(&q, "the value of '%s' is too long", name);
		if (q.rc == 0)
			memcpy(out, value, strlen(value) + 1);
	}
	rc = index_query_end(&q, err);
	if (rc == 0 && !found)
		return err_set(err, -ENOENT, "index '%s' has no parameter '%s'", ix->path, name);
	return rc;
}

int index_meta_set(struct index *ix, const char *name, const char *value, struct err *err)
{
	struct index_query q;

	index_query_begin(&q, ix, INDEX_META_SET,
			  "INSERT OR REPLACE INTO meta(name, value, crc) VALUES (?, ?, ?)");
	index_query_text(&q, name);
	index_query_text(&q, value);
	index_query_u64(&q, (uint64_t)sum_of(name, value));
	return index_query_run(&q, err);
}

int index_meta_get_u64(struct index *ix, const char *name, uint64_t *ret, struct err *err)
{
	char text[32];
	int rc = index_meta_get(ix, name, text, sizeof(text), err);

	if (rc == 0 && fmt_parse_u64(text, ret) < 0)
		return err_set(err, -EBADMSG, "index '%s' is damaged: '%s' is not a number: '%s'",
			       ix->path, name, text);
	return rc;
}

int index_meta_set_u64(struct index *ix, const char *name, uint64_t value, struct err *err)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	return index_meta_set(ix, name, text, err);
}
