/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * format: the constants of what is on disk.  lamina-store(5) is the text.
 *
 * STORE/				mode 0700
 *   index.db			SQLite, WAL: the authority on what exists
 *   lock			the writer's lock (flock), who holds it in words
 *   reserve			1 MiB given back on ENOSPC so that freeing works
 *   packs/0000000a.pack	append-only records
 *   leases/<layer id>		locked shared by whoever reads the layer
 *   live/<name>/		what was written to a live image (live.h)
 *
 * Page address (paddr).  Every stored page has the 64-bit address
 * pack << 32 | ordinal, where the ordinal counts pages in the order in which
 * they were first written to that pack.  Addresses are never used again, and
 * a page keeps its own when repack moves it.  Packs are numbered from 1, so 0
 * is no address: it means a zero page.  A chunk's id is the address of its
 * first page; the slot of a page in its chunk is the difference.
 *
 * Segment.  A run of chunks written one after another, at most SEG_PAGES
 * pages: what one digest list describes, what one row of the index locates.
 *
 * Frame id (fid).  A store-wide counter from 1, never used again; 0 means a
 * frame of zeros.
 */
#ifndef LAMINA_FORMAT_H
#define LAMINA_FORMAT_H

#include <stdint.h>

/* In sentences, decimal: printf(PADDR_FMT, PADDR_ARG(paddr)). */
#define PADDR_FMT "%u:%u"
#define PADDR_ARG(paddr) (unsigned)((paddr) >> 32), (unsigned)(paddr)

#define PAGE_SIZE 4096u
#define PAGE_SHIFT 12
#define FRAME_PAGES 512u
#define FRAME_SIZE (FRAME_PAGES * PAGE_SIZE)	/* 2 MiB */
#define FRAME_SHIFT 21
#define CHUNK_PAGES_MAX 16u
#define SEG_PAGES 16384u			/* 16 Ki digests a list */
#define PACK_SIZE_MAX (256u << 20)
#define HOOK_MASK 31u				/* one digest in 32 is a hook */

/*
 * Incompatible features, of packs and of the index.  FEATURE_SEED: checksums of
 * records begin with the store's seed.  Every store has it.
 */
#define FEATURE_SEED 1u

/*
 * Read-only-compatible features of the index.  FEATURE_LIVE: there are live images, and a layer
 * on which one stands is not removed.  From the first one on.
 */
#define FEATURE_LIVE 1u

#define PACK_MAGIC "LAMINAPK"
#define PACK_HEADER_LEN 64u
/*
 * 0 magic  8 u32 compat  12 u32 read-only-compat  16 u32 incompat feature bits
 * 20 u32 pack number  24 uuid[16]  40 u8 digest  41 u8 codec  42 u8 cipher
 * 43 i8 level  44 u8 chunk pages[3]  47 zeros  60 u32 crc of bytes 0..59
 */
#define PACK_INCOMPAT_KNOWN FEATURE_SEED
#define PACK_ROCOMPAT_KNOWN 0u

/*
 * A record: 24 bytes of header, then `len` bytes of payload.
 *  0 u32 magic  4 u8 type  5 u8 codec  6 u16 slots  8 u32 len
 * 12 u32 crc of the seed, bytes 0..11, 16..23 and the payload   16 u64 id
 * The seed is the u32 crc of the store's uuid.
 */
#define RECORD_MAGIC 0x31524d4cu		/* "LMR1" */
#define RECORD_HEADER_LEN 24u
#define RECORD_LEN_MAX (64u << 20)

enum record_type {
	RECORD_CHUNK = 1,	/* id: chunk id; slots: which of its pages are here */
	RECORD_DIGESTS = 2,	/* id: first page address of the segment */
	RECORD_MAPS = 3,	/* id: first fid in it */
	RECORD_LAYER = 4,	/* id: sequence number */
	RECORD_DECISION = 5,	/* id: sequence number */
};

enum codec_id { CODEC_NONE = 0, CODEC_ZSTD = 1 };
enum digest_id { DIGEST_BLAKE2B_256 = 1, DIGEST_SHA256 = 2 };
enum cipher_id { CIPHER_NONE = 0 };

/* Image kinds have their own chunk size. */
enum image_kind { IMAGE_MEMFILE, IMAGE_ROOTFS, IMAGE_OTHER, IMAGE_KINDS };

/* Fields of the store, chosen at init; every pack header repeats them. */
struct store_params {
	int digest;			/* enum digest_id */
	int codec;			/* enum codec_id */
	int level;
	unsigned chunk_pages[IMAGE_KINDS];	/* 1..CHUNK_PAGES_MAX */
};

#define IMAGE_NAME_MAX 64u			/* [A-Za-z0-9._-], not first a dot */
#define IMAGES_MAX 64u				/* images of a layer */
#define IMAGE_SIZE_MAX (1ull << 48)		/* 256 TiB */
#define TAG_NAME_MAX 128u			/* the same letters, and '/' never */
#define META_MAX (64u << 10)			/* bytes of a layer's attributes */

#endif
