/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/live.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

#include "store/lease.h"
#include "tests/fault.h"
#include "tests/lives.h"

#define MIB (UINT64_C(1) << 20)
#define UNNAMED ".new"
#define OLD "; the index may be older than what was written, and 'lamina recover' mends that"

static struct lives l;
static struct err err;
static struct lives_image *const mem = &l.of[0], *const disk = &l.of[1];

static bool is_there(const char *name)
{
	char path[PATH_MAX + 64];

	(void)snprintf(path, sizeof(path), "%s/live/guest/%s", l.s.path, name);
	return access(path, F_OK) == 0;
}

static void make_dir(const char *name)
{
	char path[PATH_MAX + 64];

	(void)snprintf(path, sizeof(path), "%s/live/guest/%s", l.s.path, name);
	if (mkdir(path, 0700) < 0)
		bail("mkdir: %s", strerror(errno));
}

static void move(const char *from, const char *to)
{
	char paths[2][PATH_MAX + 64];

	(void)snprintf(paths[0], sizeof(paths[0]), "%s/live/guest/%s", l.s.path, from);
	(void)snprintf(paths[1], sizeof(paths[1]), "%s/live/guest/%s", l.s.path, to);
	if (rename(paths[0], paths[1]) < 0)
		bail("rename: %s", strerror(errno));
}

static bool copies(const struct lives_image *of, uint64_t off, size_t len)
{
	struct live_data data;
	bool copied;

	series_must(live_read(of->image, off, len, &data, &err), &err, "live_read");
	copied = data.buf;
	live_release(of->image, &data);
	return copied;
}

static void test_open(void)
{
	struct live *other;
	int rc;

	ok(strcmp(live_row_of(l.live)->name, "guest") == 0 && live_row_of(l.live)->nimages == 2,
	   "it has its name and images");
	ok(!live_find(l.live, "state"), "and no others");
	rc = live_open(l.s.store, "nobody", &other, &err);
	is_int(rc, -ENOENT, "one that nobody made is not there: %s", err.text);
	rc = live_open(l.s.store, "guest", &other, &err);
	is_err(rc, &err, -EBUSY, "live image 'guest' is in use by pid %d", (int)getpid());
	l.s.store->read_only = true;
	rc = live_open(l.s.store, "guest", &other, &err);
	l.s.store->read_only = false;
	is_err(rc, &err, -EROFS, "live image 'guest': the store cannot be written to");
}

static void test_below(void)
{
	lives_ok(&l, "it is the layer");
	ok(!copies(mem, 3, MIB), "which is read without a copy");
	ok(!lives_check_read(mem, mem->size - 5, 100), "up to its end");
	ok(!lives_check_read(mem, mem->size, 100), "and not further");
	ok(!lives_check_read(mem, UINT64_MAX - 5, 100), "nor very far behind it");
}

static void test_write(void)
{
	lives_fill(mem, 0, PAGE_SIZE, 100);
	lives_fill(mem, 5 * PAGE_SIZE, 3 * PAGE_SIZE, 200);
	lives_ok(&l, "whole pages are written");
	lives_fill(mem, 9 * PAGE_SIZE + 100, 50, 300);
	lives_fill(mem, 9 * PAGE_SIZE + 120, 50, 301);
	lives_ok(&l, "a part of a page, twice");
	lives_fill(mem, 20 * PAGE_SIZE - 7, 2 * PAGE_SIZE + 14, 400);
	lives_ok(&l, "pages with parts before and behind");
	lives_fill(mem, FRAME_SIZE - 5000, 10000, 500);
	lives_ok(&l, "over the border of two frames");
	lives_fill(mem, 100, 0, 1);
	ok(copies(mem, 0, PAGE_SIZE) && !copies(mem, 100 * PAGE_SIZE, 100 * PAGE_SIZE),
	   "where nothing was written there is still no copy");
	ok(!series_check(&l.s), "the layer is what it was");
	lives_reopen(&l);
	lives_ok(&l, "and it is all there when it is opened again");
}

