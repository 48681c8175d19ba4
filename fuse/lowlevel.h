/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lowlevel: libfuse's low-level API, at the version we are written for.
 */
#ifndef LAMINA_FUSE_LOWLEVEL_H
#define LAMINA_FUSE_LOWLEVEL_H

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>

#endif
