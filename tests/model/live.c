/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Threads write to a live image, each to pages of its own, while it is sealed, committed,
 * folded, cut, grown and opened again.  Beside it is kept what every page has been, by number:
 * an operation announces what the page will be, and afterwards that it is.  What a seal takes
 * while nobody waits must be, of every page, something between what had returned before and what
 * had begun when it ended.  SEED repeats the choices, STEPS makes it longer.
 */
#include <pthread.h>

#include "tests/lives.h"

#define THREADS 3u
#define BLOCK 3u			/* pages that belong together to one thread */
#define PAGES_MAX 1300u
#define HISTORY 64u
#define PART 1000u			/* the bytes of a page that are written in part */
#define PART_LEN 200u
#define WIDE_MAX 700u

/*
 * What a page is: `whole` gives its bytes (series_page(), 0: zeros) up to `cut`, where it was cut
 * once (0: it was not), and `part` those in the middle.
 */
struct content {
	uint32_t whole, part, cut;
};

struct page {
	uint64_t history[HISTORY];	/* atomic: packed contents, by version */
	uint64_t begun;			/* atomic: versions */
	uint64_t done;
};

struct model {
	struct lives_image *of;
	uint64_t size;			/* atomic: bytes */
	uint64_t growing;		/* atomic: what it is going to be */
	struct page page[PAGES_MAX + 1];
};

/* What a seal may have taken. */
struct taken {
	uint64_t size[2];		/* at least, at most */
	uint64_t from[PAGES_MAX + 1];	/* versions */
	uint64_t to[PAGES_MAX + 1];
	uint64_t seen[PAGES_MAX + 1][HISTORY];
};

struct writer {
	unsigned number;
	uint64_t random;
	uint32_t next;			/* content */
	uint64_t ops;
};

static struct lives l;
static struct model models[2];
static struct taken taken[2];
static struct writer me;			/* the main thread */
static pthread_rwlock_t pausing;		/* shared: an operation of a writer */
static bool stop;				/* atomic */
static unsigned wrong;				/* atomic */
static struct err err;

static void fail(const struct model *m, uint64_t page, const char *why)
{
	__atomic_add_fetch(&wrong, 1, __ATOMIC_RELAXED);
	tap_diag("%s page %llu: %s", m->of->name, (unsigned long long)page, why);
}

static uint64_t rnd(struct writer *w, uint64_t below)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return (w->random >> 11) % below;
}

static bool chance(struct writer *w, unsigned percent)
{
	return rnd(w, 100) < percent;
}

/* Nobody else's. */
static uint32_t news(struct writer *w)
{
	return 10000 + w->next++ * (THREADS + 1) + w->number;
}

/* ---- contents ---- */

static uint64_t pack(struct content c)
{
	return (uint64_t)c.whole << 38 | (uint64_t)c.part << 12 | c.cut;
}

static struct content unpack(uint64_t v)
{
	return (struct content){.whole = (uint32_t)(v >> 38), .cut = v & 0xfff,
				.part = (uint32_t)(v >> 12) & 0x3ffffff};
}

static void render(uint64_t packed, uint8_t out[PAGE_SIZE])
{
	struct content c = unpack(packed);
	uint8_t part[PAGE_SIZE];

	series_page(c.whole, out);
	if (c.cut)
		memset(out + c.cut, 0, PAGE_SIZE - c.cut);
	if (c.part == c.whole && !c.cut)
		return;
	series_page(c.part, part);
	memcpy(out + PART, part + PART, PART_LEN);
}

static uint64_t version(const struct model *m, uint64_t page, uint64_t n)
{
	return __atomic_load_n(&m->page[page].history[n % HISTORY], __ATOMIC_ACQUIRE);
}

/* By the page's owner. */
static struct content content(const struct model *m, uint64_t page)
{
	return unpack(version(m, page, m->page[page].done));
}

static void begin(struct model *m, uint64_t page, struct content c)
{
	struct page *p = &m->page[page];

	__atomic_store_n(&p->history[(p->begun + 1) % HISTORY], pack(c), __ATOMIC_RELEASE);
	__atomic_store_n(&p->begun, p->begun + 1, __ATOMIC_RELEASE);
}

static void done(struct model *m, uint64_t page)
{
	__atomic_store_n(&m->page[page].done, m->page[page].begun, __ATOMIC_RELEASE);
}

static void set(struct model *m, uint64_t page, struct content c)
{
	begin(m, page, c);
	done(m, page);
}

static uint64_t size_of(const struct model *m)
{
	return __atomic_load_n(&m->size, __ATOMIC_ACQUIRE);
}

static void set_size(struct model *m, uint64_t size)
{
	__atomic_store_n(&m->growing, size, __ATOMIC_RELEASE);
	__atomic_store_n(&m->size, size, __ATOMIC_RELEASE);
}

