/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pause-session: what a pause means to the pager that serves the guest.
 */
#ifndef LAMINA_CLI_PAUSE_SESSION_H
#define LAMINA_CLI_PAUSE_SESSION_H

#include <jansson.h>

struct cli;

/*
 * A graduation that is under way is called off: it would go on writing to the memory that is
 * saved.  Whoever asked for it hears so; what it has populated stays.  A pager that is gone does
 * nothing any more; one that does not answer within a second is told of.
 */
void pause_session_hold(struct cli *cli, const json_t *record);

#endif
