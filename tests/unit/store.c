/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "store/base/io.h"
#include "store/index.h"
#include "store/lease.h"
#include "store/progress.h"
#include "store/store-private.h"
#include "tests/fault.h"
#include "tests/tap.h"

static struct err err;
static struct store_params params;

static int init(const char *name)
{
	return store_init(tap_path(name), &params, &err);
}

static int try_open(const char *name)
{
	struct store *s = NULL;
	int rc = store_open(tap_path(name), NULL, &s, &err);

	ok((rc == 0) == (s != NULL), "a store only if it was opened");
	store_close(s);
	return rc;
}

static struct store *open_store(const char *name)
{
	struct store *s;

	if (store_open(tap_path(name), NULL, &s, &err) < 0)
		bail("cannot open: %s", err.text);
	return s;
}

static void write_file(const char *path, const char *text)
{
	if (io_replace_file(AT_FDCWD, path, text, strlen(text)) < 0)
		bail("cannot write '%s'", path);
}

static bool there(const char *path)
{
	return access(path, F_OK) == 0;
}

/* ---- init ---- */

static void test_init(void)
{
	struct stat st;

	is_int(init("s/deep/er"), 0, "a store is made, its parents too");
	is_int(stat(tap_path("s/deep/er"), &st), 0, "it is there");
	is_int(st.st_mode & 07777, 0700, "for its owner alone");
	is_int(stat(tap_path("s/deep/er/reserve"), &st), 0, "with a reserve");
	ok(st.st_blocks * 512 >= 1 << 20, "that really takes 1 MiB");
	ok(!there(tap_path("s/deep/er/index.db-wal")), "and nothing in a WAL");
	is_int(try_open("s/deep/er"), 0, "it opens");
	is_err(init("s/deep/er"), &err, -EEXIST, "there is a store in '%s' already",
	       tap_path("s/deep/er"));
}

static void test_init_where(void)
{
	if (mkdir(tap_path("empty"), 0755) < 0 || mkdir(tap_path("full"), 0755) < 0 ||
	    mkdir(tap_path("fresh"), 0755) < 0 || mkdir(tap_path("fresh/lost+found"), 0700) < 0)
		bail("mkdir");
	is_int(init("empty"), 0, "an empty directory will do");
	is_int(init("fresh"), 0, "a fresh file system too");
	write_file(tap_path("full/letter"), "dear");
	is_err(init("full"), &err, -ENOTEMPTY, "directory '%s' is not empty: it has 'letter'",
	       tap_path("full"));
	ok(!there(tap_path("full/packs")), "and nothing is made there");
	write_file(tap_path("file"), "x");
	is_err(init("file"), &err, -ENOTDIR, "cannot open directory '%s': Not a directory",
	       tap_path("file"));
	is_err(init("file/in/file"), &err, -ENOTDIR, "cannot make directory '%s': Not a directory",
	       tap_path("file/in/file"));
	is_err(store_init("", &params, &err), &err, -ENOENT,
	       "cannot make directory '': No such file or directory");
}

static void test_init_params(void)
{
	struct store_params good = params;

	params.digest = 9;
	is_err(init("p"), &err, -EINVAL, "there is no digest 9");
	params = good;
	params.codec = 9;
	is_err(init("p"), &err, -EINVAL, "there is no codec 9");
	params = good;
	params.level = 0;
	is_err(init("p"), &err, -EINVAL, "level 0 of codec 'zstd' is not between 1 and 22");
	params.level = 23;
	is_err(init("p"), &err, -EINVAL, "level 23 of codec 'zstd' is not between 1 and 22");
	params = good;
	params.chunk_pages[IMAGE_ROOTFS] = 17;
	is_err(init("p"), &err, -EINVAL, "17 pages a chunk are not between 1 and 16");
	ok(!there(tap_path("p")), "nothing is made then");
	params = good;
}

