/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opens FILE as the pager does and does what standard input says, a line each:
 *
 *	try PAGE N	same | differs | the error's words
 *	read PAGE N	...
 *	warm PAGE N	warmed
 *	runs		data PAGE+N, for each
 *	reopen		reopened | a sentence
 *
 * Bytes are compared with those of REFERENCE.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/pager/source.h"
#include "store/base/io.h"

#define PAGE 4096u
#define N_MAX 512u

static int reference;

static int pages(struct source *s, bool now, uint64_t page, uint64_t n)
{
	static uint8_t got[N_MAX * PAGE], want[N_MAX * PAGE];
	int rc;

	if (n > N_MAX)
		return -E2BIG;
	rc = (now ? source_try : source_read)(s, got, n * PAGE, page * PAGE);
	if (rc < 0)
		return rc;
	rc = io_pread_all(reference, want, n * PAGE, page * PAGE);
	return rc < 0 ? rc : memcmp(got, want, n * PAGE) == 0;
}

static void runs(struct source *s)
{
	uint64_t off = 0, len;
	bool hole;
	int rc;

	while ((rc = source_run(s, off, UINT64_MAX, &hole, &len)) == 0) {
		if (!hole)
			printf("data %llu+%llu ", (unsigned long long)off / PAGE,
			       (unsigned long long)len / PAGE);
		off += len;
	}
	printf("%s\n", rc == -ENODATA && off == source_size(s) ? "end" : source_strerror(rc));
}

static void run_line(struct source *s, const char *line)
{
	unsigned long long page = 0, n = 0;
	struct err err = {""};
	char verb[16] = "";
	int rc;

	(void)sscanf(line, "%15s %llu %llu", verb, &page, &n);
	if (strcmp(verb, "warm") == 0) {
		source_warm(s, page * PAGE, n * PAGE);
		puts("warmed");
	} else if (strcmp(verb, "runs") == 0) {
		runs(s);
	} else if (strcmp(verb, "reopen") == 0) {
		puts(source_reopen(s, &err) < 0 ? err.text : "reopened");
	} else {
		rc = pages(s, strcmp(verb, "try") == 0, page, n);
		puts(rc < 0 ? source_strerror(rc) : rc ? "same" : "differs");
	}
	(void)fflush(stdout);
}

int main(int argc, char **argv)
{
	struct err err = {""};
	struct source *s;
	char line[128];

	reference = argc == 3 ? open(argv[2], O_RDONLY | O_CLOEXEC) : -1;
	if (reference < 0) {
		(void)fprintf(stderr, "usage: read-source FILE REFERENCE\n");
		return 2;
	}
	if (source_open(argv[1], &s, &err) < 0) {
		(void)fprintf(stderr, "read-source: %s\n", err.text);
		return 1;
	}
	while (fgets(line, sizeof(line), stdin))
		run_line(s, line);
	source_close(s);
	close(reference);
	return 0;
}
