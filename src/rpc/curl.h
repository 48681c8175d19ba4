/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * curl: libcurl, loaded when a program asks somebody over HTTP for the first time.  It brings
 * thirty libraries with it, which take a program longer to start than most commands run, and
 * most commands ask nobody.
 */
#ifndef LAMINA_RPC_CURL_H
#define LAMINA_RPC_CURL_H

#include <curl/curl.h>

#include "store/base/err.h"

/* Its functions, without the curl_ in front. */
#define CURL_FUNCTIONS(X) \
	X(easy_cleanup) X(easy_getinfo) X(easy_init) X(easy_reset) X(easy_setopt) \
	X(easy_strerror) X(global_init) X(multi_add_handle) X(multi_cleanup) \
	X(multi_info_read) X(multi_init) X(multi_perform) X(multi_poll) \
	X(multi_remove_handle) X(slist_append) X(slist_free_all)

#define CURL_MEMBER(name) __typeof__(curl_##name) *name;
struct curl {
	CURL_FUNCTIONS(CURL_MEMBER)
};
#undef CURL_MEMBER

/*
 * The same for all callers, from any thread, for the program's life.  NULL with a sentence: it
 * is not there, and may be the next time.
 */
const struct curl *curl_load(struct err *err);

#endif
