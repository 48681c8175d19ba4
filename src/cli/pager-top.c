/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `lamina pager top`.  On a terminal it draws on the alternate screen, without a
 * cursor; whatever ends or stops the program first puts back what was there.
 * A signal therefore is handled on the spot, not when somebody looks for it.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "src/cli/out.h"
#include "src/cli/pager-rates.h"
#include "src/cli/pager.h"
#include "src/cli/table.h"

#define INTERVAL_MIN_MS 100
#define INTERVAL_MAX_MS 86400000
#define WIDTH_DEFAULT 80
#define HEIGHT_DEFAULT 24

/* ---- the terminal ---- */

static const char enter_text[] = "\033[?1049h\033[?25l";
static const char leave_text[] = "\033[?25h\033[?1049l";

static void enter(void)
{
	(void)!write(STDOUT_FILENO, enter_text, sizeof(enter_text) - 1);
}

static void leave(void)
{
	(void)!write(STDOUT_FILENO, leave_text, sizeof(leave_text) - 1);
}

/* Installed with SA_RESETHAND: the second time it is the end. */
static void on_end(int sig)
{
	leave();
	(void)raise(sig);
}

static void on_stop(int sig)
{
	int saved = errno;

	(void)sig;
	leave();
	(void)raise(SIGSTOP);
	enter();
	errno = saved;
}

static void screen_begin(void)
{
	static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
	struct sigaction end = {.sa_handler = on_end, .sa_flags = (int)SA_RESETHAND};
	struct sigaction stop = {.sa_handler = on_stop, .sa_flags = SA_RESTART};

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		(void)sigaction(ends[i], &end, NULL);
	(void)sigaction(SIGTSTP, &stop, NULL);
	enter();
}

static void screen_size(unsigned *width, unsigned *height)
{
	struct winsize size;

	*width = WIDTH_DEFAULT;
	*height = HEIGHT_DEFAULT;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0)
		return;
	if (size.ws_col)
		*width = size.ws_col;
	if (size.ws_row)
		*height = size.ws_row;
}

/* Of `text` as much as fits. */
static void screen_draw(const char *text)
{
	unsigned width, height;

	screen_size(&width, &height);
	fputs("\033[H", stdout);
	for (unsigned row = 0; *text && row + 1 < height; row++) {
		size_t len = strcspn(text, "\n");

		printf("%.*s\033[K\r\n", (int)(len < width ? len : width), text);
		text += len + (text[len] == '\n');
	}
	fputs("\033[J", stdout);
	(void)fflush(stdout);
}

/* ---- a sample as a table ---- */

enum { SESSION, STATE, FAULTS, P50, P99, MEMORY, RESIDENT, AHEAD, USED, WAITING, VERSION, NCOLS };

static const struct table_col columns[NCOLS] = {
	[SESSION] = {"session", false}, [STATE] = {"state", false},
	[FAULTS] = {"faults/s", true}, [P50] = {"p50", true}, [P99] = {"p99", true},
	[MEMORY] = {"memory", true}, [RESIDENT] = {"resident", true},
	[AHEAD] = {"ahead/s", true}, [USED] = {"used", true}, [WAITING] = {"waiting", true},
	[VERSION] = {"version", false},	/* of several pagers */
};

/* What a narrow terminal does without, in this order. */
static const unsigned dispensable[] = {AHEAD, USED, MEMORY, P50};

/* The first of these are left out. */
static bool is_shown(unsigned col, size_t left_out)
{
	for (size_t i = 0; i < left_out; i++)
		if (dispensable[i] == col)
			return false;
	return true;
}

static void percent(char out[PAGER_CELL], const json_t *session, const char *path)
{
	const json_t *value = pager_at(session, path);

	if (json_is_number(value))
		(void)snprintf(out, PAGER_CELL, "%.1f %%", json_number_value(value));
	else
		(void)snprintf(out, PAGER_CELL, "-");
}

static void number(char out[PAGER_CELL], double value)
{
	(void)snprintf(out, PAGER_CELL, "%.0f", value);
}

