/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What recover, verify and usage do about live images. */
#include "store/live-dir.h"
#include "store/live.h"
#include "store/recover.h"
#include "store/usage.h"
#include "tests/series.h"

#define NOTES_LEN 4096

static struct series s;
static struct err err;
static char notes[NOTES_LEN];
static struct recover_result recovered;

static void must_run(const char *fmt, const char *arg)
{
	char line[4 * PATH_MAX];

	(void)snprintf(line, sizeof(line), fmt, arg, arg);
	if (system(line) != 0)
		bail("%s", line);
}

static void make_live(const char *name, const struct digest *from)
{
	struct live_size alone = {"disk", 10 * PAGE_SIZE};
	struct live_new what = {name, from, &alone, !from};

	series_must(live_create(s.store, &what, 0, &err), &err, "live_create");
}

static void write_page(const char *name, const char *image)
{
	struct delta_place place = {.store = s.store, .name = image, .seq = 1};
	int fd = live_dir_open(s.store, name);
	uint8_t page[PAGE_SIZE];
	struct delta *d;

	place.dirfd = live_dir_open_seq(fd, 1);
	series_page(77, page);
	series_must(delta_open(&place, 0, &d, &err), &err, "delta_open");
	series_must(delta_write(d, page, 3, 1, &err), &err, "delta_write");
	series_must(delta_sync(d, &err), &err, "delta_sync");
	delta_unref(d);
	close(place.dirfd);
	close(fd);
}

/* Two layers in packs of their own; "web" on the second, "alone" on none, "gone" removed. */
static void make(const char *name)
{
	series_init(&s, name, 0x6c697665);
	(void)series_commit(&s, SIZE_MAX, 60, NULL);
	series_new_pack(&s);
	(void)series_commit(&s, 0, 60, NULL);
	series_new_pack(&s);
	make_live("web", &s.layer[1].id);
	make_live("alone", NULL);
	make_live("gone", &s.layer[0].id);
	write_page("web", "rootfs");
	series_must(live_remove(s.store, "gone", 0, &err), &err, "live_remove");
}

/* ---- verify ---- */

static char seen[8][700];
static size_t nseen;

static void on_fault(void *ctx, const struct verify_fault *f)
{
	(void)ctx;
	if (nseen < 8)
		(void)snprintf(seen[nseen], sizeof(seen[0]), "%s: %s (%zu)", f->what, f->reason,
			       f->nlayers);
	nseen++;
}

static uint64_t verify(void)
{
	struct verify_opts opts = {.fault = on_fault};
	struct verify_result r;

	nseen = 0;
	memset(seen, 0, sizeof(seen));
	series_must(verify_run(s.store, &opts, &r, &err), &err, "verify");
	return r.faults;
}

static void test_verify(void)
{
	make("verify");
	is_int(verify(), 0, "nothing is damaged");
	must_run("mv '%s/live/alone/1' '%s/aside'", s.path);
	is_int(verify(), 1, "deltas that are missing");
	is_str(seen[0], "live: delta 1 of live image 'alone' is not there; the index may be older "
	       "than what was written, and 'lamina recover' mends that (0)", "are a fault");
	must_run("mv '%s/live/alone' '%s/aside2'", s.path);
	is_int(verify(), 1, "a directory that is missing");
	is_str(seen[0], "live: the directory of live image 'alone' is not there (0)", "too");
	must_run("mv '%s/aside2' '%s/live/alone'", s.path);
	must_run("mv '%s/aside' '%s/live/alone/1'", s.path);
	is_int(verify(), 0, "they come back");
	must_run("printf X | dd of='%s/live/web/1/rootfs' conv=notrunc status=none", s.path);
	is_int(verify(), 1, "a delta that is damaged");
	ok(strncmp(seen[0], "live: live image 'web', image 'rootfs': ", 40) == 0,
	   "is a fault: %s", seen[0]);
	must_run("cp -a '%s/live/alone' '%s/live/half'", s.path);
	is_int(verify(), 1, "a directory that is being made is none");
	must_run("cp -a '%s/live/web' '%s/live/lost'", s.path);
	is_int(verify(), 2, "one of a live image that nobody knows");
	is_str(seen[1], "live: live image 'lost': it is lost: nothing says on which layer it "
	       "stands, and what was written to it is left (0)", "is a fault");
	store_close(s.store);
}

