/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* guest-live: that two guests do not write to one live image. */
#ifndef LAMINA_CLI_GUEST_LIVE_H
#define LAMINA_CLI_GUEST_LIVE_H

#include <jansson.h>

struct cli;
struct guest_held;

/*
 * Whether guest `name` may have live image `live`; `record` says its socket and mount.  -EBUSY:
 * it is another guest's, which lives and is not the same by another name.  Mounts that are not
 * said are taken to be the same.
 */
int guest_live_check(struct cli *cli, const char *name, const char *live, const json_t *record);

/*
 * Until guest_let_go(ret) nobody else begins a guest on it; -EBUSY: somebody does.  `what` is what
 * others are told.  The store is open.
 */
int guest_live_hold(struct cli *cli, const char *live, const char *what, struct guest_held *ret);

#endif
