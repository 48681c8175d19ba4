/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * older: is index.db older than its packs, as after it came back from a backup,
 * or even of another store?
 *
 * What lies behind the published ends is then not what a killed writer left
 * but layers that were reported, and must not be cut.
 */
#ifndef LAMINA_OLDER_H
#define LAMINA_OLDER_H

#include <stdint.h>

#include "store/base/err.h"
#include "store/index.h"

struct store;

/*
 * 0 if all that is unpublished can be one killed writer's: packs from
 * `next_pack` on, and what lies behind the end of `last` (number 0: no pack).
 * Otherwise -EBADMSG and a sentence that sends to lamina-recover(1).
 */
int older_check(struct store *store, const struct index_pack *last, uint32_t next_pack,
		struct err *err);

/*
 * Whether any pack is of the store that the index belongs to, unless there is
 * none that can be asked.  -EBADMSG and a sentence.  As a rule it reads one header.
 */
int older_check_owner(struct store *store, struct err *err);

/* The note alone, for whoever does not write: no lock is needed.  -EBADMSG. */
int older_check_note(struct store *store, struct err *err);

/*
 * Notes in STORE/published how far the index is, for the next older_check().
 * Under the writer's lock, at its end; best effort, and never back.
 */
void older_note(struct store *store);
/* For whoever makes the index anew: what was noted of the old one is void. */
void older_forget(struct store *store);

#endif
