/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hyper: one call of a hypervisor's vtable (src/host/hyper.h), from a shell.
 *
 *	hyper NAME SOCKET [OPTION...] COMMAND [WORD...]
 *
 *	facts | pause | resume		"facts" prints a line each: "state running"
 *	drain MS			"pages N", "whole yes|no"
 *	snapshot MEMFILE STATE [full]	"memory N", "state N", "diff yes|no"
 *	load MEMFILE STATE [uffd=SOCKET] [track] [run]
 *	names				of all hypervisors; NAME and SOCKET do not matter
 *
 *	--chroot DIR, --timeout MS	of struct hyper_target
 *	--stop MS			`stopped` says yes after so long
 *
 * Exits 1 after "hyper: SENTENCE [ERRNO]" to stderr, 2 where it was called wrongly.
 */
#include "src/host/hyper.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/clock.h"

#define MAX_WORDS 8

static uint64_t stop_at;	/* clock_ms(); 0: never */

static bool stopped(void)
{
	return stop_at && clock_ms() >= stop_at;
}

static const char *yes(bool it)
{
	return it ? "yes" : "no";
}

static bool said(char **words, const char *what)
{
	for (; *words; words++)
		if (!strcmp(*words, what))
			return true;
	return false;
}

/* The rest of the word that begins with `prefix`, or NULL. */
static const char *value(char **words, const char *prefix)
{
	size_t len = strlen(prefix);

	for (; *words; words++)
		if (!strncmp(*words, prefix, len))
			return *words + len;
	return NULL;
}

static int do_facts(struct hyper *h, char **words, struct err *err)
{
	static const char *const states[] = {"new", "running", "paused", "other"};
	struct hyper_facts facts;
	int rc = h->ops->facts(h, &facts, err);

	(void)words;
	if (rc < 0)
		return rc;
	printf("version %s\nstate %s\nballoon %s\nhinting %s\ndirty %s\npid %d\nmemory %" PRIu64
	       "\n", facts.version, states[facts.state], yes(facts.balloon), yes(facts.hinting),
	       yes(facts.dirty), (int)facts.pid, facts.memory);
	return 0;
}

static int do_pause(struct hyper *h, char **words, struct err *err)
{
	(void)words;
	return h->ops->pause(h, err);
}

static int do_resume(struct hyper *h, char **words, struct err *err)
{
	(void)words;
	return h->ops->resume(h, err);
}

static int do_drain(struct hyper *h, char **words, struct err *err)
{
	struct hyper_drained drained;
	int rc = h->ops->drain(h, atoi(words[0]), &drained, err);

	if (rc == 0)
		printf("pages %" PRIu64 "\nwhole %s\n", drained.pages, yes(drained.whole));
	return rc;
}

static int do_snapshot(struct hyper *h, char **words, struct err *err)
{
	struct hyper_snapshot what = {words[0], words[1], said(words + 2, "full")};
	struct hyper_saved saved;
	int rc = h->ops->snapshot(h, &what, &saved, err);

	if (rc == 0)
		printf("memory %" PRIu64 "\nstate %" PRIu64 "\ndiff %s\n", saved.memory,
		       saved.state, yes(saved.diff));
	return rc;
}

static int do_load(struct hyper *h, char **words, struct err *err)
{
	struct hyper_load what = {
		.memfile = words[0],
		.state = words[1],
		.uffd = value(words + 2, "uffd="),
		.track_dirty = said(words + 2, "track"),
		.run = said(words + 2, "run"),
	};

	return h->ops->load(h, &what, err);
}

static const struct verb {
	const char *name;
	int words;	/* at least */
	int (*fn)(struct hyper *h, char **words, struct err *err);
} verbs[] = {
	{"facts", 0, do_facts},
	{"pause", 0, do_pause},
	{"resume", 0, do_resume},
	{"drain", 1, do_drain},
	{"snapshot", 2, do_snapshot},
	{"load", 2, do_load},
};

static int usage(void)
{
	fprintf(stderr, "hyper NAME SOCKET [--chroot DIR] [--timeout MS] [--stop MS] COMMAND...\n");
	return 2;
}

static int failed(int rc, const struct err *err)
{
	fprintf(stderr, "hyper: %s [%s]\n", err->text, strerrorname_np(-rc));
	return 1;
}

static int run(const char *name, const struct hyper_target *to, char **words)
{
	struct err err = {""};
	struct hyper *h = NULL;
	int n = 0, rc;

	while (words[n])
		n++;
	for (size_t i = 0; i < sizeof(verbs) / sizeof(*verbs); i++) {
		if (!n || strcmp(verbs[i].name, words[0]) != 0 || n - 1 < verbs[i].words)
			continue;
		rc = hyper_open(name, to, &h, &err);
		if (rc == 0)
			rc = verbs[i].fn(h, words + 1, &err);
		hyper_close(h);
		return rc < 0 ? failed(rc, &err) : 0;
	}
	return usage();
}

static char **take_options(char **words, struct hyper_target *to)
{
	for (; words[0] && words[1] && !strncmp(words[0], "--", 2); words += 2) {
		if (!strcmp(words[0], "--chroot"))
			to->chroot = words[1];
		else if (!strcmp(words[0], "--timeout"))
			to->timeout_ms = atoi(words[1]);
		else if (!strcmp(words[0], "--stop"))
			stop_at = clock_ms() + strtoull(words[1], NULL, 10);
		else
			break;
	}
	return words;
}

int main(int argc, char **argv)
{
	struct hyper_target to = {.stopped = stopped};

	if (argc < 4)
		return usage();
	if (!strcmp(argv[3], "names")) {
		for (const char *const *name = hyper_names; *name; name++)
			puts(*name);
		return 0;
	}
	to.socket = argv[2];
	return run(argv[1], &to, take_options(argv + 3, &to));
}
