/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vcpu: a virtual machine whose memory is paged by whoever listens at SOCKET.
 *
 *	vcpu --socket SOCKET --source MEMFILE [--huge] [--rounds N] [--seed N]
 *		[--graduate [--calm]] [--save FILE]
 *
 * In each round the vCPU reads and writes at random while another thread gives
 * other pages back, one by one as a balloon does and in runs as free page
 * reporting does.  Each byte the vCPU saw is compared with the model; at the
 * end it reads all of memory.  With --graduate the rounds go on until the pager
 * has hung up (--calm: it only waits, and nothing may be dirty then), then as many
 * follow as were asked for; in these, what KVM logs as dirty is what the vCPU wrote,
 * and nothing else.  --save writes the memory at the end, as a snapshot.  Prints
 * lines; the statuses are tool.h's: where there is no /dev/kvm, or there are no huge
 * pages, it says so (77).
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/pager/hand.h"
#include "tests/pager/machine.h"
#include "tests/pager/mem.h"
#include "tests/pager/tool.h"

#define ROUND_PAGES 1024 /* that the vCPU touches in a round, at most */

enum use { IDLE, BALLOON, RUNNING };

struct guest {
	struct mem mem;
	struct machine *machine;
	int uffd;
	int sock;
	uint8_t *use; /* of each unit, in this round */
	uint64_t nunits;
	uint64_t unit; /* 4 KiB pages in one */
	uint64_t rng;
	uint64_t reads, writes, removed;
	uint64_t *dirty;	/* as KVM says, a bit a page */
	uint64_t *wrote;	/* as we know */
};

static const struct hand_region *bus_at;

static void on_bus(int signo, siginfo_t *info, void *context)
{
	uintptr_t addr = (uintptr_t)info->si_addr;

	(void)signo;
	(void)context;
	tool_die(TOOL_BUS, "SIGBUS, code %d, at address 0x%lx offset 0x%llx", info->si_code,
		 (unsigned long)addr, (unsigned long long)(addr - bus_at->addr + bus_at->off));
}

/* ---- what the vCPU does: batches of pages ---- */

struct batch {
	unsigned n;
	struct machine_job job[MACHINE_JOBS];
	struct mem_ref page[MACHINE_JOBS];
	unsigned at[MACHINE_JOBS]; /* of a write: where in the page */
	bool write[MACHINE_JOBS];
};

static uint64_t guest_addr(struct mem_ref p)
{
	return MACHINE_BASE + p.i * MEM_PAGE;
}

static void settle(struct guest *g, const struct batch *b, unsigned i)
{
	const void *scratch = machine_scratch(g->machine, i);

	if (b->write[i]) {
		mem_wrote(&g->mem, b->page[i], b->at[i], scratch, b->job[i].words * 8);
		g->wrote[b->page[i].i / 64] |= UINT64_C(1) << b->page[i].i % 64;
	} else {
		mem_verify(&g->mem, b->page[i], scratch);
	}
	g->writes += b->write[i];
	g->reads += !b->write[i];
}

/* Settled in the order they ran in: a page may be there twice. */
static void batch_run(struct guest *g, struct batch *b)
{
	machine_run(g->machine, b->job, b->n);
	for (unsigned i = 0; i < b->n; i++)
		settle(g, b, i);
	b->n = 0;
}

static void add_read(struct batch *b, struct mem_ref p)
{
	b->job[b->n] =
		(struct machine_job){guest_addr(p), machine_scratch_addr(b->n), MEM_PAGE / 8};
	b->page[b->n] = p;
	b->write[b->n++] = false;
}

/* A word, or one time in four the whole page. */
static void add_write(struct guest *g, struct batch *b, struct mem_ref p)
{
	uint64_t dice = tool_random(&g->rng), words = dice % 4 ? 1 : MEM_PAGE / 8;
	uint64_t at = dice % 4 ? (dice >> 8) % (MEM_PAGE / 8) * 8 : 0;
	uint8_t *scratch = machine_scratch(g->machine, b->n);

	for (uint64_t i = 0; i < words; i++) {
		uint64_t value = tool_random(&g->rng);

		memcpy(scratch + 8 * i, &value, sizeof(value));
	}
	b->job[b->n] = (struct machine_job){machine_scratch_addr(b->n), guest_addr(p) + at, words};
	b->at[b->n] = (unsigned)at;
	b->page[b->n] = p;
	b->write[b->n++] = true;
}

