/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Each rule by itself, then a model: pagers that come, go and become outdated, guests
 * that live and die, completions that take their time and fail, over thousands of
 * scans; what the rules decide must never break what they promise.
 */
#include "src/graduate/rules.h"
#include "tests/tap.h"

#define S UINT64_C(1000000000)
#define MAX 64

static const struct rules_limits defaults = {
	.min_age_ns = 600 * S, .backoff_ns = 300 * S, .max_concurrent = 1,
};
static const struct rules_pager current = {"/a.sock", "2.0", false};
static const struct rules_pager another = {"/b.sock", "2.0", false};
static const struct rules_pager outdated = {"/o.sock", "1.0", true};
static struct rules_decision got[MAX];

static struct rules_session serving(const struct rules_pager *pager, const char *id, uint64_t age)
{
	static uint64_t number;

	number++;
	return (struct rules_session){
		.pager = pager, .id = id, .number = number, .state = RULES_SERVING,
		.has_age = true, .age_ns = age * S, .detachable = true,
		.pid = (pid_t)(1000 + number),
	};
}

static void decide(const struct rules_limits *limits, const struct rules_session *v, size_t n,
		   const struct memory *memory, uint64_t now)
{
	static const struct memory empty;
	struct rules_world world = {v, n, memory ? memory : &empty, now};

	rules_decide(limits, &world, got);
}

/* ---- each rule ---- */

static void test_alone(void)
{
	struct rules_session s = serving(&current, "a", 600);

	decide(&defaults, &s, 1, NULL, 0);
	is_int(got[0].reason, RULES_GRADUATE, "as old as min_session_age");
	is_str(got[0].why, "it was handed over 10 min 0 s ago", "and why");
	s.age_ns--;
	decide(&defaults, &s, 1, NULL, 0);
	is_int(got[0].reason, RULES_TOO_YOUNG, "a moment younger");
	s.pager = &outdated;
	decide(&defaults, &s, 1, NULL, 0);
	is_int(got[0].reason, RULES_TOO_YOUNG, "on an outdated pager, too");
	s = serving(&current, "a", 5);
	decide(&defaults, &s, 1, NULL, 0);
	is_str(got[0].why, "it was handed over 5.0 s ago, min_session_age is 10 min 0 s",
	       "says how young");
	s = serving(&current, "a", 6000);
	s.has_age = false;
	decide(&defaults, &s, 1, NULL, 0);
	is_int(got[0].reason, RULES_NO_AGE, "of an age that is not known");
	s.has_age = true;
	s.detachable = false;
	decide(&defaults, &s, 1, NULL, 0);
	is_int(got[0].reason, RULES_NOT_DETACHABLE, "not detachable");
	s.detachable = true;
	s.state = RULES_WAITING;
	decide(&defaults, &s, 1, NULL, 0);
	is_int(got[0].reason, RULES_IS_WAITING, "waiting");
	s.state = RULES_COMPLETING;
	decide(&defaults, &s, 1, NULL, 0);
	is_int(got[0].reason, RULES_IS_COMPLETING, "being graduated by others");
	s.state = RULES_OTHER;
	decide(&defaults, &s, 1, NULL, 0);
	is_int(got[0].reason, RULES_NOT_SERVING, "in an unknown state");
	decide(&defaults, NULL, 0, NULL, 0);
	is_str(rules_word(RULES_TOO_YOUNG), "too_young", "reasons have words");
}

static void test_memory(void)
{
	struct rules_session s = serving(&current, "a", 6000), namesake = s;
	struct memory_key key = rules_key(&s);
	struct memory m = {0};

	is_int(memory_begin(&m, &key, s.pid), 0, "a completion begins");
	is_int(memory_begin(&m, &key, s.pid), -EEXIST, "only once");
	is_int(memory_running(&m), 1, "one runs");
	decide(&defaults, &s, 1, &m, 0);
	is_int(got[0].reason, RULES_RUNNING, "it is being graduated");
	memory_end(&m, &key, 1000 * S);
	is_int(memory_running(&m), 0, "none runs");
	decide(&defaults, &s, 1, &m, 1299 * S);
	is_int(got[0].reason, RULES_BACKING_OFF, "tried in vain, it waits");
	is_str(got[0].why, "it was tried in vain, and is tried again in 1.0 s", "for how long");
	namesake.number++;
	decide(&defaults, &namesake, 1, &m, 1299 * S);
	is_int(got[0].reason, RULES_GRADUATE, "its namesake does not");
	decide(&defaults, &s, 1, &m, 1300 * S);
	is_int(got[0].reason, RULES_GRADUATE, "then it is tried again");
	memory_expire(&m, 1299 * S, defaults.backoff_ns);
	ok(memory_find(&m, &key), "that is remembered");
	memory_expire(&m, 1300 * S, defaults.backoff_ns);
	ok(!memory_find(&m, &key), "as long as it counts");
	memory_fini(&m);
}

