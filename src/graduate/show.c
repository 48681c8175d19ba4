/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/graduate/show.h"

#include <string.h>

#include "store/base/fmt.h"

#define NCOLUMNS 5		/* that are padded; the last one, the reason, is not */
#define CELL_LEN 512

/* ---- JSON ---- */

/* What somebody else wrote may be no UTF-8. */
static json_t *text(const char *value)
{
	char ascii[CELL_LEN];
	json_t *json = value ? json_string(value) : json_null();

	if (json)
		return json;
	(void)snprintf(ascii, sizeof(ascii), "%s", value);
	for (char *p = ascii; *p; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	return json_string(ascii);
}

static json_t *pager_json(const struct scan_pager *p)
{
	return json_pack("{s:o, s:o, s:b, s:b, s:I, s:o}", "socket", text(p->socket), "version",
			 text(p->version), "outdated", p->is.outdated, "draining", p->draining,
			 "sessions", (json_int_t)p->sessions, "error",
			 p->version ? json_null() : text(p->err.text));
}

static json_t *decision_json(const struct rules_decision *d)
{
	const struct rules_session *s = d->session;
	json_t *age = s->has_age ? json_real((double)s->age_ns / 1e9) : json_null();

	return json_pack("{s:o, s:I, s:o, s:o, s:b, s:o, s:b, s:s, s:s}", "session", text(s->id),
			 "number", (json_int_t)s->number, "pager", text(s->pager->socket),
			 "version", text(s->pager->version), "outdated", s->pager->outdated,
			 "age_seconds", age, "graduate", d->reason == RULES_GRADUATE, "reason",
			 rules_word(d->reason), "why", d->why);
}

static json_t *pagers_json(const struct scan *scan)
{
	json_t *list = json_array();
	int rc = 0;

	for (size_t i = 0; scan && i < scan->npagers; i++)
		rc |= json_array_append_new(list, pager_json(&scan->pagers[i]));
	if (rc == 0)
		return list;
	json_decref(list);
	return NULL;
}

static json_t *decisions_json(const struct show *show)
{
	json_t *list = json_array();
	int rc = 0;

	for (size_t i = 0; show->scan && i < show->scan->sessions.n; i++)
		rc |= json_array_append_new(list, decision_json(&show->decisions[i]));
	if (rc == 0)
		return list;
	json_decref(list);
	return NULL;
}

json_t *show_json(const struct show *show)
{
	return json_pack("{s:b, s:o, s:o, s:o}", "enabled", show->enabled, "scanned_seconds",
			 show->scanned > 0 ? json_real(show->scanned) : json_null(), "pagers",
			 pagers_json(show->scan), "decisions", decisions_json(show));
}

/* ---- a table ---- */

struct row {
	char cell[NCOLUMNS][CELL_LEN];
};

static void clean(char *p)
{
	for (; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
}

static void fill(struct row *row, const struct rules_decision *d)
{
	const struct rules_session *s = d->session;
	char age[FMT_SIZE_LEN] = "-";

	if (s->has_age)
		(void)fmt_duration(age, (double)s->age_ns / 1e9);
	(void)snprintf(row->cell[0], CELL_LEN, "%s", s->id);
	(void)snprintf(row->cell[1], CELL_LEN, "%s", s->pager->socket);
	(void)snprintf(row->cell[2], CELL_LEN, "%s%s", s->pager->version,
		       s->pager->outdated ? " (outdated)" : "");
	(void)snprintf(row->cell[3], CELL_LEN, "%s", age);
	(void)snprintf(row->cell[4], CELL_LEN, "%s", rules_word(d->reason));
	for (size_t i = 0; i < NCOLUMNS; i++)
		clean(row->cell[i]);
}

static void widen(int width[NCOLUMNS], const struct row *row)
{
	for (size_t i = 0; i < NCOLUMNS; i++) {
		int len = (int)strlen(row->cell[i]);

		if (len > width[i])
			width[i] = len;
	}
}

static void print(FILE *out, const int width[NCOLUMNS], const struct row *row, const char *why)
{
	for (size_t i = 0; i < NCOLUMNS; i++)
		fprintf(out, "%-*s  ", width[i], row->cell[i]);
	fprintf(out, "%s\n", why);
}

void show_table(const struct show *show, FILE *out)
{
	static const struct row heads = {
		{"session", "pager", "version", "age", "decision"},
	};
	size_t n = show->scan ? show->scan->sessions.n : 0;
	int width[NCOLUMNS] = {0};
	struct row row;

	if (n == 0)
		return;
	widen(width, &heads);
	for (size_t i = 0; i < n; i++) {
		fill(&row, &show->decisions[i]);
		widen(width, &row);
	}
	print(out, width, &heads, "why");
	for (size_t i = 0; i < n; i++) {
		fill(&row, &show->decisions[i]);
		print(out, width, &row, show->decisions[i].why);
	}
}
