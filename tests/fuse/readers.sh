#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Many readers of the same chunks: each is decompressed once, and the cache
# stays within its bounds.
. "$(dirname "$0")/lib.sh"

lamina -q init
mkimage mem.raw 4000 0-3999:data=1
id=$(commit -m mem.raw)
mount_store store mnt -o threads=8 || bail "cannot mount"
mem=mnt/layers/$id/memfile

everybody() { # BYTES: six readers past the page cache, at the same time
	local i pids=()
	for i in 1 2 3 4 5 6; do
		dd if="$mem" of="copy.$i" iflag=direct bs="$1" 2>/dev/null &
		pids+=($!)
	done
	wait "${pids[@]}"
}
everybody 256K
is "every reader has the bytes" "$(for i in 1 2 3 4 5 6; do cmp mem.raw copy.$i && echo same; done |
	uniq -c | tr -s ' ')" " 6 same"
is "each chunk was decompressed once" "$(counter chunk_cache.misses)" \
	"$(lamina stat --json | jq .counts.chunks)"
umount_store mnt

mount_store store mnt -o threads=8,cache=256K || bail "cannot mount"
everybody 64K
is "with a small cache, too" "$(for i in 1 2 3 4 5 6; do cmp mem.raw copy.$i && echo same; done |
	uniq -c | tr -s ' ')" " 6 same"
ok "which is kept small" jq -e '.chunk_cache.bytes <= 262144' mnt/.stats
done_testing
