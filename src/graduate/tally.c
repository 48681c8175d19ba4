/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/graduate/tally.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PREFIX "lamina_graduator_"

static const double edges[TALLY_BUCKETS] = {
	0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800,
};

/* ---- counting ---- */

static struct tally_version *version_of(struct tally *t, const char *name)
{
	struct tally_version *v = t->versions;

	for (size_t i = 0; i < TALLY_VERSIONS; i++, v++)
		if (!*v->name || strncmp(v->name, name, sizeof(v->name) - 1) == 0)
			break;
	if (v == &t->versions[TALLY_VERSIONS])
		name = "other";
	if (!*v->name)
		(void)snprintf(v->name, sizeof(v->name), "%s", *name ? name : "other");
	return v;
}

void tally_scan(struct tally *t, const struct scan *scan)
{
	t->scans++;
	t->silent = t->ended = 0;
	for (size_t i = 0; i <= TALLY_VERSIONS; i++)
		t->versions[i].pagers = t->versions[i].sessions = 0;
	for (size_t i = 0; i < scan->npagers; i++) {
		const struct scan_pager *p = &scan->pagers[i];
		struct tally_version *v;

		if (!p->version) {
			t->ended += scan_has_ended(p);
			t->silent += !scan_has_ended(p);
			continue;
		}
		v = version_of(t, p->version);
		v->pagers++;
		v->sessions += p->sessions;
	}
}

void tally_decisions(struct tally *t, const struct rules_decision *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		t->decisions[v[i].reason]++;
}

void tally_result(struct tally *t, const struct work_result *r)
{
	struct tally_version *v = version_of(t, r->version);

	v->outcome[r->outcome]++;
	if (r->outcome == WORK_GRADUATED) {	/* those of its failed attempts included */
		v->pages += r->pages;
		v->bytes += r->bytes;
	}
	t->completions++;
	t->seconds += r->seconds;
	for (size_t i = 0; i < TALLY_BUCKETS; i++)
		t->bucket[i] += r->seconds <= edges[i];
}

/* ---- the text ---- */

static void head(struct buf *out, const char *name, const char *type, const char *help)
{
	buf_printf(out, "# HELP " PREFIX "%s %s\n# TYPE " PREFIX "%s %s\n", name, help, name, type);
}

static void single(struct buf *out, const char *name, const char *type, double value,
		   const char *help)
{
	head(out, name, type, help);
	buf_printf(out, PREFIX "%s %.15g\n", name, value);
}

/* As the value of a label. */
static const char *quote(char out[2 * TALLY_VERSION_LEN], const char *text)
{
	char *p = out;

	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			*p++ = '\\';
		*p++ = (unsigned char)*text < 0x20 ? '?' : *text;
	}
	*p = '\0';
	return out;
}

static void put_state(const struct tally *t, const char *version, struct buf *out)
{
	head(out, "info", "gauge", "Always 1; the version is a label.");
	buf_printf(out, PREFIX "info{version=\"%s\"} 1\n", version);
	single(out, "enabled", "gauge", t->enabled, "1 if it graduates sessions.");
	single(out, "running", "gauge", (double)t->running, "Completions under way.");
	single(out, "reloads_total", "counter", (double)t->reloads,
	       "Times that lamina.conf was read again.");
	single(out, "reload_failures_total", "counter", (double)t->failed_reloads,
	       "Of these, those that were refused.");
	single(out, "last_reload_failed", "gauge", t->reload_failed,
	       "1 if the last one was refused, and older settings count.");
}

