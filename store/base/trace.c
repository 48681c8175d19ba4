/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/base/trace.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/io.h"
#include "store/base/vec.h"

#define VERSION 1
#define LINE_MAX_LEN 96		/* of a line that we write */

void trace_init(struct trace *t, uint32_t page_size, uint64_t size)
{
	*t = (struct trace){.page_size = page_size, .size = size};
}

void trace_fini(struct trace *t)
{
	if (t)
		vec_fini(t);
}

static uint64_t pages_of_memfile(const struct trace *t)
{
	return (t->size + t->page_size - 1) / t->page_size;
}

int trace_add(struct trace *t, uint64_t first, uint64_t count)
{
	uint64_t total = pages_of_memfile(t);
	struct trace_run run = {first, count}, *last = t->n ? &t->v[t->n - 1] : NULL;
	bool joined = last && last->first + last->count == first;

	if (count == 0 || first >= total || count > total - first)
		return -EINVAL;
	if (count > TRACE_PAGES_MAX - t->npages || (!joined && t->n == TRACE_RUNS_MAX))
		return -ENOSPC;
	if (joined)
		last->count += count;
	else if (vec_push(t, run) < 0)
		return -ENOMEM;
	t->npages += count;
	return 0;
}

/* ---- text ---- */

struct text {
	const char *p;
	const char *end;
	size_t line;
	struct err *err;
};

static bool take(struct text *t, const char *word)
{
	size_t len = strlen(word);

	if ((size_t)(t->end - t->p) < len || memcmp(t->p, word, len) != 0)
		return false;
	t->p += len;
	t->line += word[len - 1] == '\n';
	return true;
}

/* Decimal, as trace_format() writes it: no sign, no leading zero. */
static bool take_number(struct text *t, uint64_t *ret)
{
	const char *begin = t->p;
	uint64_t v = 0;

	for (; t->p < t->end && *t->p >= '0' && *t->p <= '9'; t->p++)
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*t->p - '0'), &v))
			return false;
	if (t->p == begin || (*begin == '0' && t->p - begin > 1))
		return false;
	*ret = v;
	return true;
}

static int bad_line(const struct text *t, const char *want)
{
	if (t->p == t->end)
		return err_set(t->err, -EBADMSG, "it was cut short in line %zu", t->line);
	return err_set(t->err, -EBADMSG, "line %zu is not %s", t->line, want);
}

static int parse_version(struct text *t)
{
	uint64_t version;

	if (!take(t, "lamina-trace "))
		return err_set(t->err, -EMEDIUMTYPE, "it is no trace");
	if (!take_number(t, &version) || version == 0)
		return bad_line(t, "'lamina-trace VERSION ...'");
	if (version > VERSION)
		return err_set(t->err, -EPROTONOSUPPORT, "it was written by a newer lamina "
			       "(version %" PRIu64 " of the format)", version);
	return 0;
}

static int parse_head(struct text *t, struct trace *trace)
{
	uint64_t page_size = 0, size = 0;
	int rc = parse_version(t);

	if (rc < 0)
		return rc;
	if (!take(t, " page-size ") || !take_number(t, &page_size) || !take(t, " size ") ||
	    !take_number(t, &size) || !take(t, "\n"))
		return bad_line(t, "'lamina-trace 1 page-size BYTES size BYTES'");
	if (page_size != 4096 && page_size != 2 << 20)
		return err_set(t->err, -EBADMSG, "line 1: a page has 4096 or 2097152 bytes, not %"
			       PRIu64, page_size);
	if (size == 0 || size > TRACE_SIZE_MAX)
		return err_set(t->err, -EBADMSG, "line 1: no memfile has %" PRIu64 " bytes", size);
	trace_init(trace, (uint32_t)page_size, size);
	return 0;
}

static int parse_run(struct text *t, struct trace *trace)
{
	uint64_t first = 0, count = 0;
	int rc;

	if (!take_number(t, &first) || !take(t, " ") || !take_number(t, &count) ||
	    t->p == t->end || *t->p != '\n')
		return bad_line(t, "'FIRST COUNT' or 'end PAGES'");
	rc = trace_add(trace, first, count);
	if (rc == -EINVAL)
		return err_set(t->err, -EBADMSG, "line %zu: the memfile has no such pages",
			       t->line);
	if (rc == -ENOSPC)
		return err_set(t->err, -EFBIG, "line %zu: it has more than %u pages or %u runs",
			       t->line, TRACE_PAGES_MAX, TRACE_RUNS_MAX);
	if (rc < 0)
		return err_set(t->err, rc, "out of memory");
	(void)take(t, "\n");
	return 0;
}