/* ---- what writers do; no other has these pages ---- */

static void must(struct model *m, uint64_t page, int rc, struct err *why)
{
	if (rc < 0)
		fail(m, page, why->text);
}

static void write_pages(struct writer *w, struct model *m, uint64_t page, uint64_t n)
{
	uint8_t *buf = calloc(n, PAGE_SIZE);
	struct err why;

	for (uint64_t i = 0; i < n; i++) {
		uint32_t stamp = chance(w, 5) ? 0 : news(w);

		series_page(stamp, buf + i * PAGE_SIZE);
		begin(m, page + i, (struct content){stamp, stamp, 0});
	}
	must(m, page, live_write(m->of->image, buf, n * PAGE_SIZE, page * PAGE_SIZE, &why), &why);
	for (uint64_t i = 0; i < n; i++)
		done(m, page + i);
	free(buf);
}

static void zero_pages(struct model *m, uint64_t page, uint64_t n)
{
	struct err why;

	for (uint64_t i = 0; i < n; i++)
		begin(m, page + i, (struct content){0});
	must(m, page, live_zero(m->of->image, page * PAGE_SIZE, n * PAGE_SIZE, &why), &why);
	for (uint64_t i = 0; i < n; i++)
		done(m, page + i);
}

static void write_part(struct writer *w, struct model *m, uint64_t page)
{
	struct content c = content(m, page);
	uint64_t off = page * PAGE_SIZE + PART;
	uint8_t buf[PAGE_SIZE];
	struct err why;

	c.part = chance(w, 30) ? 0 : news(w);
	series_page(c.part, buf);
	begin(m, page, c);
	if (c.part)
		must(m, page, live_write(m->of->image, buf + PART, PART_LEN, off, &why), &why);
	else
		must(m, page, live_zero(m->of->image, off, PART_LEN, &why), &why);
	done(m, page);
}

static const char *differs(const uint8_t *got, uint64_t packed)
{
	uint8_t want[PAGE_SIZE];

	render(packed, want);
	return memcmp(got, want, PAGE_SIZE) ? "it is not what was written last" : NULL;
}

static void gather(const struct live_data *data, uint8_t *to)
{
	for (int i = 0; i < data->view.niov; i++) {
		memcpy(to, data->view.iov[i].iov_base, data->view.iov[i].iov_len);
		to += data->view.iov[i].iov_len;
	}
}

static void read_back(struct model *m, uint64_t page, uint64_t n)
{
	uint8_t got[BLOCK * PAGE_SIZE];
	struct live_data data;
	struct err why;
	int rc = live_read(m->of->image, page * PAGE_SIZE, n * PAGE_SIZE, &data, &why);

	if (rc < 0) {
		fail(m, page, why.text);
		return;
	}
	if (data.view.len == n * PAGE_SIZE)
		gather(&data, got);
	else
		fail(m, page, "a read is short");
	live_release(m->of->image, &data);
	for (uint64_t i = 0; i < n; i++) {
		const char *no = differs(got + i * PAGE_SIZE,
					 version(m, page + i, m->page[page + i].done));

		if (no)
			fail(m, page + i, no);
	}
}

static void other_calls(struct writer *w, struct model *m, uint64_t page)
{
	struct timespec mtime;
	struct view_run run;
	struct err why;
	uint64_t bytes;

	switch (rnd(w, 4)) {
	case 0:
		must(m, page, live_sync(m->of->image, &why), &why);
		break;
	case 1:
		must(m, page, live_stat(m->of->image, &bytes, &mtime, &why), &why);
		break;
	case 2:
		must(m, page, live_allocate(m->of->image, page * PAGE_SIZE, 5000, &why), &why);
		break;
	default:
		must(m, page, live_next_run(m->of->image, page * PAGE_SIZE, &run, &why), &why);
	}
}

/* The first of the writers alone. */
static void append(struct writer *w, struct model *m, uint64_t page, uint64_t n)
{
	__atomic_store_n(&m->growing, (page + n) * PAGE_SIZE, __ATOMIC_RELEASE);
	write_pages(w, m, page, n);
	set_size(m, (page + n) * PAGE_SIZE);
	w->ops++;
}

static void operate(struct writer *w)
{
	struct model *m = &models[chance(w, 30)];
	uint64_t pages = size_of(m) / PAGE_SIZE;
	uint64_t page = (rnd(w, PAGES_MAX / BLOCK / THREADS) * THREADS + w->number) * BLOCK, n;

	n = 1 + rnd(w, BLOCK);
	if (page >= pages && w->number == 0 && page < pages + 20)
		append(w, m, page, n);
	if (page + n > pages)
		return;
	switch (rnd(w, 8)) {
	case 0: case 1: case 2:
		write_pages(w, m, page, n);
		break;
	case 3: case 4:
		write_part(w, m, page + rnd(w, n));
		break;
	case 5:
		zero_pages(m, page, n);
		break;
	case 6:
		read_back(m, page, n);
		break;
	default:
		other_calls(w, m, page);
	}
	w->ops++;
}

