/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Appends as much of `more` as fits. */
static void append(char *text, size_t size, const char *more)
{
	size_t len = strlen(text), room = size - 1 - len, n = strlen(more);

	if (n > room)
		n = room;
	memcpy(text + len, more, n);
	text[len + n] = '\0';
}

int err_set(struct err *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return code;
	va_start(ap, fmt);
	(void)vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	return code;
}

int err_sys(struct err *err, int code, const char *fmt, ...)
{
	char buf[128];
	va_list ap;

	if (!err)
		return code;
	va_start(ap, fmt);
	(void)vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	append(err->text, sizeof(err->text), ": ");
	append(err->text, sizeof(err->text), strerror_r(-code, buf, sizeof(buf)));
	return code;
}

int err_wrap(struct err *err, int code, const char *fmt, ...)
{
	struct err outer;
	va_list ap;

	if (!err)
		return code;
	va_start(ap, fmt);
	(void)vsnprintf(outer.text, sizeof(outer.text), fmt, ap);
	va_end(ap);
	append(outer.text, sizeof(outer.text), ": ");
	append(outer.text, sizeof(outer.text), err->text);
	*err = outer;
	return code;
}
