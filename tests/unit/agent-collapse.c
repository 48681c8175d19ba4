/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Real memory of this process and of stopped children, made huge. */
#include "src/agent/collapse.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "src/agent/collapse-walk.h"
#include "store/base/pagemap.h"
#include "tests/tap.h"

#define WINDOW PAGEMAP_WINDOW
#define NWINDOWS 8

static bool possible;

struct counts {
	long long regions, chunks, collapsed, already_huge, skipped;
};

static long long number(const json_t *all, const char *name)
{
	const json_t *one = json_object_get(all, name);

	return json_is_integer(one) ? json_integer_value(one) : -1;
}

static struct counts take(json_t *all)
{
	struct counts c = {number(all, "regions"), number(all, "chunks"), number(all, "collapsed"),
			   number(all, "already_huge"), number(all, "skipped")};

	tap_diag("%lld regions, %lld chunks: %lld collapsed, %lld already, %lld skipped", c.regions,
		 c.chunks, c.collapsed, c.already_huge, c.skipped);
	is_int(c.chunks, c.collapsed + c.already_huge + c.skipped, "the counts add up");
	ok(json_is_real(json_object_get(all, "elapsed_ms")), "and the time is told");
	json_decref(all);
	return c;
}

static struct counts run(const char *format, ...)
{
	struct err err = {""};
	json_t *body, *all = NULL;
	char text[256];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	body = json_loads(text, 0, NULL);
	if (!is_int(collapse_run(body, NULL, &all, &err), 0, "collapse %s %s", text, err.text))
		bail("collapse failed");
	json_decref(body);
	return take(all);
}

static int add(void *ctx, const struct pagemap_run *found)
{
	*(uint64_t *)ctx += found->end - found->start;
	return 0;
}

/* Bytes of window `i` that have a flag of `any`. */
static uint64_t bytes_of(pid_t pid, const char *p, int i, unsigned any)
{
	struct pagemap_query q = {(uintptr_t)p + (unsigned)i * WINDOW,
				  (uintptr_t)p + (unsigned)(i + 1) * WINDOW, any, 0};
	struct pagemap pm;
	uint64_t n = 0;

	if (pagemap_open(pid, &pm, NULL) < 0 || pagemap_each(&pm, &q, add, &n) < 0)
		bail("cannot read pagemap");
	pagemap_close(&pm);
	return n;
}

static bool huge(pid_t pid, const char *p, int i)
{
	return bytes_of(pid, p, i, PAGEMAP_HUGE) == WINDOW;
}

/* Small pages, whatever faults would give here; in its own mapping. */
static char *reserve(void)
{
	size_t len = (NWINDOWS + 2) * (size_t)WINDOW;
	char *all = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *p;

	if (all == MAP_FAILED)
		bail("mmap: %s", strerror(errno));
	p = (char *)(((uintptr_t)all + WINDOW) & -(uintptr_t)WINDOW);
	if (mprotect(p, NWINDOWS * (size_t)WINDOW, PROT_READ | PROT_WRITE) < 0)
		bail("mprotect: %s", strerror(errno));
	return p;
}

/*
 * Windows: 0 full, 1 empty, 2 with one page, 3 and 4 full, 5 huge already (where that can be), 6
 * only read, 7 with every other page.
 */
static void scatter(char *p)
{
	(void)prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	memset(p, 1, WINDOW);
	p[2 * WINDOW + 12345] = 1;
	memset(p + 3 * WINDOW, 1, 2 * WINDOW);
	for (size_t i = 0; i < WINDOW; i += 4096)
		(void)*(volatile char *)(p + 6 * WINDOW + i);
	for (size_t i = 0; i < WINDOW; i += 8192)
		p[7 * WINDOW + i] = (char)i;
	(void)prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
	memset(p + 5 * WINDOW, 1, WINDOW);
	if (madvise(p + 5 * WINDOW, WINDOW, 25) < 0)
		tap_diag("no huge page to begin with: %s", strerror(errno));
}

/* As scatter() made it, and collapsed. */
static void check(pid_t pid, const char *p)
{
	static const int full[] = {0, 2, 3, 4, 5, 7};

	for (size_t i = 0; i < sizeof(full) / sizeof(*full); i++)
		ok(huge(pid, p, full[i]), "window %d is huge", full[i]);
	is_int(bytes_of(pid, p, 1, PAGEMAP_PRESENT), 0, "the empty one stays empty");
	ok(!huge(pid, p, 6), "and so does what was only read");
}

