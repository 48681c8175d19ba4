/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A trace: refused with a sentence, or one that is written as a text which is
 * read back as the same, counts right and is merged with itself to itself.  A
 * text made by a recipe is damaged in one place, so that what lies behind the
 * first line is reached.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_same(const struct trace *a, const struct trace *b)
{
	if (a->page_size != b->page_size || a->size != b->size || a->npages != b->npages ||
	    a->n != b->n || (a->n && memcmp(a->v, b->v, a->n * sizeof(a->v[0])) != 0))
		abort();
}

static void check_back(const struct trace *t)
{
	struct buf text = {0};
	struct trace back = {0};

	if (trace_format(t, &text) < 0 ||
	    trace_parse((const char *)text.data, text.len, &back, NULL) < 0)
		abort();
	check_same(t, &back);
	trace_fini(&back);
	buf_fini(&text);
}

static void check_merged(const struct trace *t)
{
	struct trace twice[2] = {*t, *t}, merged = {0};

	if (t->npages > 1 << 16)
		return;
	if (trace_merge(twice, 2, &merged, NULL) < 0)
		abort();
	check_same(t, &merged);
	trace_fini(&merged);
}

static int use(const char *text, size_t len)
{
	struct trace t = {0};
	struct err err = {""};
	uint64_t frames;
	int rc = trace_parse(text, len, &t, &err);

	if (rc < 0) {
		if (t.v || t.n || !*err.text)
			abort();
		return rc;
	}
	if (t.npages > TRACE_PAGES_MAX || t.n > TRACE_RUNS_MAX || trace_frames(&t, &frames) < 0 ||
	    frames > t.npages)
		abort();
	check_back(&t);
	check_merged(&t);
	trace_fini(&t);
	return 0;
}

/* Runs that do not overlap, in an order that the input says. */
static void use_recipe(const uint8_t *data, size_t len)
{
	struct trace t;
	struct buf text = {0};

	trace_init(&t, data[0] % 2 ? 4096 : 2 << 20, 1 + (uint64_t)data[1] * (64 << 20));
	for (size_t i = 5; i < len && i < 40; i++)
		(void)trace_add(&t, (i * 37 % 64) * 8 + data[i] % 4, 1 + data[i] / 4 % 4);
	if (trace_format(&t, &text) < 0 || use((const char *)text.data, text.len) < 0)
		abort();
	text.data[(data[2] | data[3] << 8) % text.len] ^= data[4];
	(void)use((const char *)text.data, text.len);
	(void)use((const char *)text.data, (data[2] | data[3] << 8) % (text.len + 1));
	buf_fini(&text);
	trace_fini(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	(void)use((const char *)data, len);
	if (len >= 5)
		use_recipe(data, len);
	return 0;
}
