/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * story: a live image is opened, written to, synced, sealed, committed, folded, and something
 * goes wrong.  How far it came is in memory that a killed child shares.  Afterwards every page
 * is as the steps that had returned left it, or as the one that had begun would have; and one
 * can go on.
 */
#ifndef LAMINA_TESTS_STORY_H
#define LAMINA_TESTS_STORY_H

#include <dirent.h>
#include <sys/mman.h>

#include "tests/lives.h"
#include "tests/ops.h"

struct story_far {
	unsigned begun, done;		/* steps */
	uint64_t seal;			/* what the last one gave */
};

struct story {
	struct lives base;		/* closed */
	struct lives run;		/* a copy of it; its arrays: the steps that returned */
	struct lives then;		/* only arrays: those that had begun */
	struct story_far *far;		/* shared */
};

enum story_what { STORY_WRITE, STORY_ZERO, STORY_SIZE, STORY_SYNC, STORY_SEAL, STORY_COMMIT,
		  STORY_FOLD };

static const struct story_step {
	enum story_what what;
	int image;
	uint64_t off, len;
} story_steps[] = {
	{STORY_WRITE, 0, 5 * PAGE_SIZE, 4 * PAGE_SIZE},
	{STORY_WRITE, 0, 20 * PAGE_SIZE + 100, 300},
	{STORY_WRITE, 0, 510 * PAGE_SIZE - 9, 4 * PAGE_SIZE},
	{STORY_SYNC, 0, 0, 0},
	{STORY_ZERO, 0, 6 * PAGE_SIZE, 30 * PAGE_SIZE},
	{STORY_WRITE, 0, 6 * PAGE_SIZE + 5, 5000},
	{STORY_SYNC, 0, 0, 0},
	{STORY_SEAL, 0, 0, 0},
	{STORY_WRITE, 0, 7 * PAGE_SIZE + 1, PAGE_SIZE},
	{STORY_WRITE, 1, 45 * PAGE_SIZE + 1, 2 * PAGE_SIZE},
	{STORY_COMMIT, 0, 0, 0},
	{STORY_SIZE, 0, 508 * PAGE_SIZE + 77, 0},
	{STORY_FOLD, 0, 0, 0},
	{STORY_SIZE, 0, 620 * PAGE_SIZE, 0},
	{STORY_WRITE, 1, 3 * PAGE_SIZE, PAGE_SIZE},
	{STORY_SIZE, 1, 0, 0},
	{STORY_SEAL, 0, 0, 0},
	{STORY_WRITE, 1, 0, 3 * PAGE_SIZE},
	{STORY_SYNC, 1, 0, 0},
	{STORY_COMMIT, 0, 0, 0},
	{STORY_FOLD, 0, 0, 0},
};
#define STORY_STEPS (sizeof(story_steps) / sizeof(story_steps[0]))

TAP_FN void story_bytes(unsigned n, size_t len, uint8_t *out)
{
	uint8_t page[PAGE_SIZE];

	for (size_t at = 0; at < len; at += PAGE_SIZE) {
		series_page(7000 + n * 50 + (uint32_t)(at / PAGE_SIZE), page);
		memcpy(out + at, page, len - at < PAGE_SIZE ? len - at : PAGE_SIZE);
	}
}

/* The first `n` steps, on the arrays alone. */
TAP_FN void story_replay(const struct story *st, struct lives *to, unsigned n)
{
	static uint8_t buf[64 * PAGE_SIZE];

	for (int i = 0; i < 2; i++) {
		to->of[i].size = st->base.of[i].size;
		memcpy(to->of[i].bytes, st->base.of[i].bytes, LIVES_BYTES_MAX);
	}
	for (unsigned i = 0; i < n && i < STORY_STEPS; i++) {
		const struct story_step *s = &story_steps[i];
		struct lives_image *of = &to->of[s->image];

		story_bytes(i, s->len, buf);
		if (s->what == STORY_WRITE)
			lives_expect_write(of, buf, s->len, s->off);
		else if (s->what == STORY_ZERO)
			lives_expect_zero(of, s->off, s->len);
		else if (s->what == STORY_SIZE)
			lives_expect_size(of, s->off);
	}
}

TAP_FN int story_step(struct story *st, unsigned i, struct err *err)
{
	const struct story_step *s = &story_steps[i];
	struct live_image *image = st->run.of[s->image].image;
	static uint8_t buf[64 * PAGE_SIZE];
	struct digest id;
	int rc;

	switch (s->what) {
	case STORY_WRITE:
		story_bytes(i, s->len, buf);
		return live_write(image, buf, s->len, s->off, err);
	case STORY_ZERO:
		return live_zero(image, s->off, s->len, err);
	case STORY_SIZE:
		return live_truncate(image, s->off, err);
	case STORY_SYNC:
		return live_sync(image, err);
	case STORY_SEAL:
		return live_seal(st->run.live, &st->far->seal, err);
	case STORY_COMMIT:
		return lives_try_commit(&st->run, st->far->seal, &id, err);
	default:
		rc = live_fold(st->run.live, err);
		live_trash_empty(live_trash_take(st->run.live));
		return rc;
	}
}

