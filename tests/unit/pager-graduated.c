/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/graduated.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fault.h"
#include "tests/tap.h"

static const struct complete_report report = {
	.pages = 262144,
	.bytes = UINT64_C(1) << 30,
	.zero = 12,
	.holes = 345,
	.at = UINT64_C(1) << 31,
	.ns = 412345678,
	.unregister_ns = 91234,
};

static char run[4096];
static struct err err;

static const char *file(const char *id)
{
	static char path[8192];

	(void)snprintf(path, sizeof(path), "%s/graduated/%s", run, id);
	return path;
}

static void write_file(const char *id, const char *text, size_t len)
{
	int fd = open(file(id), O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (fd < 0 || write(fd, text, len) != (ssize_t)len)
		bail("%s: %s", file(id), strerror(errno));
	close(fd);
}

/* Those that begin with a dot included. */
static size_t count_files(void)
{
	DIR *d = opendir(file(""));
	const struct dirent *e;
	size_t n = 0;

	while (d && (e = readdir(d)))
		n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	if (d)
		closedir(d);
	return n;
}

static int get(const char *id)
{
	struct complete_report r;

	return graduated_get(run, id, &r, &err);
}

static void test_round_trip(void)
{
	struct complete_report r = {.pages = 7};

	is_err(graduated_get(run, "vm", &r, &err), &err, -ENOENT,
	       "cannot use '%s/graduated': %s", run, strerror(ENOENT));
	is_int(r.pages, 7, "what is not there leaves the output alone");
	is_int(access(file(""), F_OK), -1, "asking makes no directory");
	is_int(graduated_forget(run, "vm", &err), 0, "there is nothing to forget");
	is_int(graduated_put(run, "vm", &report, &err), 0, "the first one makes the directory");
	is_err(graduated_get(run, "other", &r, &err), &err, -ENOENT,
	       "cannot read '%s/graduated/other': %s", run, strerror(ENOENT));
	is_int(graduated_get(run, "vm", &r, &err), 0, "it is known");
	ok(r.already, "to have graduated before");
	ok(r.pages == report.pages && r.bytes == report.bytes && r.zero == report.zero &&
	   r.holes == report.holes, "with its numbers");
	ok(r.ns == report.ns && r.unregister_ns == report.unregister_ns, "and times");
	is_int(count_files(), 1, "there is one file");
	is_int(graduated_put(run, "vm", &(struct complete_report){.pages = 1}, &err), 0, "again");
	is_int(graduated_get(run, "vm", &r, &err), 0, "is known");
	is_int(r.pages, 1, "by the new numbers");
	is_int(graduated_put(run, "vm.tmp", &report, &err), 0, "a name that looks temporary");
	is_int(get("vm.tmp"), 0, "is one of its own");
	is_int(graduated_forget(run, "vm.tmp", &err), 0, "is forgotten");
	is_int(get("vm.tmp"), -ENOENT, "once");
	is_int(get("vm"), 0, "the other one is not");
	is_int(graduated_forget(run, "vm", &err), 0, "until it is");
	is_int(count_files(), 0, "nothing is left");
}

static void test_ids(void)
{
	static const char *const bad[] = {"", ".", "..", ".vm", "../keeper.lock", "a/b", "a b",
					  "\xff"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		is_int(graduated_put(run, bad[i], &report, &err), -ENOENT, "no id: %zu", i);
		is_int(get(bad[i]), -ENOENT, "is not known");
		is_int(graduated_forget(run, bad[i], &err), 0, "there is nothing to forget");
	}
	is_int(count_files(), 0, "nothing is made for them");
}

#define GOOD "\"bytes\":2,\"zero_pages\":3,\"hole_pages\":4,\"ns\":5,\"unregister_ns\":6"

static void test_hostile(void)
{
	static const char *const texts[] = {
		"", "{", "[]", "null", "\"vm\"", "{}",
		"{\"id\":\"vm\"}",
		"{\"id\":\"other\",\"pages\":1," GOOD "}",
		"{\"id\":7,\"pages\":1," GOOD "}",
		"{\"id\":\"vm\",\"pages\":-1," GOOD "}",
		"{\"id\":\"vm\",\"pages\":1.5," GOOD "}",
		"{\"id\":\"vm\",\"pages\":\"1\"," GOOD "}",
		"{\"id\":\"vm\",\"pages\":99999999999999999999," GOOD "}",
		"{\"id\":\"vm\",\"pages\":1,\"pages\":1," GOOD "}",
		"{\"id\":\"vm\",\"pages\":1," GOOD "} x",
	};
	static char large[8192];

	write_file("vm", "{\"id\":\"vm\",\"pages\":1," GOOD "}",
		   strlen("{\"id\":\"vm\",\"pages\":1," GOOD "}"));
	is_int(get("vm"), 0, "the text that is spoiled now is good");
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		write_file("vm", texts[i], strlen(texts[i]));
		is_err(get("vm"), &err, -EBADMSG, "'%s/graduated/vm' is not what a pager writes",
		       run);
	}
	write_file("vm", "{\"id\":\"vm\0\",\"pages\":1}", 22);
	is_int(get("vm"), -EBADMSG, "a NUL");
	memset(large, ' ', sizeof(large));
	write_file("vm", large, sizeof(large));
	is_int(get("vm"), -EBADMSG, "a large file");
	is_int(graduated_put(run, "vm", &report, &err), 0, "is written over");
	is_int(get("vm"), 0, "and good then");
	unlink(file("vm"));
	is_int(symlink("/etc/passwd", file("vm")), 0, "a link");
	is_int(get("vm"), -EBADMSG, "is not followed");
	is_int(graduated_put(run, "vm", &report, &err), 0, "but replaced");
	is_int(get("vm"), 0, "by a file");
	unlink(file("vm"));
	is_int(mkfifo(file("vm"), 0600), 0, "a pipe");
	is_int(get("vm"), -EBADMSG, "keeps nobody waiting");
	is_int(graduated_forget(run, "vm", &err), 0, "it is forgotten");
	is_int(mkdir(file("vm"), 0700), 0, "a directory");
	is_int(get("vm"), -EBADMSG, "is no file");
	ok(graduated_forget(run, "vm", &err) < 0, "cannot be forgotten");
	ok(strstr(err.text, "cannot remove '") != NULL, "and that is said");
	ok(graduated_put(run, "vm", &report, &err) < 0, "nor written over");
	rmdir(file("vm"));
	is_int(count_files(), 0, "nothing is left");
}

