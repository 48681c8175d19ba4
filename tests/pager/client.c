/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * client: a process that has its memory paged, as Firecracker has, does what a
 * script says, and knows of every byte what it must be.
 *
 *	client [-e SCRIPT]... [-f MEMFILE] [-t SECONDS]
 *
 * The script comes from -e or, line by line, from standard input.  Each command
 * prints one line.  The first wrong byte ends it with status 1 (tool.h).
 *
 *	file PATH			what the bytes are compared with
 *	map ADDR|auto SIZE OFF [huge] [memfd] [thp]	before `handoff`
 *	uffd [usermode] [blocking] [noremove]	makes it and registers; else `handoff` does
 *	handoff PATH [plain|nofd|twofds|notuffd|split|late|empty|silent] [json=TEXT|json@FILE]
 *		[wait]		in TEXT @0 is the address of the first region; wait: up to 10 s
 *	touch, syscall, latency, flood	touch.h
 *	churn SECONDS SEED [threads K]	churn.h
 *	remove|drop|punch OFF LEN	mem.h
 *	expect zero|file|written|bus|resident|absent OFF LEN
 *	write OFF LEN [VALUE]		fills with a byte
 *	check				compares all
 *	hangup [SECONDS]		waits for the pager to close the socket
 *	close | closefd			our end of the socket, our copy of the userfaultfd
 *	unmap OFF			the region that shows OFF
 *	odd ...				odd.h
 *	json | stats | sleep SECONDS | hold | exit [STATUS]
 *
 * `hold` goes on until standard input ends.  After -t SECONDS it ends with
 * status 4 and says at which command.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/pager/churn.h"
#include "tests/pager/hand.h"
#include "tests/pager/mem.h"
#include "tests/pager/odd.h"
#include "tests/pager/script.h"
#include "tests/pager/tool.h"
#include "tests/pager/touch.h"

struct client {
	struct mem mem;
	int uffd;
	int sock;
	bool done;
};

/* ---- SIGBUS, expected and not ---- */

static sigjmp_buf bus_jump;
static volatile sig_atomic_t bus_expected;
static const struct mem *bus_mem;

static void on_bus(int signo, siginfo_t *info, void *context)
{
	uintptr_t addr = (uintptr_t)info->si_addr;

	(void)signo;
	(void)context;
	if (bus_expected)
		siglongjmp(bus_jump, 1);
	/* Synchronous, on a thread that only touched memory: stdio may be used. */
	for (unsigned i = 0; i < bus_mem->n; i++) {
		const struct hand_region *at = &bus_mem->region[i].at;

		if (addr >= at->addr && addr - at->addr < at->size)
			tool_die(TOOL_BUS, "SIGBUS, code %d, at address 0x%lx offset 0x%llx",
				 info->si_code, (unsigned long)addr,
				 (unsigned long long)(addr - at->addr + at->off));
	}
	tool_die(TOOL_BUS, "SIGBUS, code %d, at address 0x%lx", info->si_code, (unsigned long)addr);
}

static bool is_bus(struct mem_ref p)
{
	if (sigsetjmp(bus_jump, 1)) {
		bus_expected = 0;
		return true;
	}
	bus_expected = 1;
	(void)*(volatile uint8_t *)mem_addr(p);
	bus_expected = 0;
	return false;
}

