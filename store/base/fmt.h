/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fmt: numbers, sizes, durations and hex between people and machines.
 */
#ifndef LAMINA_BASE_FMT_H
#define LAMINA_BASE_FMT_H

#include <stddef.h>
#include <stdint.h>

#define FMT_SIZE_LEN 24

/* "17.8 MiB", "4096 B": binary units, one digit.  Returns `out`. */
char *fmt_size(char out[FMT_SIZE_LEN], uint64_t bytes);
/* "16.9 ms", "231 ms", "3.2 s", "2 min 10 s", "4 d 3 h".  Returns `out`. */
char *fmt_duration(char out[FMT_SIZE_LEN], double seconds);
/* "2026-11-21 09:28:59" in local time.  Returns `out`. */
char *fmt_time(char out[FMT_SIZE_LEN], int64_t unix_seconds);

/* "4096", "64K", "64KiB", "2M", "1G", "1T" (binary); 0 or -EINVAL/-ERANGE. */
int fmt_parse_size(const char *text, uint64_t *ret);
/* "500ms", "30s", "10m", "2h", "7d", "90" (seconds); milliseconds out. */
int fmt_parse_duration_ms(const char *text, uint64_t *ret);
/* Decimal, whole string; 0 or -EINVAL/-ERANGE. */
int fmt_parse_u64(const char *text, uint64_t *ret);

/* Lower-case hex; `out` has room for 2 * len + 1. */
char *fmt_hex(char *out, const void *data, size_t len);
/* Exactly 2 * len hex digits; 0 or -EINVAL. */
int fmt_unhex(void *out, size_t len, const char *text);

#endif
