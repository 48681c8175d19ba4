/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * index.db as a file: what is refused, its parameters, transactions,
 * snapshots, full disks, migration.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "store/base/io.h"
#include "store/index-private.h"
#include "tests/fault.h"
#include "tests/unit/index-fixture.h"

static sqlite3_int64 ask(const char *path, const char *text)
{
	sqlite3 *db;
	sqlite3_stmt *stmt;
	sqlite3_int64 v = -1;

	if (sqlite3_open(path, &db) != SQLITE_OK ||
	    sqlite3_prepare_v2(db, text, -1, &stmt, NULL) != SQLITE_OK)
		bail("'%s': %s", text, sqlite3_errmsg(db));
	if (sqlite3_step(stmt) == SQLITE_ROW)
		v = sqlite3_column_int64(stmt, 0);
	(void)sqlite3_finalize(stmt);
	(void)sqlite3_close(db);
	return v;
}

static void write_file(const char *path, const char *text)
{
	if (io_replace_file(AT_FDCWD, path, text, strlen(text)) < 0)
		bail("cannot write '%s'", path);
}

static int try_open(const char *path)
{
	struct index *ix = NULL;
	int rc = index_open(path, 0, &ix, &err);

	ok((rc == 0) == (ix != NULL), "a handle only if it was opened");
	index_close(ix);
	return rc;
}

/* ---- opening ---- */

static void test_create(void)
{
	const char *path = new_path();
	mode_t mask = umask(0);
	struct index *ix = new_index(path);
	struct stat st;

	(void)umask(mask);
	is_int(stat(path, &st), 0, "a file is made");
	is_int(st.st_mode & 07777, 0600, "for its owner alone");
	ok(!index_outdated(ix), "with this program's schema");
	is_int(index_migrate(ix, &err), 0, "so that migrating it does nothing");
	index_close(ix);
	is_int(try_open(path), 0, "it opens again");
	is_int(ask(path, "PRAGMA application_id"), INDEX_APPLICATION_ID, "it says what it is");
	is_int(ask(path, "PRAGMA user_version"), 1, "and its version");
	is_int(ask(path, "PRAGMA page_size"), 4096, "pages of 4 KiB");
	is_int(ask(path, "PRAGMA auto_vacuum"), 2, "that can be given back");
	is_int(ask(path, "SELECT count(*) FROM pragma_journal_mode WHERE journal_mode = 'wal'"), 1,
	       "and it has a WAL");
	ix = new_index(path);
	index_close(ix);
	ok(true, "making it again opens it");
}

static void test_refused(void)
{
	const char *path = new_path();

	is_err(try_open(path), &err, -ENOENT, "cannot open index '%s': No such file or directory",
	       path);
	is_int(access(path, F_OK), -1, "and none is made");
	write_file(path, "");
	is_err(try_open(path), &err, -EBADMSG, "index '%s' is damaged: the file is empty", path);
	write_file(path, "short");
	is_err(try_open(path), &err, -EMEDIUMTYPE, "'%s' is not a lamina index", path);
	write_file(path, "a letter to a friend, of some length, without any digits");
	is_err(try_open(path), &err, -EMEDIUMTYPE, "'%s' is not a lamina index", path);
	path = new_path();
	sql(path, "CREATE TABLE friends(name)");
	is_err(try_open(path), &err, -EMEDIUMTYPE, "'%s' is not a lamina index", path);
	is_int(ask(path, "SELECT count(*) FROM pragma_journal_mode WHERE journal_mode = 'wal'"), 0,
	       "and it is left as it is");
	if (mkdir(tap_path("dir"), 0700) < 0)
		bail("mkdir");
	ok(try_open(tap_path("dir")) < 0, "a directory: %s", err.text);
}

