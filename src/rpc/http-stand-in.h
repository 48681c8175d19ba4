/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * http-stand-in: a socket for libcurl to connect, before the one that is connected is put in its
 * place.  For http's own files.
 */
#ifndef LAMINA_RPC_HTTP_STAND_IN_H
#define LAMINA_RPC_HTTP_STAND_IN_H

#include <curl/curl.h>

/*
 * A descriptor, or -1; what is to be connected to is left in `addr`.  A connection without an
 * address that libcurl can print is not used for a second request; where the machine has no
 * loopback device that is what it gets.
 */
int http_stand_in(struct curl_sockaddr *addr);

#endif