static void vcpu_round(struct guest *g)
{
	struct batch b = {.n = 0};

	for (unsigned i = 0; i < ROUND_PAGES; i++) {
		uint64_t page = tool_random(&g->rng) % (g->nunits * g->unit);

		if (g->use[page / g->unit] != RUNNING)
			continue;
		if (tool_random(&g->rng) % 3)
			add_read(&b, mem_nth(&g->mem, page));
		else
			add_write(g, &b, mem_nth(&g->mem, page));
		if (b.n == MACHINE_JOBS)
			batch_run(g, &b);
	}
	batch_run(g, &b);
}

static void vcpu_reads_all(struct guest *g)
{
	struct batch b = {.n = 0};

	for (uint64_t i = 0; i < g->nunits * g->unit; i++) {
		add_read(&b, mem_nth(&g->mem, i));
		if (b.n == MACHINE_JOBS)
			batch_run(g, &b);
	}
	batch_run(g, &b);
}

/* ---- what the hypervisor does meanwhile ---- */

static void give_back(struct guest *g, uint64_t unit, uint64_t n)
{
	const struct hand_region *at = &g->mem.region[0].at;
	int64_t rc =
		mem_remove(&g->mem, at->off + unit * at->page_size, n * at->page_size, MEM_REMOVE);

	if (rc < 0)
		tool_die(TOOL_FAILED, "madvise: %s", strerror((int)-rc));
	g->removed += (uint64_t)rc;
}

/* Even runs in one call, as free page reporting; odd ones unit by unit, as a balloon. */
static void *balloon_thread(void *arg)
{
	struct guest *g = arg;
	uint64_t end;

	for (uint64_t u = 0; u < g->nunits; u = end) {
		for (end = u; end < g->nunits && g->use[end] == BALLOON; end++)
			;
		if (end == u) {
			end++;
		} else if (u % 2) {
			for (uint64_t i = u; i < end; i++)
				give_back(g, i, 1);
		} else {
			give_back(g, u, end - u);
		}
	}
	return NULL;
}

static void one_round(struct guest *g)
{
	pthread_t thread;

	for (uint64_t u = 0; u < g->nunits;) {
		uint64_t dice = tool_random(&g->rng), len = 1 + dice % 8;
		enum use use = dice / 8 % 4 == 0 ? BALLOON : dice / 8 % 4 == 1 ? IDLE : RUNNING;

		for (; len && u < g->nunits; len--, u++)
			g->use[u] = use;
	}
	if (pthread_create(&thread, NULL, balloon_thread, g))
		tool_die(TOOL_FAILED, "no thread");
	vcpu_round(g);
	pthread_join(thread, NULL);
}

/* ---- the machine ---- */

static bool have_huge_pages(uint64_t need)
{
	char line[128];
	unsigned long long have = 0;
	FILE *f = fopen("/proc/meminfo", "r");

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "HugePages_Free: %llu", &have) == 1)
			break;
	}
	if (f)
		fclose(f);
	return have >= need;
}

static uint64_t bitmap_words(const struct guest *g)
{
	return (g->nunits * g->unit + 63) / 64;
}

static void begin(struct guest *g, const char *source, bool huge)
{
	struct hand_region at = {.addr = MEM_ANY};
	struct stat st;

	mem_init(&g->mem);
	mem_file(&g->mem, source);
	if (fstat(g->mem.file, &st) < 0)
		tool_fail("%s", source);
	g->unit = huge ? MEM_HUGE / MEM_PAGE : 1;
	at.size = (uint64_t)st.st_size / (g->unit * MEM_PAGE) * (g->unit * MEM_PAGE);
	g->nunits = at.size / (g->unit * MEM_PAGE);
	if (huge && !have_huge_pages(g->nunits))
		tool_die(TOOL_SKIP, "skip: fewer than %llu free huge pages",
			 (unsigned long long)g->nunits);
	mem_map(&g->mem, at, huge ? MEM_HUGETLB : 0);
	bus_at = &g->mem.region[0].at;
	g->machine = machine_new(mem_addr(mem_nth(&g->mem, 0)), at.size);
	g->use = tool_alloc(g->nunits, 1);
	g->dirty = tool_alloc(bitmap_words(g), 8);
	g->wrote = tool_alloc(bitmap_words(g), 8);
}

static void hand_over(struct guest *g, const char *path)
{
	char *json = hand_json(bus_at, 1);
	int rc;

	g->uffd = hand_uffd(0);
	hand_register(g->uffd, bus_at);
	g->sock = hand_connect(path, 10000);
	rc = g->sock < 0 ? g->sock : hand_send(g->sock, g->uffd, json, HAND_PLAIN);
	if (rc < 0)
		tool_die(TOOL_FAILED, "%s: %s", path, strerror(-rc));
	free(json);
}

static void end(struct guest *g)
{
	machine_free(g->machine);
	close(g->sock);
	close(g->uffd);
	mem_fini(&g->mem);
	free(g->use);
	free(g->dirty);
	free(g->wrote);
}

