/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guest-name: what else a guest's name may stand for: its live image, its session.
 */
#ifndef LAMINA_CLI_GUEST_NAME_H
#define LAMINA_CLI_GUEST_NAME_H

struct cli;

/* A text of the record of guest `name`, to be freed; NULL: there is none, or it has none. */
char *guest_name_find(struct cli *cli, const char *name, const char *member);

/* The live image of that name, else that of the guest; to be freed.  The store is open. */
char *guest_name_live(struct cli *cli, const char *name);

#endif