static void test_zero(void)
{
	lives_zero(mem, 30 * PAGE_SIZE, 4 * PAGE_SIZE);
	lives_zero(mem, 40 * PAGE_SIZE + 1, 2 * PAGE_SIZE);
	lives_zero(mem, 50 * PAGE_SIZE + 10, 20);
	lives_zero(mem, 6 * PAGE_SIZE - 10, PAGE_SIZE);
	lives_ok(&l, "zeros, on whole pages and parts of them");
	lives_fill(mem, 31 * PAGE_SIZE + 5, 50, 600);
	lives_ok(&l, "a part of a zeroed page is written, and the rest is zero");
	lives_zero(mem, FRAME_SIZE - 3 * PAGE_SIZE, UINT64_MAX);
	lives_ok(&l, "to the end of the image");
	lives_zero(mem, mem->size, 10);
	lives_zero(mem, UINT64_MAX, 10);
	lives_ok(&l, "and not behind it");
	lives_reopen(&l);
	lives_ok(&l, "also when it is opened again");
}

static void test_size(void)
{
	lives_truncate(disk, 10 * PAGE_SIZE + 77);
	lives_ok(&l, "an image is cut within a page");
	lives_truncate(disk, 30 * PAGE_SIZE);
	lives_ok(&l, "and is zero behind that when it grows again");
	lives_fill(disk, 50 * PAGE_SIZE + 9, 100, 700);
	lives_ok(&l, "a write behind the end makes it longer");
	lives_truncate(disk, 0);
	lives_ok(&l, "cut to nothing");
	lives_truncate(disk, 60 * PAGE_SIZE - 1);
	lives_ok(&l, "it is all zeros afterwards");
	lives_zero(disk, 59 * PAGE_SIZE, PAGE_SIZE);
	lives_reopen(&l);
	lives_ok(&l, "and when it is opened again");
	is_err(live_write(disk->image, "x", 1, DELTA_SIZE_MAX, &err), &err, -EFBIG,
	       "live image 'guest': 'rootfs' would be larger than %llu bytes",
	       (unsigned long long)DELTA_SIZE_MAX);
	is_int(live_truncate(disk->image, UINT64_MAX, &err), -EFBIG, "nor cut to be larger");
	is_int(live_allocate(disk->image, 5, UINT64_MAX - 2, &err), -EFBIG, "nor set aside");
	lives_truncate(disk, 40 * PAGE_SIZE);
	is_int(live_allocate(disk->image, 0, disk->size, &err), 0, "room is set aside");
	lives_ok(&l, "which changes nothing");
}

static void test_runs(void)
{
	struct view_run run;

	is_err(live_next_run(disk->image, disk->size, &run, &err), &err, -ENXIO,
	       "live image 'guest': 'rootfs' ends at byte %llu", (unsigned long long)disk->size);
	lives_truncate(disk, 0);
	is_int(live_truncate(disk->image, UINT64_C(1) << 40, &err), 0, "an image of 1 TiB");
	is_int(live_next_run(disk->image, 5, &run, &err), 0, "a run in it");
	ok(run.off == 5 && run.len == (UINT64_C(1) << 40) - 5 && !run.data, "one of zeros");
	series_must(live_write(disk->image, "x", 1, UINT64_C(1) << 39, &err), &err, "write");
	is_int(live_next_run(disk->image, 0, &run, &err), 0, "with something in the middle");
	ok(run.len == UINT64_C(1) << 39 && !run.data, "zeros before that");
	is_int(live_next_run(disk->image, run.len, &run, &err), 0, "a page");
	ok(run.len == PAGE_SIZE && run.data, "of data");
	lives_truncate(disk, 40 * PAGE_SIZE);
	lives_ok(&l, "cut, it is zero again");
}

