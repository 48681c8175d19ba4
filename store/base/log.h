/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * log: one line to stderr (or syslog once a daemon has detached).
 * For daemons only; the store never logs, it returns errors.
 *
 * A line is a sentence, or an event with fields:
 *
 *	log_event(LOG_LEVEL_INFO, "graduated", (struct log_field[]){
 *		LOG_STR("session", id), LOG_INT("bytes", bytes), {0}});
 *
 * After log_as_json() each line is a JSON object: time (UTC), level, event, and the
 * fields; a sentence is the event "message" with the field "message".
 */
#ifndef LAMINA_BASE_LOG_H
#define LAMINA_BASE_LOG_H

#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

void log_init(const char *program, enum log_level level);
void log_to_syslog(void);	/* from now on */
void log_as_json(void);		/* from now on */
void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

enum log_kind { LOG_KIND_END, LOG_KIND_STR, LOG_KIND_INT, LOG_KIND_REAL, LOG_KIND_BOOL };

struct log_field {
	enum log_kind kind;
	const char *name;
	const char *text;	/* NULL: the field is left out */
	int64_t integer;
	double real;
};

#define LOG_STR(field, value) {.kind = LOG_KIND_STR, .name = (field), .text = (value)}
#define LOG_INT(field, value) {.kind = LOG_KIND_INT, .name = (field), .integer = (int64_t)(value)}
#define LOG_BOOL(field, value) {.kind = LOG_KIND_BOOL, .name = (field), .integer = (value)}
#define LOG_REAL(field, value) {.kind = LOG_KIND_REAL, .name = (field), .real = (value)}

/* `fields` ends with {0}. */
void log_event(enum log_level level, const char *event, const struct log_field *fields);

/*
 * What log_event() writes, without a newline: always a whole object; fields for which
 * there is no room are left out.  Returns its length.
 */
size_t log_json(char *out, size_t size, const char *level, const char *event,
		const struct log_field *fields);

#endif
