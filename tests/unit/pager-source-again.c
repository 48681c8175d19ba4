/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A source whose path is opened again (src/pager/source.h). */
#include <pthread.h>
#include <stdatomic.h>

#include "tests/unit/source-fixture.h"

static void move(const char *from, const char *to)
{
	if (rename(from, to) < 0)
		bail("cannot rename '%s'", from);
}

static void test_replaced(void)
{
	const char *path = make("now", 8 * PAGE, 1);
	struct source *s = open_source(path);
	unsigned before = descriptors();
	struct err err = {""};

	if (link(path, tap_path("kept")) < 0)
		bail("cannot link");
	ok(!source_is_other(s, &err), "it is the file that it was");
	move(make("next", 8 * PAGE, 101), path);
	is_err(source_reopen(s, &err), &err, -EMEDIUMTYPE, "'%s' is another file now", path);
	is_int(source_read(s, buf, PAGE, 0), 0, "a file that was replaced is still read");
	is_int(buf[0], 1, "as it was");
	ok(source_is_other(s, &err), "it is told");
	is_err(-EMEDIUMTYPE, &err, -EMEDIUMTYPE,
	       "'%s' is another file now, of which nothing is taken", path);
	(void)source_reopen(s, &err);
	ok(!source_is_other(s, &err), "once");

	move(tap_path("kept"), path);
	is_int(source_reopen(s, &err), 0, "the old one is there again: it is opened");
	is_int(source_read(s, buf, PAGE, PAGE), 0, "and read");
	is_int(buf[0], 2, "as ever");
	is_int(source_try(s, buf, PAGE, PAGE), 0, "at once, too");
	is_int(descriptors(), before, "with as many descriptors");
	cut(path, 8 * PAGE + 1);
	is_err(source_reopen(s, &err), &err, -EMEDIUMTYPE,
	       "'%s' has 32769 bytes now, and had 32768", path);
	ok(!source_is_other(s, &err), "which is no other file");
	unlink(path);
	is_err(source_reopen(s, &err), &err, -ENOENT,
	       "cannot open '%s': No such file or directory", path);
	is_int(source_read(s, buf, PAGE, PAGE), 0, "what was open is read");
	is_int(buf[0], 2, "as before");
	make("now", 8 * PAGE, 101);
	(void)source_reopen(s, &err);
	ok(source_is_other(s, &err), "another file is told again");
	is_int(descriptors(), before, "no descriptor is left");
	source_close(s);
}

/* What a link leads to is decided once. */
static void test_linked(void)
{
	const char *first = make("first", 8 * PAGE, 1), *link = tap_path("tag");
	struct err err = {""};
	struct source *s;

	make("second", 8 * PAGE, 101);
	if (symlink("first", link) < 0)
		bail("cannot link");
	s = open_source(link);
	is_str(source_path(s), first, "the path without links");
	if (unlink(link) < 0 || symlink("second", link) < 0)
		bail("cannot link");
	is_int(source_reopen(s, &err), 0, "the link is another one: it is opened again");
	is_int(source_read(s, buf, PAGE, 0), 0, "and read");
	is_int(buf[0], 1, "the same file");
	source_close(s);
}

static int reopen_later(const char *path, uint64_t size, struct source_id id)
{
	struct source *s = NULL;
	struct err err = {""};
	int rc;

	if (source_open_later(path, size, &id, &s, &err) < 0)
		bail("%s", err.text);
	rc = source_reopen(s, &err);
	if (rc == 0 && source_read(s, buf, PAGE, 0) < 0)
		rc = -EIO;
	source_close(s);
	return rc;
}

static void test_identity(void)
{
	const char *path = make("one", 8 * PAGE, 1);
	struct source *s = open_source(path);
	struct source_id was = *source_id(s), id = was;

	source_close(s);
	is_int(reopen_later(path, 8 * PAGE, id), 0, "the same file");
	id.mtime_ns++;
	is_int(reopen_later(path, 8 * PAGE, id), 0, "written to since");
	id.dev++;
	is_int(reopen_later(path, 8 * PAGE, id), -EMEDIUMTYPE,
	       "on another device with another mtime it is another one");
	id.mtime_ns--;
	is_int(reopen_later(path, 8 * PAGE, id), 0, "with the same one it is mounted again");
	id.birth_ns++;
	is_int(reopen_later(path, 8 * PAGE, id), 0, "which may not know its birth");
	is_int(reopen_later(path, 9 * PAGE, id), -EMEDIUMTYPE, "and has the same size");
	id = was;
	id.birth_ns++;
	is_int(reopen_later(path, 8 * PAGE, id), -EMEDIUMTYPE,
	       "on the same device another birth is another file");
	id = was;
	id.ino++;
	is_int(reopen_later(path, 8 * PAGE, id), -EMEDIUMTYPE, "and so is another inode");
}

/* A new worker's: whether it is the same file is not known before it is opened. */
static void test_later(void)
{
	const char *path = make("late", 8 * PAGE, 1);
	struct source *s = open_source(path);
	struct source_id id = *source_id(s);
	struct err err = {""};
	bool hole;
	uint64_t len;

	source_close(s);
	move(make("other", 8 * PAGE, 101), path);
	if (source_open_later(path, 8 * PAGE, &id, &s, &err) < 0)
		bail("%s", err.text);
	is_int(source_read(s, buf, PAGE, 0), -ENOTCONN, "it is absent: nothing is read");
	is_int(source_reopen(s, &err), -EMEDIUMTYPE, "another file is there");
	is_int(source_read(s, buf, PAGE, 0), -EMEDIUMTYPE, "which is not read");
	is_int(source_run(s, 0, PAGE, &hole, &len), -EMEDIUMTYPE, "nor for holes");
	is_str(source_strerror(-EMEDIUMTYPE), "another file is there now", "in words");
	source_close(s);
}

struct readers {
	struct source *source;
	_Atomic bool end;
	_Atomic unsigned bad, good;
};

static void *read_on(void *arg)
{
	struct readers *r = arg;
	uint8_t page[2 * PAGE];

	for (unsigned i = 0; !r->end; i++) {
		int rc = i & 1 ? source_try(r->source, page, 2 * PAGE, PAGE)
			       : source_read(r->source, page, 2 * PAGE, PAGE);

		if (rc == -EAGAIN)
			continue;
		if (rc < 0 || page[0] != 2 || page[2 * PAGE - 1] != 3)
			r->bad++;
		else
			r->good++;
	}
	return NULL;
}

static void test_reopened_under_reads(void)
{
	const char *path = make("busy", 8 * PAGE, 1);
	struct readers r = {.source = open_source(path)};
	struct err err = {""};
	unsigned failed = 0;
	pthread_t t[2];

	for (unsigned i = 0; i < 2; i++)
		if (pthread_create(&t[i], NULL, read_on, &r) != 0)
			bail("no thread");
	for (unsigned i = 0; i < 300 || r.good < 300; i++)
		failed += source_reopen(r.source, &err) < 0;
	r.end = true;
	for (unsigned i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	is_int(failed, 0, "each time it is opened again");
	is_int(r.bad, 0, "and no read fails");
	source_close(r.source);
}

int main(void)
{
	test_replaced();
	test_linked();
	test_identity();
	test_later();
	test_reopened_under_reads();
	return tap_done();
}