static void test_seal(void)
{
	struct digest id;
	uint64_t seq;

	lives_fill(mem, 60 * PAGE_SIZE, 5 * PAGE_SIZE, 800);
	seq = lives_seal(&l);
	is_int(seq, 2, "the first seal");
	ok(is_there("1/memfile") && is_there("2/memfile") && is_there("2/rootfs") &&
	   !is_there("2.new"), "makes a directory");
	lives_ok(&l, "it reads as before");
	lives_fill(mem, 62 * PAGE_SIZE, PAGE_SIZE, 900);
	lives_fill(mem, 63 * PAGE_SIZE + 5, 10, 901);
	lives_zero(mem, 64 * PAGE_SIZE, PAGE_SIZE);
	lives_truncate(disk, 41 * PAGE_SIZE + 3);
	lives_ok(&l, "what is written above goes before what is below");
	lives_reopen(&l);
	lives_ok(&l, "also when it is opened again");
	is_int(lives_seal(&l), 3, "the next seal");
	id = lives_commit(&l, 3);
	ok(!lives_check_layer(&l, &id), "a commit has all of it");
	lives_ok(&l, "while nobody knows of it, it reads as before");
	lives_fill(mem, 70 * PAGE_SIZE, 3 * PAGE_SIZE, 1000);
	lives_fold(&l);
	lives_ok(&l, "it stands on what was committed");
	ok(!is_there("1") && !is_there("2") && is_there("3"), "and what is in there is removed");
	ok(!copies(mem, 60 * PAGE_SIZE, 5 * PAGE_SIZE), "and read without a copy");
	lives_fold(&l);
	lives_reopen(&l);
	lives_ok(&l, "again there is nothing to fold");
	is_int(lease_file_held(l.s.store, &l.s.layer[0].id), 0, "the old layer's lease is gone");
	is_int(lease_file_held(l.s.store, &id), 1, "the new one's is held");
}

/* A commit of somebody else, or by one who was killed then. */
static void test_committed_while_closed(void)
{
	uint64_t seq;

	lives_fill(mem, 80 * PAGE_SIZE, 5 * PAGE_SIZE, 1100);
	seq = lives_seal(&l);
	lives_fill(mem, 81 * PAGE_SIZE, PAGE_SIZE, 1200);
	lives_close(&l);
	(void)lives_commit(&l, seq);
	ok(is_there("3"), "a commit leaves the deltas");
	make_dir("9.new");
	lives_open(&l);
	lives_ok(&l, "who opens it next stands on the layer");
	ok(!is_there("9.new"), "and removes what a killed seal left");
	ok(is_there("3"), "what is in the layer waits for who has the time");
	live_trash_empty(live_trash_take(l.live));
	ok(!is_there("3") && is_there("4"), "and is removed then");
	ok(!live_trash_take(l.live), "which is all");
}

/* A read that has its pieces goes on. */
static void test_read_over_fold(void)
{
	struct live_data data;
	uint64_t seq = lives_seal(&l);
	struct digest base = live_row_of(l.live)->base;

	series_must(live_read(mem->image, 200 * PAGE_SIZE, MIB, &data, &err), &err, "read");
	ok(!data.buf, "somebody reads");
	(void)lives_commit(&l, seq);
	lives_fold(&l);
	is_int(lease_file_held(l.s.store, &base), 1, "his layer is held beyond the fold");
	ok(!lives_differs(mem, data.view.iov[0].iov_base, 200 * PAGE_SIZE,
			  data.view.iov[0].iov_len), "and he has his bytes");
	live_release(mem->image, &data);
	is_int(lease_file_held(l.s.store, &base), 0, "until he is done");
}

static void test_missing(void)
{
	char seq[24], other[24], other_top[24], last[24];
	uint64_t n = lives_seal(&l);
	struct digest id;
	int rc;

	lives_close(&l);
	(void)snprintf(seq, sizeof(seq), "%llu", (unsigned long long)n - 1);
	(void)snprintf(other_top, sizeof(other_top), "%llu", (unsigned long long)n);
	(void)snprintf(other, sizeof(other), "%llu", (unsigned long long)n + 1);
	(void)snprintf(last, sizeof(last), "%llu", (unsigned long long)n + 2);
	move(seq, "away");
	rc = lives_try_open(&l, &err);
	is_err(rc, &err, -EBADMSG, "live image 'guest': delta %s is missing" OLD, seq);
	rc = lives_try_commit(&l, n, &id, &err);
	is_err(rc, &err, -EBADMSG, "live image 'guest': its delta %s is missing" OLD, seq);
	move(other_top, "away2");
	rc = lives_try_open(&l, &err);
	is_err(rc, &err, -EBADMSG, "live image 'guest': delta %s is missing" OLD, seq);
	move("away2", other_top);
	move("away", seq);
	make_dir("0099");
	move("0099", last);
	rc = lives_try_open(&l, &err);
	is_err(rc, &err, -EBADMSG, "live image 'guest': delta %s is missing", other);
	move(last, "y.new");
	make_dir(other);
	rc = lives_try_open(&l, &err);
	is_err(rc, &err, -EBADMSG, "live image 'guest': delta %s of 'memfile' is missing", other);
	move(other, "x.new");
	lives_open(&l);
	lives_ok(&l, "with all of them it is what it was");
}

