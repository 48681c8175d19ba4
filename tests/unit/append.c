/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/append.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "store/base/io.h"
#include "store/store.h"
#include "tests/fault.h"
#include "tests/tap.h"

static struct err err;

static struct store *open_store(const char *name)
{
	struct store *s;

	if (store_open(tap_path(name), NULL, &s, &err) < 0)
		bail("cannot open '%s': %s", name, err.text);
	return s;
}

static struct store *new_store(const char *name)
{
	struct store_params params;

	store_params_default(&params);
	if (store_init(tap_path(name), &params, &err) < 0)
		bail("cannot make '%s': %s", name, err.text);
	return open_store(name);
}

static off_t pack_size(const char *store, unsigned number)
{
	char name[64];
	struct stat st;

	(void)snprintf(name, sizeof(name), "%s/packs/%08x.pack", store, number);
	return stat(tap_path(name), &st) < 0 ? -1 : st.st_size;
}

static void begin(struct store *s, unsigned flags, struct append *a)
{
	if (append_begin(s, flags, a, &err) < 0)
		bail("append_begin: %s", err.text);
}

static void put(struct append *a, const char *payload)
{
	struct record r = {.type = RECORD_DECISION, .len = (uint32_t)strlen(payload), .id = 1};

	if (append_put(a, &r, payload, NULL, &err) < 0)
		bail("append_put: %s", err.text);
}

static int publish(struct append *a)
{
	int rc = append_sync(a, &err);

	if (rc == 0)
		rc = index_begin(a->store->index, &err);
	if (rc < 0)
		return rc;
	rc = append_publish(a, &err);
	if (rc == 0)
		return index_commit(a->store->index, &err);
	index_abort(a->store->index);
	return rc;
}

/* Appends one record for good. */
static void commit(struct store *s, const char *payload)
{
	struct append a;

	begin(s, 0, &a);
	put(&a, payload);
	if (publish(&a) < 0)
		bail("publish: %s", err.text);
	append_end(&a);
}

/* ---- the ordinary way ---- */

static void test_append(void)
{
	struct store *s = new_store("plain");
	struct index_pack row;
	struct append a;
	uint64_t fid, seq, paddr;
	uint32_t pack = 0;
	struct record r = {.type = RECORD_DECISION, .len = 3, .id = 1};

	begin(s, 0, &a);
	is_int(a.w.number, 1, "the first pack is number 1");
	paddr = append_paddr(&a, 10);
	ok(paddr == 1ull << 32, "its first page is the first");
	ok(append_paddr(&a, 1) == paddr + 10, "and ten pages take ten addresses");
	fid = append_fid(&a);
	seq = append_seq(&a);
	is_int(fid, 1, "frames count from 1");
	is_int(seq, 1, "so do layers and decisions");
	is_int(append_record(&a, &r, "abc", &pack, &err), 0, "a record");
	is_int(pack, 1, "goes to that pack");
	is_int(a.bytes, RECORD_HEADER_LEN + 3, "and is counted");
	is_int(publish(&a), 0, "it is published");
	append_end(&a);
	is_int(index_pack_get(s->index, 1, &row, &err), 0, "the pack has a row");
	is_int(row.end, pack_size("plain", 1), "that ends where the file does");
	is_int(row.next_ord, 11, "and knows the next page");
	ok(!row.sealed, "it can be appended to");

	begin(s, 0, &a);
	is_int(a.w.number, 1, "the next one goes on there");
	is_int(a.w.end, row.end, "at its end");
	ok(append_paddr(&a, 1) == paddr + 11, "with the next page");
	is_int(append_fid(&a), 2, "frame");
	is_int(append_seq(&a), 2, "and sequence number");
	append_abort(&a);
	append_abort(&a);

	begin(s, APPEND_NEW_PACK, &a);
	is_int(a.w.number, 2, "one that asks for it begins a new pack");
	ok(append_paddr(&a, 1) == 2ull << 32, "with pages of its own");
	is_int(append_seq(&a), 2, "what was aborted is taken again");
	append_abort(&a);
	is_int(pack_size("plain", 2), -1, "an aborted pack is gone");
	is_int(pack_size("plain", 1), (long long)row.end, "and the other is as it was");
	store_close(s);
}

static void test_abort(void)
{
	struct store *s = new_store("abort");
	struct append a;
	off_t size;

	commit(s, "first");
	size = pack_size("abort", 1);
	begin(s, 0, &a);
	put(&a, "second");
	is_int(append_roll_if(&a, 1, &err), 0, "little more fits in");
	is_int(a.w.number, 1, "and goes to the same pack");
	is_int(append_roll_if(&a, PACK_SIZE_MAX, &err), 0, "much more does not");
	is_int(a.w.number, 2, "and goes to the next");
	is_int(append_roll_if(&a, PACK_SIZE_MAX, &err), 0, "an empty one");
	is_int(a.w.number, 2, "is not passed over");
	put(&a, "third");
	is_int(append_roll_if(&a, PACK_SIZE_MAX, &err), 0, "a third pack");
	ok(pack_size("abort", 1) > size && pack_size("abort", 2) > 0, "all are on disk");
	append_abort(&a);
	is_int(pack_size("abort", 1), size, "abort cuts the old one back");
	is_int(pack_size("abort", 2), -1, "and removes the second");
	is_int(pack_size("abort", 3), -1, "and the third");
	store_close(s);
}

