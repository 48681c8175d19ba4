/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/tags.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/buf.h"
#include "store/base/vec.h"
#include "store/decide.h"

static int add(void *ctx, const char *name, const struct digest *id)
{
	struct tags *tags = ctx;
	struct tags_entry entry = {*id, strdup(name)};

	if (entry.name && vec_push(tags, entry) == 0)
		return 0;
	free(entry.name);
	return -ENOMEM;
}

static int order(const void *a, const void *b)
{
	const struct tags_entry *x = a, *y = b;
	int rc = memcmp(&x->id, &y->id, sizeof(x->id));

	return rc ? rc : strcmp(x->name, y->name);
}

int tags_load(struct store *store, struct tags *ret, struct err *err)
{
	struct tags tags = {0};
	int rc = decide_tag_each(store, add, &tags, err);

	if (rc < 0) {
		tags_fini(&tags);
		return rc == -ENOMEM ? err_set(err, rc, "cannot list tags: out of memory") : rc;
	}
	if (tags.n)
		qsort(tags.v, tags.n, sizeof(*tags.v), order);
	*ret = tags;
	return 0;
}

void tags_fini(struct tags *tags)
{
	for (size_t i = 0; i < tags->n; i++)
		free(tags->v[i].name);
	vec_fini(tags);
}

const struct tags_entry *tags_of(const struct tags *tags, const struct digest *id, size_t *ret_n)
{
	size_t lo = 0, hi = tags->n, mid, n = 0;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		if (memcmp(&tags->v[mid].id, id, sizeof(*id)) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	while (lo + n < tags->n && digest_equal(&tags->v[lo + n].id, id))
		n++;
	*ret_n = n;
	return n ? &tags->v[lo] : NULL;
}

json_t *tags_json(const struct tags *tags, const struct digest *id)
{
	json_t *list = json_array();
	size_t n;
	const struct tags_entry *e = tags_of(tags, id, &n);

	for (size_t i = 0; list && i < n; i++) {
		if (json_array_append_new(list, json_string(e[i].name)) == 0)
			continue;
		json_decref(list);
		return NULL;
	}
	return list;
}

char *tags_text(const struct tags *tags, const struct digest *id)
{
	struct buf text = {0};
	size_t n;
	const struct tags_entry *e = tags_of(tags, id, &n);

	for (size_t i = 0; i < n; i++) {
		buf_bytes(&text, ", ", i ? 2 : 0);
		buf_bytes(&text, e[i].name, strlen(e[i].name));
	}
	buf_u8(&text, '\0');
	if (buf_error(&text) == 0)
		return (char *)text.data;
	buf_fini(&text);
	return NULL;
}
