/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/regions.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <string.h>

#define SMALL_PAGE 4096u
#define HUGE_PAGE (2048u * 1024)

/* ---- checks ---- */

static int check_page_size(uint64_t size, unsigned i, struct err *err)
{
	if (size == SMALL_PAGE || size == HUGE_PAGE)
		return 0;
	return err_set(err, -EINVAL, "region %u: 'page_size' is %" PRIu64 ", neither %u nor %u",
		       i, size, SMALL_PAGE, HUGE_PAGE);
}

static int check_multiple(const char *field, uint64_t value, uint32_t of, unsigned i,
			  struct err *err)
{
	if (value % of == 0)
		return 0;
	return err_set(err, -EINVAL, "region %u: '%s' %" PRIu64 " is no multiple of %" PRIu32,
		       i, field, value, of);
}

/* What can be said of one region alone. */
static int check_one(const struct region *r, unsigned i, uint64_t memfile_size, struct err *err)
{
	uint64_t end;
	int rc = check_page_size(r->page_size, i, err);

	if (rc == 0)
		rc = check_multiple("base_host_virt_addr", r->addr, r->page_size, i, err);
	if (rc == 0)
		rc = check_multiple("size", r->size, r->page_size, i, err);
	if (rc == 0)
		rc = check_multiple("offset", r->off, SMALL_PAGE, i, err);
	if (rc < 0)
		return rc;
	if (r->size == 0)
		return err_set(err, -EINVAL, "region %u: 'size' is 0", i);
	if (__builtin_add_overflow(r->addr, r->size, &end))
		return err_set(err, -EINVAL,
			       "region %u: 'base_host_virt_addr' and 'size' go beyond the end of"
			       " the address space", i);
	if (r->off > memfile_size || r->size > memfile_size - r->off)
		return err_set(err, -EINVAL,
			       "region %u: 'offset' %" PRIu64 " and 'size' %" PRIu64
			       " go beyond the memfile's %" PRIu64 " bytes",
			       i, r->off, r->size, memfile_size);
	return 0;
}

static bool meet(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
	return a < b + b_len && b < a + a_len;
}

static int check_pair(const struct region *r, unsigned i, unsigned j, struct err *err)
{
	if (meet(r[i].addr, r[i].size, r[j].addr, r[j].size))
		return err_set(err, -EINVAL, "regions %u and %u share addresses"
			       " ('base_host_virt_addr', 'size')", i, j);
	if (meet(r[i].off, r[i].size, r[j].off, r[j].size))
		return err_set(err, -EINVAL, "regions %u and %u share bytes of the memfile"
			       " ('offset', 'size')", i, j);
	return 0;
}

static int check_count(unsigned long long n, struct err *err)
{
	if (n == 0)
		return err_set(err, -EINVAL, "there are no regions");
	if (n > REGIONS_MAX)
		return err_set(err, -EINVAL, "there are %llu regions, at most %d are served",
			       n, REGIONS_MAX);
	return 0;
}

/* Numbers its pages from `*pages` on. */
static int check_numbers(const struct region *r, unsigned i, uint64_t *pages, struct err *err)
{
	if (r->reserved != 0)
		return err_set(err, -EINVAL, "region %u: its reserved field is not 0", i);
	if (r->first != *pages)
		return err_set(err, -EINVAL, "region %u: its pages are numbered from %" PRIu64
			       ", not from %" PRIu64, i, r->first, *pages);
	*pages += region_pages(r);
	if (*pages > REGIONS_PAGES_MAX)
		return err_set(err, -EINVAL, "region %u: with its 'size' there are %" PRIu64
			       " pages, at most %" PRIu64 " are served",
			       i, *pages, REGIONS_PAGES_MAX);
	return 0;
}

int regions_check(const struct region *r, unsigned n, uint64_t memfile_size, struct err *err)
{
	uint64_t pages = 0;
	int rc = check_count(n, err);

	for (unsigned i = 0; rc == 0 && i < n; i++) {
		rc = check_one(&r[i], i, memfile_size, err);
		for (unsigned j = 0; rc == 0 && j < i; j++)
			rc = check_pair(r, j, i, err);
		if (rc == 0)
			rc = check_numbers(&r[i], i, &pages, err);
	}
	return rc;
}

/* ---- JSON ---- */

static int no_integer(unsigned i, const char *field, struct err *err)
{
	return err_set(err, -EINVAL, "region %u: '%s' is no integer from 0 on", i, field);
}

