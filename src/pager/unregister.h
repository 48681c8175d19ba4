/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * unregister: takes a guest's memory out of its userfaultfd's care.  What is not
 * there then is zeros from then on.
 */
#ifndef LAMINA_PAGER_UNREGISTER_H
#define LAMINA_PAGER_UNREGISTER_H

#include "store/base/err.h"

struct session;

/*
 * The owner, when all is populated.  0: every region is unregistered, the guest waits for
 * nothing, the session may end.  -ESRCH: the guest is gone; others with a sentence: what is
 * still registered is served as before.
 */
int unregister_memory(struct session *s, struct err *err);

#endif
