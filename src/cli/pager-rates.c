/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/cli/pager-rates.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/cli/pager.h"

/* ---- histograms ---- */

static void add_bucket(struct pager_hist *h, double edge, double count)
{
	size_t lo = 0, hi = h->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (h->edge[mid] < edge)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == h->n || h->edge[lo] != edge) {
		if (h->n == PAGER_EDGES)
			return;
		memmove(&h->edge[lo + 1], &h->edge[lo], (h->n - lo) * sizeof(h->edge[0]));
		memmove(&h->count[lo + 1], &h->count[lo], (h->n - lo) * sizeof(h->count[0]));
		h->n++;
		h->edge[lo] = edge;
		h->count[lo] = 0;
	}
	h->count[lo] += count;
}

static double edge_of(const json_t *histogram, size_t i)
{
	return json_number_value(json_array_get(json_array_get(histogram, i), 0));
}

static double count_of(const json_t *histogram, size_t i)
{
	return json_number_value(json_array_get(json_array_get(histogram, i), 1));
}

/* Both ascend; a bucket that has counted once stays. */
void pager_hist_add(struct pager_hist *h, const json_t *now, const json_t *before)
{
	size_t had = 0;

	for (size_t i = 0; i < json_array_size(now); i++) {
		double edge = edge_of(now, i), count = count_of(now, i);

		while (had < json_array_size(before) && edge_of(before, had) < edge)
			had++;
		if (had < json_array_size(before) && !(edge_of(before, had) > edge))
			count -= count_of(before, had);
		if (count > 0)
			add_bucket(h, edge, count);
	}
}

double pager_hist_quantile(const struct pager_hist *h, double q)
{
	double all = 0, seen = 0;

	for (size_t i = 0; i < h->n; i++)
		all += h->count[i];
	for (size_t i = 0; i < h->n; i++) {
		seen += h->count[i];
		if (seen >= q * all)
			return h->edge[i];
	}
	return 0;
}

/* ---- rows ---- */

static bool has_ended(const json_t *session)
{
	return pager_number(session, "ended_seconds") > 0;
}

static double grown(const json_t *now, const json_t *before, const char *path)
{
	double n = pager_number(now, path) - pager_number(before, path);

	return n > 0 ? n : 0;
}

static void quantiles(struct pager_row *row, const struct pager_hist *h)
{
	row->p50_us = pager_hist_quantile(h, 0.5);
	row->p99_us = pager_hist_quantile(h, 0.99);
}

static struct pager_row row_of(const json_t *now, const json_t *before, double seconds,
			       struct pager_hist *h)
{
	struct pager_row row = {.session = now};

	row.faults = grown(now, before, "counters.faults") / seconds;
	row.ahead = (grown(now, before, "counters.ahead") +
		     grown(now, before, "counters.replayed")) / seconds;
	pager_hist_add(h, pager_at(now, "histogram"), pager_at(before, "histogram"));
	quantiles(&row, h);
	return row;
}

static int by_faults(const void *a, const void *b)
{
	const struct pager_row *x = a, *y = b;

	if (x->faults != y->faults)
		return x->faults < y->faults ? 1 : -1;
	return strcmp(pager_text(x->session, "id"), pager_text(y->session, "id"));
}

#define KEY_LEN 192

/* A number is of a session as long as its pager lives; of several each has its own. */
static char *key_of(char out[KEY_LEN], const json_t *session)
{
	(void)snprintf(out, KEY_LEN, "%.0f %s", pager_number(session, "number"),
		       pager_text(session, "pager"));
	return out;
}

/* The sessions by their keys; NULL: no memory. */
static json_t *index_of(const json_t *list)
{
	json_t *index = json_object(), *session;
	char key[KEY_LEN];
	size_t i;

	json_array_foreach(list, i, session)
		if (json_object_set(index, key_of(key, session), session) < 0) {
			json_decref(index);
			return NULL;
		}
	return index;
}

int pager_rates(const json_t *now, const json_t *before, double seconds,
		struct pager_rates *ret)
{
	struct pager_hist *hist = calloc(2, sizeof(*hist));
	struct pager_rates r = {.v = calloc(json_array_size(now) + 1, sizeof(*r.v))};
	json_t *had = index_of(before);
	const json_t *session, *was;
	char key[KEY_LEN];
	size_t i;

	if (!hist || !r.v || !had) {
		free(hist);
		free(r.v);
		json_decref(had);
		return -ENOMEM;
	}
	json_array_foreach(now, i, session) {
		if (has_ended(session))
			continue;
		was = json_object_get(had, key_of(key, session));
		hist[1].n = 0;
		r.v[r.n] = row_of(session, was, seconds, &hist[1]);
		pager_hist_add(&hist[0], pager_at(session, "histogram"),
			       pager_at(was, "histogram"));
		r.all.faults += r.v[r.n].faults;
		r.all.ahead += r.v[r.n++].ahead;
	}
	quantiles(&r.all, &hist[0]);
	qsort(r.v, r.n, sizeof(*r.v), by_faults);
	json_decref(had);
	free(hist);
	*ret = r;
	return 0;
}

void pager_rates_fini(struct pager_rates *r)
{
	free(r->v);
	*r = (struct pager_rates){0};
}
