/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs a fuzzer without libFuzzer: every file of its corpus, then deterministic
 * mutations of them.  TAP.
 *
 *	tests/fuzz/NAME.t [FILE|DIR]...		default: tests/fuzz/corpus/NAME
 *
 * SEED=N repeats a run; FUZZ_RUNS=N changes how many mutations a file gets.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>

#include "store/base/io.h"
#include "tests/tap.h"

#define INPUT_MAX (1 << 20)
#define DEFAULT_RUNS 2000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static uint64_t random_state;
static unsigned long runs = DEFAULT_RUNS;

static uint64_t next_random(uint64_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return below ? random_state % below : 0;
}

/* The input is copied to its exact size, so that ASan and valgrind see an overrun. */
static void run_one(const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	if (!copy)
		bail("out of memory");
	if (len)
		memcpy(copy, data, len);
	(void)LLVMFuzzerTestOneInput(copy, len);
	free(copy);
}

static void mutate_bytes(uint8_t *data, size_t len)
{
	static const uint8_t edges[] = {0, 1, 0x7f, 0x80, 0xfe, 0xff};
	size_t i = next_random(len);

	switch (next_random(4)) {
	case 0:
		data[i] ^= (uint8_t)(1u << next_random(8));
		break;
	case 1:
		data[i] = edges[next_random(sizeof(edges))];
		break;
	case 2:
		data[i] = (uint8_t)next_random(256);
		break;
	default:
		memset(data + i, (int)edges[next_random(sizeof(edges))],
		       next_random(len - i < 9 ? len - i + 1 : 9));
	}
}

static void run_mutations(const uint8_t *data, size_t len)
{
	uint8_t *copy;

	if (len == 0 || len > INPUT_MAX)
		return;
	copy = malloc(len);
	if (!copy)
		bail("out of memory");
	for (unsigned long i = 0; i < runs; i++) {
		size_t now = next_random(4) ? len : next_random(len + 1);

		memcpy(copy, data, len);
		for (uint64_t n = 1 + next_random(4); now && n > 0; n--)
			mutate_bytes(copy, now);
		run_one(copy, now);
	}
	free(copy);
}

static void run_file(const char *path)
{
	char *data;
	size_t len;

	if (io_read_file(AT_FDCWD, path, INPUT_MAX, &data, &len) < 0)
		bail("cannot read '%s'", path);
	run_one((uint8_t *)data, len);
	run_mutations((uint8_t *)data, len);
	free(data);
	ok(true, "%s and %lu mutations", strrchr(path, '/') ? strrchr(path, '/') + 1 : path, runs);
}

static void run_path(const char *path)
{
	struct dirent **names;
	char full[PATH_MAX];
	struct stat st;
	int n;

	if (stat(path, &st) < 0)
		bail("no '%s'", path);
	if (!S_ISDIR(st.st_mode)) {
		run_file(path);
		return;
	}
	n = scandir(path, &names, NULL, alphasort);
	for (int i = 0; i < n; i++) {
		if ((size_t)snprintf(full, sizeof(full), "%s/%s", path, names[i]->d_name) >=
		    sizeof(full))
			bail("name too long in '%s'", path);
		if (names[i]->d_name[0] != '.')
			run_path(full);
		free(names[i]);
	}
	if (n >= 0)
		free(names);
}

/* Without a corpus: growing inputs of noise. */
static void run_noise(void)
{
	uint8_t data[4096];

	for (unsigned long i = 0; i < runs; i++) {
		size_t len = next_random(sizeof(data) + 1);

		for (size_t j = 0; j < len; j++)
			data[j] = (uint8_t)next_random(256);
		run_one(data, len);
	}
	run_one(data, 0);
	ok(true, "%lu inputs of noise", runs);
}

/* tests/fuzz/corpus/NAME of the source tree, where NAME.t is this program. */
static bool default_corpus(const char *argv0, char *path, size_t size)
{
	const char *base = strrchr(argv0, '/'), *src = getenv("srcdir");
	int len;

	base = base ? base + 1 : argv0;
	len = (int)strcspn(base, ".");
	(void)snprintf(path, size, "%s/tests/fuzz/corpus/%.*s", src ? src : ".", len, base);
	return access(path, R_OK) == 0;
}

int main(int argc, char **argv)
{
	char corpus[PATH_MAX];

	random_state = tap_seed(0x6c616d696e61) | 1;
	if (getenv("FUZZ_RUNS"))
		runs = strtoul(getenv("FUZZ_RUNS"), NULL, 0);
	for (int i = 1; i < argc; i++)
		run_path(argv[i]);
	if (argc == 1 && default_corpus(argv[0], corpus, sizeof(corpus)))
		run_path(corpus);
	if (argc == 1)
		run_noise();
	return tap_done();
}