static void test_verify_rows(void)
{
	struct index_decision d = {.kind = DECISION_LIVE, .key = "bad", .key_len = 3, .seq = 900,
				   .pack = 1, .opack = 1, .has_value = true, .value = "?",
				   .value_len = 1};
	bool damaged = false, missing = false;
	struct live_row row;

	make("verify-rows");
	series_must(store_lock(s.store, "test", 0, &err), &err, "lock");
	series_must(live_row_get(s.store, "web", &row, &err), &err, "live_row_get");
	row.base.b[0] ^= 1;
	series_must(live_row_put(s.store, &row, &err), &err, "live_row_put");
	is_int(verify(), 1, "a layer that is missing");
	ok(strncmp(seen[0], "live: live image 'web': its layer ", 34) == 0 &&
	   strstr(seen[0], " is not there (0)"), "is a fault: %s", seen[0]);
	series_must(index_begin(s.store->index, &err), &err, "begin");
	series_must(index_decision_put(s.store->index, &d, &err), &err, "put");
	series_must(index_commit(s.store->index, &err), &err, "commit");
	store_unlock(s.store);
	(void)verify();
	for (size_t i = 0; i < nseen && i < 8; i++) {
		damaged |= strstr(seen[i], "live: live image 'bad': what is known of it is "
				  "damaged") != NULL;
		missing |= strstr(seen[i], "live: what became of live image 'bad' is not in the "
				  "pack any more") != NULL;
	}
	ok(damaged, "a row that cannot be read is a fault");
	ok(missing, "and one that is in no pack");
	store_close(s.store);
}

/* ---- recover ---- */

static void on_note(void *ctx, const char *line)
{
	(void)ctx;
	strncat(notes, line, NOTES_LEN - strlen(notes) - 2);
	strcat(notes, "\n");
}

static void recover(void)
{
	struct recover_opts opts = {.note = on_note};

	notes[0] = '\0';
	store_close(s.store);
	series_must(recover_run(s.path, &opts, &recovered, &err), &err, "recover");
	series_open(&s);
}

static void test_recover(void)
{
	struct live_row before, after;

	make("recover");
	series_must(live_row_get(s.store, "web", &before, &err), &err, "live_row_get");
	recover();
	is_str(notes, "", "all comes back");
	is_int(recovered.live, 2, "two live images");
	is_int(recovered.live_lost, 0, "whole");
	series_must(live_row_get(s.store, "web", &after, &err), &err, "live_row_get");
	ok(digest_equal(&before.base, &after.base) && before.first == after.first &&
	   before.created == after.created && after.nimages == 2, "as they were");
	is_int(live_row_said(s.store, "gone", &err), 0, "what was removed stays removed");
	is_int(index_feature_has(s.store->index, FEATURE_LIVE, &err), 1,
	       "older programs may not write");
	is_int(verify(), 0, "nothing is damaged");
	must_run("rm '%s/index.db'", s.path);
	recover();
	is_str(notes, "", "without the old index, too");
	is_int(live_row_get(s.store, "web", &after, &err), 0, "it comes back");
	store_close(s.store);
}

static void test_recover_none(void)
{
	series_init(&s, "none", 1);
	(void)series_commit(&s, SIZE_MAX, 20, NULL);
	recover();
	is_int(index_feature_has(s.store->index, FEATURE_LIVE, &err), 0,
	       "where there is no live image older programs may write");
	store_close(s.store);
}