/* ---- graduation ---- */

static bool hung_up(const struct guest *g)
{
	struct pollfd p = {.fd = g->sock, .events = POLLRDHUP};

	return poll(&p, 1, 0) == 1;
}

/* The next diff is what the guest wrote, whatever the pager has populated. */
static void check_dirty(struct guest *g)
{
	uint64_t n = 0;

	machine_dirty(g->machine, g->dirty);
	for (uint64_t i = 0; i < bitmap_words(g); i++) {
		if (g->dirty[i] & ~g->wrote[i])
			tool_die(TOOL_WRONG, "pages from %llu on are dirty: 0x%llx, written 0x%llx",
				 (unsigned long long)i * 64, (unsigned long long)g->dirty[i],
				 (unsigned long long)g->wrote[i]);
		n += (uint64_t)__builtin_popcountll(g->dirty[i]);
	}
	printf("ok dirty %llu pages of %llu\n", (unsigned long long)n,
	       (unsigned long long)(g->nunits * g->unit));
}

static void until_graduated(struct guest *g, bool calm)
{
	while (!hung_up(g))
		if (calm)
			usleep(1000);
		else
			one_round(g);
	if (calm)
		check_dirty(g);		/* none */
	/* What a vCPU reads for the first time is logged, too. */
	vcpu_reads_all(g);
	machine_dirty(g->machine, g->dirty);
	memset(g->wrote, 0, bitmap_words(g) * 8);
}

static void save(struct guest *g, const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	uint64_t len = g->nunits * g->unit * MEM_PAGE;

	if (fd < 0)
		tool_fail("%s", path);
	for (uint64_t off = 0; off < len; off += MEM_PAGE)
		if (write(fd, mem_addr(mem_nth(&g->mem, off / MEM_PAGE)), MEM_PAGE) != MEM_PAGE)
			tool_fail("%s", path);
	close(fd);
}

static void run(struct guest *g, uint64_t rounds, bool graduate, bool calm)
{
	uint64_t first = tool_random(&g->rng);

	/* A hypervisor's own thread writes before the vCPU runs. */
	mem_write(&g->mem, mem_nth(&g->mem, 0), 64, &first, sizeof(first));
	if (graduate)
		until_graduated(g, calm);
	for (uint64_t i = 0; i < rounds; i++)
		one_round(g);
	vcpu_reads_all(g);
	if (graduate)
		check_dirty(g);
	for (uint64_t i = 0; i < g->nunits * g->unit; i++)
		mem_check(&g->mem, mem_nth(&g->mem, i), 0);
	printf("ok vcpu %llu pages of %llu: %llu reads, %llu writes, %llu removed\n",
	       (unsigned long long)g->nunits, (unsigned long long)g->unit * MEM_PAGE,
	       (unsigned long long)g->reads, (unsigned long long)g->writes,
	       (unsigned long long)g->removed);
}

enum { SOCKET, SOURCE, HUGE, ROUNDS, SEED, GRADUATE, CALM, SAVE };

static const struct option options[] = {
	{"socket", required_argument, NULL, SOCKET}, {"source", required_argument, NULL, SOURCE},
	{"huge", no_argument, NULL, HUGE},	     {"rounds", required_argument, NULL, ROUNDS},
	{"save", required_argument, NULL, SAVE},
	{"seed", required_argument, NULL, SEED},     {"graduate", no_argument, NULL, GRADUATE},
	{"calm", no_argument, NULL, CALM},	     {NULL, 0, NULL, 0},
};

int main(int argc, char **argv)
{
	struct sigaction bus = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO};
	struct guest g = {.rng = 1};
	const char *path = NULL, *source = NULL, *saved = NULL;
	uint64_t rounds = 20;
	bool huge = false, graduate = false, calm = false;
	int opt;

	tool_name = "vcpu";
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == SOCKET)
			path = optarg;
		else if (opt == SOURCE)
			source = optarg;
		else if (opt == HUGE)
			huge = true;
		else if (opt == ROUNDS)
			rounds = tool_number(optarg);
		else if (opt == SEED)
			g.rng = tool_number(optarg);
		else if (opt == GRADUATE)
			graduate = true;
		else if (opt == CALM)
			calm = true;
		else if (opt == SAVE)
			saved = optarg;
		else
			return TOOL_FAILED;
	}
	if (!path || !source)
		tool_die(TOOL_FAILED, "--socket and --source are needed");
	sigaction(SIGBUS, &bus, NULL);
	begin(&g, source, huge);
	hand_over(&g, path);
	run(&g, rounds, graduate, calm);
	if (saved)
		save(&g, saved);
	end(&g);
	return 0;
}