/* Only the first of these that finds nothing sealed makes a delta. */
static void test_seal_nothing(void)
{
	uint64_t seq, first;
	struct digest id;

	(void)lives_commit(&l, lives_seal(&l));
	seq = lives_seal(&l);
	is_int(lives_seal(&l), seq, "a seal of nothing, when that is sealed, makes nothing");
	lives_reopen(&l);
	is_int(lives_seal(&l), seq, "also when it was opened again");
	id = lives_commit(&l, seq);
	ok(!lives_check_layer(&l, &id), "nothing can be committed once");
	is_int(lives_seal(&l), seq + 1, "and again, though nobody has folded");
	id = lives_commit(&l, seq + 1);
	ok(!lives_check_layer(&l, &id), "which is a layer, too");
	first = lives_seal(&l);
	lives_fill(disk, 3 * PAGE_SIZE + 9, 1, 5);
	is_int(lives_seal(&l), first + 1, "what was written is sealed");
	lives_zero(mem, 0, 100 * PAGE_SIZE);
	is_int(lives_seal(&l), first + 2, "and what was zeroed");
	lives_truncate(disk, disk->size + 1);
	is_int(lives_seal(&l), first + 3, "and another size");
	is_int(lives_seal(&l), first + 3, "once");
	id = lives_commit(&l, first + 3);
	ok(!lives_check_layer(&l, &id), "a commit has all of it");
	lives_truncate(disk, disk->size - 1);
	lives_fold(&l);
}

static void path_of(uint64_t seq, const char *file, char path[PATH_MAX + 64])
{
	(void)snprintf(path, PATH_MAX + 64, "%s/live/guest/%llu%s", l.s.path,
		       (unsigned long long)seq, file);
}

static void flip(const char *path, uint64_t at)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	char byte;

	if (fd < 0 || pread(fd, &byte, 1, (off_t)at) != 1)
		bail("flip");
	byte ^= 1;
	if (pwrite(fd, &byte, 1, (off_t)at) != 1)
		bail("flip");
	close(fd);
}

/* What a commit could not read: more of it is of no use. */
static void refused(uint64_t next, const char *like, const char *what)
{
	char path[2][PATH_MAX + 64];
	uint64_t ret = 77;
	int rc = live_seal(l.live, &ret, &err);

	path_of(next, "", path[0]);
	path_of(next, UNNAMED, path[1]);
	is_int(rc, -EBADMSG, "%s: %s", what, err.text);
	ok(strstr(err.text, like), "it is said");
	ok(ret == 77 && access(path[0], F_OK) < 0 && access(path[1], F_OK) < 0, "nothing is made");
}

static void test_seal_damaged(void)
{
	uint64_t seq = lives_seal(&l);
	char path[PATH_MAX + 64], away[PATH_MAX + 64];

	lives_fill(mem, 3 * PAGE_SIZE, PAGE_SIZE, 77);
	path_of(seq, "", path);
	path_of(seq, "-away", away);
	if (rename(path, away) < 0)
		bail("rename");
	refused(seq + 1, "is missing", "a delta is gone while it is open");
	if (rename(away, path) < 0)
		bail("rename");
	path_of(seq - 1, "/rootfs", path);
	path_of(seq - 1, "/away", away);
	if (rename(path, away) < 0)
		bail("rename");
	refused(seq + 1, "of 'rootfs' is missing", "that of one image");
	if (link(away, path) < 0 || unlink(away) < 0)
		bail("link");
	flip(path, 48);
	refused(seq + 1, "header", "one whose header is damaged");
	flip(path, 48);
	is_int(lives_seal(&l), seq + 1, "when all is well again it is sealed");
	(void)lives_commit(&l, seq + 1);
	lives_fold(&l);
	lives_ok(&l, "and committed");
}

