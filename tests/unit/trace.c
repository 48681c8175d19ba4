/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/base/trace.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "tests/fault.h"
#include "tests/tap.h"

#define HEAD "lamina-trace 1 page-size 4096 size 1048576\n"	/* 256 pages */

static struct err err;

static int parse(const char *text, struct trace *ret)
{
	return trace_parse(text, strlen(text), ret, &err);
}

static struct trace parsed(const char *text)
{
	struct trace t = {0};

	if (parse(text, &t) < 0)
		bail("cannot parse '%s': %s", text, err.text);
	return t;
}

/* In one of a few rotating buffers. */
static const char *text_of(const struct trace *t)
{
	static char texts[4][4096];
	static unsigned next;
	char *out = texts[next++ % 4];
	struct buf b = {0};

	if (trace_format(t, &b) < 0 || b.len >= sizeof(texts[0]))
		bail("cannot format a trace");
	memcpy(out, b.data, b.len);
	out[b.len] = '\0';
	buf_fini(&b);
	return out;
}

/* ---- adding ---- */

static void test_add(void)
{
	struct trace t;

	trace_init(&t, 4096, 5 * 4096 + 1);
	is_int(trace_add(&t, 3, 2), 0, "two pages");
	is_int(trace_add(&t, 5, 1), 0, "the part of a page at the end is one");
	is_int(trace_add(&t, 0, 1), 0, "and one before");
	is_int(t.npages, 4, "are four pages");
	is_int(t.n, 2, "in two runs");
	is_int(trace_add(&t, 6, 1), -EINVAL, "a page behind the end");
	is_int(trace_add(&t, 4, 3), -EINVAL, "a run across it");
	is_int(trace_add(&t, 1, UINT64_MAX), -EINVAL, "a run without an end");
	is_int(trace_add(&t, 1, 0), -EINVAL, "and one of nothing");
	is_int(t.npages, 4, "were not added");
	is_str(text_of(&t), "lamina-trace 1 page-size 4096 size 20481\n3 3\n0 1\nend 4\n",
	       "as text");
	trace_fini(&t);
	trace_fini(&t);
	trace_fini(NULL);
}

static void test_limits(void)
{
	struct trace t;
	int rc = 0;

	trace_init(&t, 4096, TRACE_SIZE_MAX);
	is_int(trace_add(&t, 0, TRACE_PAGES_MAX), 0, "as many pages as a trace may have");
	is_int(trace_add(&t, TRACE_PAGES_MAX, 1), -ENOSPC, "are all");
	trace_fini(&t);
	trace_init(&t, 4096, TRACE_SIZE_MAX);
	for (uint64_t i = 0; i < TRACE_RUNS_MAX && rc == 0; i++)
		rc = trace_add(&t, TRACE_SIZE_MAX / 4096 - 1 - 2 * i, 1);
	is_int(rc, 0, "as many runs");
	is_int(trace_add(&t, 0, 1), -ENOSPC, "too");
	is_int(trace_add(&t, t.v[t.n - 1].first + 1, 1), 0, "but the last can grow");
	trace_fini(&t);
}

/* As many runs as there may be, with the longest numbers, fit into the longest text. */
static void test_longest(void)
{
	struct trace t, back = {0};
	struct buf b = {0};

	trace_init(&t, 4096, TRACE_SIZE_MAX);
	for (uint64_t i = 0; i < TRACE_RUNS_MAX; i++)
		if (trace_add(&t, TRACE_SIZE_MAX / 4096 - 8 - 8 * i, 7) < 0)
			bail("cannot add run %llu", (unsigned long long)i);
	is_int(trace_format(&t, &b), 0, "the longest trace");
	ok(b.len + 8 * (size_t)TRACE_RUNS_MAX <= TRACE_TEXT_MAX, "has a text within the limit");
	is_int(trace_parse((char *)b.data, b.len, &back, &err), 0, "and is read back");
	is_int(back.npages, 7 * TRACE_RUNS_MAX, "whole");
	trace_fini(&back);
	trace_fini(&t);
	buf_fini(&b);
}

/* ---- text ---- */