/* The file and its log as a killed writer left them. */
static void test_read_only(void)
{
	const char *path = new_path();
	struct index *ix = new_index(path), *second = NULL;
	char wal[PATH_MAX + 8], value[8];
	struct stat before, after;

	(void)snprintf(wal, sizeof(wal), "%s-wal", path);
	is_int(index_open(path, INDEX_READ, &second, &err), 0, "an index is opened to be read");
	is_int(index_begin(ix, &err), 0, "another writes");
	is_int(index_meta_set(ix, "k", "v", &err), 0, "a row");
	is_int(index_commit(ix, &err), 0, "and commits it");
	is_int(stat(wal, &before), 0, "into the log");
	is_int(index_meta_get(second, "k", value, sizeof(value), &err), 0, "which is read");
	is_str(value, "v", "with what it says");
	if (index_begin(second, &err) == 0)
		ok(index_meta_set(second, "k", "w", &err) < 0, "nothing is written: %s", err.text);
	index_abort(second);
	is_int(index_check_writable(second, &err), 0, "though no newer lamina forbids it");
	index_close(ix);
	is_int(stat(wal, &before), 0, "the log outlives the writer");
	index_close(second);
	is_int(stat(wal, &after), 0, "and the reader");
	is_int(after.st_size, before.st_size, "as it was");
}

static void test_versions(void)
{
	const char *path = new_path();
	struct index *ix = new_index(path);

	index_close(ix);
	sql(path, "PRAGMA user_version = 7");
	is_err(try_open(path), &err, -EPROTONOSUPPORT,
	       "index '%s' was written by a newer lamina (schema 7, this one knows 1)", path);
	sql(path, "PRAGMA user_version = 0");
	is_err(try_open(path), &err, -EMEDIUMTYPE, "'%s' is not a lamina index", path);

	path = new_path();
	ix = new_index(path);
	is_int(index_meta_set_u64(ix, "incompat", 5, &err), 0, "a feature of the future");
	index_close(ix);
	is_err(try_open(path), &err, -EPROTONOSUPPORT,
	       "index '%s' was written by a newer lamina (features 0x4)", path);

	path = new_path();
	ix = new_index(path);
	is_int(index_meta_set_u64(ix, "incompat", 0, &err), 0, "none of the past");
	index_close(ix);
	is_err(try_open(path), &err, -EPROTONOSUPPORT,
	       "index '%s' was written by a lamina of before 0.1.0, whose format is no longer read",
	       path);

	path = new_path();
	ix = new_index(path);
	is_int(index_meta_set_u64(ix, "compat", 1, &err), 0, "one that does not matter");
	is_int(index_meta_set_u64(ix, "rocompat", 2, &err), 0, "and one that matters to writers");
	index_close(ix);
	is_int(index_open(path, 0, &ix, &err), 0, "is read");
	is_err(index_begin(ix, &err), &err, -EPROTONOSUPPORT,
	       "index '%s' was written by a newer lamina and can only be read (features 0x2)",
	       path);
	is_int(index_snapshot_begin(ix, &err), 0, "in a snapshot");
	index_snapshot_end(ix);
	index_close(ix);
}

static void test_foreign_tables(void)
{
	static const char *const changes[] = {
		"CREATE TABLE friends(name)",
		"CREATE TRIGGER t AFTER INSERT ON pack BEGIN DELETE FROM layer; END",
		"CREATE VIEW v AS SELECT * FROM pack",
		"ALTER TABLE pack ADD COLUMN colour TEXT",
		"DROP INDEX frame_key",
		"DROP TABLE hook; CREATE TABLE hook(key INTEGER PRIMARY KEY, seg TEXT)",
	};

	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		const char *path = new_path();

		index_close(new_index(path));
		sql(path, changes[i]);
		is_int(try_open(path), -EBADMSG, "%s: %s", changes[i], err.text);
		ok(strstr(err.text, "is damaged: "), "with a sentence");
	}
}

static void test_truncated(void)
{
	const char *path = new_path();
	off_t sizes[] = {100, 4096, 8192, 20000};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		index_close(new_index(path));
		if (truncate(path, sizes[i]) < 0)
			bail("truncate");
		is_int(try_open(path), -EBADMSG, "cut to %lld bytes: %s", (long long)sizes[i],
		       err.text);
		(void)unlink(path);
	}
}

/* ---- meta ---- */