/* 1, 0 when there is no such field, -EINVAL. */
static int find_integer(const json_t *entry, unsigned i, const char *field, uint64_t *ret,
			struct err *err)
{
	const json_t *value = json_object_get(entry, field);

	if (!value)
		return 0;
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return no_integer(i, field, err);
	*ret = (uint64_t)json_integer_value(value);
	return 1;
}

static int get_integer(const json_t *entry, unsigned i, const char *field, uint64_t *ret,
		       struct err *err)
{
	int rc = find_integer(entry, i, field, ret, err);

	if (rc == 0)
		return err_set(err, -EINVAL, "region %u has no '%s'", i, field);
	return rc < 0 ? rc : 0;
}

static int get_page_size(const json_t *entry, unsigned i, uint32_t *ret, struct err *err)
{
	uint64_t size = 0, old = 0;
	int has = find_integer(entry, i, "page_size", &size, err);
	int has_old = has < 0 ? has : find_integer(entry, i, "page_size_kib", &old, err);
	int rc;

	if (has_old < 0)
		return has_old;
	if (!has && !has_old)
		return err_set(err, -EINVAL, "region %u has no 'page_size'", i);
	if (has && has_old && size != old)
		return err_set(err, -EINVAL, "region %u: 'page_size' is %" PRIu64
			       ", 'page_size_kib' is %" PRIu64 " (both are bytes)", i, size, old);
	rc = check_page_size(has ? size : old, i, err);
	if (rc < 0)
		return rc;
	*ret = (uint32_t)(has ? size : old);
	return 0;
}

static int decode_one(const json_t *entry, unsigned i, struct region *r, struct err *err)
{
	int rc;

	if (!json_is_object(entry))
		return err_set(err, -EINVAL, "region %u is no JSON object", i);
	rc = get_integer(entry, i, "base_host_virt_addr", &r->addr, err);
	if (rc == 0)
		rc = get_integer(entry, i, "size", &r->size, err);
	if (rc == 0)
		rc = get_integer(entry, i, "offset", &r->off, err);
	if (rc == 0)
		rc = get_page_size(entry, i, &r->page_size, err);
	return rc;
}

/* How many, or -errno. */
static int decode(const json_t *json, struct region *r, struct err *err)
{
	uint64_t pages = 0;
	unsigned n;
	int rc;

	if (!json_is_array(json))
		return err_set(err, -EINVAL, "the regions are no JSON array");
	rc = check_count(json_array_size(json), err);
	if (rc < 0)
		return rc;
	n = (unsigned)json_array_size(json);
	for (unsigned i = 0; i < n; i++) {
		rc = decode_one(json_array_get(json, i), i, &r[i], err);
		if (rc < 0)
			return rc;
		r[i].first = pages;
		pages += region_pages(&r[i]);
	}
	return (int)n;
}

/* Where it is wrong, but none of its bytes: they are a stranger's. */
static int no_json(const json_error_t *error, struct err *err)
{
	/* jansson does not always say so itself. */
	if (errno == ENOMEM)
		return err_set(err, -ENOMEM, "no memory to read the regions");
	return err_set(err, -EINVAL, "the regions are not JSON: line %d, column %d",
		       error->line, error->column);
}

int regions_parse(const char *text, size_t len, uint64_t memfile_size,
		  struct region ret[REGIONS_MAX], struct err *err)
{
	struct region r[REGIONS_MAX] = {0};
	json_error_t error = {0};
	json_t *json;
	int n, rc;

	if (len > REGIONS_TEXT_MAX)
		return err_set(err, -EINVAL, "the regions are %zu bytes of JSON, at most %d are"
			       " read", len, REGIONS_TEXT_MAX);
	errno = 0;
	json = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
	if (!json)
		return no_json(&error, err);
	n = decode(json, r, err);
	json_decref(json);
	rc = n < 0 ? n : regions_check(r, (unsigned)n, memfile_size, err);
	if (rc < 0)
		return rc;
	memcpy(ret, r, (size_t)n * sizeof(*r));
	return n;
}

/* ---- looking up ---- */

const struct region *regions_at(const struct region *r, unsigned n, uint64_t addr)
{
	for (unsigned i = 0; i < n; i++)
		if (addr - r[i].addr < r[i].size)
			return &r[i];
	return NULL;
}

const struct region *regions_of(const struct region *r, unsigned n, uint64_t page)
{
	for (unsigned i = 0; i < n; i++)
		if (page - r[i].first < region_pages(&r[i]))
			return &r[i];
	return NULL;
}