static void test_depth(void)
{
	uint64_t seq = lives_seal(&l), ret;
	struct digest id;
	int rc = 0;

	(void)lives_commit(&l, seq);
	lives_fold(&l);
	for (unsigned i = 0; i < LIVE_DEPTH_MAX && rc == 0; i++) {
		lives_fill(mem, i * PAGE_SIZE + 10, 10, i);
		rc = live_seal(l.live, &ret, &err);
	}
	is_int(rc, 0, "%u seals without a commit", LIVE_DEPTH_MAX);
	lives_fill(mem, 90 * PAGE_SIZE, PAGE_SIZE, 4000);
	is_int(lives_seal(&l), seq + LIVE_DEPTH_MAX, "there are no more, but those can go on");
	lives_ok(&l, "it is what was written");
	lives_reopen(&l);
	lives_ok(&l, "also when it is opened again");
	is_int(lives_seal(&l), seq + LIVE_DEPTH_MAX, "and is not sealed then");
	(void)lives_commit(&l, seq + LIVE_DEPTH_MAX);
	is_int(lives_seal(&l), seq + LIVE_DEPTH_MAX + 1, "when all are committed the next is");
	id = lives_commit(&l, seq + LIVE_DEPTH_MAX + 1);
	ok(!lives_check_layer(&l, &id), "and what was written meanwhile is in the next layer");
	lives_fold(&l);
	lives_ok(&l, "nothing is lost");
}

static uint64_t written_to(void)
{
	static struct live_info info;

	series_must(live_info(l.s.store, "guest", &info, &err), &err, "live_info");
	return info.image[0].written + info.image[1].written;
}

/* As a crash leaves it that comes between what is written behind the end and the new size. */
static void leave_behind_the_end(uint64_t seq)
{
	char path[PATH_MAX + 64];
	int fd;

	path_of(seq, "/rootfs", path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || pwrite(fd, "left", 4, (off_t)(DELTA_DATA + disk->size + 5)) != 4)
		bail("pwrite");
	close(fd);
}

/* The end of an image is within a page of the layer, and the disk is full. */
static void test_open_writes_nothing(void)
{
	uint64_t seq;
	int rc;

	lives_truncate(disk, 40 * PAGE_SIZE + 77);
	lives_fill(disk, 40 * PAGE_SIZE, 77, 5000);
	(void)lives_commit(&l, lives_seal(&l));
	lives_fold(&l);
	lives_close(&l);
	fault_arm_from(FAULT_PWRITE, 1, ENOSPC);
	rc = lives_try_open(&l, &err);
	fault_disarm();
	is_int(rc, 0, "it is opened with a full disk");
	if (rc < 0)
		lives_open(&l);
	is_int(written_to(), 0, "nobody wrote to it");
	lives_fill(disk, 40 * PAGE_SIZE + 5, 7, 5001);
	is_int(written_to(), 1, "but now");
	seq = lives_seal(&l) - 1;
	lives_close(&l);
	leave_behind_the_end(seq);
	lives_open(&l);
	lives_truncate(disk, 41 * PAGE_SIZE);
	lives_ok(&l, "what a crash left behind the end is zeroed");
	(void)lives_commit(&l, lives_seal(&l));
	lives_fold(&l);
	lives_truncate(disk, 40 * PAGE_SIZE);
}

static bool stop;			/* atomic */

static void *append_on(void *ctx)
{
	static uintptr_t wrong;
	uint64_t size = disk->size;

	(void)ctx;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED) && size < LIVES_BYTES_MAX) {
		wrong += live_write(disk->image, "x", 1, size, NULL) < 0;
		wrong += live_size(disk->image) != ++size;
	}
	return (void *)wrong;
}

/* A seal makes its deltas as long as the images were; somebody makes one longer meanwhile. */
static void test_append_beside_seal(void)
{
	uint64_t size = disk->size;
	pthread_t thread;
	void *bad;

	if (pthread_create(&thread, NULL, append_on, NULL) != 0)
		bail("pthread_create");
	for (int i = 0; i < 8; i++)
		(void)lives_seal(&l);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, &bad);
	is_int((uintptr_t)bad, 0, "an image grows while it is sealed, and never gets shorter");
	disk->size = live_size(disk->image);
	memset(disk->bytes + size, 'x', disk->size - size);
	lives_reopen(&l);
	lives_ok(&l, "and all is there");
	(void)lives_commit(&l, lives_seal(&l));
	lives_fold(&l);
	lives_truncate(disk, 40 * PAGE_SIZE);
}