static void test_init_repeated(void)
{
	/* What an init that was killed before its last step has left. */
	if (mkdir(tap_path("half"), 0700) < 0 || mkdir(tap_path("half/packs"), 0700) < 0)
		bail("mkdir");
	write_file(tap_path("half/index.db.new"), "half of an index");
	write_file(tap_path("half/index.db.new-wal"), "half of a WAL");
	write_file(tap_path("half/reserve"), "too short");
	is_err(try_open("half"), &err, -ENOENT,
	       "'%s' has no index.db: 'lamina recover' makes it again from its packs",
	       tap_path("half"));
	is_int(init("half"), 0, "an interrupted init is done again");
	is_int(try_open("half"), 0, "and then opens");

	if (unlink(tap_path("half/index.db")) < 0)
		bail("unlink");
	write_file(tap_path("half/packs/00000001.pack"), "bytes of somebody");
	is_err(init("half"), &err, -ENOTEMPTY,
	       "'%s' has packs but no index.db: 'lamina recover' makes it again",
	       tap_path("half"));
}

/* Whatever step fails, doing it again makes a store. */
static void test_init_faults(void)
{
	static const enum fault_kind kinds[] = {FAULT_FSYNC, FAULT_MKDIR, FAULT_FALLOCATE,
						 FAULT_RENAME, FAULT_LIB_FSYNC, FAULT_LIB_PWRITE};
	char name[32];
	int failed = 0;

	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		for (unsigned long n = 1; n < 30; n++) {
			int rc;

			(void)snprintf(name, sizeof(name), "fault-%zu-%lu", k, n);
			err.text[0] = '\0';
			fault_arm(kinds[k], n, k == 2 ? ENOSPC : EIO);
			rc = init(name);
			bool struck = fault_struck();

			fault_disarm();
			if (!struck)
				break;
			failed += rc < 0;
			if (rc < 0 && !*err.text)
				ok(false, "a sentence for kind %zu, call %lu", k, n);
			if (rc < 0 && init(name) < 0)
				ok(false, "kind %zu, call %lu: again: %s", k, n, err.text);
			if (try_open(name) < 0)
				ok(false, "kind %zu, call %lu: %s", k, n, err.text);
		}
	}
	ok(failed > 5, "%d steps failed and were done again", failed);
}

