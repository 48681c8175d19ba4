/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/promised.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/pager/pool.h"
#include "tests/fault.h"
#include "tests/tap.h"

#define HUGE_LEN (UINT64_C(2) << 20)

static char run[4096];
static struct err err;
static uint64_t free_pages;

/* In place of the host's. */
uint64_t pool_free(void)
{
	return free_pages;
}

/* ---- guests: processes, with what looks like huge pages to who asks for every 512th page ---- */

struct guest {
	pid_t pid;
	int pipe;
	uint8_t *mem;
	struct region region[2];
};

static void live(const struct guest *g, int fd)
{
	char page;

	while (read(fd, &page, 1) == 1) {
		g->mem[page * (long)HUGE_LEN] = 1;
		kill(getpid(), SIGSTOP);
	}
	_exit(0);
}

/* Memory of `n` huge pages, none of which is there. */
static struct guest begin(unsigned n)
{
	struct guest g = {.pid = -1};
	uint8_t *p = mmap(NULL, (n + 1) * HUGE_LEN, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int fds[2];

	if (p == MAP_FAILED || pipe(fds) < 0)
		bail("no guest");
	g.mem = (uint8_t *)(((uintptr_t)p + HUGE_LEN - 1) & ~(HUGE_LEN - 1));
	(void)madvise(g.mem, n * HUGE_LEN, MADV_NOHUGEPAGE);
	g.region[0] = (struct region){.addr = (uintptr_t)g.mem, .size = n * HUGE_LEN,
				      .page_size = HUGE_LEN};
	g.region[1] = (struct region){.addr = (uintptr_t)g.mem + (UINT64_C(1) << 40),
				      .size = n * HUGE_LEN, .page_size = 4096};
	g.pipe = fds[1];
	g.pid = fork();
	if (g.pid == 0) {
		close(fds[1]);
		live(&g, fds[0]);
	}
	close(fds[0]);
	return g;
}

static void touch(const struct guest *g, char page)
{
	int status;

	if (write(g->pipe, &page, 1) != 1 || waitpid(g->pid, &status, WUNTRACED) != g->pid ||
	    !WIFSTOPPED(status))
		bail("a guest does not touch its memory");
	kill(g->pid, SIGCONT);
}

static void kill_guest(const struct guest *g)
{
	siginfo_t info;

	kill(g->pid, SIGKILL);
	(void)waitid(P_PID, (id_t)g->pid, &info, WEXITED | WNOWAIT);
}

static void end(const struct guest *g)
{
	kill_guest(g);
	(void)waitpid(g->pid, NULL, 0);
	close(g->pipe);
}

static struct promised_guest asks(const struct guest *g, uint64_t pages)
{
	return (struct promised_guest){g->pid, g->region, 2, pages};
}

static int all(const struct guest *g, uint64_t pages)
{
	const struct promised_guest p = asks(g, pages);

	return promised_all(run, &p, &err);
}

static int some(const struct guest *g, uint64_t pages)
{
	const struct promised_guest p = asks(g, pages);

	return promised_some(run, &p, &err);
}

static void drop(const struct guest *g)
{
	const struct promised_guest p = asks(g, 0);

	promised_drop(run, &p);
}

static const char *dir(void)
{
	static char path[8192];

	(void)snprintf(path, sizeof(path), "%s/promised", run);
	return path;
}

/* The name of the only file there; "": there is none. */
static const char *the_file(unsigned *ret_n)
{
	static char path[16384];
	DIR *d = opendir(dir());
	const struct dirent *e;

	*path = '\0';
	*ret_n = 0;
	while (d && (e = readdir(d))) {
		if (*e->d_name == '.')
			continue;
		++*ret_n;
		(void)snprintf(path, sizeof(path), "%s/%s", dir(), e->d_name);
	}
	if (d)
		closedir(d);
	return path;
}

static unsigned count(void)
{
	unsigned n;

	(void)the_file(&n);
	return n;
}

#define SHORT "the guest lacks %d huge pages; %d huge pages are free, and %d are promised to " \
	"other guests"

static void test_two(void)
{
	struct guest a = begin(8), b = begin(8);

	free_pages = 5;
	is_err(all(&a, 6), &err, -ENOMEM, SHORT, 6, 5, 0);
	is_int(all(&a, 3), 0, "three of five are promised");
	is_err(all(&b, 3), &err, -ENOMEM, SHORT, 3, 5, 3);
	is_int(all(&b, 2), 0, "the other two");
	is_err(all(&b, 3), &err, -ENOMEM, SHORT, 3, 5, 3);
	is_int(all(&a, 3), 0, "once more: a guest's own promise does not count");
	is_int(all(&a, 1), 0, "it needs less");
	is_int(all(&b, 4), 0, "the other one may have that");
	is_int(all(&a, 0), 0, "it needs nothing");
	is_int(all(&b, 5), 0, "nor is anything kept for it");
	is_int(count(), 1, "there is one promise");
	drop(&a);
	is_int(count(), 1, "what is not promised can be dropped");
	drop(&b);
	is_int(count(), 0, "and what is, is gone then");
	end(&a);
	end(&b);
}

static void test_end(void)
{
	struct guest a = begin(8), b = begin(8);

	free_pages = 4;
	is_int(all(&a, 4), 0, "all are promised");
	is_int(all(&b, 1), -ENOMEM, "none is left");
	kill_guest(&a);
	is_int(all(&b, 4), 0, "until the guest has died, waited for or not");
	is_int(count(), 1, "its promise is removed");
	is_err(all(&a, 1), &err, -ENOMEM, "the guest lacks 1 huge pages, and its process, to which "
	       "they would be promised, cannot be seen in /proc");
	end(&a);
	is_int(all(&a, 1), -ENOMEM, "nor is one promised anything that there is not");
	a.pid = 0;
	is_int(all(&a, 1), -ENOMEM, "or that is in another world");
	end(&b);
}

static void test_number_again(void)
{
	struct guest a = begin(8), b = begin(8);
	unsigned n;
	char old[16384], now[16400];

	free_pages = 4;
	is_int(all(&a, 4), 0, "all are promised");
	(void)snprintf(old, sizeof(old), "%s", the_file(&n));
	(void)snprintf(now, sizeof(now), "%s/%d-1-%" PRIx64, dir(), (int)a.pid, a.region[0].addr);
	is_int(rename(old, now), 0, "to an older process of that number");
	is_int(all(&b, 4), 0, "which has ended");
	end(&a);
	end(&b);
}

/* As a process that holds two guests does. */
static void test_one_process(void)
{
	struct guest a = begin(8), b = a;

	b.region[0].addr += 4 * HUGE_LEN;
	free_pages = 5;
	is_int(all(&a, 3), 0, "one of two guests of a process");
	is_err(all(&b, 3), &err, -ENOMEM, SHORT, 3, 5, 3);
	is_int(all(&b, 2), 0, "the other one");
	is_int(count(), 2, "both have promises");
	drop(&a);
	is_int(all(&b, 5), 0, "and lose them alone");
	end(&a);
}

static void test_taken(void)
{
	struct guest a = begin(8), b = begin(8);
	bool seen;

	free_pages = 5;
	is_int(all(&a, 3), 0, "three are promised");
	for (char page = 0; page < 6; page++)
		touch(&a, page);
	free_pages = 3;			/* of the eight that it lacked it has taken six */
	is_err(all(&b, 2), &err, -ENOMEM, SHORT, 2, 3, 2);
	is_int(all(&b, 1), 0, "what it lacks is promised still: two");
	touch(&a, 6);
	touch(&a, 7);
	seen = all(&b, 3) == 0;
	ok(seen, "when it has all, nothing is: %s", seen ? "" : err.text);
	end(&a);
	end(&b);
}

static void test_some(void)
{
	struct guest a = begin(8), b = begin(8);

	free_pages = 3;
	is_int(some(&a, 8), 0, "with promises to nobody, who lacks more than is free may begin");
	is_err(some(&b, 1), &err, -ENOMEM, SHORT, 1, 3, 3);
	is_err(all(&a, 8), &err, -ENOMEM, SHORT, 8, 3, 0);
	is_int(count(), 1, "a refusal changes nothing");
	is_err(some(&b, 1), &err, -ENOMEM, SHORT, 1, 3, 3);
	drop(&a);
	free_pages = 0;
	is_int(some(&a, 8), 0, "of nothing");
	is_int(some(&b, 8), 0, "nothing is promised: pages may be reserved for guests");
	end(&a);
	end(&b);
}

static void spoil(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		bail("%s: %s", path, strerror(errno));
	close(fd);
}

static void test_hostile(void)
{
	static const char *const texts[] = {
		"", "{", "[]", "{}", "{\"pages\":1}", "{\"pages\":-1,\"regions\":[]}",
		"{\"pages\":\"1\",\"regions\":[]}", "{\"pages\":1,\"regions\":{}}",
		"{\"pages\":1,\"pages\":1,\"regions\":[]}",
	};
	static const char *const others[] = {"note", "new", "1-2", "1-2-x", "-1-2-3", "01-2-3"};
	static const char *const regions[] = {
		"", "1", "[]", "[\"x\",1]", "[2097152]", "[2097152,2097152,1]", "[-1,-1]",
		"[-2097152,4194304]", "[2097152,0]", "[1,2097152]", "[2097152,1]",
		"[2097152,9223372036852678656]",
	};
	struct guest a = begin(8), b = begin(8);
	char path[16384];
	struct stat st;
	unsigned n;

	free_pages = 4;
	is_int(all(&a, 1), 0, "a promise");
	(void)snprintf(path, sizeof(path), "%s", the_file(&n));
	ok(stat(dir(), &st) == 0 && (st.st_mode & 0777) == 0700, "nobody else may lock it");
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		spoil(path, texts[i]);
		is_err(all(&b, 1), &err, -EBADMSG, "'promised/%s' of the runtime directory is not "
		       "what a pager writes", strrchr(path, '/') + 1);
	}
	for (size_t i = 0; i < sizeof(regions) / sizeof(regions[0]); i++) {
		char text[256];

		(void)snprintf(text, sizeof(text), "{\"pages\":3,\"regions\":[%s]}",
			       regions[i]);
		spoil(path, text);
		is_int(all(&b, 2), -ENOMEM, "no region: '%s': what was promised stays so",
		       regions[i]);
	}
	is_int(all(&a, 1), 0, "the guest's own is written over");
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir(), others[i]);
		close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	}
	is_int(all(&b, 3), 0, "what is no promise's name is nobody's");
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir(), others[i]);
		(void)unlink(path);
	}
	end(&a);
	end(&b);
}

static void test_trouble(void)
{
	static const enum fault_kind kinds[] = {FAULT_WRITE, FAULT_RENAME};
	struct guest a = begin(8), b = begin(8);

	free_pages = 4;
	is_int(all(&a, 1), 0, "one");
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		fault_arm(kinds[i], 1, ENOSPC);
		is_err(all(&a, 4), &err, -ENOSPC, "cannot note the huge pages promised to the "
		       "guest: %s", strerror(ENOSPC));
		fault_disarm();
		is_int(count(), 1, "the old one is there, and nothing beside it");
		is_int(all(&b, 3), 0, "and as it was");
		drop(&b);
	}
	is_err(promised_prepare("/proc/self", &err), &err, -ENOENT,
	       "cannot use '/proc/self/promised': %s", strerror(ENOENT));
	end(&a);
	end(&b);
}

int main(void)
{
	(void)snprintf(run, sizeof(run), "%s", tap_path("run"));
	if (mkdir(run, 0755) < 0 || promised_prepare(run, &err) < 0)
		bail("no directory");
	test_two();
	test_end();
	test_number_again();
	test_one_process();
	test_taken();
	test_some();
	test_hostile();
	test_trouble();
	return tap_done();
}