static void test_parse(void)
{
	struct trace t = parsed(HEAD "5 3\n200 1\n201 2\n0 5\nend 11\n");

	is_int(t.page_size, 4096, "page size");
	is_int(t.size, 1 << 20, "size of the memfile");
	is_int(t.npages, 11, "pages");
	if (ok(t.n == 3, "runs that go on are one")) {
		is_int(t.v[0].first, 5, "in their order");
		is_int(t.v[1].first, 200, "not that of the pages");
		is_int(t.v[1].count, 3, "with their counts");
	}
	is_str(text_of(&t), HEAD "5 3\n200 3\n0 5\nend 11\n", "and back");
	trace_fini(&t);
	t = parsed("lamina-trace 1 page-size 2097152 size 281474976710656\nend 0\n");
	is_int(t.npages, 0, "no page at all is a trace");
	is_int(t.page_size, 2 << 20, "of large pages");
	trace_fini(&t);
}

static void test_malformed(void)
{
	static const struct {
		const char *text;
		int rc;
		const char *sentence;
	} bad[] = {
		{"", -EMEDIUMTYPE, "it is no trace"},
		{"hello\n", -EMEDIUMTYPE, "it is no trace"},
		{"lamina-trace 2 something\n", -EPROTONOSUPPORT,
		 "it was written by a newer lamina (version 2 of the format)"},
		{"lamina-trace 0 page-size 4096 size 1\nend 0\n", -EBADMSG,
		 "line 1 is not 'lamina-trace VERSION ...'"},
		{"lamina-trace 1", -EBADMSG, "it was cut short in line 1"},
		{"lamina-trace 1 page-size 8192 size 8192\nend 0\n", -EBADMSG,
		 "line 1: a page has 4096 or 2097152 bytes, not 8192"},
		{"lamina-trace 1 page-size 4096 size 0\nend 0\n", -EBADMSG,
		 "line 1: no memfile has 0 bytes"},
		{"lamina-trace 1 page-size 4096 size 281474976710657\nend 0\n", -EBADMSG,
		 "line 1: no memfile has 281474976710657 bytes"},
		{"lamina-trace 1 page-size 4096 size 18446744073709551616\nend 0\n", -EBADMSG,
		 "line 1 is not 'lamina-trace 1 page-size BYTES size BYTES'"},
		{"lamina-trace 1 page-size 4096  size 4096\nend 0\n", -EBADMSG,
		 "line 1 is not 'lamina-trace 1 page-size BYTES size BYTES'"},
		{HEAD, -EBADMSG, "it was cut short in line 2"},
		{HEAD "1 1\n", -EBADMSG, "it was cut short in line 3"},
		{HEAD "1 1\n2", -EBADMSG, "it was cut short in line 3"},
		{HEAD "1 1\nend 1", -EBADMSG, "it was cut short in line 3"},
		{HEAD "1 1\nend 2\n", -EBADMSG, "its last line promises 2 pages, but there are 1"},
		{HEAD "1 1\nend 1\n\n", -EBADMSG, "there is something behind its last line"},
		{HEAD "1 1\nend 1 \n", -EBADMSG, "line 3 is not 'end PAGES'"},
		{HEAD "1 1\n-3 1\nend 2\n", -EBADMSG, "line 3 is not 'FIRST COUNT' or 'end PAGES'"},
		{HEAD "01 1\nend 1\n", -EBADMSG, "line 2 is not 'FIRST COUNT' or 'end PAGES'"},
		{HEAD "1 1\r\nend 1\n", -EBADMSG, "line 2 is not 'FIRST COUNT' or 'end PAGES'"},
		{HEAD "1\nend 1\n", -EBADMSG, "line 2 is not 'FIRST COUNT' or 'end PAGES'"},
		{HEAD "256 1\nend 1\n", -EBADMSG, "line 2: the memfile has no such pages"},
		{HEAD "0 0\nend 0\n", -EBADMSG, "line 2: the memfile has no such pages"},
		{HEAD "5 1\n7 2\n4 2\nend 5\n", -EBADMSG, "page 5 is in it twice"},
		{"lamina-trace 1 page-size 4096 size 281474976710656\n0 16777217\nend 16777217\n",
		 -EFBIG, "line 2: it has more than 16777216 pages or 2097152 runs"},
	};
	struct trace t = {.size = 77};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		is_err(parse(bad[i].text, &t), &err, bad[i].rc, "%s", bad[i].sentence);
	is_int(t.size, 77, "the output is untouched each time");
	is_err(trace_parse(HEAD "\0end 0\n", sizeof(HEAD) + 6, &t, &err), &err, -EBADMSG,
	       "line 2 is not 'FIRST COUNT' or 'end PAGES'");
}

