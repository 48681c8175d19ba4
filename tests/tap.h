/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tap: the test harness, in one header.  Output is TAP, line-buffered.
 *
 *	int main(void)
 *	{
 *		ok(1 + 1 == 2, "sums");
 *		is_int(f(), 42, "f() is the answer");
 *		is_str(name, "zero", "the name of page %d", 0);
 *		is_err(rc, &err, -EINVAL, "bad size '%s'", "x");
 *		return tap_done();
 *	}
 *
 * Each macro gives the truth of its check.  Checks may be made by any thread.
 */
#ifndef LAMINA_TESTS_TAP_H
#define LAMINA_TESTS_TAP_H

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/base/err.h"

#define TAP_FN static inline __attribute__((unused))

static int tap_count_, tap_failed_, tap_planned_ = -1;

TAP_FN void tap_start_(void)
{
	static bool started;

	if (!started)
		setvbuf(stdout, NULL, _IOLBF, 0);
	started = true;
}

/* A line for who reads the log. */
__attribute__((format(printf, 1, 2))) TAP_FN void tap_diag(const char *fmt, ...)
{
	char text[2048];
	va_list ap;

	tap_start_();
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	for (char *p = text; (p = strchr(p, '\n')); p++)
		*p = ' ';
	printf("# %s\n", text);
}

__attribute__((format(printf, 4, 5))) TAP_FN bool tap_ok_(bool good, const char *file, int line,
							  const char *fmt, ...)
{
	char name[512];
	va_list ap;

	tap_start_();
	va_start(ap, fmt);
	(void)vsnprintf(name, sizeof(name), fmt, ap);
	va_end(ap);
	for (char *p = name; (p = strpbrk(p, "#\n")); p++)
		*p = ' ';
	printf("%sok %d - %s\n", good ? "" : "not ",
	       __atomic_add_fetch(&tap_count_, 1, __ATOMIC_SEQ_CST), name);
	if (!good) {
		__atomic_add_fetch(&tap_failed_, 1, __ATOMIC_SEQ_CST);
		tap_diag("failed at %s:%d", file, line);
	}
	return good;
}

#define ok(cond, ...) tap_ok_(!!(cond), __FILE__, __LINE__, __VA_ARGS__)

#define is_int(got, want, ...)						\
	({								\
		long long got_ = (long long)(got), want_ = (long long)(want); \
		bool good_ = ok(got_ == want_, __VA_ARGS__);		\
		if (!good_)						\
			tap_diag("got %lld, want %lld", got_, want_);	\
		good_;							\
	})

#define is_str(got, want, ...)						\
	({								\
		const char *got_ = (got), *want_ = (want);		\
		bool good_ = got_ && want_ ? !strcmp(got_, want_) : got_ == want_; \
		ok(good_, __VA_ARGS__);					\
		if (!good_)						\
			tap_diag("got '%s', want '%s'", got_ ? got_ : "(null)", \
				 want_ ? want_ : "(null)");		\
		good_;							\
	})

TAP_FN void tap_diag_mem_(const unsigned char *got, const unsigned char *want, size_t len)
{
	size_t i = 0;

	while (i < len && got[i] == want[i])
		i++;
	tap_diag("differs first at byte %zu of %zu: got %02x, want %02x", i, len, got[i], want[i]);
}

#define is_mem(got, want, len, ...)					\
	({								\
		const void *got_ = (got), *want_ = (want);		\
		size_t len_ = (len);					\
		bool good_ = ok(memcmp(got_, want_, len_) == 0, __VA_ARGS__); \
		if (!good_)						\
			tap_diag_mem_(got_, want_, len_);		\
		good_;							\
	})

__attribute__((format(printf, 6, 7))) TAP_FN bool tap_is_err_(const char *file, int line, int rc,
		const struct err *err, int want_rc, const char *fmt, ...)
{
	char want[sizeof(err->text)];
	bool good;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(want, sizeof(want), fmt, ap);
	va_end(ap);
	good = tap_ok_(rc == want_rc && !strcmp(err->text, want), file, line,
		       "%s: %s", strerror(-want_rc), want);
	if (!good)
		tap_diag("got %d (%s): '%s'", rc, rc < 0 ? strerror(-rc) : "no error", err->text);
	return good;
}

/* The code and the whole sentence of a border function's error. */
#define is_err(rc, err, want_rc, ...) \
	tap_is_err_(__FILE__, __LINE__, rc, err, want_rc, __VA_ARGS__)

/* Optional; without it tap_done() prints the plan. */
TAP_FN void tap_plan(int n)
{
	tap_start_();
	tap_planned_ = n;
	printf("1..%d\n", n);
}

/* For `return tap_done()`. */
TAP_FN int tap_done(void)
{
	tap_start_();
	if (tap_planned_ < 0)
		printf("1..%d\n", tap_count_);
	else if (tap_planned_ != tap_count_)
		tap_diag("planned %d, ran %d", tap_planned_, tap_count_);
	return tap_failed_ || (tap_planned_ >= 0 && tap_planned_ != tap_count_);
}

/* One check that cannot be made here. */
TAP_FN void tap_skip(const char *why)
{
	tap_start_();
	printf("ok %d # SKIP %s\n", __atomic_add_fetch(&tap_count_, 1, __ATOMIC_SEQ_CST), why);
}

/* The whole program cannot run here: 77, or what the harness asks for. */
__attribute__((noreturn)) TAP_FN void tap_skip_all(const char *why)
{
	const char *status = getenv("LAMINA_SKIP_STATUS");

	tap_start_();
	printf("1..0 # SKIP %s\n", why);
	exit(status ? atoi(status) : 77);
}

/* Going on makes no sense (a fixture failed). */
__attribute__((noreturn, format(printf, 1, 2))) TAP_FN void bail(const char *fmt, ...)
{
	va_list ap;

	tap_start_();
	printf("Bail out! ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	exit(99);
}

/* SEED from the environment, or `otherwise`; printed, so that a run can be repeated. */
TAP_FN uint64_t tap_seed(uint64_t otherwise)
{
	const char *text = getenv("SEED");
	uint64_t seed = text ? strtoull(text, NULL, 0) : otherwise;

	tap_diag("SEED=%llu", (unsigned long long)seed);
	return seed;
}

static char tap_dir_[PATH_MAX];

TAP_FN int tap_remove_(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

TAP_FN void tap_remove_dir_(void)
{
	(void)nftw(tap_dir_, tap_remove_, 16, FTW_DEPTH | FTW_PHYS);
}

/* A directory of this run, removed at its exit. */
TAP_FN const char *tap_tmpdir(void)
{
	const char *base = getenv("TMPDIR");

	if (*tap_dir_)
		return tap_dir_;
	(void)snprintf(tap_dir_, sizeof(tap_dir_), "%s/lamina-test.XXXXXX", base ? base : "/tmp");
	if (!mkdtemp(tap_dir_))
		bail("cannot make a temporary directory: %s", strerror(errno));
	atexit(tap_remove_dir_);
	return tap_dir_;
}

/* The path of `name` in tap_tmpdir(), in one of eight rotating buffers. */
TAP_FN const char *tap_path(const char *name)
{
	static char paths[8][PATH_MAX + 256];
	static unsigned next;
	char *path = paths[next++ % 8];

	(void)snprintf(path, sizeof(paths[0]), "%s/%s", tap_tmpdir(), name);
	return path;
}

#endif
