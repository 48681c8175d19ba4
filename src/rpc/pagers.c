/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names first, then answers: what is in the directory is listed by one thread, and
 * asked by several at once, each of which takes the next that nobody has.  So
 * those that hang cost their timeout together, not one after the other.
 */
#include "src/rpc/pagers.h"

#include <ctype.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/rpc/http.h"
#include "store/base/clock.h"
#include "store/base/io.h"
#include "store/base/vec.h"

#define SOCKET_NAME "pager.sock"
#define DIR_PREFIX "pager-"
#define MAX_PAGERS 1024		/* in a directory; what is beyond is not asked */
#define MAX_THREADS 32
#define MAX_VERSION 64		/* characters */

/* ---- versions ---- */

struct text {
	const char *p;
	size_t len;
};

static struct text take(struct text *from, size_t len)
{
	struct text taken = {from->p, len};

	from->p += len;
	from->len -= len;
	return taken;
}

static size_t span(struct text t, bool digits)
{
	size_t n = 0;

	while (n < t.len && !isdigit((unsigned char)t.p[n]) == !digits)
		n++;
	return n;
}

static int cmp_text(struct text a, struct text b)
{
	int order = memcmp(a.p, b.p, a.len < b.len ? a.len : b.len);

	if (order)
		return order;
	return (a.len > b.len) - (a.len < b.len);
}

/* Numbers of any length; none is 0. */
static int cmp_number(struct text a, struct text b)
{
	while (a.len && *a.p == '0')
		(void)take(&a, 1);
	while (b.len && *b.p == '0')
		(void)take(&b, 1);
	if (a.len != b.len)
		return a.len > b.len ? 1 : -1;
	return memcmp(a.p, b.p, a.len);
}

/* "rc2" is before "rc10". */
static int cmp_component(struct text a, struct text b)
{
	int order = 0;

	while (!order && (a.len || b.len)) {
		order = cmp_text(take(&a, span(a, false)), take(&b, span(b, false)));
		if (!order)
			order = cmp_number(take(&a, span(a, true)), take(&b, span(b, true)));
	}
	return order;
}

/* Up to the next dot, which is gone then, too. */
static struct text next_component(struct text *t)
{
	const char *dot = memchr(t->p, '.', t->len);
	struct text component = take(t, dot ? (size_t)(dot - t->p) : t->len);

	if (dot)
		(void)take(t, 1);
	return component;
}

static int cmp_dotted(struct text a, struct text b)
{
	int order = 0;

	while (!order && (a.len || b.len)) {
		struct text x = next_component(&a), y = next_component(&b);

		order = cmp_component(x, y);
	}
	return order;
}

/* What stands before a prerelease; whether there is one, which `version` is then. */
static bool split(const char **version, struct text *ret_release)
{
	size_t len = strcspn(*version, "-~+");

	*ret_release = (struct text){*version, len};
	*version += len;
	if (**version != '-' && **version != '~')
		return false;
	++*version;
	return true;
}

int pagers_version_cmp(const char *a, const char *b)
{
	struct text x, y;
	bool a_early = split(&a, &x), b_early = split(&b, &y);
	int order = cmp_dotted(x, y);

	if (order || !(a_early || b_early))
		return order;
	if (!(a_early && b_early))
		return a_early ? -1 : 1;
	return cmp_dotted((struct text){a, strcspn(a, "+")}, (struct text){b, strcspn(b, "+")});
}

/* It will be printed, and may become part of a file's name. */
static bool is_version(const char *text)
{
	size_t len = text ? strlen(text) : 0;

	if (!len || len > MAX_VERSION || !isalnum((unsigned char)*text))
		return false;
	for (; *text; text++)
		if (!isascii((unsigned char)*text) ||
		    (!isalnum((unsigned char)*text) && !strchr(".-~+_", *text)))
			return false;
	return true;
}

/* ---- names ---- */

struct listing {
	int dirfd;
	const char *root;	/* absolute */
	VEC(struct pagers_entry) entries;
	VEC(char *) names;	/* below root */
};