static int list_pack(void *ctx, const struct index_pack *p)
{
	char *out = ctx;

	(void)sprintf(out + strlen(out), "%u:%u ", p->number, p->next_ord);
	return 0;
}

static void test_roll(void)
{
	struct store *s = new_store("roll");
	struct append a;
	char list[64] = "";

	begin(s, 0, &a);
	put(&a, "first");
	(void)append_paddr(&a, 5);
	is_int(append_roll_if(&a, PACK_SIZE_MAX, &err), 0, "a second pack");
	put(&a, "second");
	(void)append_paddr(&a, 7);
	is_int(publish(&a), 0, "both are published");
	append_end(&a);
	is_int(index_pack_each(s->index, list_pack, list, &err), 0, "the rows");
	is_str(list, "1:5 2:7 ", "say how many pages each has");
	begin(s, 0, &a);
	is_int(a.w.number, 2, "the last one is the current one");
	append_abort(&a);
	store_close(s);
}

/* ---- what goes wrong ---- */

static void test_failed_sync(void)
{
	struct store *s = new_store("sync");
	struct index_pack row;
	struct append a;

	commit(s, "first");
	begin(s, 0, &a);
	put(&a, "second");
	fault_arm(FAULT_FSYNC, 1, EIO);
	is_err(append_sync(&a, &err), &err, -EIO, "cannot sync pack 00000001: Input/output error");
	fault_disarm();
	append_abort(&a);
	is_int(index_pack_get(s->index, 1, &row, &err), 0, "the pack");
	ok(row.sealed, "is sealed after a failed fsync");
	is_int(row.end, pack_size("sync", 1), "and keeps what was published");
	commit(s, "second again");
	ok(pack_size("sync", 2) > 0, "the next append takes another");
	store_close(s);
}

static void test_failed_commit(void)
{
	struct store *s = new_store("commit");
	struct append a;
	off_t size;

	commit(s, "first");
	size = pack_size("commit", 1);
	begin(s, 0, &a);
	put(&a, "second");
	is_int(append_roll_if(&a, PACK_SIZE_MAX, &err), 0, "two packs");
	put(&a, "third");
	is_int(append_sync(&a, &err), 0, "synced");
	is_int(index_begin(s->index, &err), 0, "begin");
	is_int(append_publish(&a, &err), 0, "publish");
	fault_arm_from(FAULT_LIB_PWRITE, 1, ENOSPC);
	is_int(index_commit(s->index, &err), -ENOSPC, "the disk is full at the last moment");
	append_abort(&a);
	is_int(pack_size("commit", 2), PACK_HEADER_LEN + RECORD_HEADER_LEN + 5,
	       "what cannot be cut safely on a full disk stays");
	fault_disarm();
	is_int(store_lock(s, "gc", 0, &err), 0, "until the next writer");
	is_int(pack_size("commit", 1), size, "cuts it");
	is_int(pack_size("commit", 2), -1, "and removes it");
	store_unlock(s);
	commit(s, "second again");
	ok(pack_size("commit", 1) > size, "and goes on");
	store_close(s);
}

static void flip(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	char c;

	if (fd < 0 || pread(fd, &c, 1, 9) != 1 || pwrite(fd, &(char){c ^ 1}, 1, 9) != 1)
		bail("cannot change '%s'", path);
	close(fd);
}

/* One damaged pack does not make the store read-only. */
static void test_damaged_pack(void)
{
	struct store *s = new_store("damaged");

	commit(s, "first");
	flip(tap_path("damaged/packs/00000001.pack"));
	commit(s, "second");
	ok(pack_size("damaged", 2) > 0, "a pack with a damaged header is not appended to");
	if (truncate(tap_path("damaged/packs/00000002.pack"), 70) < 0)
		bail("truncate");
	commit(s, "third");
	ok(pack_size("damaged", 3) > 0, "nor is one that is too short");
	if (unlink(tap_path("damaged/packs/00000003.pack")) < 0)
		bail("unlink");
	commit(s, "fourth");
	ok(pack_size("damaged", 4) > 0, "nor one that is not there");
	store_close(s);
}

