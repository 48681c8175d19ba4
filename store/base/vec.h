/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vec: a growable array of any type, in macros.
 *
 *	VEC(struct run) runs = {0};
 *	if (vec_push(&runs, r) < 0) return -ENOMEM;
 *	for (size_t i = 0; i < runs.n; i++) use(&runs.v[i]);
 *	vec_fini(&runs);
 */
#ifndef LAMINA_BASE_VEC_H
#define LAMINA_BASE_VEC_H

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#define VEC(type)		\
	struct {		\
		type *v;	\
		size_t n;	\
		size_t cap;	\
	}

/* Makes room for one more element of `size` bytes; 0 or -ENOMEM. */
static inline int vec_grow_(void **v, size_t n, size_t *cap, size_t size)
{
	size_t want, bytes;
	void *p;

	if (n < *cap)
		return 0;
	want = *cap ? *cap * 2 : 8;
	if (__builtin_mul_overflow(want, size, &bytes))
		return -ENOMEM;
	p = realloc(*v, bytes);
	if (!p)
		return -ENOMEM;
	*v = p;
	*cap = want;
	return 0;
}

/* Appends; 0 or -ENOMEM. */
#define vec_push(vec, item)						\
	(vec_grow_((void **)&(vec)->v, (vec)->n, &(vec)->cap,		\
		   sizeof(*(vec)->v)) < 0 ? -ENOMEM :			\
	 ((vec)->v[(vec)->n++] = (item), 0))

#define vec_fini(vec)				\
	do {					\
		free((vec)->v);			\
		(vec)->v = NULL;		\
		(vec)->n = (vec)->cap = 0;	\
	} while (0)

#endif
