/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Kills the commit of a live image at every point: the layer is there and the row on it, or
 * neither, and then the commit that comes next makes the same layer of what waits.
 */
#include "store/delta.h"
#include "store/live-commit.h"
#include "store/live-row.h"
#include "store/live.h"
#include "tests/crash/crash.h"

#define NAME "vm"
#define UPTO 3

static struct series_layer child;	/* what the live image is */
static struct err err;

static void write_page(struct delta *d, uint64_t page, uint32_t content)
{
	uint8_t bytes[PAGE_SIZE];

	series_page(content, bytes);
	series_must(delta_write(d, bytes, page, 1, &err), &err, "delta_write");
}

static int open_dir(const struct series *s, unsigned seq, bool make)
{
	char path[PATH_MAX + 32];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/live/" NAME "/%u", s->path, seq);
	if (make && mkdir(path, 0700) < 0)
		bail("cannot make '%s'", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		bail("cannot open '%s'", path);
	return fd;
}

static struct delta *get_delta(const struct series *s, int dirfd, const char *image, unsigned seq)
{
	struct delta_place place = {s->store, dirfd, image, seq};
	uint64_t size = strcmp(image, "memfile") ? SERIES_DISK_PAGES : SERIES_PAGES;
	struct delta *d = NULL;

	series_must(seq == 1 ? delta_open(&place, 0, &d, &err) :
		    delta_create(&place, size * PAGE_SIZE, &d, &err), &err, "a delta");
	return d;
}

static void put_delta(struct delta *d)
{
	series_must(delta_sync(d, &err), &err, "delta_sync");
	delta_unref(d);
}

/* In each sequence number some pages, and in every second one a few zeros. */
static void write_seq(struct series *s, unsigned seq)
{
	int dirfd = open_dir(s, seq, seq > 1);
	struct delta *mem = get_delta(s, dirfd, "memfile", seq);
	struct delta *disk = get_delta(s, dirfd, "rootfs", seq);

	for (unsigned i = 0; i < 30 && seq < UPTO; i++) {
		uint64_t page = series_random(s, SERIES_PAGES);

		child.mem[page] = seq * 10000 + i;
		write_page(mem, page, child.mem[page]);
	}
	for (unsigned i = 0; i < 5 && seq < UPTO; i++) {
		child.disk[i * seq] = seq * 20000 + i;
		write_page(disk, i * seq, child.disk[i * seq]);
	}
	if (seq == 2) {
		series_must(delta_zero(mem, 100, 50, &err), &err, "delta_zero");
		memset(&child.mem[100], 0, 50 * sizeof(child.mem[0]));
	}
	put_delta(mem);
	put_delta(disk);
	close(dirfd);
}

/* On the fourth layer of the store. */
static void make_live(struct ops *o)
{
	struct series *s = &o->base;

	series_open(s);
	child = s->layer[3];
	series_must(live_create(s->store,
		&(const struct live_new){.name = NAME, .from = &child.id},
		0, &err), &err,
		    "live_create");
	for (unsigned seq = 1; seq <= UPTO; seq++)
		write_seq(s, seq);
	store_close(s->store);
	s->store = NULL;
}

static int commit_once(struct ops *o, struct err *e)
{
	struct live_commit_opts opts = {.name = NAME, .upto = UPTO, .tag = "vm", .threads = 1};
	struct commit_result result;
	int rc = store_open(o->run.path, NULL, &o->run.store, e);

	if (rc < 0)
		return rc;
	rc = live_commit(o->run.store, &opts, &result, NULL, e);
	store_close(o->run.store);
	if (rc == 0)
		child.id = result.id;
	return rc;
}

/* Layer, row and tag: 1 all have moved, 0 none, -1 some. */
static int moved(struct ops *o)
{
	struct live_row row;
	struct digest tag;
	int n = 0;

	series_must(live_row_get(o->run.store, NAME, &row, &err), &err, "live_row_get");
	n += row.first == UPTO && digest_equal(&row.base, &child.id);
	n += ops_is_shown(o, &child.id);
	n += decide_tag_find(o->run.store, "vm", &tag, NULL) == 0;
	if (n == 0 && (row.first != 1 || !digest_equal(&row.base, &o->base.layer[3].id)))
		return -1;
	return n == 3 ? 1 : n == 0 ? 0 : -1;
}

static const char *look(struct ops *o, bool there)
{
	const char *wrong;
	int got;

	series_open(&o->run);
	got = moved(o);
	if (got > 0)
		o->run.layer[o->run.n++] = child;
	wrong = got < 0 || (there && !got) ? "layer, row and tag are not of one mind" : ops_look(o);
	store_close(o->run.store);
	return wrong;
}

static const char *check(struct ops *o)
{
	struct digest id = child.id;
	const char *wrong = look(o, false);
	int rc;

	if (wrong)
		return wrong;
	rc = commit_once(o, &err);
	if (rc != (o->run.n > o->base.n ? -EALREADY : 0))
		return err.text;
	o->run.n = o->base.n;
	if (!digest_equal(&id, &child.id))
		return "the next commit makes another layer";
	return look(o, true);
}

static void kill_at_every(struct ops *o, int action, const char *how)
{
	const struct op op = {"live commit", commit_once};
	unsigned long n, tried = 0, step = ops_step();
	const char *wrong = NULL;

	for (n = 1; n < CRASH_CALLS_MAX && !wrong; n += step) {
		ops_fresh(o);
		if (!crash_run(o, &op, n, action))
			break;
		wrong = check(o);
		tried++;
	}
	ok(!wrong && tried > 3, "killed %s each of %lu calls that change the disk", how, tried);
	if (wrong)
		tap_diag("at call %lu: %s", n - step, wrong);
}

int main(void)
{
	static struct ops o;

	ops_init(&o, tap_seed(0x6c697665));
	make_live(&o);
	/* Its name, from a commit that nothing hurts. */
	ops_fresh(&o);
	series_must(commit_once(&o, &err), &err, "live commit");
	ok(!look(&o, true), "it can be committed");
	kill_at_every(&o, FAULT_KILL, "before");
	kill_at_every(&o, FAULT_TORN, "in the middle of");
	return tap_done();
}