static void test_cut(void)
{
	static const char text[] = HEAD "5 3\n200 10\nend 13\n";
	struct trace t = {0};
	unsigned wrong = 0;

	for (size_t n = 0; n < sizeof(text) - 1; n++)
		wrong += trace_parse(text, n, &t, &err) == 0;
	is_int(wrong, 0, "a trace is noticed that was cut anywhere");
}

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	if (!f || fputs(text, f) < 0 || fclose(f) != 0)
		bail("cannot write '%s'", path);
}

static void test_load(void)
{
	const char *path = tap_path("t");
	struct trace t = {0};

	is_err(trace_load(path, &t, &err), &err, -ENOENT,
	       "cannot read trace '%s': No such file or directory", path);
	is_err(trace_load("/dev/zero", &t, &err), &err, -EMEDIUMTYPE,
	       "trace '/dev/zero' is not a regular file");
	if (mkfifo(path, 0600) < 0)
		bail("no FIFO");
	alarm(20);
	is_err(trace_load(path, &t, &err), &err, -EMEDIUMTYPE,
	       "trace '%s' is not a regular file", path);
	alarm(0);
	if (unlink(path) < 0)
		bail("a FIFO stays");
	write_file(path, HEAD "1 2\nend 2\n");
	is_int(trace_load(path, &t, &err), 0, "a file");
	is_int(t.npages, 2, "is read");
	trace_fini(&t);
	write_file(path, HEAD "1 2\n");
	is_err(trace_load(path, &t, &err), &err, -EBADMSG,
	       "trace '%s': it was cut short in line 3", path);
	if (truncate(path, TRACE_TEXT_MAX + 1L) < 0)
		bail("cannot make a long file");
	is_err(trace_load(path, &t, &err), &err, -EFBIG, "trace '%s' has more than 67108864 bytes",
	       path);
}

static uint64_t frames(const char *text)
{
	struct trace t = parsed(text);
	uint64_t n = UINT64_MAX;

	is_int(trace_frames(&t, &n), 0, "frames are counted");
	trace_fini(&t);
	return n;
}

static void test_frames(void)
{
	is_int(frames("lamina-trace 1 page-size 4096 size 33554432\nend 0\n"), 0, "none");
	is_int(frames("lamina-trace 1 page-size 4096 size 33554432\n"
		      "1023 2\n0 1\n511 1\n1030 1\n513 1\nend 6\n"), 3, "each once");
	is_int(frames("lamina-trace 1 page-size 4096 size 33554432\n"
		      "100 2000\n0 100\nend 2100\n"), 5, "long runs");
	is_int(frames("lamina-trace 1 page-size 2097152 size 33554432\n"
		      "5 2\n0 1\nend 3\n"), 3, "a large page is one");
}

/* ---- merging ---- */

#define MERGE_MAX 4

/* What becomes of texts, or the sentence. */
static const char *merge(const char *const *texts, size_t n)
{
	struct trace v[MERGE_MAX] = {0}, t = {0};
	const char *ret = err.text;

	for (size_t i = 0; i < n; i++)
		v[i] = parsed(texts[i]);
	if (trace_merge(v, n, &t, &err) == 0)
		ret = text_of(&t);
	for (size_t i = 0; i < n; i++)
		trace_fini(&v[i]);
	trace_fini(&t);
	return ret;
}