static void test_self(void)
{
	char *p = reserve();
	struct counts c, again;

	scatter(p);
	ok(!huge(0, p, 0) && !huge(0, p, 3), "small pages at first");
	c = run("{\"self\": true}");
	/* From MADV_HUGEPAGE on, khugepaged may be quicker, with some of them or with all. */
	ok(c.regions >= 1 && c.collapsed + c.already_huge >= 6 && c.skipped >= 2, "now huge");
	ok(c.already_huge >= 1, "and counts that which was");
	check(0, p);
	ok(p[0] == 1 && p[2 * WINDOW + 12345] == 1 && p[4 * WINDOW] == 1 && p[7 * WINDOW + 1] == 0,
	   "with the same in them");
	again = run("{\"pids\": [%d]}", (int)getpid());
	ok(again.already_huge >= 6, "once more, by its pid: they are counted apart");
	munmap(p, NWINDOWS * (size_t)WINDOW);
}

/* The mapping wants none: it is not asked to want some. */
static void test_nohuge(void)
{
	char *p = reserve();
	struct counts c;

	(void)madvise(p, NWINDOWS * (size_t)WINDOW, MADV_NOHUGEPAGE);
	memset(p, 1, NWINDOWS * (size_t)WINDOW);
	c = run("{\"self\": true}");
	ok(c.skipped >= NWINDOWS, "a mapping that wants no huge pages");
	is_int(bytes_of(0, p, 0, PAGEMAP_HUGE), 0, "gets none");
	munmap(p, NWINDOWS * (size_t)WINDOW);
}

static pid_t stopped_child(char **ret)
{
	char *p = reserve();
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		scatter(p);
		raise(SIGSTOP);
		_exit(p[0] == 1 && p[2 * WINDOW + 12345] == 1 && !p[7 * WINDOW + 4096] ? 42 : 1);
	}
	if (pid < 0 || waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status))
		bail("no stopped child");
	*ret = p;
	return pid;
}

static void end_child(pid_t pid, char *p)
{
	int status;

	kill(pid, SIGCONT);
	waitpid(pid, &status, 0);
	ok(WIFEXITED(status) && WEXITSTATUS(status) == 42, "the child finds its memory as it was");
	munmap(p, NWINDOWS * (size_t)WINDOW);
}

static void test_other(void)
{
	struct counts c, again;
	char *p;
	pid_t pid = stopped_child(&p);

	ok(!huge(pid, p, 0), "a stopped process with small pages");
	c = run("{\"pids\": [%d]}", (int)pid);
	ok(c.collapsed >= 5, "gets huge ones");
	check(pid, p);
	again = run("{\"pids\": [%d]}", (int)pid);
	is_int(again.regions, c.regions, "once more: the same mappings");
	is_int(again.chunks, c.chunks, "the same windows");
	is_int(again.collapsed, 0, "nothing left to do");
	is_int(again.already_huge, c.collapsed + c.already_huge, "all of them huge");
	end_child(pid, p);
}

/* What a cgroup is made of; lists of processes are files here. */
static void write_list(const char *dir, const char *format, ...)
{
	char path[PATH_MAX + 64], text[128];
	va_list ap;
	int fd, n;

	va_start(ap, format);
	n = vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	(void)mkdir(tap_path(dir), 0777);
	snprintf(path, sizeof(path), "%s/cgroup.procs", tap_path(dir));
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0 || write(fd, text, (size_t)n) != n)
		bail("cannot write '%s'", path);
	close(fd);
}

static void test_cgroup(void)
{
	static struct collapse_walk walk;
	char *p, *q;
	pid_t a = stopped_child(&p), b = stopped_child(&q);
	int fd;

	write_list("web", "0\n%d\n%d\nx\n\n", 999999999, (int)a);
	write_list("web/below", "%s", "");
	write_list("web/below/more", "%d\n", (int)b);
	fd = open(tap_path("web"), O_PATH | O_DIRECTORY | O_CLOEXEC);
	is_int(collapse_walk_cgroup(&walk, fd), 0, "a cgroup with others in it");
	close(fd);
	check(a, p);
	check(b, q);
	is_int(huge(a, p, 0) + huge(b, q, 0), 2, "its processes and theirs");
	end_child(b, q);
	end_child(a, p);
}

static void test_cancelled(void)
{
	atomic_bool cancelled = true;
	struct err err = {""};
	json_t *body, *all = NULL;
	char *p, text[64];
	pid_t pid = stopped_child(&p);

	snprintf(text, sizeof(text), "{\"pids\": [%d]}", (int)pid);
	body = json_loads(text, 0, NULL);
	is_err(collapse_run(body, &cancelled, &all, &err), &err, -ECANCELED,
	       "collapse was cancelled when it had made 0 huge pages");
	ok(!all && !huge(pid, p, 0), "nothing was done");
	json_decref(body);
	end_child(pid, p);
}

