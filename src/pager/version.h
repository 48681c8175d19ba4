/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * version: which one this pager is.  A test builds it as another one.
 */
#ifndef LAMINA_PAGER_VERSION_H
#define LAMINA_PAGER_VERSION_H

#include "config.h"

#ifndef VERSION_TEXT
#define VERSION_TEXT PACKAGE_VERSION
#endif

#endif
