/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* clock: how time passes, for waits and durations. */
#ifndef LAMINA_BASE_CLOCK_H
#define LAMINA_BASE_CLOCK_H

#include <stdint.h>

/* CLOCK_MONOTONIC. */
uint64_t clock_ms(void);
uint64_t clock_us(void);
double clock_s(void);

#endif
