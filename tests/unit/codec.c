/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/codec.h"
#include "store/format.h"
#include "tests/fault.h"
#include "tests/tap.h"

#define LEN (16 * PAGE_SIZE)

static uint8_t src[LEN], dst[2 * LEN], back[LEN + 1];

static void fill_text(void)
{
	for (size_t i = 0; i < LEN; i++)
		src[i] = "lamina keeps pages"[i % 18] ^ (i >> 12);
}

static void fill_noise(void)
{
	uint64_t x = 88172645463325252u;

	for (size_t i = 0; i < LEN; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		src[i] = (uint8_t)x;
	}
}

static struct codec *new_codec(int level)
{
	struct codec *c = NULL;

	is_int(codec_new(level, &c), 0, "a codec of level %d", level);
	return c;
}

static void test_round_trip(int level)
{
	struct codec *c = new_codec(level);
	uint8_t id = 99;
	size_t n;

	fill_text();
	for (size_t len = 1; len <= LEN; len *= 4) {
		n = codec_compress(c, dst, src, len, &id);
		memset(back, 0, sizeof(back));
		is_int(codec_decompress(c, id, back, len, dst, n), 0, "%zu bytes come back", len);
		is_mem(back, src, len, "the same");
	}
	n = codec_compress(c, dst, src, LEN, &id);
	is_int(id, CODEC_ZSTD, "text shrinks");
	ok(n < LEN / 20, "much");
	codec_free(c);
}

static void test_does_not_shrink(void)
{
	struct codec *c = new_codec(1);
	uint8_t id = 99;

	fill_noise();
	is_int(codec_compress(c, dst, src, LEN, &id), LEN, "noise keeps its length");
	is_int(id, CODEC_NONE, "and is stored as it is");
	is_mem(dst, src, LEN, "byte for byte");
	is_int(codec_decompress(c, id, back, LEN, dst, LEN), 0, "and comes back");
	is_mem(back, src, LEN, "the same");
	is_int(codec_compress(c, dst, NULL, 0, &id), 0, "nothing is nothing");
	is_int(id, CODEC_NONE, "stored as it is");
	codec_free(c);
}

static void test_level_0(void)
{
	struct codec *c = new_codec(0);
	uint8_t id = 99;

	fill_text();
	is_int(codec_compress(c, dst, src, LEN, &id), LEN, "level 0 compresses nothing");
	is_int(id, CODEC_NONE, "and says so");
	codec_free(c);
}

static void test_damage(void)
{
	struct codec *c = new_codec(1);
	uint8_t id;
	size_t n;

	fill_text();
	n = codec_compress(c, dst, src, LEN, &id);
	is_int(codec_decompress(c, id, back, LEN - 1, dst, n), -EBADMSG, "more than expected");
	is_int(codec_decompress(c, id, back, LEN + 1, dst, n), -EBADMSG, "less than expected");
	is_int(codec_decompress(c, id, back, LEN, dst, n - 1), -EBADMSG, "cut short");
	is_int(codec_decompress(c, id, back, LEN, dst, 0), -EBADMSG, "nothing");
	dst[0] ^= 1;
	is_int(codec_decompress(c, id, back, LEN, dst, n), -EBADMSG, "no zstd frame");
	is_int(codec_decompress(c, CODEC_NONE, back, 10, src, 11), -EBADMSG,
	       "stored bytes of another length");
	is_int(codec_decompress(c, 7, back, LEN, dst, n), -EPROTONOSUPPORT, "an unknown codec");
	codec_free(c);
}

static void test_arguments(void)
{
	struct codec *c = (struct codec *)src;

	is_int(codec_new(-1, &c), -EINVAL, "a negative level");
	is_int(codec_new(codec_level_max(CODEC_ZSTD) + 1, &c), -EINVAL, "a level too high");
	ok(c == (struct codec *)src, "the output is untouched");
	codec_free(NULL);
	is_str(codec_name(CODEC_NONE), "none", "name");
	is_str(codec_name(CODEC_ZSTD), "zstd", "name");
	is_str(codec_name(2), NULL, "no such codec");
	is_int(codec_from_name("none"), CODEC_NONE, "by name");
	is_int(codec_from_name("zstd"), CODEC_ZSTD, "by name");
	is_int(codec_from_name("lz4"), -EINVAL, "unknown name");
	is_int(codec_level_max(CODEC_NONE), 0, "levels of none");
	ok(codec_level_max(CODEC_ZSTD) >= 19, "levels of zstd");
	fault_arm(FAULT_MALLOC, 1, ENOMEM);
	is_int(codec_new(1, &c), -ENOMEM, "no memory");
	fault_disarm();
}

int main(void)
{
	test_round_trip(1);
	test_round_trip(9);
	test_does_not_shrink();
	test_level_0();
	test_damage();
	test_arguments();
	return tap_done();
}