/* Zeroed pages still take room until a sync. */
static void test_full_disk(void)
{
	int rc;

	lives_fill(mem, 10 * PAGE_SIZE, 10 * PAGE_SIZE, 2000);
	lives_zero(mem, 10 * PAGE_SIZE, 10 * PAGE_SIZE);
	fault_arm(FAULT_PWRITE, 1, ENOSPC);
	lives_fill(mem, 30 * PAGE_SIZE, PAGE_SIZE, 2100);
	ok(fault_struck(), "the disk is full, and then not when zeroed pages were given back");
	fault_disarm();
	lives_ok(&l, "and the write is there");
	fault_arm(FAULT_PWRITE, 2, ENOSPC);
	rc = live_write(disk->image, "x", 1, disk->size + PAGE_SIZE, &err);
	is_int(rc, -ENOSPC, "it is full for one that makes it longer: %s", err.text);
	fault_disarm();
	lives_ok(&l, "which is then as long as it was");
	fault_arm_from(FAULT_PWRITE, 1, ENOSPC);
	rc = live_write(mem->image, "x", 1, 33 * PAGE_SIZE, &err);
	is_int(rc, -ENOSPC, "or full for good: %s", err.text);
	rc = live_zero(mem->image, 33 * PAGE_SIZE, PAGE_SIZE, &err);
	is_int(rc, -ENOSPC, "also for zeros: %s", err.text);
	rc = live_write(disk->image, "x", 1, disk->size + PAGE_SIZE, &err);
	is_int(rc, -ENOSPC, "and behind the end: %s", err.text);
	fault_disarm();
	lives_reopen(&l);
	lives_ok(&l, "nothing has changed then");
}

/* A layer that is damaged is told where it is, and can be written over. */
static void test_damage(void)
{
	uint64_t page = 100, len, alloc;
	struct live_data data;
	int rc;

	while (mem->bytes[page * PAGE_SIZE] == 0)
		page++;
	lives_close(&l);
	series_must(packs_size(l.s.store->packs, 1, &len, &alloc), NULL, "packs_size");
	/* Each record, but for the header. */
	for (uint64_t where = PAGE_SIZE; where < len; where += 1000)
		series_flip(&l.s, 1, where);
	series_reopen(&l.s);
	lives_open(&l);
	rc = live_read(mem->image, page * PAGE_SIZE, PAGE_SIZE, &data, &err);
	is_int(rc, -EBADMSG, "a damaged page: %s", err.text);
	rc = live_write(mem->image, "x", 1, page * PAGE_SIZE, &err);
	is_int(rc, -EBADMSG, "cannot be written in part");
	lives_fill(mem, page * PAGE_SIZE, PAGE_SIZE, 3000);
	lives_fill(mem, page * PAGE_SIZE + 7, 70, 3001);
	ok(!lives_check_read(mem, page * PAGE_SIZE, PAGE_SIZE), "but all of it can");
}

/* Nothing below. */
static void test_without_layer(void)
{
	struct live_size sizes[2] = {{"memfile", 3 * PAGE_SIZE + 1}, {"rootfs", 0}};
	static struct lives n;

	series_init(&n.s, "none", 1);
	n.of[0].name = "memfile";
	n.of[1].name = "rootfs";
	lives_model(&n.of[0], NULL, 0);
	lives_model(&n.of[1], NULL, 0);
	n.of[0].size = sizes[0].size;
	series_must(live_create(n.s.store,
		&(const struct live_new){.name = "guest", .sizes = sizes, .nsizes = 2},
		0, &err), &err, "create");
	lives_open(&n);
	lives_ok(&n, "one without a layer is zeros");
	lives_fill(&n.of[0], PAGE_SIZE + 5, 10, 1);
	lives_fill(&n.of[1], 0, 5 * PAGE_SIZE, 2);
	lives_ok(&n, "and can be written to");
	(void)lives_commit(&n, lives_seal(&n));
	lives_fold(&n);
	lives_ok(&n, "and committed");
	lives_fini(&n);
}

int main(void)
{
	lives_init(&l, "store", 3);
	test_open();
	test_below();
	test_write();
	test_zero();
	test_size();
	test_runs();
	test_seal();
	test_committed_while_closed();
	test_read_over_fold();
	test_missing();
	test_seal_nothing();
	test_seal_damaged();
	test_depth();
	test_open_writes_nothing();
	test_append_beside_seal();
	test_full_disk();
	test_damage();
	test_without_layer();
	lives_fini(&l);
	return tap_done();
}