/* The second layer's manifest and pages are gone. */
static void test_recover_lost_layer(void)
{
	struct live_info info;
	struct live_row row;

	make("lost-layer");
	must_run("rm '%s/packs/00000002.pack'", s.path);
	recover();
	ok(strstr(notes, "live image 'web' cannot be opened: its layer "), "a layer that is lost: "
	   "%s", notes);
	ok(recovered.lost > 0, "is counted");
	is_int(recovered.live, 2, "the live image is kept");
	is_int(recovered.live_lost, 1, "and counted");
	is_int(live_row_get(s.store, "web", &row, &err), 0, "its row is there");
	is_int(live_info(s.store, "web", &info, &err), 0, "and what was written to it");
	is_int(info.image[1].written, 1, "as it was");
	is_int(live_remove(s.store, "web", 0, &err), 0, "it can be removed");
	is_int(verify(), 0, "then nothing is damaged");
	store_close(s.store);
	make("lost-manifest");
	must_run("rm '%s/packs/00000002.pack' '%s/index.db'", s.path);
	recover();
	ok(strstr(notes, "is lost: live image 'web' stands on it, but no pack has its manifest"),
	   "without the old index the live image tells of it: %s", notes);
	store_close(s.store);
}

/* Nothing of the rows is left. */
static void test_recover_lost_row(void)
{
	make("lost-row");
	must_run("cp -a '%s/live/alone' '%s/live/half'", s.path);
	must_run("rm '%s/packs/00000003.pack'", s.path);
	recover();
	is_int(recovered.live, 0, "rows that are lost");
	is_int(recovered.live_lost, 1, "one had something");
	ok(strstr(notes, "live image 'web' is lost: no pack knows on which layer it stands; what "
		  "was written to it stays in '"), "is told: %s", notes);
	ok(!strstr(notes, "'alone'") && !strstr(notes, "'half'"), "not those with nothing");
	series_must(store_lock(s.store, "test", 0, &err), &err, "lock");
	is_int(live_tidy(s.store, &err), 0, "those are tidied");
	store_unlock(s.store);
	must_run("test -e '%s/live/web/1/rootfs' && ! test -e '%s/live/alone'", s.path);
	ok(true, "the other stays");
	store_close(s.store);
}

static void test_recover_lost_files(void)
{
	make("lost-files");
	must_run("rm -r '%s/live/web/1' '%s/live/alone'", s.path);
	recover();
	ok(strstr(notes, "live image 'web' cannot be opened: delta 1 is not there"),
	   "deltas that are lost are told");
	ok(strstr(notes, "live image 'alone' cannot be opened: delta 1 is not there"),
	   "directories, too");
	is_int(recovered.live, 2, "they are kept");
	is_int(recovered.live_lost, 2, "and counted");
	store_close(s.store);
}

/* ---- usage ---- */

static void test_usage(void)
{
	struct usage before, after;

	series_init(&s, "usage", 1);
	(void)series_commit(&s, SIZE_MAX, 20, NULL);
	series_must(usage_store(s.store, &before, &err), &err, "usage_store");
	is_int(before.live + before.live_bytes, 0, "no live images");
	make_live("web", &s.layer[0].id);
	make_live("alone", NULL);
	series_must(usage_store(s.store, &before, &err), &err, "usage_store");
	is_int(before.live, 2, "two");
	write_page("web", "rootfs");
	series_must(usage_store(s.store, &after, &err), &err, "usage_store");
	ok(after.live_bytes >= before.live_bytes + PAGE_SIZE, "what was written counts");
	ok(after.live_bytes < before.live_bytes + 16 * PAGE_SIZE, "not what was not");
	is_int(after.stored, before.stored, "it is not in the packs");
	series_must(live_remove(s.store, "web", 0, &err), &err, "live_remove");
	series_must(usage_store(s.store, &after, &err), &err, "usage_store");
	is_int(after.live, 1, "a removed one is none");
	store_close(s.store);
}

int main(void)
{
	test_verify();
	test_verify_rows();
	test_recover();
	test_recover_none();
	test_recover_lost_layer();
	test_recover_lost_row();
	test_recover_lost_files();
	test_usage();
	return tap_done();
}
