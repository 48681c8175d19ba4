/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/pager/regions.h"

#include <jansson.h>

#include "tests/tap.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define HUGE_PAGE (2 * MIB)
#define FILE_SIZE (8 * GIB)

static struct err err;
static struct region r[REGIONS_MAX];

static int parse(const char *text)
{
	memset(r, 0xee, sizeof(r));
	err.text[0] = '\0';
	return regions_parse(text, strlen(text), FILE_SIZE, r, &err);
}

/* Refused with this sentence, and `r` as it was. */
#define refused(text, ...)						\
	do {								\
		is_err(parse(text), &err, -EINVAL, __VA_ARGS__);	\
		untouched();						\
	} while (0)

static void untouched(void)
{
	unsigned char was[sizeof(r)];

	memset(was, 0xee, sizeof(was));
	is_mem(r, was, sizeof(r), "and nothing was written");
}

#define ONE(addr, size, off, page)					\
	"{\"base_host_virt_addr\":" addr ",\"size\":" size		\
	",\"offset\":" off ",\"page_size\":" page "}"

static void test_firecracker(void)
{
	is_int(parse("[{\"base_host_virt_addr\":140131293986816,\"size\":134217728,\"offset\":0,"
		     "\"page_size\":4096,\"page_size_kib\":4096}]"), 1, "what Firecracker sends");
	ok(r[0].addr == 140131293986816 && r[0].size == 128 * MIB && r[0].off == 0, "as it says");
	is_int(r[0].page_size, 4096, "in small pages");
	is_int(region_pages(&r[0]), 32768, "of which there are 32768");
	is_int(regions_check(r, 1, FILE_SIZE, &err), 0, "what was decoded passes the checks");
}

/* Above 3 GiB there are two, the second at a lower address. */
static void test_two(void)
{
	is_int(parse("[" ONE("140000000000000", "3221225472", "0", "4096") ","
		     ONE("139000000004096", "1073741824", "3221225472", "4096") "]"),
	       2, "two regions, the second at a lower address");
	is_int(r[1].first, 786432, "its pages are numbered after those of the first");
	is_int(region_offset(&r[1], 786434), 3 * GIB + 2 * 4096, "its third page in the memfile");
	is_int(region_addr(&r[1], 786434), 139000000004096 + 2 * 4096, "and in the guest");
	ok(regions_at(r, 2, 139000000004096) == &r[1], "the first byte of the second");
	ok(regions_at(r, 2, 139000000004096 + GIB - 1) == &r[1], "its last byte");
	ok(!regions_at(r, 2, 139000000004096 + GIB), "the byte behind it is in none");
	ok(!regions_at(r, 2, 139000000004095), "nor is the one before it");
	ok(regions_at(r, 2, 140000000000000) == &r[0], "the first region");
	ok(!regions_at(r, 2, 0) && !regions_at(r, 2, UINT64_MAX), "neither end of all addresses");
	ok(regions_of(r, 2, 786431) == &r[0] && regions_of(r, 2, 786432) == &r[1],
	   "page numbers go to their regions");
	ok(regions_of(r, 2, 1048575) == &r[1] && !regions_of(r, 2, 1048576), "up to the last");
	ok(!regions_at(r, 0, 139000000004096) && !regions_of(r, 0, 0), "no regions hold nothing");
}

static void test_page_sizes(void)
{
	is_int(parse("[" ONE("1073741824", "4194304", "4096", "2097152") "]"), 1, "huge pages");
	is_int(region_pages(&r[0]), 2, "of which there are two");
	is_int(r[0].off, 4096, "from any page of the memfile");
	is_int(parse("[{\"base_host_virt_addr\":4096,\"size\":4096,\"offset\":0,"
		     "\"page_size_kib\":4096}]"), 1, "'page_size_kib' alone will do");
	is_int(r[0].page_size, 4096, "and is bytes");
	refused("[{\"base_host_virt_addr\":4096,\"size\":4096,\"offset\":0,"
		"\"page_size_kib\":4}]",
		"region 0: 'page_size' is 4, neither 4096 nor 2097152");
	refused("[{\"base_host_virt_addr\":0,\"size\":2097152,\"offset\":0,"
		"\"page_size\":4096,\"page_size_kib\":2097152}]",
		"region 0: 'page_size' is 4096, 'page_size_kib' is 2097152 (both are bytes)");
	refused("[" ONE("0", "4096", "0", "0") "]",
		"region 0: 'page_size' is 0, neither 4096 nor 2097152");
	refused("[" ONE("0", "4096", "0", "4294971392") "]",
		"region 0: 'page_size' is 4294971392, neither 4096 nor 2097152");
	refused("[" ONE("4096", "4096", "0", "4096") ","
		ONE("1073745920", "2097152", "2097152", "2097152") "]",
		"region 1: 'base_host_virt_addr' 1073745920 is no multiple of 2097152");
	refused("[" ONE("0", "2101248", "0", "2097152") "]",
		"region 0: 'size' 2101248 is no multiple of 2097152");
}