static void handlers(const struct mem *mem)
{
	struct sigaction bus = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO | SA_NODEFER};

	bus_mem = mem;
	sigaction(SIGBUS, &bus, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* ---- memory and handoff ---- */

static void cmd_file(struct client *c, struct words *w)
{
	const char *path = words_need(w, "the memfile's path");

	words_end(w);
	mem_file(&c->mem, path);
	printf("ok file %s\n", path);
}

static void cmd_map(struct client *c, struct words *w)
{
	struct hand_region at = {.addr = MEM_ANY};
	unsigned flags = 0;

	if (c->uffd >= 0)
		tool_die(TOOL_FAILED, "the userfaultfd is there already");
	if (!words_is(w, "auto"))
		at.addr = words_number(w, "an address");
	at.size = words_number(w, "a size");
	at.off = words_number(w, "an offset");
	while (w->next < w->n) {
		if (words_is(w, "huge"))
			flags |= MEM_HUGETLB;
		else if (words_is(w, "memfd"))
			flags |= MEM_MEMFD;
		else if (words_is(w, "thp"))
			flags |= MEM_THP;
		else
			words_end(w);
	}
	mem_map(&c->mem, at, flags);
	printf("ok map 0x%llx\n", (unsigned long long)c->mem.region[c->mem.n - 1].at.addr);
}

static void make_uffd(struct client *c, unsigned flags)
{
	c->uffd = hand_uffd(flags);
	for (unsigned i = 0; i < c->mem.n; i++)
		hand_register(c->uffd, &c->mem.region[i].at);
}

static void cmd_uffd(struct client *c, struct words *w)
{
	unsigned flags = 0;

	while (w->next < w->n) {
		if (words_is(w, "usermode"))
			flags |= HAND_USER_MODE;
		else if (words_is(w, "blocking"))
			flags |= HAND_BLOCKING;
		else if (words_is(w, "noremove"))
			flags |= HAND_NO_REMOVE;
		else
			words_end(w);
	}
	if (c->uffd >= 0)
		tool_die(TOOL_FAILED, "the userfaultfd is there already");
	make_uffd(c, flags);
	printf("ok uffd\n");
}

static char *true_json(const struct client *c)
{
	struct hand_region at[HAND_REGIONS];

	for (unsigned i = 0; i < c->mem.n; i++)
		at[i] = c->mem.region[i].at;
	return hand_json(at, c->mem.n);
}

/* Puts the addresses of regions for @0, @1, ... */
static char *with_addresses(const struct client *c, const char *text)
{
	char *out = NULL;
	size_t len;
	FILE *f = open_memstream(&out, &len);

	if (!f)
		tool_fail("memory");
	for (; *text; text++) {
		unsigned i = (unsigned)(text[1] - '0');

		if (*text == '@' && i < c->mem.n) {
			fprintf(f, "%llu", (unsigned long long)c->mem.region[i].at.addr);
			text++;
		} else {
			fputc(*text, f);
		}
	}
	fclose(f);
	return out;
}

static char *file_text(const char *path)
{
	char *text = tool_alloc(1, 4 << 20);
	FILE *f = fopen(path, "r");

	if (!f)
		tool_fail("%s", path);
	text[fread(text, 1, (4 << 20) - 1, f)] = '\0';
	fclose(f);
	return text;
}

static void send_it(struct client *c, enum hand_how how, char *json)
{
	int rc;

	if (!json)
		json = true_json(c);
	rc = hand_send(c->sock, c->uffd, json, how);
	if (rc < 0 && how != HAND_SPLIT && how != HAND_LATE)
		tool_die(TOOL_FAILED, "the handoff: %s", strerror(-rc));
	printf("ok handoff of %u regions, %zu bytes%s%s\n", c->mem.n, strlen(json),
	       rc < 0 ? ": " : "", rc < 0 ? strerror(-rc) : "");
	free(json);
}

static void close_socket(struct client *c)
{
	if (c->sock >= 0)
		close(c->sock);
	c->sock = -1;
}

static void cmd_handoff(struct client *c, struct words *w)
{
	const char *path = words_need(w, "the socket's path"), *word;
	enum hand_how how = HAND_PLAIN;
	unsigned wait_ms = 0;
	char *json = NULL;

	while ((word = words_next(w))) {
		if (!strcmp(word, "wait"))
			wait_ms = 10000;
		else if (!strncmp(word, "json=", 5) && !json)
			json = with_addresses(c, word + 5);
		else if (!strncmp(word, "json@", 5) && !json)
			json = file_text(word + 5);
		else if (hand_how(word, &how) < 0)
			tool_die(TOOL_FAILED, "what is '%s'?", word);
	}
	if (c->uffd < 0)
		make_uffd(c, 0);
	close_socket(c);
	c->sock = hand_connect(path, wait_ms);
	if (c->sock < 0)
		tool_die(TOOL_FAILED, "%s: %s", path, strerror(-c->sock));
	send_it(c, how, json);
}

static void cmd_hangup(struct client *c, struct words *w)
{
	uint64_t seconds = w->next < w->n ? words_number(w, "seconds") : 10;
	struct pollfd pfd = {.fd = c->sock, .events = POLLIN};
	char byte;

	words_end(w);
	if (c->sock < 0)
		tool_die(TOOL_FAILED, "there is no socket");
	if (poll(&pfd, 1, (int)seconds * 1000) == 0)
		tool_die(TOOL_WRONG, "the pager did not hang up within %llu s",
			 (unsigned long long)seconds);
	if (recv(c->sock, &byte, 1, MSG_DONTWAIT) > 0)
		tool_die(TOOL_WRONG, "the pager said something");
	close_socket(c);
	printf("ok hangup\n");
}

static void cmd_close(struct client *c, struct words *w)
{
	words_end(w);
	close_socket(c);
	printf("ok close\n");
}

static void cmd_closefd(struct client *c, struct words *w)
{
	words_end(w);
	if (c->uffd >= 0)
		close(c->uffd);
	c->uffd = -1;
	printf("ok closefd\n");
}

static void cmd_unmap(struct client *c, struct words *w)
{
	struct mem_ref p = mem_at(&c->mem, words_number(w, "an offset"));

	words_end(w);
	if (!p.r)
		tool_die(TOOL_FAILED, "nothing is mapped there");
	mem_unmap(p.r);
	printf("ok unmap\n");
}

static void cmd_odd(struct client *c, struct words *w)
{
	odd_command(&c->mem, c->uffd, w);
}

static void cmd_json(struct client *c, struct words *w)
{
	char *json = true_json(c);

	words_end(w);
	printf("%s\n", json);
	free(json);
}

/* ---- touching ---- */

static void cmd_touch(struct client *c, struct words *w)
{
	touch_command(&c->mem, w);
}

static void cmd_syscall(struct client *c, struct words *w)
{
	touch_syscall(&c->mem, w);
}

static void cmd_latency(struct client *c, struct words *w)
{
	touch_latency(&c->mem, w);
}

static void cmd_flood(struct client *c, struct words *w)
{
	touch_flood(&c->mem, w);
}

static void cmd_churn(struct client *c, struct words *w)
{
	churn_command(&c->mem, w);
}

static void take_away(struct client *c, struct words *w, enum mem_how how)
{
	uint64_t off = words_number(w, "an offset"), len = words_number(w, "a length");
	int64_t n;

	words_end(w);
	n = mem_remove(&c->mem, off, len, how);
	if (n == -EINVAL)
		printf("ok the kernel refused\n");
	else if (n < 0)
		tool_die(TOOL_FAILED, "%s", strerror((int)-n));
	else
		printf("ok %s %lld pages\n", w->word[0], (long long)n);
}

static void cmd_remove(struct client *c, struct words *w)
{
	take_away(c, w, MEM_REMOVE);
}

static void cmd_drop(struct client *c, struct words *w)
{
	take_away(c, w, MEM_DROP);
}

static void cmd_punch(struct client *c, struct words *w)
{
	take_away(c, w, MEM_PUNCH);
}

static void cmd_write(struct client *c, struct words *w)
{
	struct mem_ref *page;
	uint64_t off = words_number(w, "an offset"), len = words_number(w, "a length");
	uint64_t n = mem_list(&c->mem, off, len, &page);
	uint8_t data[MEM_PAGE];

	memset(data, w->next < w->n ? (int)words_number(w, "a byte") : 0xa5, sizeof(data));
	words_end(w);
	for (uint64_t i = 0; i < n; i++)
		mem_write(&c->mem, page[i], 0, data, sizeof(data));
	printf("ok write %llu pages\n", (unsigned long long)n);
	free(page);
}

static void expect_one(struct client *c, struct mem_ref p, const char *what)
{
	bool good = true;

	if (!strcmp(what, "zero"))
		mem_must(&c->mem, p, MEM_ZERO);
	else if (!strcmp(what, "file"))
		mem_must(&c->mem, p, MEM_FILE);
	else if (!strcmp(what, "written"))
		mem_must(&c->mem, p, MEM_OWN);
	else if (!strcmp(what, "bus"))
		good = is_bus(p);
	else if (!strcmp(what, "resident"))
		good = mem_resident(p);
	else if (!strcmp(what, "absent"))
		good = !mem_resident(p);
	else
		tool_die(TOOL_FAILED, "what is '%s'?", what);
	if (!good)
		tool_die(TOOL_WRONG, "address %p offset 0x%llx: expected %s", (void *)mem_addr(p),
			 (unsigned long long)mem_off(p), what);
}

static void cmd_expect(struct client *c, struct words *w)
{
	const char *what = words_need(w, "what");
	uint64_t off = words_number(w, "an offset"), len = words_number(w, "a length"), n;
	struct mem_ref *page;

	words_end(w);
	n = mem_list(&c->mem, off, len, &page);
	if (!n)
		tool_die(TOOL_FAILED, "no page is mapped there");
	for (uint64_t i = 0; i < n; i++)
		expect_one(c, page[i], what);
	printf("ok expect %llu pages\n", (unsigned long long)n);
	free(page);
}

static void cmd_check(struct client *c, struct words *w)
{
	struct mem_ref *page;
	uint64_t n = mem_list(&c->mem, 0, UINT64_MAX, &page);

	words_end(w);
	for (uint64_t i = 0; i < n; i++)
		mem_check(&c->mem, page[i], 0);
	printf("ok check %llu pages\n", (unsigned long long)n);
	free(page);
}

static void cmd_stats(struct client *c, struct words *w)
{
	uint64_t count[MEM_NKINDS] = {0}, resident = 0;
	struct mem_ref *page;
	uint64_t n = mem_list(&c->mem, 0, UINT64_MAX, &page);

	words_end(w);
	for (uint64_t i = 0; i < n; i++) {
		count[mem_kind(page[i])]++;
		resident += mem_resident(page[i]);
	}
	printf("{\"pages\":%llu,\"resident\":%llu,\"untouched\":%llu,\"file\":%llu,\"zero\":%llu,"
	       "\"written\":%llu,\"either\":%llu}\n",
	       (unsigned long long)n, (unsigned long long)resident,
	       (unsigned long long)count[MEM_FILE], (unsigned long long)count[MEM_SEEN],
	       (unsigned long long)count[MEM_ZERO], (unsigned long long)count[MEM_OWN],
	       (unsigned long long)count[MEM_EITHER]);
	free(page);
}

/* ---- the rest ---- */

static void cmd_sleep(struct client *c, struct words *w)
{
	const char *text = words_need(w, "seconds");
	double seconds = strtod(text, NULL);
	struct timespec ts = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};

	(void)c;
	words_end(w);
	while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
		;
	printf("ok sleep\n");
}

