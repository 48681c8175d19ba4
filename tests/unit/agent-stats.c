/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files of a kernel, written here; and those of this one. */
#include "src/agent/stats.h"

#include <fcntl.h>

#include "store/base/io.h"
#include "tests/tap.h"

static void put(const char *name, const char *text)
{
	char path[PATH_MAX + 128], *slash;

	snprintf(path, sizeof(path), "%s%s", tap_tmpdir(), name);
	slash = strrchr(path, '/');
	*slash = '\0';
	if (io_mkdirs(path, 0777, NULL) < 0)
		bail("cannot make a directory");
	*slash = '/';
	if (io_replace_file(AT_FDCWD, path, text, strlen(text)) < 0)
		bail("cannot write a file");
}

static void drop(const char *name)
{
	char path[PATH_MAX + 128];

	snprintf(path, sizeof(path), "%s%s", tap_tmpdir(), name);
	unlink(path);
}

static void stats_are(const char *want, const char *what)
{
	json_t *got = NULL, *expected = json_loads(want, 0, NULL);
	struct err err = {""};
	char *text;

	if (!expected)
		bail("not JSON: %s", want);
	is_int(stats_read_root(tap_tmpdir(), &got, &err), 0, "%s %s", what, err.text);
	text = got ? json_dumps(got, JSON_SORT_KEYS) : NULL;
	if (!ok(json_equal(got, expected), "%s: as it is", what))
		tap_diag("got %s", text);
	free(text);
	json_decref(got);
	json_decref(expected);
}

#define MEMORY(free) "{\"total\":1048576,\"free\":" #free ",\"available\":512000," \
	"\"cached\":204800,\"buffers\":1024,\"dirty\":2048,\"writeback\":0,\"anon\":102400," \
	"\"shmem\":4096,\"slab_reclaimable\":8192,\"slab_unreclaimable\":9216," \
	"\"swap_total\":0,\"swap_free\":0}"

static void test_all(void)
{
	put("/proc/meminfo", "MemTotal:        1024 kB\nMemFree:    300 kB\nMemAvailable: 500 kB\n"
	    "Buffers: 1 kB\nCached: 200 kB\nSwapCached: 77 kB\nActive(anon): 5 kB\n"
	    "SwapTotal: 0 kB\n"
	    "SwapFree: 0 kB\nDirty: 2 kB\nWriteback: 0 kB\nAnonPages: 100 kB\nShmem: 4 kB\n"
	    "SReclaimable: 8 kB\n"
	    "SUnreclaim: 9 kB\nAnonHugePages: 6 kB\nHugePages_Total: 3\nodd\n");
	put("/proc/buddyinfo",
	    "Node 0, zone      DMA   1   0   0   0   0   0   0   0   0   1   1 \n"
	    "Node 0, zone   Normal   3   0   1   0   0   0   0   0   2   0   0 \n");
	put("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
	put("/sys/kernel/mm/transparent_hugepage/defrag",
	    "always defer defer+madvise [never] madvise\n");
	put("/proc/sys/vm/compaction_proactiveness", "20\n");
	put("/proc/cmdline", "root=/dev/vda init_on_free=1 quiet -- init_on_free=0\n");
	/* 520 small pages of 2056 free ones (4 + 4 + 512 pages; 1536 are huge). */
	stats_are("{\"memory\":" MEMORY(307200) ","
		  "\"thp\":{\"enabled\":\"madvise\",\"defrag\":\"never\",\"anon\":6144},"
		  "\"fragmentation\":{\"free_by_order\":[16384,0,16384,0,0,0,0,0,"
		  "2097152,2097152,4194304],"
		  "\"unusable_index\":0.25291828793774318},"
		  "\"compaction_proactiveness\":20,\"init_on_free\":true}", "all that is known");
}

static void test_less(void)
{
	drop("/proc/buddyinfo");
	drop("/sys/kernel/mm/transparent_hugepage/enabled");
	drop("/sys/kernel/mm/transparent_hugepage/defrag");
	drop("/proc/sys/vm/compaction_proactiveness");
	drop("/proc/cmdline");
	put("/proc/meminfo",
	    "MemTotal: 1024 kB\nMemFree: 99999999999999999999999999 kB\nCached: -1 kB\n");
	stats_are("{\"memory\":{\"total\":1048576,\"free\":null,\"available\":null,\"cached\":null,"
		  "\"buffers\":null,\"dirty\":null,\"writeback\":null,\"anon\":null,\"shmem\":null,"
		  "\"slab_reclaimable\":null,\"slab_unreclaimable\":null,\"swap_total\":null,"
		  "\"swap_free\":null},"
		  "\"thp\":{\"enabled\":null,\"defrag\":null,\"anon\":null},\"fragmentation\":null,"
		  "\"compaction_proactiveness\":null,\"init_on_free\":null}",
		  "what is not told is null");
}

static void init_is(const char *cmdline, json_type want)
{
	json_t *got = NULL;
	struct err err;

	put("/proc/cmdline", cmdline);
	is_int(stats_read_root(tap_tmpdir(), &got, &err), 0, "%s", cmdline);
	is_int(json_typeof(json_object_get(got, "init_on_free")), want,
	       "freed pages are zeroed, or not");
	json_decref(got);
}

static void test_cmdline(void)
{
	init_is("quiet\n", JSON_NULL);
	init_is("init_on_free=on", JSON_TRUE);
	init_is("init_on_free=off x\n", JSON_FALSE);
	init_is("init_on_free=0 init_on_free=y\n", JSON_TRUE);
	init_is("xinit_on_free=1\n", JSON_NULL);
	init_is("init_on_free=\n", JSON_NULL);
	init_is("-- init_on_free=1\n", JSON_NULL);
}

static void test_buddy(void)
{
	json_t *got = NULL, *found;
	struct err err;

	put("/proc/buddyinfo", "Node 0, zone\nNode 0, zone X\nzone Y z\nNode 0, zone Z "
	    "99999999999999999999 1\nnonsense\n");
	is_int(stats_read_root(tap_tmpdir(), &got, &err), 0, "lines that are none");
	ok(json_is_null(json_object_get(got, "fragmentation")), "tell nothing");
	json_decref(got);
	put("/proc/buddyinfo", "Node 0, zone DMA 0 0 0 0 0 0 0 0 0 0 0\n");
	is_int(stats_read_root(tap_tmpdir(), &got, &err), 0, "nothing free");
	found = json_object_get(json_object_get(got, "fragmentation"), "unusable_index");
	ok(json_is_real(found) && json_real_value(found) == 0,
	   "is no division by zero");
	json_decref(got);
}

static void test_errors(void)
{
	json_t *got = NULL;
	struct err err;

	is_err(stats_read_root("/nonexistent", &got, &err), &err, -ENOENT,
	       "cannot read '/nonexistent/proc/meminfo': No such file or directory");
	ok(!got, "there is no answer then");
}

static void test_real(void)
{
	json_t *got = NULL, *memory, *all;
	struct err err = {""};

	is_int(stats_read(&got, &err), 0, "this machine %s", err.text);
	memory = json_object_get(got, "memory");
	all = json_object_get(memory, "total");
	ok(json_integer_value(all) > 0, "has memory");
	ok(json_integer_value(json_object_get(memory, "free")) <= json_integer_value(all),
	   "some free");
	json_decref(got);
}

int main(void)
{
	test_all();
	test_less();
	test_cmdline();
	test_buddy();
	test_errors();
	test_real();
	return tap_done();
}