static void add_row(const struct cli *cli, struct table *t, const struct pager_row *row,
		    size_t left_out)
{
	const json_t *s = row->session;
	double memory = pager_number(s, "memory_bytes");
	char cells[NCOLS][PAGER_CELL], size[FMT_SIZE_LEN];
	const char *texts[NCOLS];

	for (unsigned i = 0; i < NCOLS; i++)
		texts[i] = cells[i];
	texts[SESSION] = pager_text(s, "id");
	texts[STATE] = pager_state(cells[STATE], s);
	number(cells[FAULTS], row->faults);
	(void)pager_micros(cells[P50], row->p50_us);
	(void)pager_micros(cells[P99], row->p99_us);
	texts[MEMORY] = cli_size(cli, size, (uint64_t)(memory > 0 ? memory : 0));
	percent(cells[RESIDENT], s, "resident_percent");
	number(cells[AHEAD], row->ahead);
	percent(cells[USED], s, "window.used_percent");
	number(cells[WAITING], pager_number(s, "waiting_pages"));
	texts[VERSION] = pager_at(s, "version") ? pager_text(s, "version") : "";
	for (unsigned i = 0; i < NCOLS; i++)
		if (is_shown(i, left_out) && (i != VERSION || pager_at(s, "version")))
			table_cell(t, "%s", texts[i]);
}

static int print_table(const struct cli *cli, const struct pager_rates *r, size_t left_out,
		       FILE *out)
{
	struct table_col shown[NCOLS];
	struct table t = {.cols = shown};

	for (unsigned i = 0; i < NCOLS; i++)
		if (is_shown(i, left_out))
			shown[t.ncols++] = columns[i];
	if (!r->n || !pager_at(r->v[0].session, "version"))
		t.ncols--;
	for (size_t i = 0; i < r->n; i++)
		add_row(cli, &t, &r->v[i], left_out);
	return table_print(&t, out);
}

/* The time alone is as much of the date as a screen needs. */
static int print_rates(const struct cli *cli, const struct pager_rates *r, size_t left_out,
		       FILE *out)
{
	char p50[PAGER_CELL], p99[PAGER_CELL], now[FMT_SIZE_LEN];
	const char *when = fmt_time(now, time(NULL));

	if (left_out && strchr(when, ' '))
		when = strchr(when, ' ') + 1;
	fprintf(out, "%s  %zu session%s  %.0f faults/s  p50 %s  p99 %s  %.0f ahead/s\n", when,
		r->n, r->n == 1 ? "" : "s", r->all.faults, pager_micros(p50, r->all.p50_us),
		pager_micros(p99, r->all.p99_us), r->all.ahead);
	return print_table(cli, r, left_out, out);
}

static bool fits(const char *text, unsigned width)
{
	while (*text) {
		size_t len = strcspn(text, "\n");

		if (len > width)
			return false;
		text += len + (text[len] == '\n');
	}
	return true;
}

static int print_to(const struct cli *cli, const struct pager_rates *r, size_t left_out,
		    char **ret)
{
	size_t len;
	FILE *out = open_memstream(ret, &len);
	int rc = out ? print_rates(cli, r, left_out, out) : -ENOMEM;

	if (out && fclose(out) != 0)
		rc = -ENOMEM;
	return rc;
}

static int draw(const struct cli *cli, const struct pager_rates *r)
{
	const size_t most = sizeof(dispensable) / sizeof(dispensable[0]);
	unsigned width, height;
	char *text = NULL;
	int rc;

	screen_size(&width, &height);
	for (size_t left_out = 0;; left_out++) {
		free(text);
		text = NULL;
		rc = print_to(cli, r, left_out, &text);
		if (rc < 0 || left_out == most || fits(text, width))
			break;
	}
	if (rc == 0)
		screen_draw(text);
	free(text);
	return rc;
}

/* ---- a sample as JSON ---- */

/* null where there was no fault. */
static json_t *micros_json(double us)
{
	return us > 0 ? json_real(us) : json_null();
}

static json_t *copy(const json_t *session, const char *path)
{
	json_t *value = pager_at(session, path);

	return value ? json_incref(value) : json_null();
}