/* After the first window that was collapsed, the caller hangs up. */
static atomic_bool hung_up;
static bool armed;
static int advised;

int __real_madvise(void *addr, size_t len, int advice);
int __wrap_madvise(void *addr, size_t len, int advice);

int __wrap_madvise(void *addr, size_t len, int advice)
{
	if (armed && advice == 25) {
		advised++;
		atomic_store(&hung_up, true);
	}
	return __real_madvise(addr, len, advice);
}

/* A kernel before 6.7 has no PAGEMAP_SCAN. */
static bool old_kernel;

int __real_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg);

int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	errno = ENOTTY;
	return old_kernel ? -1 : __real_ioctl(fd, request, arg);
}

static void test_old_kernel(void)
{
	uint64_t entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || pread(fd, &entry, 8, (off_t)((uintptr_t)&entry / 4096 * 8)) != 8 ||
	    !(entry << 9)) {
		tap_skip("frame numbers are not shown to us");
	} else {
		old_kernel = true;
		test_self();
		test_other();
		old_kernel = false;
	}
	if (fd >= 0)
		close(fd);
}

static void test_cancelled_between(void)
{
	json_t *body = json_loads("{\"self\": true}", 0, NULL), *all = NULL;
	char *p = reserve();
	struct err err = {""};

	scatter(p);
	armed = true;
	is_int(collapse_run(body, &hung_up, &all, &err), -ECANCELED, "cancelled while it runs");
	armed = false;
	is_int(advised, 1, "between two windows: no other was begun");
	ok(!all, "there is no answer");
	json_decref(body);
	munmap(p, NWINDOWS * (size_t)WINDOW);
}

static void test_nobody(void)
{
	siginfo_t info;
	struct counts c;
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	waitpid(pid, NULL, 0);
	c = run("{\"pids\": [%d]}", (int)pid);
	is_int(c.regions + c.chunks, 0, "a process that is gone counts for nothing");
	pid = fork();
	if (pid == 0)
		_exit(0);
	waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
	c = run("{\"pids\": [%d]}", (int)pid);
	is_int(c.regions + c.chunks, 0, "nor one that was not waited for");
	waitpid(pid, NULL, 0);
	c = run("{\"pids\": [2, 999999999]}");
	is_int(c.collapsed, 0, "nor the kernel's");
	c = run("{\"pids\": []}");
	is_int(c.chunks, 0, "nobody at all");
}

static void refused(const char *text, const char *why)
{
	json_t *body = json_loads(text, JSON_DECODE_ANY, NULL), *all = NULL;
	struct err err = {""};

	is_err(collapse_run(body, NULL, &all, &err), &err, -EINVAL, "%s", why);
	ok(!all, "no answer");
	json_decref(body);
}

static void test_refused(void)
{
	json_t *body = json_object(), *pids = json_array(), *all = NULL;
	struct err err = {""};

	refused("[]", "the body is not an object");
	refused("{\"self\": false}", "'self' is not true");
	refused("{\"all\": 1}", "'all' is not true");
	refused("{\"self\": true, \"all\": true}",
		"more than one of 'self', 'pids', 'cgroup', 'all'");
	refused("{\"pids\": 5}", "'pids' is not an array");
	refused("{\"pids\": [0]}", "'pids' has what is no process id");
	refused("{\"pids\": [1.5]}", "'pids' has what is no process id");
	refused("{\"pids\": [\"1\"]}", "'pids' has what is no process id");
	refused("{\"pids\": [4294967297]}", "'pids' has what is no process id");
	refused("{\"cgroup\": 5}", "'cgroup' is not a string");
	for (int i = 0; i <= COLLAPSE_MAX_PIDS; i++)
		json_array_append_new(pids, json_integer(999999999));
	json_object_set_new(body, "pids", pids);
	is_err(collapse_run(body, NULL, &all, &err), &err, -EINVAL, "'pids' are more than 2048");
	json_decref(body);
	body = json_pack("{s:s}", "cgroup", "no-such.slice");
	is_int(collapse_run(body, NULL, &all, &err), -ENOENT, "a cgroup that is not there");
	json_decref(body);
}

int main(void)
{
	possible = collapse_possible();
	test_refused();
	test_nobody();
	if (getenv("LAMINA_VALGRIND")) {
		tap_skip("valgrind has no pidfd_open()");
		return tap_done();
	}
	if (!possible) {
		tap_skip("no MADV_COLLAPSE here (Linux 6.1, transparent huge pages)");
		return tap_done();
	}
	test_self();
	test_nohuge();
	test_other();
	test_cgroup();
	test_cancelled();
	test_cancelled_between();
	test_old_kernel();
	return tap_done();
}