static void test_order(void)
{
	struct rules_session v[] = {
		serving(&current, "young", 700), serving(&current, "old", 9000),
		serving(&outdated, "o-young", 650), serving(&outdated, "o-old", 800),
		serving(&current, "ageless", 1),
	};
	static const char *const want[] = {"o-old", "o-young", "old", "young", "ageless"};
	struct rules_limits limits = defaults;

	v[4].has_age = false;
	decide(&limits, v, 5, NULL, 0);
	for (size_t i = 0; i < 5; i++)
		is_str(got[i].session->id, want[i], "number %zu", i);
	is_int(got[0].reason, RULES_GRADUATE, "the first one goes");
	is_str(got[0].why, "its pager is outdated, and it was handed over 13 min 20 s ago", "why");
	is_int(got[1].reason, RULES_MAX_CONCURRENT, "the next waits for it");
	is_str(got[1].why, "its turn comes: max_concurrent is 1", "and says so");
	limits.max_concurrent = 3;
	decide(&limits, v, 5, NULL, 0);
	is_int(got[2].reason, RULES_GRADUATE, "three at a time");
	is_int(got[3].reason, RULES_MAX_CONCURRENT, "not four");
}

static void test_running_elsewhere(void)
{
	const struct memory_key gone = {"/gone.sock", "x", 1};
	struct rules_session v[] = {serving(&current, "a", 9000), serving(&current, "x", 8000)};
	struct rules_limits limits = defaults;
	struct memory m = {0};

	(void)memory_begin(&m, &gone, v[0].pid);
	decide(&limits, v, 2, &m, 0);
	is_int(got[0].reason, RULES_MAX_CONCURRENT, "one on a silent pager counts");
	limits.max_concurrent = 4;
	decide(&limits, v, 2, &m, 0);
	is_int(got[0].reason, RULES_SAME_GUEST, "its process is the same");
	is_int(got[1].reason, RULES_SAME_GUEST, "its id is the same");
	memory_fini(&m);
}

static void test_same_guest(void)
{
	struct rules_session v[] = {
		serving(&current, "a", 9000), serving(&another, "a", 8000),
		serving(&current, "b", 7000), serving(&current, "c", 6000),
	};
	struct rules_limits limits = defaults;

	limits.max_concurrent = 9;
	v[3].pid = v[2].pid;
	decide(&limits, v, 4, NULL, 0);
	is_int(got[0].reason, RULES_GRADUATE, "one");
	is_int(got[1].reason, RULES_SAME_GUEST, "not the same id on another pager");
	is_int(got[2].reason, RULES_GRADUATE, "another guest");
	is_int(got[3].reason, RULES_SAME_GUEST, "not its second session");
	v[2].pid = v[3].pid = 0;
	decide(&limits, v, 4, NULL, 0);
	is_int(got[3].reason, RULES_GRADUATE, "processes that are not known are not the same");
	v[0].state = RULES_COMPLETING;
	decide(&limits, v, 4, NULL, 0);
	is_int(got[1].reason, RULES_SAME_GUEST, "nor one that others are at");
}

static void test_ceiling(void)
{
	struct rules_session v[] = {
		serving(&current, "a", 9000), serving(&current, "b", 8000),
		serving(&current, "c", 7000), serving(&current, "young", 1),
		serving(&outdated, "o", 700),
	};
	struct rules_limits limits = defaults;

	limits.max_concurrent = 9;
	limits.max_active = 3;
	decide(&limits, v, 5, NULL, 0);
	is_str(got[1].session->id, "a", "the oldest");
	is_int(got[0].reason, RULES_GRADUATE, "outdated: always");
	is_int(got[1].reason, RULES_GRADUATE, "in excess");
	is_int(got[2].reason, RULES_BELOW_CEILING, "no longer in excess");
	is_str(got[2].why, "not more than max_active_sessions (3) would be left", "why");
	limits.max_concurrent = 1;
	decide(&limits, v, 5, NULL, 0);
	is_int(got[1].reason, RULES_MAX_CONCURRENT, "in excess, in its turn");
	is_int(got[2].reason, RULES_BELOW_CEILING, "still not");
	limits.max_active = 9;
	decide(&limits, v, 5, NULL, 0);
	is_int(got[0].reason, RULES_GRADUATE, "outdated: even without an excess");
	v[0].state = RULES_COMPLETING;
	v[4].state = RULES_WAITING;
	limits.max_active = 3;
	decide(&limits, v, 5, NULL, 0);
	is_int(got[2].reason, RULES_BELOW_CEILING, "neither who leaves nor who waits counts");
}

