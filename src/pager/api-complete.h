/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* api-complete: the requests that graduate a session, or call that off. */
#ifndef LAMINA_PAGER_API_COMPLETE_H
#define LAMINA_PAGER_API_COMPLETE_H

#include "src/rpc/httpd.h"

/* Handlers; `ctx` is the api. */
void api_complete_post(struct httpd_call *call, void *ctx);
void api_complete_delete(struct httpd_call *call, void *ctx);

#endif