static void listing_fini(struct listing *l)
{
	for (size_t i = 0; i < l->names.n; i++)
		free(l->names.v[i]);
	vec_fini(&l->names);
	for (size_t i = 0; i < l->entries.n; i++)
		free(l->entries.v[i].socket);
	vec_fini(&l->entries);
}

static int add_name(struct listing *l, const char *dir)
{
	char *name;

	if (asprintf(&name, "%s%s" SOCKET_NAME, dir, *dir ? "/" : "") < 0)
		return -ENOMEM;
	if (vec_push(&l->names, name) == 0)
		return 0;
	free(name);
	return -ENOMEM;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add_if_ours(void *ctx, int dirfd, const char *name)
{
	(void)dirfd;
	return strncmp(name, DIR_PREFIX, strlen(DIR_PREFIX)) == 0 ? add_name(ctx, name) : 0;
}

/* Of the entries only the names count here: nothing is touched. */
static int list_names(struct listing *l)
{
	int rc = add_name(l, "");

	if (rc == 0)
		rc = io_each_name(l->dirfd, ".", add_if_ours, l);
	if (rc == 0)
		qsort(l->names.v, l->names.n, sizeof(*l->names.v), by_name);
	return rc;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Whether one of the names before leads to the same socket. */
static bool is_listed(const struct listing *l, size_t name)
{
	struct stat this, other;

	if (fstatat(l->dirfd, l->names.v[name], &this, 0) < 0)
		return false;
	for (size_t i = 0; i < name; i++)
		if (fstatat(l->dirfd, l->names.v[i], &other, 0) == 0 && is_same(&this, &other))
			return true;
	return false;
}

/* A directory without a socket is none of ours, or of one that has ended. */
static bool is_there(const struct listing *l, const char *name)
{
	struct stat st;

	return fstatat(l->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ||
	       (errno != ENOENT && errno != ENOTDIR);
}

static int add_entries(struct listing *l)
{
	for (size_t i = 0; i < l->names.n && l->entries.n < MAX_PAGERS; i++) {
		struct pagers_entry entry = {0};

		if (!is_there(l, l->names.v[i]) || is_listed(l, i))
			continue;
		if (asprintf(&entry.socket, "%s/%s", l->root, l->names.v[i]) < 0)
			return -ENOMEM;
		if (vec_push(&l->entries, entry) < 0) {
			free(entry.socket);
			return -ENOMEM;
		}
	}
	return 0;
}

static int list(struct listing *l)
{
	int rc;

	l->dirfd = open(l->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (l->dirfd < 0)
		return errno == ENOENT ? 0 : -errno;
	rc = list_names(l);
	if (rc == 0)
		rc = add_entries(l);
	close(l->dirfd);
	return rc;
}

static char *absolute(const char *root)
{
	char *whole = io_absolute(root);

	for (size_t len = whole ? strlen(whole) : 0; len > 1 && whole[len - 1] == '/'; len--)
		whole[len - 1] = '\0';
	return whole;
}

/* ---- answers ---- */

struct asking {
	struct pagers_entry *v;
	size_t n;
	atomic_size_t next;
	int timeout_ms;
};

static int no_pager(struct pagers_entry *e)
{
	return err_set(&e->err, -EPROTO, "what answers at '%s' is no pager", e->socket);
}

static int get(struct pagers_entry *e, const char *path, int64_t end_ms, json_t **ret)
{
	int64_t left = end_ms - (int64_t)clock_ms();
	struct http_target to = {.socket = e->socket, .fd = -1,
				 .timeout_ms = left > 0 ? (int)left : 1};
	struct http_answer answer;
	int rc = http_request(&to, "GET", path, NULL, &answer, &e->err);

	if (rc < 0)
		return rc;
	if (answer.status != 200 || !json_is_object(answer.json))
		rc = no_pager(e);
	else
		*ret = json_incref(answer.json);
	http_answer_fini(&answer);
	return rc;
}

static int take_version(struct pagers_entry *e, const json_t *answer)
{
	const char *program = json_string_value(json_object_get(answer, "program"));
	const char *version = json_string_value(json_object_get(answer, "version"));

	if (!program || strcmp(program, "lamina-pager") != 0 || !is_version(version))
		return no_pager(e);
	e->version = strdup(version);
	return e->version ? 0 : err_set(&e->err, -ENOMEM, "out of memory");
}

static void take_health(struct pagers_entry *e, const json_t *answer)
{
	json_int_t sessions = json_integer_value(json_object_get(answer, "sessions"));

	e->draining = json_is_true(json_object_get(answer, "draining"));
	e->sessions = sessions > 0 ? (uint64_t)sessions : 0;
}

/* Its version is there only if all of it is. */
static int ask_once(struct pagers_entry *e, int64_t end_ms)
{
	json_t *version = NULL, *health = NULL;
	int rc = get(e, "/version", end_ms, &version);

	if (rc == 0)
		rc = get(e, "/health", end_ms, &health);
	if (rc == 0)
		rc = take_version(e, version);
	if (rc == 0)
		take_health(e, health);
	json_decref(version);
	json_decref(health);
	return rc;
}

static void ask(struct pagers_entry *e, int timeout_ms)
{
	int64_t end_ms = (int64_t)clock_ms() + timeout_ms;

	e->code = -ECONNRESET;
	for (int i = 0; i < PAGERS_TRIES && e->code == -ECONNRESET; i++)
		e->code = ask_once(e, end_ms);
}

static void *ask_some(void *arg)
{
	struct asking *a = arg;
	size_t i;

	while ((i = atomic_fetch_add(&a->next, 1)) < a->n)
		ask(&a->v[i], a->timeout_ms);
	return NULL;
}

/* Where threads are short, this one does what is left. */
static void ask_all(struct asking *a)
{
	pthread_t threads[MAX_THREADS];
	size_t n = 0;

	while (n + 1 < a->n && n < MAX_THREADS &&
	       pthread_create(&threads[n], NULL, ask_some, a) == 0)
		n++;
	(void)ask_some(a);
	while (n > 0)
		(void)pthread_join(threads[--n], NULL);
}

/* ---- the result ---- */

static int by_age(const void *a, const void *b)
{
	const struct pagers_entry *x = a, *y = b;
	int order = 0;

	if (!x->version != !y->version)
		return x->version ? -1 : 1;
	if (x->version)
		order = pagers_version_cmp(y->version, x->version);
	return order ? order : strcmp(x->socket, y->socket);
}

static void arrange(struct pagers *p)
{
	if (p->n)
		qsort(p->v, p->n, sizeof(*p->v), by_age);
	for (size_t i = 0; i < p->n && p->v[i].version; i++)
		p->v[i].outdated = pagers_version_cmp(p->v[i].version, p->v[0].version) < 0;
}

int pagers_find(const char *root, int timeout_ms, struct pagers *ret, struct err *err)
{
	char *whole = absolute(root);
	struct listing l = {.root = whole};
	struct asking a = {.timeout_ms = timeout_ms};
	int rc = whole ? list(&l) : -ENOMEM;

	if (rc < 0) {
		rc = err_sys(err, rc, "cannot look for pagers in '%s'", root);
	} else {
		a.v = l.entries.v;
		a.n = l.entries.n;
		ask_all(&a);
		*ret = (struct pagers){a.v, a.n};
		arrange(ret);
		l.entries.v = NULL;
		l.entries.n = 0;
	}
	listing_fini(&l);
	free(whole);
	return rc;
}

void pagers_fini(struct pagers *pagers)
{
	for (size_t i = 0; i < pagers->n; i++) {
		free(pagers->v[i].socket);
		free(pagers->v[i].version);
	}
	free(pagers->v);
	*pagers = (struct pagers){0};
}

bool pagers_has_ended(int code)
{
	return code == -ECONNREFUSED || code == -ENOENT;
}

const struct pagers_entry *pagers_newest(const struct pagers *pagers)
{
	for (size_t i = 0; i < pagers->n && pagers->v[i].version; i++)
		if (!pagers->v[i].draining)
			return &pagers->v[i];
	return NULL;
}