static int parse_end(struct text *t, const struct trace *trace)
{
	uint64_t n = 0;

	if (!take_number(t, &n) || t->p == t->end || *t->p != '\n')
		return bad_line(t, "'end PAGES'");
	if (n != trace->npages)
		return err_set(t->err, -EBADMSG, "its last line promises %" PRIu64
			       " pages, but there are %" PRIu64, n, trace->npages);
	(void)take(t, "\n");
	if (t->p != t->end)
		return err_set(t->err, -EBADMSG, "there is something behind its last line");
	return 0;
}

static int by_first(const void *a, const void *b)
{
	const struct trace_run *x = a, *y = b;

	return (x->first > y->first) - (x->first < y->first);
}

/* A copy of the runs by page, malloc'd; NULL without memory. */
static struct trace_run *sort(const struct trace *t)
{
	struct trace_run *sorted = malloc((t->n + 1) * sizeof(*sorted));

	if (sorted && t->n) {
		memcpy(sorted, t->v, t->n * sizeof(*sorted));
		qsort(sorted, t->n, sizeof(*sorted), by_first);
	}
	return sorted;
}

static int check_unique(const struct trace *trace, struct err *err)
{
	struct trace_run *sorted = sort(trace);
	int rc = 0;

	if (!sorted)
		return err_set(err, -ENOMEM, "out of memory");
	for (size_t i = 1; i < trace->n && rc == 0; i++)
		if (sorted[i].first < sorted[i - 1].first + sorted[i - 1].count)
			rc = err_set(err, -EBADMSG, "page %" PRIu64 " is in it twice",
				     sorted[i].first);
	free(sorted);
	return rc;
}

static int parse(struct text *t, struct trace *trace)
{
	int rc = parse_head(t, trace);

	while (rc == 0 && !take(t, "end "))
		rc = parse_run(t, trace);
	if (rc == 0)
		rc = parse_end(t, trace);
	return rc < 0 ? rc : check_unique(trace, t->err);
}

int trace_parse(const char *text, size_t len, struct trace *ret, struct err *err)
{
	struct text t = {.p = text, .end = text + len, .line = 1, .err = err};
	struct trace trace = {0};
	int rc;

	if (len > TRACE_TEXT_MAX)
		return err_set(err, -EFBIG, "it has more than %u bytes", TRACE_TEXT_MAX);
	rc = parse(&t, &trace);
	if (rc < 0) {
		trace_fini(&trace);
		return rc;
	}
	*ret = trace;
	return 0;
}

int trace_load(const char *path, struct trace *ret, struct err *err)
{
	char *text;
	size_t len;
	int rc = io_read_regular(AT_FDCWD, path, TRACE_TEXT_MAX, &text, &len);

	if (rc == -EFBIG)
		return err_set(err, rc, "trace '%s' has more than %u bytes", path, TRACE_TEXT_MAX);
	if (rc == -EMEDIUMTYPE)
		return err_set(err, rc, "trace '%s' is not a regular file", path);
	if (rc < 0)
		return err_sys(err, rc, "cannot read trace '%s'", path);
	rc = trace_parse(text, len, ret, err);
	free(text);
	return rc < 0 ? err_wrap(err, rc, "trace '%s'", path) : 0;
}

static void put_line(struct buf *out, const char *line, int len)
{
	buf_bytes(out, line, (size_t)len);
}

int trace_format(const struct trace *t, struct buf *out)
{
	char line[LINE_MAX_LEN];

	put_line(out, line, snprintf(line, sizeof(line),
				     "lamina-trace %d page-size %" PRIu32 " size %" PRIu64 "\n",
				     VERSION, t->page_size, t->size));
	for (size_t i = 0; i < t->n; i++)
		put_line(out, line, snprintf(line, sizeof(line), "%" PRIu64 " %" PRIu64 "\n",
					     t->v[i].first, t->v[i].count));
	put_line(out, line, snprintf(line, sizeof(line), "end %" PRIu64 "\n", t->npages));
	return buf_error(out);
}