static void test_meta(void)
{
	const char *path = new_path();
	struct index *ix = new_index(path);
	uint64_t v = 7;
	char text[8] = "before";

	is_int(index_meta_set(ix, "codec", "zstd", &err), 0, "meta: a text is kept");
	is_int(index_meta_get(ix, "codec", text, sizeof(text), &err), 0, "and found");
	is_str(text, "zstd", "as it was");
	is_int(index_meta_set(ix, "codec", "none", &err), 0, "it can be changed");
	is_int(index_meta_get(ix, "codec", text, sizeof(text), &err), 0, "and found again");
	is_str(text, "none", "as it is now");
	is_err(index_meta_get(ix, "colour", text, sizeof(text), &err), &err, -ENOENT,
	       "index '%s' has no parameter 'colour'", path);
	is_str(text, "none", "nothing is written then");
	is_int(index_meta_set_u64(ix, "next_fid", UINT64_MAX, &err), 0, "the largest number");
	is_int(index_meta_get_u64(ix, "next_fid", &v, &err), 0, "is found");
	ok(v == UINT64_MAX, "as it was");
	is_err(index_meta_get_u64(ix, "codec", &v, &err), &err, -EBADMSG,
	       "index '%s' is damaged: 'codec' is not a number: 'none'", path);
	is_int(index_meta_set(ix, "codec", "a long value", &err), 0, "a longer one");
	is_err(index_meta_get(ix, "codec", text, sizeof(text), &err), &err, -EBADMSG,
	       "index '%s' is damaged: the value of 'codec' is too long", path);
	index_close(ix);

	sql(path, "UPDATE meta SET value = '3' WHERE name = 'next_fid'");
	ix = new_index(path);
	is_err(index_meta_get_u64(ix, "next_fid", &v, &err), &err, -EBADMSG,
	       "index '%s' is damaged: the checksum of parameter 'next_fid' differs", path);
	index_close(ix);
}

/* ---- transactions ---- */

static int number(struct index *ix, const char *name)
{
	uint64_t v;
	int rc = index_meta_get_u64(ix, name, &v, NULL);

	return rc < 0 ? rc : (int)v;
}

static void test_transaction(void)
{
	const char *path = new_path();
	struct index *ix = new_index(path), *other = new_index(path);
	uint64_t before = 0, after = 0;

	is_int(index_data_version(other, &before), 0, "the data version");
	is_int(index_begin(ix, &err), 0, "begin");
	is_err(index_begin(ix, &err), &err, -EBUSY, "index '%s': a transaction is open", path);
	is_int(index_meta_set_u64(ix, "n", 1, &err), 0, "write");
	is_int(number(ix, "n"), 1, "seen by the writer");
	is_int(number(other, "n"), -ENOENT, "and by nobody else");
	is_int(index_commit(ix, &err), 0, "commit");
	is_int(number(other, "n"), 1, "seen by all");
	is_int(index_data_version(other, &after), 0, "the data version");
	ok(before != after, "has changed");
	is_int(index_data_version(other, &before), 0, "and then");
	ok(before == after, "not any more");
	is_int(index_begin(ix, &err), 0, "begin");
	is_int(index_meta_set_u64(ix, "n", 2, &err), 0, "write");
	index_abort(ix);
	is_int(number(ix, "n"), 1, "abort takes it back");
	index_abort(ix);
	ok(true, "and may be called again");
	is_int(index_begin(ix, &err), 0, "begin");
	is_int(index_meta_set_u64(ix, "n", 3, &err), 0, "write");
	index_close(ix);
	is_int(number(other, "n"), 1, "close is an abort");
	index_close(other);
	index_close(NULL);
}

static void test_snapshot(void)
{
	const char *path = new_path();
	struct index *ix = new_index(path), *other = new_index(path);

	is_int(index_meta_set_u64(ix, "n", 1, &err), 0, "a number");
	is_int(index_snapshot_begin(other, &err), 0, "a snapshot");
	is_int(index_meta_set_u64(ix, "n", 2, &err), 0, "another number");
	is_int(number(other, "n"), 1, "is not seen in it");
	is_int(index_snapshot_begin(other, &err), 0, "nor in a nested one");
	is_int(number(other, "n"), 1, "which is the same");
	is_err(index_begin(other, &err), &err, -EBUSY, "index '%s': a transaction is open", path);
	index_snapshot_end(other);
	is_int(number(other, "n"), 1, "until the outer one");
	index_snapshot_end(other);
	is_int(number(other, "n"), 2, "ends");
	index_snapshot_end(other);
	is_int(index_begin(other, &err), 0, "then a transaction can begin");
	is_int(index_snapshot_begin(other, &err), 0, "and reads in it");
	is_int(index_meta_set_u64(other, "n", 3, &err), 0, "may write");
	index_snapshot_end(other);
	is_int(index_commit(other, &err), 0, "and commit");
	is_int(number(ix, "n"), 3, "what all see");
	index_close(ix);
	index_close(other);
}