static void cmd_hold(struct client *c, struct words *w)
{
	(void)c;
	words_end(w);
	printf("ok hold\n");
	while (getchar() != EOF)
		;
}

static void cmd_exit(struct client *c, struct words *w)
{
	if (w->next < w->n)
		tool_exit((int)words_number(w, "a status"));
	c->done = true;
}

static const struct {
	const char *name;
	void (*run)(struct client *c, struct words *w);
} commands[] = {
	{"check", cmd_check}, {"churn", cmd_churn}, {"close", cmd_close},
	{"closefd", cmd_closefd}, {"drop", cmd_drop}, {"exit", cmd_exit},
	{"expect", cmd_expect}, {"file", cmd_file}, {"flood", cmd_flood},
	{"handoff", cmd_handoff}, {"hangup", cmd_hangup}, {"hold", cmd_hold},
	{"json", cmd_json}, {"latency", cmd_latency}, {"map", cmd_map},
	{"odd", cmd_odd}, {"punch", cmd_punch}, {"remove", cmd_remove}, {"sleep", cmd_sleep},
	{"stats", cmd_stats}, {"syscall", cmd_syscall}, {"touch", cmd_touch},
	{"uffd", cmd_uffd}, {"unmap", cmd_unmap}, {"write", cmd_write},
};