static void test_other_fields(void)
{
	is_int(parse(" [ {\"x\":[[{\"size\":1}]],\"base_host_virt_addr\":0,\"size\":4096,"
		     "\"offset\":0,\"page_size\":4096,\"memory\":null} ] \n"), 1,
	       "other fields are passed over");
	refused("[{\"base_host_virt_addr\":0,\"size\":4096,\"size\":8192,\"offset\":0,"
		"\"page_size\":4096}]", "the regions are not JSON: line 1, column 44");
}

static void test_missing(void)
{
	refused("[{}]", "region 0 has no 'base_host_virt_addr'");
	refused("[{\"base_host_virt_addr\":0}]", "region 0 has no 'size'");
	refused("[{\"base_host_virt_addr\":0,\"size\":4096}]", "region 0 has no 'offset'");
	refused("[" ONE("0", "4096", "0", "4096")
		",{\"base_host_virt_addr\":8192,\"size\":4096,\"offset\":4096}]",
		"region 1 has no 'page_size'");
}

static void test_types(void)
{
	refused("[" ONE("-4096", "4096", "0", "4096") "]",
		"region 0: 'base_host_virt_addr' is no integer from 0 on");
	refused("[" ONE("0", "4096.0", "0", "4096") "]",
		"region 0: 'size' is no integer from 0 on");
	refused("[" ONE("0", "\"4096\"", "0", "4096") "]",
		"region 0: 'size' is no integer from 0 on");
	refused("[" ONE("0", "4096", "null", "4096") "]",
		"region 0: 'offset' is no integer from 0 on");
	refused("[" ONE("0", "4096", "0", "true") "]",
		"region 0: 'page_size' is no integer from 0 on");
	refused("[{\"base_host_virt_addr\":0,\"size\":4096,\"offset\":0,\"page_size\":4096,"
		"\"page_size_kib\":[]}]", "region 0: 'page_size_kib' is no integer from 0 on");
	refused("[4096]", "region 0 is no JSON object");
	refused("[" ONE("0", "4096", "0", "4096") ",null]", "region 1 is no JSON object");
	refused(ONE("0", "4096", "0", "4096"), "the regions are no JSON array");
	refused("[]", "there are no regions");
}

static void test_text(void)
{
	char *long_text = calloc(1, REGIONS_TEXT_MAX + 1);

	refused("", "the regions are not JSON: line 1, column 0");
	refused("[{\"size\": oops", "the regions are not JSON: line 1, column 14");
	refused("[] []", "the regions are not JSON: line 1, column 4");
	refused("[{\"base_host_virt_addr\":18446744073709547520}]",
		"the regions are not JSON: line 1, column 44");
	is_err(regions_parse("[]\0", 3, FILE_SIZE, r, &err), &err, -EINVAL,
	       "the regions are not JSON: line 1, column 3");
	if (!long_text)
		bail("no memory");
	memset(long_text, ' ', REGIONS_TEXT_MAX + 1);
	memcpy(long_text, "[]", 2);
	is_err(regions_parse(long_text, REGIONS_TEXT_MAX, FILE_SIZE, r, &err), &err, -EINVAL,
	       "there are no regions");
	is_err(regions_parse(long_text, REGIONS_TEXT_MAX + 1, FILE_SIZE, r, &err), &err, -EINVAL,
	       "the regions are 65537 bytes of JSON, at most 65536 are read");
	is_int(regions_parse("{", 1, FILE_SIZE, r, NULL), -EINVAL, "nobody needs to hear why");
	free(long_text);
}

static void test_alignment(void)
{
	refused("[" ONE("1", "4096", "0", "4096") "]",
		"region 0: 'base_host_virt_addr' 1 is no multiple of 4096");
	refused("[" ONE("0", "4097", "0", "4096") "]",
		"region 0: 'size' 4097 is no multiple of 4096");
	refused("[" ONE("0", "4096", "512", "4096") "]",
		"region 0: 'offset' 512 is no multiple of 4096");
	refused("[" ONE("0", "0", "0", "4096") "]", "region 0: 'size' is 0");
}

static void test_overlaps(void)
{
	refused("[" ONE("4096", "8192", "0", "4096") "," ONE("8192", "4096", "8192", "4096") "]",
		"regions 0 and 1 share addresses ('base_host_virt_addr', 'size')");
	refused("[" ONE("1048576", "8192", "0", "4096") "," ONE("4096", "8192", "4096", "4096") "]",
		"regions 0 and 1 share bytes of the memfile ('offset', 'size')");
	refused("[" ONE("8192", "4096", "8192", "4096") "," ONE("0", "4096", "0", "4096") ","
		ONE("4096", "8192", "16384", "4096") "]",
		"regions 0 and 2 share addresses ('base_host_virt_addr', 'size')");
	is_int(parse("[" ONE("8192", "8192", "4096", "4096") "," ONE("0", "8192", "12288", "4096")
		     "," ONE("16384", "4096", "0", "4096") "]"), 3, "neighbours do not overlap");
}