/* ---- the WAL ---- */

static off_t wal_size(const char *path)
{
	char name[PATH_MAX];
	struct stat st;

	(void)snprintf(name, sizeof(name), "%s-wal", path);
	return stat(name, &st) < 0 ? -1 : st.st_size;
}

static void test_checkpoint(void)
{
	const char *path = new_path();
	struct index *ix = new_index(path), *other = new_index(path);
	uint64_t size = 0;
	struct stat st;

	is_int(index_meta_set_u64(ix, "n", 1, &err), 0, "a number");
	ok(wal_size(path) > 0, "is in the WAL");
	is_int(index_size(ix, &size), 0, "the size");
	is_int(stat(path, &st), 0, "of the file");
	is_int(size, st.st_size + wal_size(path), "and of the WAL");
	index_checkpoint(ix);
	is_int(wal_size(path), 0, "a checkpoint empties it");
	is_int(index_snapshot_begin(other, &err), 0, "beside a reader");
	is_int(index_meta_set_u64(ix, "n", 2, &err), 0, "another number");
	index_checkpoint(ix);
	ok(wal_size(path) > 0, "it leaves what the reader needs");
	index_snapshot_end(other);
	index_checkpoint(ix);
	is_int(wal_size(path), 0, "until it has gone");
	is_int(number(other, "n"), 2, "and nothing is lost");
	index_close(ix);
	index_close(other);
}

static void test_shrink(void)
{
	const char *path = new_path();
	struct index *ix = new_index(path);
	uint64_t full = 0, empty = 0;

	is_int(index_begin(ix, &err), 0, "begin");
	for (uint64_t i = 0; i < 20000; i++)
		if (index_hook_put(ix, i * 0x9e3779b97f4a7c15, 1, &err) < 0)
			bail("%s", err.text);
	is_int(index_commit(ix, &err), 0, "20000 hooks");
	index_checkpoint(ix);
	is_int(index_size(ix, &full), 0, "a size");
	is_int(index_hook_sweep(ix, &err), 0, "none is needed");
	index_shrink(ix);
	index_checkpoint(ix);
	is_int(index_size(ix, &empty), 0, "another size");
	ok(empty < full / 4, "the file shrinks from %llu to %llu bytes", (unsigned long long)full,
	   (unsigned long long)empty);
	index_close(ix);
}

/* More than six generations of a guest of 1 GiB have: 94 MiB of packs, 1 % of which is much. */
static void test_size(void)
{
	struct index *ix = new_index(new_path());
	static uint8_t runs[300], table[1400];
	struct index_frame f = {.pack = 1, .runs = runs, .runs_len = sizeof(runs)};
	struct index_seg s = {.pack = 1, .off = 64, .table = table, .table_len = sizeof(table)};
	uint64_t size = 0;

	is_int(index_begin(ix, &err), 0, "begin");
	for (uint64_t i = 1; i <= 1500; i++) {
		f.fid = i;
		memcpy(f.digest.b, &(uint64_t){i * 0x9e3779b97f4a7c15}, 8);
		if (index_frame_put(ix, &f, &err) < 0)
			bail("%s", err.text);
	}
	for (uint64_t i = 0; i < 3000; i++)
		if (index_hook_put(ix, i * 0x9e3779b97f4a7c15, 1ull << 32, &err) < 0)
			bail("%s", err.text);
	for (uint64_t i = 0; i < 60; i++) {
		s.first = 1ull << 32 | i * 4000;
		s.span = 4000;
		if (index_seg_put(ix, &s, &err) < 0)
			bail("%s", err.text);
	}
	is_int(index_commit(ix, &err), 0, "1500 frames, 3000 hooks, 60 segments");
	index_checkpoint(ix);
	is_int(index_size(ix, &size), 0, "take");
	ok(size < (94u << 20) / 100, "%llu bytes", (unsigned long long)size);
	index_close(ix);
}

/* ---- disks that are full or broken ---- */

