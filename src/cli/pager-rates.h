/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pager-rates: what sessions did between two answers of the pager.
 */
#ifndef LAMINA_CLI_PAGER_RATES_H
#define LAMINA_CLI_PAGER_RATES_H

#include <jansson.h>
#include <stddef.h>

#define PAGER_EDGES 512		/* different ones; the pager has fewer */

/* How many took up to `edge` microseconds, and longer than the edge before; ascending. */
struct pager_hist {
	size_t n;
	double edge[PAGER_EDGES];
	double count[PAGER_EDGES];
};

/* Adds what a session's "histogram" has, less what it had `before` (NULL: nothing). */
void pager_hist_add(struct pager_hist *h, const json_t *now, const json_t *before);
/* The edge that holds the quantile; 0 when empty. */
double pager_hist_quantile(const struct pager_hist *h, double q);

struct pager_row {
	const json_t *session;		/* of `now` */
	double faults;			/* a second */
	double ahead;			/* pages a second, by windows and traces */
	double p50_us;
	double p99_us;
};

struct pager_rates {
	size_t n;
	struct pager_row *v;		/* busiest first, then by id */
	struct pager_row all;		/* their sum; no session */
};

/*
 * Of the sessions in `now` (borrowed by the result) that have not ended; one is the same in
 * both lists by its number and, of several pagers, by "pager".  -ENOMEM.
 */
int pager_rates(const json_t *now, const json_t *before, double seconds,
		struct pager_rates *ret);
void pager_rates_fini(struct pager_rates *r);

#endif
