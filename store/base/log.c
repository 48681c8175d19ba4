/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One line is one write(2), so that lines of several threads and processes do
 * not mix.  log_init(), log_to_syslog() and log_as_json() are called before threads start.
 */
#include "store/base/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#define LINE_MAX_LEN 1024
#define JSON_MAX_LEN 8192

static char program_name[64] = "lamina";
static enum log_level max_level = LOG_LEVEL_INFO;
static int use_syslog;
static int use_json;

void log_init(const char *program, enum log_level level)
{
	(void)snprintf(program_name, sizeof(program_name), "%s", program);
	max_level = level;
}

void log_to_syslog(void)
{
	openlog(program_name, LOG_PID, LOG_DAEMON);
	use_syslog = 1;
}

void log_as_json(void)
{
	use_json = 1;
}

static void to_stderr(const char *prefix, const char *text)
{
	char line[JSON_MAX_LEN + 96];
	int n = snprintf(line, sizeof(line) - 1, "%s%s", prefix, text);

	if (n < 0)
		return;
	if ((size_t)n > sizeof(line) - 2)
		n = (int)sizeof(line) - 2;
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return;	/* nowhere left to say so */
}

static void put(enum log_level level, const char *text)
{
	static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
	static const char *const words[] = {"error: ", "warning: ", "", "debug: "};
	char prefix[sizeof(program_name) + 16] = "";

	if (!use_json)
		(void)snprintf(prefix, sizeof(prefix), "%s: %s", program_name, words[level]);
	if (use_syslog)
		syslog(priorities[level], "%s", text);
	else
		to_stderr(prefix, text);
}

static void put_json(enum log_level level, const char *event, const struct log_field *fields)
{
	static const char *const words[] = {"error", "warning", "info", "debug"};
	char text[JSON_MAX_LEN];

	(void)log_json(text, sizeof(text), words[level], event, fields);
	put(level, text);
}

static void emit(enum log_level level, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));

static void emit(enum log_level level, const char *fmt, va_list ap)
{
	char text[LINE_MAX_LEN];

	if (level > max_level)
		return;
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	if (use_json)
		put_json(level, "message", (struct log_field[]){LOG_STR("message", text), {0}});
	else
		put(level, text);
}

/* "event: name value, name value" */
static void put_words(enum log_level level, const char *event, const struct log_field *f)
{
	char text[LINE_MAX_LEN];
	size_t n = (size_t)snprintf(text, sizeof(text), "%s", event);
	const char *between = ": ";

	for (; f->kind != LOG_KIND_END && n < sizeof(text); f++) {
		if (f->kind == LOG_KIND_STR && !f->text)
			continue;
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s ", between, f->name);
		between = ", ";
		if (n >= sizeof(text))
			break;
		if (f->kind == LOG_KIND_STR)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%s", f->text);
		else if (f->kind == LOG_KIND_INT)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%" PRId64, f->integer);
		else if (f->kind == LOG_KIND_BOOL)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%s",
					      f->integer ? "true" : "false");
		else
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%.6g", f->real);
	}
	put(level, text);
}

void log_event(enum log_level level, const char *event, const struct log_field *fields)
{
	if (level > max_level)
		return;
	if (use_json)
		put_json(level, event, fields);
	else
		put_words(level, event, fields);
}

void log_error(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	emit(LOG_LEVEL_ERROR, fmt, ap);
	va_end(ap);
}

void log_warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	emit(LOG_LEVEL_WARN, fmt, ap);
	va_end(ap);
}

void log_info(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	emit(LOG_LEVEL_INFO, fmt, ap);
	va_end(ap);
}

void log_debug(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	emit(LOG_LEVEL_DEBUG, fmt, ap);
	va_end(ap);
}