/* ---- the model ---- */

#define PAGERS 4
#define GUESTS 24

struct guest {
	bool there;
	bool graduated;
	int pager;
	char id[8];
	uint64_t number;
	uint64_t handoff;	/* 0: it waits */
	bool detachable;
	pid_t pid;
	bool others;		/* are at it */
	bool ours;		/* we are, until `until` */
	uint64_t until;
	uint64_t failed;
};

static struct guest guests[GUESTS];
static struct rules_pager pagers[PAGERS];
static bool up[PAGERS];
static int version[PAGERS];
static struct rules_limits limits;
static struct memory memory;
static uint64_t now, seed, numbers;
static unsigned bad, starts, failures;
static bool calm;		/* nothing happens by itself any more, nothing fails */

static unsigned pick(unsigned n)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned)(seed >> 33) % n;
}

static void must(bool good, const char *what)
{
	if (!good && bad++ < 5)
		tap_diag("at %llu s: %s", (unsigned long long)(now / S), what);
}

static void find_outdated(void)
{
	int newest = 0;

	for (int i = 0; i < PAGERS; i++)
		if (up[i] && version[i] > newest)
			newest = version[i];
	for (int i = 0; i < PAGERS; i++)
		pagers[i].outdated = up[i] && version[i] < newest;
}

static void make_guest(struct guest *g)
{
	*g = (struct guest){.there = true, .pager = (int)pick(PAGERS), .number = ++numbers};
	(void)snprintf(g->id, sizeof(g->id), "g%u", pick(GUESTS));
	g->detachable = pick(8) != 0;
	g->pid = pick(10) ? (pid_t)(1 + pick(GUESTS)) : 0;
	g->handoff = pick(10) ? now : 0;
	for (int i = 0; i < GUESTS; i++)	/* ids are unique on a pager */
		if (&guests[i] != g && guests[i].there && guests[i].pager == g->pager &&
		    strcmp(guests[i].id, g->id) == 0)
			g->there = false;
}

static void happen(void)
{
	struct guest *g = &guests[pick(GUESTS)];

	switch (pick(6)) {
	case 0:
	case 1:
		if (!g->there)
			make_guest(g);
		else if (!g->handoff)
			g->handoff = now;
		break;
	case 2:
		if (pick(10) == 0 && !g->ours)
			g->there = false;
		break;
	case 3:
		up[pick(PAGERS)] ^= pick(2);
		break;
	case 4:
		if (pick(40) == 0)
			version[pick(PAGERS)]++;
		break;
	default:
		if (g->there && g->handoff && !g->ours && !g->graduated)
			g->others = pick(3) == 0;
	}
}

static struct memory_key key_of(const struct guest *g)
{
	return (struct memory_key){pagers[g->pager].socket, g->id, g->number};
}

static void finish(void)
{
	for (int i = 0; i < GUESTS; i++) {
		struct guest *g = &guests[i];
		struct memory_key key = key_of(g);

		if (!g->ours || now < g->until)
			continue;
		g->ours = false;
		memory_end(&memory, &key, now);
		if (calm || pick(3)) {
			g->graduated = true;
		} else {
			g->failed = now;
			failures++;
		}
	}
}

static bool is_paged(const struct guest *g)
{
	return g->there && g->handoff && !g->graduated;
}

static bool same_guest(const struct guest *a, const struct guest *b)
{
	return a != b && ((a->pid && a->pid == b->pid) || strcmp(a->id, b->id) == 0);
}

static void check_start(const struct guest *g)
{
	unsigned running = 0, staying = 0;

	for (int i = 0; i < GUESTS; i++) {
		const struct guest *o = &guests[i];

		running += o->ours;
		staying += is_paged(o) && !o->ours && !(o->others && up[o->pager]);
		must(!(o->ours || (o->others && is_paged(o) && up[o->pager])) || !same_guest(g, o),
		     "two on one guest");
	}
	must(running <= limits.max_concurrent, "more than max_concurrent");
	must(is_paged(g), "one that does not serve");
	must(now - g->handoff >= limits.min_age_ns, "too young");
	must(g->detachable, "not detachable");
	must(!g->failed || now - g->failed >= limits.backoff_ns, "too short after a failure");
	must(up[g->pager], "on a pager that does not answer");
	must(!limits.max_active || pagers[g->pager].outdated || staying >= limits.max_active,
	     "below the ceiling");
}