/* From opening the store to the end, or to the first step that fails. */
TAP_FN int story_tell(struct story *st, struct err *err)
{
	struct series *s = &st->run.s;
	int rc = store_open(s->path, NULL, &s->store, err);

	if (rc < 0)
		return rc;
	rc = lives_try_open(&st->run, err);
	for (unsigned i = 0; i < STORY_STEPS && rc == 0; i++) {
		st->far->begun = i + 1;
		rc = story_step(st, i, err);
		if (rc == 0)
			st->far->done = i + 1;
	}
	if (st->run.live)
		lives_close(&st->run);
	store_close(s->store);
	return rc;
}

TAP_FN void story_fresh(struct story *st)
{
	char line[4 * PATH_MAX];

	(void)snprintf(line, sizeof(line), "rm -rf '%s' && cp -a '%s' '%s'", st->run.s.path,
		       st->base.s.path, st->run.s.path);
	if (system(line) != 0)
		bail("%s", line);
	st->run.live = NULL;
	*st->far = (struct story_far){0};
}

TAP_FN void story_init(struct story *st, uint64_t seed)
{
	/* Nothing here loses power: a disk would only be slow. */
	if (!getenv("TMPDIR") && access("/dev/shm", W_OK) == 0)
		setenv("TMPDIR", "/dev/shm", 1);
	lives_init(&st->base, "base", seed);
	lives_close(&st->base);
	store_close(st->base.s.store);
	st->run = st->base;
	series_names(&st->run.s, "run");
	st->then = st->base;
	for (int i = 0; i < 2; i++) {
		st->run.of[i].bytes = malloc(LIVES_BYTES_MAX);
		st->then.of[i].bytes = malloc(LIVES_BYTES_MAX);
		if (!st->run.of[i].bytes || !st->then.of[i].bytes)
			bail("out of memory");
	}
	st->far = mmap(NULL, sizeof(*st->far), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (st->far == MAP_FAILED)
		bail("mmap");
}

/* ---- afterwards ---- */

/* Each `unit` bytes of a page are as here or as there. */
TAP_FN bool story_is_either(const uint8_t *got, const uint8_t *a, const uint8_t *b, size_t unit)
{
	if (!memcmp(got, a, PAGE_SIZE) || !memcmp(got, b, PAGE_SIZE))
		return true;
	for (size_t at = 0; at < PAGE_SIZE; at += unit)
		if (memcmp(got + at, a + at, unit) != 0 && memcmp(got + at, b + at, unit) != 0)
			return false;
	return true;
}

/* Each `unit` bytes are what was or what should become: those are what is expected then. */
TAP_FN const char *story_settle(struct lives_image *was, const struct lives_image *then,
				size_t unit)
{
	static uint8_t got[LIVES_BYTES_MAX];
	uint64_t at = 0, size = live_size(was->image);
	struct live_data data;
	struct err err;

	memset(got, 0, sizeof(got));
	while (at < size) {
		series_must(live_read(was->image, at, 1u << 20, &data, &err), &err, "live_read");
		for (int i = 0; i < data.view.niov; i++) {
			memcpy(got + at, data.view.iov[i].iov_base, data.view.iov[i].iov_len);
			at += data.view.iov[i].iov_len;
		}
		live_release(was->image, &data);
	}
	for (at = 0; at < sizeof(got); at += PAGE_SIZE)
		if (!story_is_either(got + at, was->bytes + at, then->bytes + at, unit))
			return "what is read is neither what was nor what was to be";
	was->size = size == then->size ? then->size : was->size;
	memcpy(was->bytes, got, sizeof(got));
	return lives_check_image(was);
}

TAP_FN bool story_is_tidy(const struct story *st)
{
	char path[PATH_MAX + 32];
	struct dirent *d;
	unsigned n = 0;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "%s/live/guest", st->run.s.path);
	dir = opendir(path);
	if (!dir)
		bail("cannot open '%s'", path);
	while ((d = readdir(dir)))
		n++;
	closedir(dir);
	/* ".", "..", "lock" and one delta. */
	return n == 4;
}

TAP_FN const char *story_go_on(struct story *st)
{
	struct digest id;
	const char *wrong;

	lives_fill(&st->run.of[0], 8 * PAGE_SIZE + 9, 3 * PAGE_SIZE, 9000);
	id = lives_commit(&st->run, lives_seal(&st->run));
	lives_fold(&st->run);
	wrong = lives_check(&st->run);
	if (!wrong)
		wrong = lives_check_layer(&st->run, &id);
	if (!wrong && !story_is_tidy(st))
		wrong = "there are directories that nobody needs";
	return wrong;
}

TAP_FN const char *story_look(struct story *st, size_t unit)
{
	const char *wrong = NULL;

	story_replay(st, &st->run, st->far->done);
	story_replay(st, &st->then, st->far->begun);
	for (int i = 0; i < 2 && !wrong; i++)
		wrong = story_settle(&st->run.of[i], &st->then.of[i], unit);
	if (!wrong)
		wrong = series_check_layer(&st->run.s, &st->run.s.layer[0]);
	return wrong;
}

/* NULL, or what is wrong.  `unit`: what a write leaves whole. */
TAP_FN const char *story_check(struct story *st, size_t unit)
{
	const char *wrong;

	series_open(&st->run.s);
	lives_open(&st->run);
	wrong = story_look(st, unit);
	if (!wrong)
		wrong = story_go_on(st);
	lives_close(&st->run);
	if (!wrong && series_faults(&st->run.s))
		wrong = "verify finds faults";
	store_close(st->run.s.store);
	return wrong;
}

#endif
