/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making, removing, looking at live images; and what else a store does about them. */
#include "store/live.h"

#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "store/base/fmt.h"
#include "store/gc.h"
#include "store/index-private.h"
#include "store/live-dir.h"
#include "tests/fault.h"
#include "tests/series.h"

static struct series s;
static struct err err;

#define MEM (SERIES_PAGES * (uint64_t)PAGE_SIZE)
#define DISK (SERIES_DISK_PAGES * (uint64_t)PAGE_SIZE)

static const char *at(const char *name)
{
	static char path[2 * PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/live/%s", s.path, name);
	return path;
}

static bool is_there(const char *name)
{
	return access(at(name), F_OK) == 0;
}

static int create(const char *name, const struct live_size *sizes, size_t n)
{
	struct live_new what = {.name = name, .from = &s.layer[0].id, .sizes = sizes, .nsizes = n};

	err.text[0] = '\0';
	return live_create(s.store, &what, 0, &err);
}

static void must_create(const char *name)
{
	series_must(create(name, NULL, 0), &err, "live_create");
}

static struct delta *open_delta(const char *name, uint64_t seq, const char *image)
{
	struct delta_place place = {.store = s.store, .name = image, .seq = seq};
	int fd = live_dir_open(s.store, name);
	struct delta *d;

	place.dirfd = live_dir_open_seq(fd, seq);
	series_must(delta_open(&place, 0, &d, &err), &err, "delta_open");
	close(place.dirfd);
	close(fd);
	return d;
}

static void write_page(const char *name, uint64_t seq, const char *image, uint64_t page)
{
	struct delta *d = open_delta(name, seq, image);
	uint8_t bytes[PAGE_SIZE];

	memset(bytes, 'x', sizeof(bytes));
	series_must(delta_write(d, bytes, page, 1, &err), &err, "delta_write");
	series_must(delta_sync(d, &err), &err, "delta_sync");
	delta_unref(d);
}

static void zero_pages(const char *name, uint64_t seq, const char *image, uint64_t page, uint64_t n)
{
	struct delta *d = open_delta(name, seq, image);

	series_must(delta_zero(d, page, n, &err), &err, "delta_zero");
	series_must(delta_sync(d, &err), &err, "delta_sync");
	delta_unref(d);
}

/* As live_seal() does, of one image. */
static void add_delta(const char *name, uint64_t seq, const char *image, uint64_t size)
{
	struct delta_place place = {.store = s.store, .name = image, .seq = seq};
	char text[LIVE_DIR_SEQ_LEN];
	int fd = live_dir_open(s.store, name);
	struct delta *d;

	if (mkdirat(fd, live_dir_seq(text, seq), 0700) < 0 && errno != EEXIST)
		bail("mkdir");
	place.dirfd = live_dir_open_seq(fd, seq);
	series_must(delta_create(&place, size, &d, &err), &err, "delta_create");
	delta_unref(d);
	close(place.dirfd);
	close(fd);
}

/* ---- making ---- */

static void test_create(void)
{
	struct live_info info;
	struct stat st;
	bool old = !is_there("");

	ok(old, "a store has no directory of live images");
	is_int(index_feature_has(s.store->index, FEATURE_LIVE, &err), 0, "nor the feature");
	is_int(create("web", NULL, 0), 0, "one is made on a layer");
	ok(stat(at(""), &st) == 0 && (st.st_mode & 07777) == 0700, "in live/, mode 0700");
	ok(stat(at("web/lock"), &st) == 0 && (st.st_mode & 07777) == 0600, "with a lock");
	ok(is_there("web/1/memfile") && is_there("web/1/rootfs"), "and deltas of both images");
	ok(!is_there(".new"), "nothing else is left");
	is_int(index_feature_has(s.store->index, FEATURE_LIVE, &err), 1,
	       "older programs may no longer write");
	is_int(live_info(s.store, "web", &info, &err), 0, "it can be looked at");
	ok(info.row.has_base && digest_equal(&info.row.base, &s.layer[0].id), "it has its layer");
	is_int(info.row.first, 1, "its first delta");
	ok(info.row.created > 1700000000, "its time");
	is_int(info.nimages, 2, "its images");
	is_str(info.image[0].name, "memfile", "by name");
	is_int(info.image[0].size, MEM, "of the layer's size");
	is_int(info.image[1].size, DISK, "each");
	is_int(info.image[1].base_size, DISK, "as in the layer");
	is_int(info.image[0].written + info.image[0].punched + info.image[0].frames, 0,
	       "nothing was written");
	is_int(info.sealed, 0, "nor sealed");
	is_int(info.pid, 0, "nobody has it");
}

static void test_sizes(void)
{
	struct live_size grown[] = {{"rootfs", DISK + 1000}, {"data", UINT64_C(1) << 40}};
	struct live_size alone[] = {{"zero", 0}, {"disk", 5 * PAGE_SIZE}};
	struct live_info info;

	is_int(create("grown", grown, 2), 0, "an image may begin larger, and there may be others");
	is_int(live_info(s.store, "grown", &info, &err), 0, "it is there");
	is_int(info.nimages, 3, "with three images");
	is_str(info.image[0].name, "data", "sorted");
	is_int(info.image[0].size, INT64_C(1) << 40, "the new one");
	is_int(info.image[0].base_size, 0, "which the layer lacks");
	is_int(info.image[1].size, MEM, "the one that was not named");
	is_int(info.image[2].size, DISK + 1000, "the one that grew");
	is_int(info.image[2].base_size, DISK, "from what it was");
	is_int(live_create(s.store,
		&(const struct live_new){.name = "alone", .sizes = alone, .nsizes = 2},
		0, &err), 0, "one without a layer");
	is_int(live_info(s.store, "alone", &info, &err), 0, "is there");
	ok(!info.row.has_base && info.nimages == 2 && info.image[0].size == 5 * PAGE_SIZE &&
	   info.image[1].size == 0, "with what was asked for");
}

static void test_refusals(void)
{
	struct live_size bad[] = {{"memfile", MEM - 1}}, path[] = {{"a/b", 1}};
	struct live_size twice[] = {{"x", 1}, {"x", 1}}, info[] = {{"info.json", 1}};
	struct live_size huge[] = {{"huge", DELTA_SIZE_MAX + 1}};
	struct digest none = {.b = {1, 2, 3}};
	char hex[DIGEST_HEX_LEN];

	is_err(create(".new", NULL, 0), &err, -EINVAL,
	       "'.new' is not a good name for a live image: letters, digits and ._- (not first a "
	       "dot), at most 128, and not a layer's name");
	is_int(create("a/b", NULL, 0), -EINVAL, "nor is a path");
	is_err(create("web", NULL, 0), &err, -EEXIST, "there is a live image 'web' already");
	is_err(create("bad", bad, 1), &err, -EINVAL, "image 'memfile' of the layer has %llu bytes, "
	       "a live image cannot begin with %llu", (unsigned long long)MEM,
	       (unsigned long long)MEM - 1);
	is_err(create("bad", path, 1), &err, -EINVAL, "'a/b' is not a good name for an image: "
	       "letters, digits and ._- (not first a dot), at most 64, not 'info.json' or "
	       "'traces'");
	is_int(create("bad", info, 1), -EINVAL, "nor is a name that the mount needs");
	is_err(create("bad", twice, 2), &err, -EINVAL, "image 'x' is given twice");
	is_err(live_create(s.store,
		&(const struct live_new){.name = "bad"},
		0, &err), &err, -EINVAL,
	       "live image 'bad' needs a layer to begin with, or the name and size of an image");
	is_err(live_create(s.store,
		&(const struct live_new){.name = "bad", .from = &none},
		0, &err), &err, -ENOENT,
	       "there is no layer %.12s", fmt_hex(hex, none.b, DIGEST_LEN));
	is_int(create("bad", huge, 1), -EFBIG, "too large a delta");
	ok(strstr(err.text, "live image 'bad', image 'huge': "), "is told: %s", err.text);
	ok(!is_there("bad") && !is_there(".new"), "nothing is left of those");
	is_int(live_row_said(s.store, "bad", &err), -ENOENT, "nor was anything said");
}

static void test_many_images(void)
{
	static char name[IMAGES_MAX][8];
	static struct live_size sizes[IMAGES_MAX];

	for (unsigned i = 0; i < IMAGES_MAX; i++) {
		(void)snprintf(name[i], sizeof(name[i]), "i%u", i);
		sizes[i] = (struct live_size){name[i], PAGE_SIZE};
	}
	is_err(create("many", sizes, IMAGES_MAX), &err, -EINVAL,
	       "live image 'many' would have more than 64 images");
	is_int(create("many", sizes, IMAGES_MAX - 2), 0, "64 may be");
	is_int(live_remove(s.store, "many", 0, &err), 0, "and go");
}

/* The caller may have the writer's lock; somebody else may, too. */
static void test_lock(void)
{
	struct store *other;

	series_must(store_lock(s.store, "test", 0, &err), &err, "lock");
	is_int(create("locked", NULL, 0), 0, "the caller may hold the lock");
	is_int(live_remove(s.store, "locked", 0, &err), 0, "for both");
	ok(s.store->lock_fd >= 0, "and keeps it");
	series_must(store_open(s.path, NULL, &other, &err), &err, "open");
	is_int(live_create(other,
		&(const struct live_new){.name = "busy", .from = &s.layer[0].id},
		0, &err), -EBUSY,
	       "others wait for it");
	ok(strstr(err.text, "is being written by pid"), "or are told: %s", err.text);
	is_int(live_remove(other, "web", 0, &err), -EBUSY, "to remove one, too");
	store_unlock(s.store);
	store_close(other);
}

/* ---- looking ---- */

static void test_info(void)
{
	struct live_info info;
	uint64_t disk;

	must_create("info");
	write_page("info", 1, "memfile", 0);
	write_page("info", 1, "memfile", 599);
	zero_pages("info", 1, "memfile", 500, 30);
	series_must(live_info(s.store, "info", &info, &err), &err, "live_info");
	is_int(info.image[0].written, 2, "pages that were written");
	is_int(info.image[0].punched, 30, "that were zeroed");
	is_int(info.image[0].frames, 2, "in how many frames");
	is_int(info.image[1].written, 0, "not of the other image");
	ok(info.disk >= 2 * PAGE_SIZE, "they occupy %llu bytes", (unsigned long long)info.disk);
	disk = info.disk;
	add_delta("info", 2, "memfile", MEM + 3 * PAGE_SIZE);
	add_delta("info", 2, "rootfs", DISK);
	write_page("info", 2, "memfile", 0);
	write_page("info", 2, "memfile", 510);
	zero_pages("info", 2, "memfile", 599, 4);
	series_must(live_info(s.store, "info", &info, &err), &err, "live_info");
	is_int(info.sealed, 1, "one delta waits for a commit");
	is_int(info.image[0].size, MEM + 3 * PAGE_SIZE, "the highest says the size");
	is_int(info.image[0].base_size, MEM, "the layer's is what it was");
	is_int(info.image[0].written, 2, "a page counts once, as what it is now");
	is_int(info.image[0].punched, 33, "and so do the zeroed");
	is_int(info.image[0].frames, 2, "and the frames");
	ok(info.disk > disk, "both deltas count on disk");
}

static void test_is_open(void)
{
	struct live *live;

	must_create("opened");
	is_int(live_is_open(s.store, "opened"), 0, "nobody has it open");
	series_must(live_open(s.store, "opened", &live, &err), &err, "live_open");
	is_int(live_is_open(s.store, "opened"), 1, "somebody has");
	live_close(live);
	is_int(live_is_open(s.store, "opened"), 0, "nobody again");
	series_must(live_remove(s.store, "opened", 0, &err), &err, "live_remove");
	is_int(live_is_open(s.store, "opened"), -ENOENT, "it is gone");
}

static void move_first(const char *name, uint64_t first)
{
	struct live_row row;

	series_must(live_row_get(s.store, name, &row, &err), &err, "live_row_get");
	row.first = first;
	series_must(store_lock(s.store, "test", 0, &err), &err, "lock");
	series_must(live_row_put(s.store, &row, &err), &err, "live_row_put");
	store_unlock(s.store);
}

static void test_info_folded(void)
{
	struct live_info info;

	move_first("info", 2);
	series_must(live_info(s.store, "info", &info, &err), &err, "live_info");
	is_int(info.sealed, 0, "what was committed does not wait");
	is_int(info.image[0].written, 2, "nor count");
	is_int(info.image[0].punched, 4, "at all");
	move_first("info", 3);
	is_err(live_info(s.store, "info", &info, &err), &err, -EBADMSG,
	       "delta 3 of live image 'info' is not there");
	move_first("info", 1);
	if (rename(at("info/1"), tap_path("aside")) < 0)
		bail("rename");
	is_err(live_info(s.store, "info", &info, &err), &err, -EBADMSG,
	       "delta 1 of live image 'info' is not there; the index may be older than what was "
	       "written, and 'lamina recover' mends that");
	add_delta("info", 3, "memfile", MEM);
	move_first("info", 2);
	is_int(live_info(s.store, "info", &info, &err), -EBADMSG, "an image may be missing");
	ok(strstr(err.text, "live image 'info', image 'rootfs': "), "it is told: %s", err.text);
	is_err(live_info(s.store, "nobody", &info, &err), &err, -ENOENT,
	       "there is no live image 'nobody'");
	is_int(live_remove(s.store, "info", 0, &err), 0, "a damaged one can be removed");
}

/* ---- in use ---- */

/* A child that has it open until it is told. */
static pid_t hold(const char *name, int *ret_tell)
{
	int ready[2], tell[2];
	char byte;
	pid_t pid;

	if (pipe(ready) < 0 || pipe(tell) < 0)
		bail("pipe");
	pid = fork();
	if (pid == 0) {
		int fd = open(at(name), O_RDONLY);

		close(tell[1]);
		(void)!(flock(fd, LOCK_EX) < 0 || write(ready[1], "x", 1) < 0 ||
			read(tell[0], &byte, 1) < 0);
		_exit(0);
	}
	close(tell[0]);
	if (pid < 0 || read(ready[0], &byte, 1) != 1)
		bail("fork");
	close(ready[0]);
	close(ready[1]);
	*ret_tell = tell[1];
	return pid;
}

static void let_go(pid_t pid, int tell)
{
	close(tell);
	if (waitpid(pid, NULL, 0) != pid)
		bail("waitpid");
}

static void test_in_use(void)
{
	struct live_info info;
	pid_t pid;
	int tell;

	must_create("used");
	pid = hold("used/lock", &tell);
	is_err(live_remove(s.store, "used", 0, &err), &err, -EBUSY,
	       "live image 'used' is in use by pid %d", (int)pid);
	series_must(live_info(s.store, "used", &info, &err), &err, "live_info");
	is_int(info.pid, pid, "who has it is shown");
	let_go(pid, tell);
	series_must(live_info(s.store, "used", &info, &err), &err, "live_info");
	is_int(info.pid, 0, "nobody has it any more");
	is_int(live_remove(s.store, "used", 0, &err), 0, "then it can be removed");
}

/* ---- removing, and what is left ---- */

static void test_remove(void)
{
	must_create("gone");
	write_page("gone", 1, "rootfs", 3);
	is_int(live_remove(s.store, "gone", 0, &err), 0, "one is removed");
	ok(!is_there("gone"), "with its files");
	is_err(live_remove(s.store, "gone", 0, &err), &err, -ENOENT,
	       "there is no live image 'gone'");
	is_err(live_remove(s.store, "../web", 0, &err), &err, -ENOENT,
	       "there is no live image '../web'");
	is_int(create("gone", NULL, 0), 0, "the name is free again");
	(void)rename(at("gone"), tap_path("elsewhere"));
	is_int(live_remove(s.store, "gone", 0, &err), 0, "one without files can be removed, too");
}

static void must_run(const char *fmt, const char *arg)
{
	char line[4 * PATH_MAX];

	(void)snprintf(line, sizeof(line), fmt, arg);
	if (system(line) != 0)
		bail("%s", line);
}

static void tidy(void)
{
	series_must(store_lock(s.store, "test", 0, &err), &err, "lock");
	is_int(live_tidy(s.store, &err), 0, "what is nobody's is removed");
	store_unlock(s.store);
}

static void test_leftovers(void)
{
	char line[4 * PATH_MAX];
	pid_t pid;
	int told;

	/* Killed before the rename, before the row, after the row was removed. */
	(void)snprintf(line, sizeof(line), "cd '%s/live' && cp -a web .new && cp -a web blank && "
		       "cp -a web used && echo > stray && mkdir web/2.new", s.path);
	must_run("%s", line);
	must_create("was");
	write_page("was", 1, "memfile", 1);
	(void)snprintf(line, sizeof(line), "cp -a '%s/live/was' '%s/was'", s.path, tap_tmpdir());
	must_run("%s", line);
	series_must(live_remove(s.store, "was", 0, &err), &err, "live_remove");
	(void)snprintf(line, sizeof(line), "cp -a '%s/was' '%s/live/was'", tap_tmpdir(), s.path);
	must_run("%s", line);
	/* The row of this one was lost. */
	(void)snprintf(line, sizeof(line), "cp -a '%s/was' '%s/live/lost'", tap_tmpdir(), s.path);
	must_run("%s", line);
	pid = hold("used/lock", &told);
	tidy();
	ok(!is_there(".new"), "one that was being made");
	ok(!is_there("blank"), "one that was made, but got no row");
	ok(!is_there("was"), "one that was removed");
	ok(!is_there("stray"), "a file");
	ok(is_there("web/1/memfile") && is_there("web/lock"), "those that have a row are kept");
	ok(is_there("used/lock"), "one that somebody has open is kept");
	let_go(pid, told);
	tidy();
	ok(!is_there("used"), "until he goes");
	ok(is_there("lost/1/memfile"), "what was written to one whose row was lost is kept");
	is_err(create("lost", NULL, 0), &err, -EEXIST, "'%s/live/lost' has what was written to a "
	       "live image that was lost: move it away first", s.path);
	ok(!is_there(".new"), "and nothing is left of the attempt");
	must_run("rm -r '%s'", at("lost"));
	is_int(create("lost", NULL, 0), 0, "then it can be made");
	series_must(live_remove(s.store, "lost", 0, &err), &err, "live_remove");
}

static void test_create_over(void)
{
	char line[4 * PATH_MAX];
	pid_t pid;
	int told;

	(void)snprintf(line, sizeof(line), "cd '%s/live' && cp -a web over && touch over/7 && "
		       "cp -a web .new", s.path);
	must_run("%s", line);
	pid = hold("over/lock", &told);
	is_err(create("over", NULL, 0), &err, -EBUSY, "live image 'over' is in use by pid %d",
	       (int)pid);
	let_go(pid, told);
	ok(is_there("over/7"), "it is left alone");
	is_int(create("over", NULL, 0), 0, "later one is made in its place");
	ok(!is_there("over/7"), "with nothing of it");
	series_must(live_remove(s.store, "over", 0, &err), &err, "live_remove");
}

/* ---- the rest of the store ---- */

static void test_rm(void)
{
	char hex[DIGEST_HEX_LEN];

	(void)fmt_hex(hex, s.layer[0].id.b, DIGEST_LEN);
	is_err(decide_remove(s.store, &s.layer[0].id, false, 0, &err), &err, -EBUSY,
	       "layer %.12s has the live images 'grown', 'web' on it: commit or remove them first",
	       hex);
	is_int(decide_remove(s.store, &s.layer[0].id, true, 0, &err), -EBUSY,
	       "force does not help");
	series_must(live_remove(s.store, "grown", 0, &err), &err, "live_remove");
	is_err(decide_remove(s.store, &s.layer[0].id, true, 0, &err), &err, -EBUSY,
	       "layer %.12s has the live image 'web' on it: commit or remove it first", hex);
	is_int(decide_remove(s.store, &s.layer[1].id, true, 0, &err), 0, "others can go");
	s.layer[1].removed = true;
}

static void test_gc(void)
{
	struct gc_opts opts = {.repack = true, .ratio = 1.1};
	struct gc_opts dry = {.dry_run = true};
	struct gc_result r;
	struct live_row row;

	must_run("mkdir '%s'", at("blank"));
	is_int(gc_run(s.store, &dry, &r, &err), 0, "a dry gc");
	ok(is_there("blank"), "leaves all where it is");
	series_new_pack(&s);
	is_int(gc_run(s.store, &opts, &r, &err), 0, "a real one");
	ok(!is_there("blank"), "tidies");
	ok(r.packs > 0, "and frees packs");
	is_int(live_row_get(s.store, "web", &row, &err), 0, "the row was carried");
	is_int(live_row_said(s.store, "gone", &err), -ENOENT, "what was removed is forgotten");
	is_int(series_faults(&s), 0, "nothing is damaged");
	series_ok(&s, "the layers are whole");
}

static void test_gc_trouble(void)
{
	struct gc_opts opts = {0};
	struct gc_result r;

	must_run("mkdir '%s'", at("blank"));
	fault_arm_from(FAULT_UNLINK, 1, EIO);
	is_err(gc_run(s.store, &opts, &r, &err), &err, -EIO,
	       "cannot remove '%s/live/blank', which no live image has: Input/output error",
	       s.path);
	fault_disarm();
	is_int(gc_run(s.store, &opts, &r, &err), 0, "the next gc does it");
	ok(!is_there("blank"), "all of it");
}

/* A program that knows no live images: rocompat bits it does not know. */
static void test_feature(void)
{
	struct index *ix;

	series_must(store_lock(s.store, "test", 0, &err), &err, "lock");
	series_must(index_begin(s.store->index, &err), &err, "begin");
	series_must(index_feature_add(s.store->index, 2, &err), &err, "feature");
	is_int(index_feature_has(s.store->index, FEATURE_LIVE | 2, &err), 1, "both are said");
	is_int(index_feature_has(s.store->index, 4, &err), 0, "not a third");
	series_must(index_meta_set_u64(s.store->index, "rocompat", FEATURE_LIVE, &err), &err,
		    "set");
	series_must(index_commit(s.store->index, &err), &err, "commit");
	store_unlock(s.store);
	series_must(index_open(s.store->index->path, 0, &ix, &err), &err, "open");
	is_int(index_check_writable(ix, &err), 0, "this program may write");
	index_close(ix);
}

int main(void)
{
	series_init(&s, "s", 0x6c697665);
	(void)series_commit(&s, SIZE_MAX, 50, NULL);
	(void)series_commit(&s, 0, 50, NULL);
	test_create();
	test_sizes();
	test_refusals();
	test_many_images();
	test_lock();
	test_info();
	test_is_open();
	test_info_folded();
	test_in_use();
	test_remove();
	test_leftovers();
	test_create_over();
	test_rm();
	test_gc();
	test_gc_trouble();
	test_feature();
	store_close(s.store);
	return tap_done();
}