static void set_time(const char *id, time_t when)
{
	const struct timespec times[2] = {{.tv_sec = when}, {.tv_sec = when}};

	if (utimensat(AT_FDCWD, file(id), times, 0) < 0)
		bail("utimensat: %s", strerror(errno));
}

static void test_bounded(void)
{
	char id[32];

	for (int i = 0; i < GRADUATED_MAX; i++) {
		(void)snprintf(id, sizeof(id), "vm%d", i);
		write_file(id, "", 0);
		set_time(id, 1000 + (i + 17) % GRADUATED_MAX);
	}
	(void)snprintf(id, sizeof(id), "vm%d", GRADUATED_MAX - 17);	/* at 1000 */
	is_int(graduated_put(run, "new1", &report, &err), 0, "one too many");
	is_int(count_files(), GRADUATED_MAX, "does not stay");
	is_int(access(file(id), F_OK), -1, "the oldest has gone");
	is_int(get("new1"), 0, "the new one not");
	is_int(graduated_put(run, "new1", &report, &err), 0, "one of the same name");
	is_int(count_files(), GRADUATED_MAX, "costs nothing");
	set_time("new1", 1);
	is_int(graduated_put(run, "new2", &report, &err), 0, "by its time");
	is_int(access(file("new1"), F_OK), -1, "any may be the oldest");
	write_file("new3", "", 0);
	write_file("new4", "", 0);
	is_int(graduated_put(run, "new5", &report, &err), 0, "more of them");
	is_int(count_files(), GRADUATED_MAX, "go at once");
}

static void test_trouble(void)
{
	static const enum fault_kind kinds[] = {FAULT_WRITE, FAULT_FSYNC, FAULT_RENAME};

	is_int(graduated_put(run, "vm", &report, &err), 0, "one");
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct complete_report r;
		size_t n = count_files();

		fault_arm(kinds[i], 1, ENOSPC);
		is_err(graduated_put(run, "vm", &(struct complete_report){.pages = 9}, &err), &err,
		       -ENOSPC, "cannot write '%s/graduated/vm': %s", run, strerror(ENOSPC));
		fault_disarm();
		is_int(graduated_get(run, "vm", &r, &err), 0, "the old one is there");
		is_int(r.pages, report.pages, "and whole");
		is_int(count_files(), n, "and nothing beside it");
	}
	is_err(graduated_prepare("/proc/self", &err), &err, -ENOENT,
	       "cannot use '/proc/self/graduated': %s", strerror(ENOENT));
}

int main(void)
{
	(void)snprintf(run, sizeof(run), "%s", tap_path("run"));
	if (mkdir(run, 0755) < 0)
		bail("mkdir: %s", strerror(errno));
	test_round_trip();
	test_ids();
	test_hostile();
	test_trouble();
	test_bounded();
	return tap_done();
}