static void *write_on(void *ctx)
{
	struct writer *w = ctx;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		pthread_rwlock_rdlock(&pausing);
		operate(w);
		pthread_rwlock_unlock(&pausing);
	}
	return NULL;
}

/* ---- the main thread: sizes and wide operations ---- */

/* Everybody waits. */
static void grow(struct model *m)
{
	uint64_t size = size_of(m), to = size + rnd(&me, PAGES_MAX * PAGE_SIZE - size + 1);

	if (live_truncate(m->of->image, to, &err) < 0)
		fail(m, to / PAGE_SIZE, err.text);
	set_size(m, to);
}

/* Nothing begins or ends within the part. */
static uint64_t random_cut(uint64_t below)
{
	uint64_t to = rnd(&me, below + 1), in_page = to % PAGE_SIZE;

	if (chance(&me, 20))
		return 0;
	return in_page >= PART && in_page < PART + PART_LEN ? to - in_page : to;
}

static void cut(struct model *m)
{
	uint64_t to = random_cut(size_of(m)), page = to / PAGE_SIZE;
	struct content c = content(m, page);

	if (live_truncate(m->of->image, to, &err) < 0)
		fail(m, page, err.text);
	set_size(m, to);
	if (to % PAGE_SIZE) {
		if (!c.cut || c.cut > to % PAGE_SIZE)
			c.cut = to % PAGE_SIZE;
		if (to % PAGE_SIZE <= PART)
			c.part = 0;
		set(m, page++, c);
	}
	for (; page < PAGES_MAX; page++)
		set(m, page, (struct content){0});
}

static void wide(struct model *m)
{
	uint64_t pages = size_of(m) / PAGE_SIZE, page, n;

	if (pages == 0)
		return;
	page = rnd(&me, pages);
	n = 1 + rnd(&me, WIDE_MAX);
	n = n < pages - page ? n : pages - page;
	if (chance(&me, 50))
		write_pages(&me, m, page, n);
	else
		zero_pages(m, page, n);
}

/* ---- comparing ---- */

/* Everybody waits: what it is, and what it says of itself. */
static void check_now(struct model *m)
{
	const char *no;

	m->of->size = size_of(m);
	memset(m->of->bytes, 0, LIVES_BYTES_MAX);
	for (uint64_t page = 0; page * PAGE_SIZE < m->of->size; page++)
		render(version(m, page, m->page[page].done), m->of->bytes + page * PAGE_SIZE);
	/* Of a page that was cut the rest was made zero. */
	memset(m->of->bytes + m->of->size, 0, LIVES_BYTES_MAX - m->of->size);
	no = lives_check_image(m->of);
	if (no)
		fail(m, 0, no);
}

static void before_seal(const struct model *m, struct taken *t)
{
	t->size[0] = size_of(m);
	for (uint64_t page = 0; page < PAGES_MAX; page++)
		t->from[page] = __atomic_load_n(&m->page[page].done, __ATOMIC_ACQUIRE);
}

static void after_seal(const struct model *m, struct taken *t)
{
	t->size[1] = __atomic_load_n(&m->growing, __ATOMIC_ACQUIRE);
	for (uint64_t page = 0; page < PAGES_MAX; page++) {
		t->to[page] = __atomic_load_n(&m->page[page].begun, __ATOMIC_ACQUIRE);
		for (uint64_t n = 0; n < HISTORY; n++)
			t->seen[page][n] = __atomic_load_n(&m->page[page].history[n],
							   __ATOMIC_ACQUIRE);
		/* So busy that what it was is forgotten. */
		if (__atomic_load_n(&m->page[page].begun, __ATOMIC_ACQUIRE) - t->from[page] >=
		    HISTORY - 1)
			t->from[page] = UINT64_MAX;
	}
}

static bool may_be(const struct taken *t, uint64_t page, const uint8_t *got)
{
	if (t->from[page] == UINT64_MAX)
		return true;
	for (uint64_t n = t->from[page]; n <= t->to[page]; n++)
		if (!differs(got, t->seen[page][n % HISTORY]))
			return true;
	return false;
}