static json_t *row_json(const struct pager_row *row)
{
	const json_t *s = row->session;

	return json_pack("{s:o, s:o, s:o, s:f, s:o, s:o, s:o, s:o, s:f, s:o, s:o, s:O*}",
			 "id", copy(s, "id"), "state", copy(s, "state"), "completion",
			 copy(s, "completion"),
			 "faults_per_second", row->faults, "p50_us", micros_json(row->p50_us),
			 "p99_us", micros_json(row->p99_us), "memory_bytes",
			 copy(s, "memory_bytes"), "resident_percent", copy(s, "resident_percent"),
			 "ahead_per_second", row->ahead, "used_percent",
			 copy(s, "window.used_percent"), "waiting_pages",
			 copy(s, "waiting_pages"), "version", pager_at(s, "version"));
}

static json_t *rates_json(const struct pager_rates *r)
{
	json_t *rows = json_array();

	for (size_t i = 0; i < r->n; i++)
		if (json_array_append_new(rows, row_json(&r->v[i])) < 0) {
			json_decref(rows);
			return NULL;
		}
	return json_pack("{s:I, s:f, s:o, s:o, s:f, s:o}", "time", (json_int_t)time(NULL),
			 "faults_per_second", r->all.faults, "p50_us", micros_json(r->all.p50_us),
			 "p99_us", micros_json(r->all.p99_us), "ahead_per_second", r->all.ahead,
			 "sessions", rows);
}

/* ---- the loop ---- */

struct top {
	struct cli *cli;
	uint64_t interval_ms;
	bool screen;
	json_t *before;
	double before_s;
};

static double seconds_now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void pause_until(double seconds)
{
	struct timespec ts = {.tv_sec = (time_t)seconds};

	ts.tv_nsec = (long)((seconds - (double)ts.tv_sec) * 1e9);
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

static int show(const struct top *top, const struct pager_rates *r)
{
	struct cli *cli = top->cli;
	int rc;

	if (cli->json)
		return out_json(rates_json(r), &cli->err);
	if (top->screen)
		return draw(cli, r);
	rc = print_rates(cli, r, 0, stdout);
	putchar('\n');
	return rc;
}

/* Shows what happened since `before`, and makes that of now the next one. */
static int sample(struct top *top)
{
	json_t *now = NULL;
	double now_s = seconds_now();
	struct pager_rates rates;
	int rc;

	pager_forget(top->cli);		/* pagers come and go, too */
	rc = pager_list(top->cli, "&histogram=1", &now);
	if (rc < 0)
		return rc;
	rc = pager_rates(now, top->before, now_s - top->before_s, &rates);
	if (rc == 0) {
		rc = show(top, &rates);
		pager_rates_fini(&rates);
	}
	json_decref(top->before);
	top->before = now;
	top->before_s = now_s;
	if (rc == 0 && fflush(stdout) != 0)
		rc = -EPIPE;
	return rc;
}

static int watch(struct top *top, uint64_t count)
{
	double next;
	bool began;
	int rc;

	top->before_s = next = seconds_now();
	rc = pager_list(top->cli, "&histogram=1", &top->before);
	began = rc == 0 && top->screen;
	if (began)
		screen_begin();
	for (uint64_t i = 0; rc == 0 && (!count || i < count); i++) {
		next += (double)top->interval_ms / 1000;
		if (next < seconds_now())
			next = seconds_now();	/* the pager, or we, are late */
		pause_until(next);
		rc = sample(top);
	}
	if (began)
		leave();
	return rc;
}

int pager_top(struct cli *cli, int argc, char **argv)
{
	const struct pager_args *args = cli->args;
	const char *interval = args->interval ? args->interval : "1s";
	struct top top = {.cli = cli};
	uint64_t count = 0;
	int rc;

	(void)argc;
	(void)argv;
	if (fmt_parse_duration_ms(interval, &top.interval_ms) < 0 ||
	    top.interval_ms < INTERVAL_MIN_MS || top.interval_ms > INTERVAL_MAX_MS)
		return cli_usage(cli, "--interval: '%s' is not a duration from 100ms to 1d",
				 interval);
	if (args->count && (fmt_parse_u64(args->count, &count) < 0 || count == 0))
		return cli_usage(cli, "--count: '%s' is not a number from 1 on", args->count);
	top.screen = !cli->json && isatty(STDOUT_FILENO);
	rc = watch(&top, count);
	json_decref(top.before);
	return rc;
}