static void run_one(struct client *c, struct words *w)
{
	const char *name = words_next(w);

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (!strcmp(commands[i].name, name)) {
			tool_where = commands[i].name;
			commands[i].run(c, w);
			tool_where = NULL;
			return;
		}
	}
	tool_die(TOOL_FAILED, "there is no command '%s'", name);
}

static void run_script(struct client *c, struct script *s)
{
	struct words w;

	while (!c->done && script_next(s, &w))
		run_one(c, &w);
	script_close(s);
}

int main(int argc, char **argv)
{
	struct client c = {.uffd = -1, .sock = -1};
	struct script script;
	bool ran = false;
	int opt;

	tool_name = "client";
	setvbuf(stdout, NULL, _IOLBF, 0);
	mem_init(&c.mem);
	handlers(&c.mem);
	while ((opt = getopt(argc, argv, "e:f:t:")) != -1) {
		if (opt == 'e') {
			script_text(&script, optarg);
			run_script(&c, &script);
			ran = true;
		} else if (opt == 'f') {
			mem_file(&c.mem, optarg);
		} else if (opt == 't') {
			tool_watchdog((unsigned)tool_number(optarg));
		} else {
			return TOOL_FAILED;
		}
	}
	if (!ran) {
		script_open(&script, stdin);
		run_script(&c, &script);
	}
	close_socket(&c);
	if (c.uffd >= 0)
		close(c.uffd);
	mem_fini(&c.mem);
	return 0;
}
