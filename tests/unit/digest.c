/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/digest.h"
#include "store/base/fmt.h"
#include "store/format.h"
#include "tests/tap.h"

#include <pthread.h>

static const char *hex(const struct digest *d)
{
	static char text[DIGEST_HEX_LEN];

	return fmt_hex(text, d->b, DIGEST_LEN);
}

static void test_known_answers(void)
{
	struct digest d;

	digest_bytes(DIGEST_BLAKE2B_256, "", 0, &d);
	is_str(hex(&d), "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8",
	       "BLAKE2b-256 of nothing");
	digest_bytes(DIGEST_BLAKE2B_256, "abc", 3, &d);
	is_str(hex(&d), "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319",
	       "BLAKE2b-256 of abc");
	digest_bytes(DIGEST_SHA256, "abc", 3, &d);
	is_str(hex(&d), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
	       "SHA-256 of abc");
}

static void test_pieces(void)
{
	struct digest_ctx *ctx;
	struct digest whole, d;

	for (int algo = DIGEST_BLAKE2B_256; algo <= DIGEST_SHA256; algo++) {
		digest_bytes(algo, "one two", 7, &whole);
		is_int(digest_begin(algo, &ctx), 0, "begin of %s", digest_name(algo));
		digest_update(ctx, "one", 3);
		digest_update(ctx, "", 0);
		digest_update(ctx, " two", 4);
		digest_end(ctx, &d);
		ok(digest_equal(&whole, &d), "pieces are hashed as the whole");
	}
}

static void test_frame(void)
{
	static struct digest pages[FRAME_PAGES];
	uint8_t page[PAGE_SIZE];
	struct digest d;

	memset(&d, 0xff, sizeof(d));
	is_int(digest_frame(DIGEST_BLAKE2B_256, pages, &d), 0, "a frame of zeros");
	ok(digest_is_zero(&d), "has the digest of zeros");

	memset(page, 1, sizeof(page));
	digest_bytes(DIGEST_BLAKE2B_256, page, sizeof(page), &pages[0]);
	is_int(digest_frame(DIGEST_BLAKE2B_256, pages, &d), 0, "a frame with one page");
	is_str(hex(&d), "a4020396a83af7b61d3dc8d6462276e457cc03c768bf3eb357a62037d6f4c01c",
	       "its digest, as computed elsewhere");

	digest_bytes(DIGEST_SHA256, page, sizeof(page), &pages[0]);
	digest_frame(DIGEST_SHA256, pages, &d);
	is_str(hex(&d), "a6ef94f15d04f883abdbafcef3293e41e8d8a0a6610b71067e335b43189e7757",
	       "and by SHA-256");
	pages[511] = pages[0];
	memset(&pages[0], 0, sizeof(pages[0]));
	digest_frame(DIGEST_SHA256, pages, &d);
	ok(!digest_is_zero(&d), "a frame whose last page alone has data is not zeros");
	ok(strcmp(hex(&d), "a6ef94f15d04f883abdbafcef3293e41e8d8a0a6610b71067e335b43189e7757"),
	   "the place of a page counts");
}

static void test_keys(void)
{
	struct digest a = {{1, 2, 3, 4, 5, 6, 7, 8, 9}}, b = a;

	ok(digest_key(&a) == UINT64_C(0x0807060504030201), "the key is little-endian");
	b.b[31] = 1;
	ok(!digest_equal(&a, &b) && digest_equal(&a, &a), "all bytes are compared");
	ok(!digest_is_zero(&b), "not zero");
	memset(&b, 0, sizeof(b));
	ok(digest_is_zero(&b), "zero");
	b.b[31] = 1;
	ok(!digest_is_zero(&b), "zero but for the last byte is not zero");
	ok(!digest_is_hook(&a), "an odd key is no hook");
	a.b[0] = 0x40;
	ok(digest_is_hook(&a), "one with five low bits clear is");
	a.b[0] = 0x50;
	ok(!digest_is_hook(&a), "one with four is not");
}

static void test_crc(void)
{
	is_int(digest_crc("123456789", 9, NULL, 0), 0xcbf43926, "the CRC-32 of IEEE");
	is_int(digest_crc("1234", 4, "56789", 5), 0xcbf43926, "over two pieces");
	is_int(digest_crc(NULL, 0, "123456789", 9), 0xcbf43926, "the first may be empty");
	is_int(digest_crc(NULL, 0, NULL, 0), 0, "of nothing");
}

static void test_names(void)
{
	is_str(digest_name(DIGEST_BLAKE2B_256), "blake2b-256", "name");
	is_str(digest_name(DIGEST_SHA256), "sha256", "name");
	is_str(digest_name(0), NULL, "no such algorithm");
	is_str(digest_name(3), NULL, "nor this");
	is_int(digest_from_name("blake2b-256"), DIGEST_BLAKE2B_256, "by name");
	is_int(digest_from_name("sha256"), DIGEST_SHA256, "by name");
	is_int(digest_from_name("md5"), -EINVAL, "unknown name");
	is_int(digest_from_name(""), -EINVAL, "empty name");
}

static void *hash_much(void *arg)
{
	struct digest *ret = arg;
	uint8_t page[PAGE_SIZE] = {0};

	for (int i = 0; i < 200; i++) {
		memcpy(page, ret, sizeof(*ret));
		digest_bytes(DIGEST_BLAKE2B_256, page, sizeof(page), ret);
	}
	return NULL;
}

static void test_threads(void)
{
	struct digest d[4] = {0};
	pthread_t t[4];

	for (int i = 0; i < 4; i++)
		if (pthread_create(&t[i], NULL, hash_much, &d[i]))
			bail("cannot make a thread");
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	ok(digest_equal(&d[0], &d[1]) && digest_equal(&d[0], &d[2]) && digest_equal(&d[0], &d[3]),
	   "threads do not disturb each other");
}

int main(void)
{
	is_int(digest_init(), 0, "init");
	is_int(digest_init(), 0, "init again");
	test_known_answers();
	test_pieces();
	test_frame();
	test_keys();
	test_crc();
	test_names();
	test_threads();
	return tap_done();
}