static void test_faults(void)
{
	static const enum fault_kind kinds[] = {FAULT_PWRITE, FAULT_FSYNC, FAULT_OPEN,
						 FAULT_MALLOC, FAULT_LIB_PWRITE, FAULT_LIB_FSYNC};
	struct store *s = new_store("faults");
	int failed = 0;

	commit(s, "first");
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		bool struck = true;

		for (unsigned long n = 1; n < 40 && struck; n++) {
			struct append a = {0};
			int rc;

			fault_arm(kinds[k], n, kinds[k] == FAULT_MALLOC ? ENOMEM : EIO);
			rc = append_begin(s, n % 2 ? APPEND_NEW_PACK : 0, &a, &err);
			if (rc == 0) {
				put(&a, "more");
				rc = publish(&a);
			}
			struck = fault_struck();
			fault_disarm();
			if (rc < 0)
				append_abort(&a);
			else
				append_end(&a);
			failed += rc < 0;
			if (index_begin(s->index, &err) < 0)
				ok(false, "kind %zu, call %lu: %s", k, n, err.text);
			index_abort(s->index);
		}
	}
	ok(failed > 8, "%d calls failed", failed);
	commit(s, "last");
	ok(true, "and the store can be written to afterwards");
	store_close(s);
}

/* ---- what a killed writer leaves ---- */

static int tidied(struct store *s)
{
	uint64_t n = 0;

	return index_meta_get_u64(s->index, "tidied", &n, NULL) < 0 ? 0 : (int)n;
}

static void test_tidy(void)
{
	struct store *s = new_store("tidy");
	struct append a;
	off_t size;

	commit(s, "first");
	size = pack_size("tidy", 1);
	is_int(tidied(s), 0, "nothing to tidy");
	begin(s, 0, &a);
	put(&a, "second");
	is_int(append_roll_if(&a, PACK_SIZE_MAX, &err), 0, "two packs");
	is_int(append_sync(&a, &err), 0, "on disk");
	ok(pack_size("tidy", 1) > size && pack_size("tidy", 2) > 0,
	   "and then the writer is killed");
	pack_close(&a.w);
	vec_fini(&a.packs);

	is_int(store_lock(s, "gc", 0, &err), 0, "whoever takes the lock next");
	is_int(pack_size("tidy", 1), size, "cuts the unpublished end");
	is_int(pack_size("tidy", 2), -1, "removes the unpublished pack");
	is_int(tidied(s), 1, "and has written to the index before");
	store_unlock(s);
	is_int(store_lock(s, "gc", 0, &err), 0, "once more");
	is_int(tidied(s), 1, "there is nothing to do");
	store_unlock(s);
	store_close(s);
}

static void copy_file(const char *from, const char *to)
{
	char *data;
	size_t len;

	if (io_read_file(AT_FDCWD, tap_path(from), 1 << 24, &data, &len) < 0)
		return;
	if (io_replace_file(AT_FDCWD, tap_path(to), data, len) < 0)
		bail("cannot copy '%s'", from);
	free(data);
}

/* In a child: killed when the transaction's frames are in the WAL, before they count. */
static void publish_and_die(const char *name)
{
	struct store *s = open_store(name);
	struct append a;

	begin(s, 0, &a);
	put(&a, "second");
	if (append_sync(&a, &err) < 0 || index_begin(s->index, &err) < 0 ||
	    append_publish(&a, &err) < 0 || index_meta_set(s->index, "hidden", "1", &err) < 0)
		_exit(1);
	fault_arm(FAULT_LIB_FSYNC, 1, FAULT_KILL_AFTER);
	(void)index_commit(s->index, &err);
	_exit(2);
}

/*
 * The writer dies between the sync of its transaction and its becoming visible;
 * a mount keeps the index open, so that nobody replays the WAL.  Then the next
 * writer cuts the pack and the power goes: what comes up must not speak of
 * what was cut.
 */
static void test_hidden_transaction(void)
{
	struct store *mount = new_store("hidden"), *s;
	struct index_pack row;
	char text[8];
	int status;
	pid_t pid;

	commit(mount, "first");
	pid = fork();
	if (pid == 0)
		publish_and_die("hidden");
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		bail("no child");
	ok(WIFSIGNALED(status), "a writer is killed in its last transaction");
	is_int(index_meta_get(mount->index, "hidden", text, sizeof(text), NULL), -ENOENT,
	       "which nobody sees");
	is_int(store_lock(mount, "gc", 0, &err), 0, "the next writer tidies");

	if (mkdir(tap_path("power"), 0700) < 0 || mkdir(tap_path("power/packs"), 0700) < 0 ||
	    mkdir(tap_path("power/leases"), 0700) < 0)
		bail("mkdir");
	copy_file("hidden/index.db", "power/index.db");
	copy_file("hidden/index.db-wal", "power/index.db-wal");
	copy_file("hidden/packs/00000001.pack", "power/packs/00000001.pack");
	s = open_store("power");
	is_int(index_pack_get(s->index, 1, &row, &err), 0, "after a power cut the pack");
	is_int(row.end, pack_size("power", 1), "is as long as the index says");
	is_int(index_meta_get(s->index, "hidden", text, sizeof(text), NULL), -ENOENT,
	       "and the lost transaction stays lost");
	store_close(s);
	store_close(mount);
}

int main(void)
{
	test_append();
	test_abort();
	test_roll();
	test_failed_sync();
	test_failed_commit();
	test_damaged_pack();
	test_faults();
	test_tidy();
	test_hidden_transaction();
	return tap_done();
}