static size_t snapshot(struct rules_session *v, struct guest **whose)
{
	size_t n = 0;

	for (int i = 0; i < GUESTS; i++) {
		struct guest *g = &guests[i];

		if (!g->there || g->graduated || !up[g->pager])
			continue;
		whose[n] = g;
		v[n++] = (struct rules_session){
			.pager = &pagers[g->pager], .id = g->id, .number = g->number,
			.state = !g->handoff ? RULES_WAITING : g->others || (g->ours && pick(2))
						     ? RULES_COMPLETING : RULES_SERVING,
			.has_age = g->handoff != 0, .age_ns = now - g->handoff,
			.detachable = g->detachable, .pid = g->pid,
		};
	}
	return n;
}

/* Nobody who could have gone instead is before one that goes. */
static void check_order(const struct rules_decision *v, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		const struct rules_session *a = v[i - 1].session, *b = v[i].session;

		must(a->pager->outdated || !b->pager->outdated, "outdated ones are not first");
		must(a->pager->outdated != b->pager->outdated || !b->has_age ||
		     (a->has_age && a->age_ns >= b->age_ns), "a younger one is before an older");
		must(v[i].reason != RULES_GRADUATE || v[i - 1].reason != RULES_MAX_CONCURRENT,
		     "one goes before its turn");
	}
}

static unsigned scan(void)
{
	struct rules_session v[GUESTS];
	struct guest *whose[GUESTS];
	struct rules_world world = {v, 0, &memory, now};
	unsigned begun = 0;

	find_outdated();
	world.n = snapshot(v, whose);
	rules_decide(&limits, &world, got);
	check_order(got, world.n);
	for (size_t i = 0; i < world.n; i++) {
		struct guest *g = whose[got[i].session - v];
		struct memory_key key = key_of(g);

		if (got[i].reason != RULES_GRADUATE)
			continue;
		must(memory_begin(&memory, &key, g->pid) == 0, "begun twice");
		g->ours = true;
		g->until = now + (1 + pick(200)) * S;
		check_start(g);
		begun++;
	}
	starts += begun;
	memory_expire(&memory, now, limits.backoff_ns);
	return begun;
}

/* Who is left when all is quiet is left for a reason. */
static void check_end(void)
{
	unsigned staying = 0, current_left = 0;

	for (int i = 0; i < GUESTS; i++) {
		const struct guest *g = &guests[i];

		staying += is_paged(g);
		if (!is_paged(g) || !g->detachable)
			continue;
		must(!pagers[g->pager].outdated, "one on an outdated pager is left");
		current_left++;
	}
	must(!current_left || (limits.max_active && staying <= limits.max_active),
	     "one that should have been graduated is left");
}

static void settle(void)
{
	calm = true;
	for (int i = 0; i < PAGERS; i++)
		up[i] = true;
	for (int i = 0; i < GUESTS; i++)
		guests[i].others = false;
	for (int i = 0; i < 2000; i++, now += 60 * S) {
		finish();
		(void)scan();
	}
	check_end();
	calm = false;
}

static void one_world(void)
{
	memset(guests, 0, sizeof(guests));
	limits = (struct rules_limits){
		.min_age_ns = pick(900) * S, .backoff_ns = pick(600) * S,
		.max_concurrent = 1 + pick(4), .max_active = pick(2) * pick(GUESTS),
	};
	now = 1000000 * S;
	for (int i = 0; i < PAGERS; i++) {
		static const char *const sockets[PAGERS] = {"/0", "/1", "/2", "/3"};

		pagers[i] = (struct rules_pager){sockets[i], "?", false};
		version[i] = 1 + (int)pick(2);
		up[i] = pick(4) != 0;
	}
	for (int step = 0; step < 500; step++, now += pick(90) * S) {
		for (unsigned i = pick(6); i > 0; i--)
			happen();
		finish();
		(void)scan();
	}
	settle();
	memory_fini(&memory);
	memory = (struct memory){0};
}

static void test_model(void)
{
	seed = tap_seed(20261121);
	for (int i = 0; i < 40; i++)
		one_world();
	ok(bad == 0, "20000 scans of 40 worlds broke no rule");
	ok(starts > 1000 && failures > 200, "there was something to decide: %u begun, %u failed",
	   starts, failures);
}

int main(void)
{
	test_alone();
	test_memory();
	test_order();
	test_running_elsewhere();
	test_same_guest();
	test_ceiling();
	test_model();
	return tap_done();
}
