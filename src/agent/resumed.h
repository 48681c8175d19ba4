/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * resumed: what is done when the guest goes on after a pause, or in a new place: what was
 * frozen runs again, and the clock is set to what the host says.
 */
#ifndef LAMINA_AGENT_RESUMED_H
#define LAMINA_AGENT_RESUMED_H

#include <jansson.h>

#include "src/agent/freeze.h"

/* What the host's clock may say: the years 2020 to 2199. */
#define RESUMED_NOW_MIN 1577836800.0
#define RESUMED_NOW_MAX 7258118400.0

/*
 * {"now": SECONDS}, or {}: the clock is left alone.  *ret is the caller's: {"thawed": [...],
 * "clock_step_ms": F}.  Thaws whatever the body says.  -EINVAL: `now` is none of the above;
 * -EPERM, ...: the clock cannot be set.
 */
int resumed_run(struct freeze *freeze, const json_t *body, json_t **ret, struct err *err);

#endif