#define MERGED(...)							\
	merge((const char *const[]){__VA_ARGS__},			\
	      sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static void test_merge(void)
{
	is_str(MERGED(HEAD "7 2\n0 1\nend 3\n"), HEAD "7 2\n0 1\nend 3\n", "one is itself");
	is_str(MERGED(HEAD "7 2\nend 2\n", HEAD "3 1\nend 1\n"), HEAD "3 1\n7 2\nend 3\n",
	       "one of two is half: ties by page");
	is_str(MERGED(HEAD "9 1\n5 1\n1 1\nend 3\n", HEAD "9 1\n1 1\n5 1\nend 3\n",
		      HEAD "9 1\n1 1\n7 1\nend 3\n"), HEAD "9 1\n1 1\n5 1\nend 3\n",
	       "by mean rank; one of three is too few");
	is_str(MERGED(HEAD "8 1\n9 1\nend 2\n", HEAD "20 5\n9 1\nend 6\n", HEAD "end 0\n",
		      HEAD "8 1\nend 1\n"), HEAD "8 2\nend 2\n",
	       "a mean counts those traces only in which the page is");
	is_str(MERGED(HEAD "end 0\n", HEAD "end 0\n"), HEAD "end 0\n", "nothing is nothing");
	is_str(MERGED(HEAD "1 1\nend 1\n", "lamina-trace 1 page-size 4096 size 1048577\nend 0\n"),
	       "the traces are not of one memfile (1048576 and 1048577 bytes)", "sizes differ");
	is_str(MERGED(HEAD "1 1\nend 1\n",
		      "lamina-trace 1 page-size 2097152 size 1048576\nend 0\n"),
	       "the traces are not of one page size (4096 and 2097152 bytes)", "page sizes differ");
}

static void test_merge_limits(void)
{
	struct trace v[TRACE_MERGE_MAX + 1], t = {0};
	uint64_t step = TRACE_PAGES_MAX + 1;

	for (size_t i = 0; i <= TRACE_MERGE_MAX; i++) {
		trace_init(&v[i], 4096, TRACE_SIZE_MAX);
		if (i < 3 && trace_add(&v[i], i * step, TRACE_PAGES_MAX) < 0)
			bail("cannot add pages");
	}
	is_err(trace_merge(v, 0, &t, &err), &err, -EINVAL,
	       "1 to 64 traces can be merged at once, not 0");
	is_err(trace_merge(v, TRACE_MERGE_MAX + 1, &t, &err), &err, -EINVAL,
	       "1 to 64 traces can be merged at once, not 65");
	is_err(trace_merge(v, 3, &t, &err), &err, -EINVAL, "the traces have 50331648 pages "
	       "together: more than 33554432 are not merged");
	for (size_t i = 0; i <= TRACE_MERGE_MAX; i++)
		trace_fini(&v[i]);
}

/* Two traces of more pages together than one may have: the end is left out. */
static void test_merge_full(void)
{
	struct trace v[2], t = {0};
	uint64_t half = TRACE_PAGES_MAX / 4 * 3, i = 0;

	for (size_t k = 0; k < 2; k++) {
		trace_init(&v[k], 4096, TRACE_SIZE_MAX);
		if (trace_add(&v[k], k * half, half) < 0)
			bail("cannot add pages");
	}
	/* Their pages alternate: the limit of runs is met first. */
	is_int(trace_merge(v, 2, &t, &err), 0, "too much for one");
	while (i < t.n && t.v[i].first == (i % 2) * half + i / 2)
		i++;
	is_int(i, TRACE_RUNS_MAX, "is as much as fits, from the beginning");
	trace_fini(&t);
	trace_fini(&v[0]);
	trace_fini(&v[1]);
}

static void test_no_memory(void)
{
	struct trace a = parsed(HEAD "9 1\n1 1\nend 2\n"), t = {0};
	uint64_t n;

	fault_arm(FAULT_MALLOC, 1, ENOMEM);
	is_int(trace_frames(&a, &n), -ENOMEM, "no memory to count");
	for (unsigned long i = 1; i <= 2; i++) {
		fault_arm(FAULT_MALLOC, i, ENOMEM);
		is_err(parse(HEAD "9 1\n1 1\nend 2\n", &t), &err, -ENOMEM, "out of memory");
		fault_arm(FAULT_MALLOC, i, ENOMEM);
		is_err(trace_merge(&a, 1, &t, &err), &err, -ENOMEM, "out of memory");
	}
	fault_disarm();
	ok(!t.v && t.n == 0, "the outputs are untouched");
	trace_fini(&a);
}

int main(void)
{
	test_add();
	test_limits();
	test_longest();
	test_parse();
	test_malformed();
	test_cut();
	test_load();
	test_frames();
	test_merge();
	test_merge_limits();
	test_merge_full();
	test_no_memory();
	return tap_done();
}