static void test_init_twice(void)
{
	int fd;

	if (mkdir(tap_path("twice"), 0700) < 0)
		bail("mkdir");
	fd = open(tap_path("twice"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || flock(fd, LOCK_EX) < 0)
		bail("flock");
	is_err(init("twice"), &err, -EBUSY, "a store is being made in '%s' by somebody else",
	       tap_path("twice"));
	close(fd);
}

static void test_network(void)
{
	is_str(store_network_fs(0x6969), "NFS", "NFS is refused");
	is_str(store_network_fs((long)0xfe534d42), "SMB2", "SMB2");
	is_str(store_network_fs((int)0xff534d42), "CIFS", "CIFS, also where a long is signed");
	is_str(store_network_fs(0x01021997), "9P", "9P");
	is_str(store_network_fs(0xef53), NULL, "ext4 is not");
	is_str(store_network_fs(0x9123683e), NULL, "nor btrfs");
}

/* ---- open ---- */

static void test_open(void)
{
	struct store *s;
	struct store_limits l;

	is_err(try_open("nowhere"), &err, -ENOENT, "there is no store in '%s'",
	       tap_path("nowhere"));
	is_err(try_open("file"), &err, -ENOENT, "there is no store in '%s'", tap_path("file"));
	is_err(try_open("full"), &err, -ENOENT, "there is no store in '%s'", tap_path("full"));

	params.digest = DIGEST_SHA256;
	params.codec = CODEC_NONE;
	params.level = 0;
	params.chunk_pages[IMAGE_OTHER] = 1;
	is_int(init("other"), 0, "a store with other parameters");
	store_limits_default(&l);
	l.chunk_cache = 1 << 20;
	is_int(store_open(tap_path("other"), &l, &s, &err), 0, "opens");
	is_int(s->params.digest, DIGEST_SHA256, "with its digest");
	is_int(s->params.codec, CODEC_NONE, "codec");
	is_int(s->params.level, 0, "level");
	is_int(s->params.chunk_pages[IMAGE_OTHER], 1, "chunk size of other images");
	is_int(s->params.chunk_pages[IMAGE_ROOTFS], params.chunk_pages[IMAGE_ROOTFS],
	       "and of a rootfs");
	ok(s->lock_fd < 0, "and without the writer's lock");
	store_close(s);
	store_close(NULL);
	store_params_default(&params);
}

static void set_meta(const char *name, const char *key, const char *value)
{
	char path[PATH_MAX];
	struct index *ix;

	(void)snprintf(path, sizeof(path), "%s/index.db", tap_path(name));
	if (index_open(path, 0, &ix, &err) < 0 || index_meta_set(ix, key, value, &err) < 0)
		bail("%s", err.text);
	index_close(ix);
}

static void test_open_params(void)
{
	is_int(init("meta"), 0, "a store");
	set_meta("meta", "codec", "brotli");
	is_err(try_open("meta"), &err, -EPROTONOSUPPORT,
	       "the store was written by a newer lamina (codec 'brotli')");
	set_meta("meta", "codec", "zstd");
	set_meta("meta", "cipher", "aes-256-gcm");
	is_err(try_open("meta"), &err, -EPROTONOSUPPORT,
	       "the store was written by a newer lamina (cipher 'aes-256-gcm')");
	set_meta("meta", "cipher", "none");
	set_meta("meta", "chunk-pages-memfile", "0");
	is_err(try_open("meta"), &err, -EBADMSG,
	       "the index is damaged: 0 pages a chunk are not between 1 and 16");
	set_meta("meta", "chunk-pages-memfile", "8");
	set_meta("meta", "uuid", "abc");
	is_err(try_open("meta"), &err, -EBADMSG, "the index is damaged: uuid 'abc'");
}

static void test_open_no_memory(void)
{
	int failed = 0;

	for (unsigned long n = 1; n < 40; n++) {
		struct store *s = NULL;
		int rc;

		fault_arm(FAULT_MALLOC, n, ENOMEM);
		rc = store_open(tap_path("empty"), NULL, &s, &err);
		fault_disarm();
		failed += rc < 0;
		if (rc < 0 && rc != -ENOMEM)
			ok(false, "allocation %lu: %s", n, err.text);
		store_close(s);
	}
	ok(failed > 5, "%d allocations failed and said so", failed);
}

/* ---- the lock ---- */

/* The third time it is told to stop. */
static int told(void *ctx, const char *what, enum progress_unit unit, uint64_t done, uint64_t total)
{
	(void)unit, (void)done, (void)total;
	ok(!strcmp(what, "waiting for a writer"), "it is told");
	return ++*(int *)ctx == 3;
}

static void test_lock_told(void)
{
	int n = 0;
	struct progress progress = {told, &n};
	struct store *a = open_store("empty"), *b = open_store("empty");

	is_int(store_lock_told(a, "commit", UINT64_MAX, &progress, &err), 0, "a free lock");
	is_err(store_lock_told(b, "gc", UINT64_MAX, &progress, &err), &err, -ECANCELED,
	       "gc was cancelled");
	is_int(n, 3, "who waits for ever can be stopped");
	is_int(store_lock_told(b, "gc", 30, &progress, &err), -EBUSY, "who waits a little is not");
	store_unlock(a);
	is_int(store_lock_told(b, "gc", 0, &progress, &err), 0, "nothing is left behind");
	store_close(a);
	store_close(b);
}

static void test_lock(void)
{
	struct store *a = open_store("empty"), *b = open_store("empty");
	char path[PATH_MAX], want[128], *at;
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s", tap_path("empty"));
	is_int(store_lock(a, "commit", 0, &err), 0, "the writer's lock");
	is_err(store_lock(a, "commit", 0, &err), &err, -EBUSY,
	       "store '%s' is being written by this process", path);
	is_int(store_lock(b, "gc", 0, &err), -EBUSY, "is held once");
	(void)snprintf(want, sizeof(want), "is being written by pid %d (commit, since ",
		       (int)getpid());
	at = strstr(err.text, want);
	ok(at, "and who has it is said: %s", err.text);
	is_int(store_lock(b, "gc", 50, &err), -EBUSY, "after waiting too");
	store_unlock(a);
	ok(stat(tap_path("empty/lock"), &st) == 0 && st.st_size == 0, "nobody is named any more");
	is_int(store_lock(b, "gc", 0, &err), 0, "and it is given back");
	store_unlock(b);
	store_unlock(b);
	is_int(store_lock(a, "tag", UINT64_MAX, &err), 0, "which may be done twice");
	store_close(a);
	is_int(store_lock(b, "gc", 0, &err), 0, "closing the store gives it back");
	store_close(b);
}

static void test_lock_text(void)
{
	struct store *a = open_store("empty"), *b = open_store("empty");

	is_int(store_lock(a, "commit", 0, &err), 0, "the writer's lock");
	if (pwrite(a->lock_fd, "????????????????????????????????????????", 40, 0) != 40)
		bail("pwrite");
	is_err(store_lock(b, "gc", 0, &err), &err, -EBUSY,
	       "store '%s' is being written by somebody else", tap_path("empty"));
	store_close(a);
	store_close(b);
}

/* Holds the lock until it reads a byte or is killed. */
static pid_t holder(int ready[2], int go[2])
{
	pid_t pid;
	char c;

	if (pipe(ready) < 0 || pipe(go) < 0)
		bail("pipe");
	pid = fork();
	if (pid == 0) {
		struct store *s = open_store("empty");

		if (store_lock(s, "commit", 0, NULL) < 0)
			_exit(1);
		(void)!write(ready[1], "x", 1);
		(void)!read(go[0], &c, 1);
		store_close(s);
		_exit(0);
	}
	if (pid < 0 || read(ready[0], &c, 1) != 1)
		bail("no child");
	return pid;
}

static void close_all(int a[2], int b[2])
{
	close(a[0]);
	close(a[1]);
	close(b[0]);
	close(b[1]);
}

static void test_lock_process(void)
{
	struct store *s = open_store("empty");
	int ready[2], go[2];
	char want[64];
	pid_t pid = holder(ready, go);

	is_int(store_lock(s, "gc", 0, &err), -EBUSY, "another process has the lock");
	(void)snprintf(want, sizeof(want), "by pid %d (commit, since ", (int)pid);
	ok(strstr(err.text, want), "it is named: %s", err.text);
	if (write(go[1], "x", 1) != 1)
		bail("write");
	is_int(store_lock(s, "gc", UINT64_MAX, &err), 0, "who waits gets it");
	store_unlock(s);
	(void)waitpid(pid, NULL, 0);
	close_all(ready, go);

	pid = holder(ready, go);
	kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
	is_int(store_lock(s, "gc", 0, &err), 0, "a killed process holds nothing");
	close_all(ready, go);
	store_close(s);
}

/* There is one schema so far: this is who may migrate, index-file.c is how. */
static void test_migrate(void)
{
	struct store *s = open_store("empty"), *other = open_store("empty");
	struct digest id = {.b = {7}};
	int lease = lease_take(other, &id, &err);

	is_err(store_migrate(s, &err), &err, -EBUSY,
	       "store '%s' was written by an older lamina and cannot be migrated while its "
	       "layers are being read", tap_path("empty"));
	ok(s->lock_fd < 0, "the lock is given back");
	close(lease);
	is_int(store_migrate(s, &err), 0, "when nobody reads it is");
	is_int(store_lock(other, "gc", 0, &err), 0, "and the lock is free");
	store_close(s);
	store_close(other);
}

/* ---- the reserve ---- */

static void test_reserve(void)
{
	struct store *s = open_store("empty");
	struct stat st;

	store_reserve_release(s);
	ok(!there(tap_path("empty/reserve")), "the reserve is given back");
	store_reserve_release(s);
	ok(true, "once more does nothing");
	fault_arm(FAULT_FALLOCATE, 1, ENOSPC);
	store_reserve_make(s);
	fault_disarm();
	ok(!there(tap_path("empty/reserve")), "half a reserve is none");
	store_reserve_make(s);
	is_int(stat(tap_path("empty/reserve"), &st), 0, "it is made again");
	ok(st.st_blocks * 512 >= 1 << 20, "in full");
	store_close(s);
}

int main(void)
{
	store_params_default(&params);
	test_init();
	test_init_where();
	test_init_params();
	test_init_repeated();
	test_init_faults();
	test_init_twice();
	test_network();
	test_open();
	test_open_params();
	test_open_no_memory();
	test_lock();
	test_lock_told();
	test_lock_text();
	test_lock_process();
	test_migrate();
	test_reserve();
	return tap_done();
}