static void test_ends(void)
{
	refused("[" ONE("9223372036854771712", "9223372036854771712", "0", "4096") "]",
		"region 0: 'offset' 0 and 'size' 9223372036854771712 go beyond the memfile's"
		" 8589934592 bytes");
	refused("[" ONE("0", "4096", "8589934592", "4096") "]",
		"region 0: 'offset' 8589934592 and 'size' 4096 go beyond the memfile's"
		" 8589934592 bytes");
	refused("[" ONE("0", "8192", "8589930496", "4096") "]",
		"region 0: 'offset' 8589930496 and 'size' 8192 go beyond the memfile's"
		" 8589934592 bytes");
	is_int(parse("[" ONE("0", "8589934592", "0", "4096") "]"), 1, "all of the memfile");
}

/* What JSON cannot say, but a head in memory can. */
static void test_check(void)
{
	struct region a[2] = {
		{.addr = 0x10000, .size = 0x4000, .page_size = 4096},
		{.addr = 0x20000, .size = 0x1000, .off = 0x4000, .first = 4, .page_size = 4096},
	};
	static struct region many[REGIONS_MAX + 1];

	is_int(regions_check(a, 2, 0x5000, &err), 0, "two good ones");
	is_err(regions_check(a, 2, 0x4fff, &err), &err, -EINVAL,
	       "region 1: 'offset' 16384 and 'size' 4096 go beyond the memfile's 20479 bytes");
	is_err(regions_check(a, 0, 0x5000, &err), &err, -EINVAL, "there are no regions");
	is_err(regions_check(many, REGIONS_MAX + 1, 0x5000, &err), &err, -EINVAL,
	       "there are 65 regions, at most 64 are served");
	a[1].first = 3;
	is_err(regions_check(a, 2, 0x5000, &err), &err, -EINVAL,
	       "region 1: its pages are numbered from 3, not from 4");
	a[1].first = 4;
	a[1].reserved = 1;
	is_err(regions_check(a, 2, 0x5000, &err), &err, -EINVAL,
	       "region 1: its reserved field is not 0");
	a[1].reserved = 0;
	a[1].addr = UINT64_MAX - 0xfff;
	a[1].size = 0x2000;
	is_err(regions_check(a, 2, 0x6000, &err), &err, -EINVAL, "region 1: 'base_host_virt_addr'"
	       " and 'size' go beyond the end of the address space");
	a[0].size = (REGIONS_PAGES_MAX + 1) * 4096;
	is_err(regions_check(a, 1, UINT64_MAX, &err), &err, -EINVAL, "region 0: with its 'size'"
	       " there are 4294967297 pages, at most 4294967296 are served");
	a[0].size -= 4096;
	is_int(regions_check(a, 1, UINT64_MAX, &err), 0, "as many pages as there may be");
}

static char *many_regions(unsigned n)
{
	char *text = malloc(n * 128 + 3), *p = text;

	if (!text)
		bail("no memory");
	for (unsigned i = 0; i < n; i++)
		p += sprintf(p, "%c{\"base_host_virt_addr\":%u,\"size\":4096,\"offset\":%u,"
			     "\"page_size\":4096}", i ? ',' : '[', (n - i) * 4096, i * 4096);
	(void)strcpy(p, "]");
	return text;
}

static void test_many(void)
{
	char *text = many_regions(REGIONS_MAX);

	is_int(parse(text), REGIONS_MAX, "as many as there may be");
	for (unsigned i = 0; i < REGIONS_MAX; i++)
		if (regions_at(r, REGIONS_MAX, r[i].addr) != &r[i] || r[i].first != i)
			ok(false, "region %u is found", i);
	free(text);
	text = many_regions(REGIONS_MAX + 1);
	refused(text, "there are 65 regions, at most 64 are served");
	free(text);
}

static unsigned long allocations, fail_at;

static void *failing_malloc(size_t size)
{
	if (++allocations == fail_at) {
		errno = ENOMEM;
		return NULL;
	}
	return malloc(size);
}

/*
 * Whichever allocation fails, nothing comes of it.  (jansson overlooks one, loses
 * the end of a long word and reads on: the word is missed then.)
 */
static void test_no_memory(void)
{
	unsigned long said = 0;
	int rc;

	json_set_alloc_funcs(failing_malloc, free);
	for (fail_at = 1;; fail_at++) {
		allocations = 0;
		rc = parse("[" ONE("0", "4096", "0", "4096") "]");
		if (allocations < fail_at)
			break;
		ok(rc < 0, "allocation %lu fails: %s", fail_at, err.text);
		said += rc == -ENOMEM && !strcmp(err.text, "no memory to read the regions");
		untouched();
	}
	json_set_alloc_funcs(malloc, free);
	is_int(rc, 1, "with all of them it is read");
	ok(fail_at > 5 && said + 2 >= fail_at, "memory was missing %lu times, and said %lu times",
	   fail_at - 1, said);
}

int main(void)
{
	test_firecracker();
	test_two();
	test_page_sizes();
	test_other_fields();
	test_missing();
	test_types();
	test_text();
	test_alignment();
	test_overlaps();
	test_ends();
	test_check();
	test_many();
	test_no_memory();
	return tap_done();
}