static void check_taken_image(struct model *m, const struct taken *t, struct layer *layer)
{
	static uint8_t got[(PAGES_MAX + 1) * PAGE_SIZE];
	struct view *view;
	int64_t n;

	series_must(view_open(l.s.store, layer, m->of->name, &view, &err), &err, "view_open");
	memset(got, 0, sizeof(got));
	n = view_pread(view, got, sizeof(got), 0, &err);
	view_close(view);
	if (n < 0)
		fail(m, 0, err.text);
	else if ((uint64_t)n < t->size[0] || (uint64_t)n > t->size[1])
		fail(m, 0, "the layer has another size");
	for (uint64_t page = 0; n > 0 && page * PAGE_SIZE < (uint64_t)n; page++)
		if (!may_be(t, page, got + page * PAGE_SIZE))
			fail(m, page, t->from[page] == t->to[page] ?
			     "in the layer it is not what was sealed" :
			     "in the layer it is neither what it was nor what it became");
}

static void check_taken(const struct digest *id)
{
	struct layer *layer;

	series_must(layer_open(l.s.store, id, &layer, &err), &err, "layer_open");
	for (int i = 0; i < 2; i++)
		check_taken_image(&models[i], &taken[i], layer);
	layer_unref(layer);
}

/* ---- steps ---- */

static uint64_t seal(bool waiting)
{
	uint64_t seq;

	if (waiting)
		pthread_rwlock_wrlock(&pausing);
	for (int i = 0; i < 2; i++)
		before_seal(&models[i], &taken[i]);
	seq = lives_seal(&l);
	for (int i = 0; i < 2; i++)
		after_seal(&models[i], &taken[i]);
	if (waiting)
		pthread_rwlock_unlock(&pausing);
	return seq;
}

static void commit(void)
{
	uint64_t seq = seal(chance(&me, 50));
	struct digest id = lives_commit(&l, seq);

	check_taken(&id);
	if (chance(&me, 80))
		lives_fold(&l);
}

static void alone(void (*fn)(struct model *m), struct model *m)
{
	pthread_rwlock_wrlock(&pausing);
	fn(m);
	pthread_rwlock_unlock(&pausing);
}

static void open_again(struct model *m)
{
	(void)m;
	lives_reopen(&l);
}

static void step(void)
{
	struct model *m = &models[rnd(&me, 2)];

	switch (rnd(&me, 9)) {
	case 0: case 1: case 2:
		commit();
		break;
	case 3:
		(void)seal(false);
		break;
	case 4:
		alone(grow, m);
		break;
	case 5:
		alone(cut, m);
		break;
	case 6:
		alone(wide, m);
		break;
	case 7:
		alone(open_again, m);
		break;
	default:
		lives_fold(&l);
	}
	alone(check_now, m);
}

static void set_up(uint64_t seed)
{
	const uint32_t *pages[2] = {l.s.layer[0].mem, l.s.layer[0].disk};
	pthread_rwlockattr_t attr;

	for (int i = 0; i < 2; i++) {
		models[i].of = &l.of[i];
		set_size(&models[i], l.of[i].size);
		for (uint64_t p = 0; p * PAGE_SIZE < l.of[i].size; p++)
			set(&models[i], p, (struct content){pages[i][p], pages[i][p], 0});
	}
	me = (struct writer){.number = THREADS, .random = seed};
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&pausing, &attr);
	pthread_rwlockattr_destroy(&attr);
}

int main(void)
{
	unsigned steps = getenv("STEPS") ? (unsigned)atoi(getenv("STEPS")) : 60;
	uint64_t seed = (tap_seed(20261121) + 1) * UINT64_C(0x9e3779b97f4a7c15), ops = 0;
	static struct writer writer[THREADS];
	pthread_t thread[THREADS];

	/* Nothing here loses power: a disk would only be slow. */
	if (!getenv("TMPDIR") && access("/dev/shm", W_OK) == 0)
		setenv("TMPDIR", "/dev/shm", 1);
	lives_init(&l, "store", seed);
	set_up(seed);
	for (unsigned i = 0; i < THREADS; i++) {
		writer[i] = (struct writer){.number = i, .random = seed + i + 1};
		if (pthread_create(&thread[i], NULL, write_on, &writer[i]) != 0)
			bail("pthread_create");
	}
	for (unsigned i = 0; i < steps && !__atomic_load_n(&wrong, __ATOMIC_RELAXED); i++)
		step();
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(thread[i], NULL);
		ops += writer[i].ops;
	}
	ok(ops > 0, "threads wrote meanwhile (%llu times)", (unsigned long long)ops);
	lives_reopen(&l);
	for (int i = 0; i < 2; i++)
		check_now(&models[i]);
	is_int(wrong, 0, "%u steps: every layer and the live image are what was written", steps);
	is_int(series_faults(&l.s), 0, "the store is whole");
	lives_fini(&l);
	return tap_done();
}