int trace_frames(const struct trace *t, uint64_t *ret)
{
	struct trace_run *sorted = sort(t);
	uint64_t n = 0, next = 0;	/* next: the first frame that is not counted yet */

	if (!sorted)
		return -ENOMEM;
	for (size_t i = 0; i < t->n; i++) {
		uint64_t first = sorted[i].first * t->page_size / TRACE_FRAME_SIZE;
		uint64_t last = (sorted[i].first + sorted[i].count - 1) * t->page_size /
				TRACE_FRAME_SIZE;

		first = first < next ? next : first;
		if (last >= first)
			n += last - first + 1;
		next = last >= next ? last + 1 : next;
	}
	free(sorted);
	*ret = n;
	return 0;
}

/* ---- several as one ---- */

/* A page, in how many traces it is, and the sum of its ranks in these. */
struct seen {
	uint64_t page;
	uint64_t sum;
	uint64_t n;
};

static int by_page(const void *a, const void *b)
{
	const struct seen *x = a, *y = b;

	return (x->page > y->page) - (x->page < y->page);
}

/* Sums are below 2^30 and counts below 2^7: the products fit. */
static int by_mean_rank(const void *a, const void *b)
{
	const struct seen *x = a, *y = b;
	uint64_t left = x->sum * y->n, right = y->sum * x->n;

	if (left != right)
		return left > right ? 1 : -1;
	return by_page(a, b);
}

static int check_mergeable(const struct trace *v, size_t n, uint64_t *ret_pages, struct err *err)
{
	uint64_t pages = 0;

	if (n == 0 || n > TRACE_MERGE_MAX)
		return err_set(err, -EINVAL, "1 to %u traces can be merged at once, not %zu",
			       TRACE_MERGE_MAX, n);
	for (size_t i = 0; i < n; i++) {
		pages += v[i].npages;
		if (v[i].page_size != v[0].page_size)
			return err_set(err, -EINVAL, "the traces are not of one page size (%"
				       PRIu32 " and %" PRIu32 " bytes)", v[0].page_size,
				       v[i].page_size);
		if (v[i].size != v[0].size)
			return err_set(err, -EINVAL, "the traces are not of one memfile (%"
				       PRIu64 " and %" PRIu64 " bytes)", v[0].size, v[i].size);
	}
	if (pages > TRACE_MERGE_PAGES_MAX)
		return err_set(err, -EINVAL, "the traces have %" PRIu64
			       " pages together: more than %u are not merged", pages,
			       TRACE_MERGE_PAGES_MAX);
	*ret_pages = pages;
	return 0;
}

static struct seen *list_pages(struct seen *out, const struct trace *t)
{
	uint64_t rank = 0;

	for (size_t i = 0; i < t->n; i++)
		for (uint64_t k = 0; k < t->v[i].count; k++)
			*out++ = (struct seen){t->v[i].first + k, rank++, 1};
	return out;
}

/* One entry a page, of those that at least half of `ntraces` have; returns how many. */
static size_t fold(struct seen *v, size_t n, size_t ntraces)
{
	size_t kept = 0;

	for (size_t i = 0, next; i < n; i = next) {
		struct seen one = v[i];

		for (next = i + 1; next < n && v[next].page == one.page; next++) {
			one.sum += v[next].sum;
			one.n++;
		}
		if (2 * one.n >= ntraces)
			v[kept++] = one;
	}
	return kept;
}

static int add_all(struct trace *t, const struct seen *v, size_t n, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; i < n && rc == 0; i++)
		rc = trace_add(t, v[i].page, 1);
	if (rc == -ENOMEM)
		return err_set(err, rc, "out of memory");
	return 0;
}

int trace_merge(const struct trace *v, size_t n, struct trace *ret, struct err *err)
{
	struct trace merged = {0};
	struct seen *seen, *end;
	uint64_t pages = 0;
	int rc = check_mergeable(v, n, &pages, err);

	if (rc < 0)
		return rc;
	seen = end = malloc((pages + 1) * sizeof(*seen));
	if (!seen)
		return err_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < n; i++)
		end = list_pages(end, &v[i]);
	qsort(seen, pages, sizeof(*seen), by_page);
	pages = fold(seen, pages, n);
	qsort(seen, pages, sizeof(*seen), by_mean_rank);
	trace_init(&merged, v[0].page_size, v[0].size);
	rc = add_all(&merged, seen, pages, err);
	free(seen);
	if (rc < 0) {
		trace_fini(&merged);
		return rc;
	}
	*ret = merged;
	return 0;
}
