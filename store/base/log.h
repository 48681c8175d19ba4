/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * log: one line to stderr (or syslog once a daemon has detached).
 * For daemons only; the store never logs, it returns errors.
 */
#ifndef LAMINA_BASE_LOG_H
#define LAMINA_BASE_LOG_H

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

void log_init(const char *program, enum log_level level);
void log_to_syslog(void);	/* from now on */
void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