static void put_scans(const struct tally *t, struct buf *out)
{
	single(out, "scans_total", "counter", (double)t->scans, "Scans of all pagers.");
	single(out, "scan_failures_total", "counter", (double)t->failed_scans,
	       "Scans that failed altogether.");
	single(out, "last_scan_timestamp_seconds", "gauge", t->last_scan,
	       "When the last scan that did not fail began, since 1970; 0: there was none.");
	single(out, "last_scan_seconds", "gauge", t->last_scan_seconds, "How long it took.");
	single(out, "silent_pagers", "gauge", (double)t->silent,
	       "Pagers that did not answer at the last scan.");
	single(out, "ended_pagers", "gauge", (double)t->ended,
	       "Sockets of pagers at which nobody listened at the last scan.");
	head(out, "decisions_total", "counter", "Decisions on sessions, one a session and scan.");
	for (int i = 0; i < RULES_NREASONS; i++)
		buf_printf(out, PREFIX "decisions_total{reason=\"%s\"} %" PRIu64 "\n",
			   rules_word((enum rules_reason)i), t->decisions[i]);
}

static void put_histogram(const struct tally *t, struct buf *out)
{
	head(out, "completion_seconds", "histogram", "How long completions took, failed ones too.");
	for (size_t i = 0; i < TALLY_BUCKETS; i++)
		buf_printf(out, PREFIX "completion_seconds_bucket{le=\"%g\"} %" PRIu64 "\n",
			   edges[i], t->bucket[i]);
	buf_printf(out, PREFIX "completion_seconds_bucket{le=\"+Inf\"} %" PRIu64 "\n",
		   t->completions);
	buf_printf(out, PREFIX "completion_seconds_sum %.9g\n", t->seconds);
	buf_printf(out, PREFIX "completion_seconds_count %" PRIu64 "\n", t->completions);
}

static uint64_t failures_of(const struct tally_version *v)
{
	uint64_t n = 0;

	for (int i = 0; i < WORK_NOUTCOMES; i++)
		if (!work_is_over((enum work_outcome)i))
			n += v->outcome[i];
	return n;
}

static uint64_t pagers_of(const struct tally_version *v)
{
	return v->pagers;
}

static uint64_t sessions_of(const struct tally_version *v)
{
	return v->sessions;
}

static uint64_t pages_of(const struct tally_version *v)
{
	return v->pages;
}

static uint64_t bytes_of(const struct tally_version *v)
{
	return v->bytes;
}

static void put_outcomes(const struct tally *t, struct buf *out)
{
	char label[2 * TALLY_VERSION_LEN];

	head(out, "completions_total", "counter", "Completions that ended, by how.");
	for (const struct tally_version *v = t->versions; v <= &t->versions[TALLY_VERSIONS]; v++)
		for (int i = 0; *v->name && i < WORK_NOUTCOMES; i++)
			buf_printf(out, PREFIX "completions_total{result=\"%s\",version=\"%s\"} %"
				   PRIu64 "\n", work_word((enum work_outcome)i),
				   quote(label, v->name), v->outcome[i]);
}

static void put_versions(const struct tally *t, struct buf *out)
{
	static const struct {
		const char *name, *type, *help;
		uint64_t (*of)(const struct tally_version *v);
	} series[] = {
		{"failures_total", "counter", "Completions after which the session is still paged.",
		 failures_of},
		{"pages_total", "counter", "Pages that completions populated.", pages_of},
		{"bytes_total", "counter", "Bytes that completions populated.", bytes_of},
		{"pagers", "gauge", "Pagers that answered at the last scan.", pagers_of},
		{"sessions", "gauge", "Their sessions that had not ended.", sessions_of},
	};
	char label[2 * TALLY_VERSION_LEN];

	for (size_t i = 0; i < sizeof(series) / sizeof(series[0]); i++) {
		const struct tally_version *v = t->versions;

		head(out, series[i].name, series[i].type, series[i].help);
		for (; v <= &t->versions[TALLY_VERSIONS]; v++)
			if (*v->name)
				buf_printf(out, PREFIX "%s{version=\"%s\"} %" PRIu64 "\n",
					   series[i].name, quote(label, v->name),
					   series[i].of(v));
	}
}

void tally_format(const struct tally *t, const char *version, struct buf *out)
{
	put_state(t, version, out);
	put_scans(t, out);
	put_outcomes(t, out);
	put_histogram(t, out);
	put_versions(t, out);
}
