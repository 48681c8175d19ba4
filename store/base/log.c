/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One line is one write(2), so that lines of several threads and processes do
 * not mix.  log_init() and log_to_syslog() are called before threads start.
 */
#include "store/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#define LINE_MAX_LEN 1024

static char program_name[64] = "lamina";
static enum log_level max_level = LOG_LEVEL_INFO;
static int use_syslog;

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

static void to_stderr(enum log_level level, const char *text)
{
	static const char *const words[] = {"error: ", "warning: ", "", "debug: "};
	char line[LINE_MAX_LEN + 96];
	int n;

	n = snprintf(line, sizeof(line) - 1, "%s: %s%s", program_name, words[level], text);
	if (n < 0)
		return;
	if ((size_t)n > sizeof(line) - 2)
		n = (int)sizeof(line) - 2;
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return;	/* nowhere left to say so */
}

static void emit(enum log_level level, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));

static void emit(enum log_level level, const char *fmt, va_list ap)
{
	static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
	char text[LINE_MAX_LEN];

	if (level > max_level)
		return;
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	if (use_syslog)
		syslog(priorities[level], "%s", text);
	else
		to_stderr(level, text);
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