static void test_faults(void)
{
	const char *path = new_path();
	struct index *ix = new_index(path);

	is_int(index_begin(ix, &err), 0, "begin");
	is_int(index_meta_set_u64(ix, "n", 1, &err), 0, "write");
	fault_arm_from(FAULT_LIB_PWRITE, 1, ENOSPC);
	is_err(index_commit(ix, &err), &err, -ENOSPC, "index '%s': No space left on device", path);
	fault_disarm();
	is_int(number(ix, "n"), -ENOENT, "a full disk aborts");
	is_int(index_begin(ix, &err), 0, "and it can be tried again");
	is_int(index_meta_set_u64(ix, "n", 2, &err), 0, "write");
	fault_arm_from(FAULT_LIB_FSYNC, 1, EIO);
	is_err(index_commit(ix, &err), &err, -EIO, "index '%s': Input/output error", path);
	fault_disarm();
	is_int(number(ix, "n"), -ENOENT, "so does a failed fsync");
	is_int(index_begin(ix, &err), 0, "and then");
	is_int(index_meta_set_u64(ix, "n", 3, &err), 0, "write");
	is_int(index_commit(ix, &err), 0, "commit");
	is_int(number(ix, "n"), 3, "what was reported is there");
	index_close(ix);
	ix = new_index(path);
	is_int(number(ix, "n"), 3, "for ever");
	index_close(ix);
}

/* Each allocation fails once: an error or success, never a crash. */
static void test_no_memory(void)
{
	const char *path = new_path();
	int failed = 0;

	index_close(new_index(path));
	for (unsigned long n = 1; n < 10; n++) {
		struct index *ix = NULL;
		int rc;

		fault_arm(FAULT_MALLOC, n, ENOMEM);
		rc = index_open(path, 0, &ix, &err);
		fault_disarm();
		failed += rc < 0;
		if (rc < 0)
			is_err(rc, &err, -ENOMEM, "out of memory");
		index_close(ix);
	}
	ok(failed > 0, "%d of them", failed);
}

/* ---- migration ---- */

static int add_table(struct index *ix, struct err *e)
{
	return index_query_exec(ix, "CREATE TABLE colour(name TEXT)", e);
}

static int add_and_fail(struct index *ix, struct err *e)
{
	int rc = add_table(ix, e);

	return rc < 0 ? rc : err_set(e, -EBADMSG, "this step fails");
}

static void test_migrate(void)
{
	static const struct index_step good[] = {{1, add_table}}, bad[] = {{1, add_and_fail}};
	const char *path = new_path();
	char copy[PATH_MAX];
	struct index *ix = new_index(path);

	(void)snprintf(copy, sizeof(copy), "%s.v1", path);
	is_int(index_meta_set_u64(ix, "n", 1, &err), 0, "something in the WAL");
	is_err(index_schema_migrate(ix, NULL, 0, 2, &err), &err, -EPROTONOSUPPORT,
	       "index '%s' has schema 1, which is no longer known", path);
	is_err(index_schema_migrate(ix, bad, 1, 2, &err), &err, -EBADMSG, "this step fails");
	is_int(ask(path, "SELECT count(*) FROM sqlite_schema WHERE name = 'colour'"), 0,
	       "a step that fails leaves nothing");
	is_int(ask(path, "PRAGMA user_version"), 1, "and the old version");
	is_int(index_schema_migrate(ix, good, 1, 2, &err), 0, "one that succeeds");
	is_int(ask(path, "SELECT count(*) FROM sqlite_schema WHERE name = 'colour'"), 1,
	       "has done its work");
	is_int(number(ix, "n"), 1, "and the rows are there");
	is_int(index_schema_migrate(ix, good, 1, 2, &err), 0, "once is enough");
	index_close(ix);
	is_err(try_open(path), &err, -EPROTONOSUPPORT,
	       "index '%s' was written by a newer lamina (schema 2, this one knows 1)", path);
	is_int(index_open(copy, 0, &ix, &err), 0, "the copy is as it was before");
	is_int(number(ix, "n"), 1, "with all its rows");
	index_close(ix);
}

int main(void)
{
	test_create();
	test_refused();
	test_read_only();
	test_versions();
	test_foreign_tables();
	test_truncated();
	test_meta();
	test_transaction();
	test_snapshot();
	test_checkpoint();
	test_shrink();
	test_size();
	test_faults();
	test_no_memory();
	test_migrate();
	return tap_done();
}
