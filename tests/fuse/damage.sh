#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A flipped bit in a pack is an error for the pages it hurts, and for no others.
. "$(dirname "$0")/lib.sh"

lamina -q init
mkimage mem.raw 2048 0-2047:noise=1
id=$(commit -m mem.raw --tag t)
cp mem.raw other.raw
mkimage other.raw 2048 0-7:noise=2
other=$(commit -m other.raw --parent t)
pack=store/packs/00000001.pack
cp "$pack" pack.good

flip() { # OFFSET
	local byte
	byte=$(od -An -tu1 -j "$1" -N1 "$pack" | tr -d ' ')
	printf "%b" "\\x$(printf %x $((byte ^ 16)))" |
		dd of="$pack" bs=1 seek="$1" conv=notrunc 2>/dev/null
}

# Noise is stored as it is, so a page's bytes can be found in the pack.
offset=$(LC_ALL=C grep -obUaP "$(dd if=mem.raw bs=4096 skip=1000 count=1 2>/dev/null |
	head -c 16 | od -An -tx1 | tr -d '\n' | sed 's/ /\\x/g')" "$pack" | head -1 | cut -d: -f1)
[ -n "$offset" ] || bail "page 1000 is not in the pack"
flip $((offset + 2000))
chunk=$((1000 / 8 * 8))-$((1000 / 8 * 8 + 7))
mount_store store mnt || bail "cannot mount"
mem=mnt/layers/$id/memfile

exits "a reader of everything is told" 2 cmp mem.raw "$mem"
like "as an I/O error" "$(cat err)" "Input/output error"
probe_is "page by page, only the pages of that chunk are errors" \
	"errors: $chunk"$'\ndiffer: none' pages "$mem" mem.raw
probe evict "$mem" >/dev/null
probe_is "and in any order" "errors: $chunk"$'\ndiffer: none' pages "$mem" mem.raw
probe evict "$mem" >/dev/null
probe_is "a mapped reader gets SIGBUS for the same" \
	"errors: $chunk"$'\ndiffer: none' touch "$mem" mem.raw
is "opened read-write: an error, no zeros" \
	"$(dd if=/dev/null of=x 2>/dev/null; dd bs=1M <>"$mem" 2>&1 >short | grep -c 'Input/output')" 1
ok "and nothing wrong before it" cmp -n "$(stat -c %s short)" mem.raw short
is "the size is what it was" "$(stat -c %s "$mem")" $((2048 * 4096))
like "another layer that shares the chunk is hurt there" \
	"$(probe pages "mnt/layers/$other/memfile" other.raw)" "^errors: $chunk"
is "the log has one line of it" "$(grep -c chunk mnt.log)" 1
like "that says what and where" "$(grep chunk mnt.log)" \
	"error: layer ${id:0:12} image 'memfile' page [0-9]+: chunk 1:[0-9]+ in pack 00000001: checksum"
ok "it is counted" jq -e '.damaged_reads > 0 and .read_errors > 0' mnt/.stats

cp pack.good "$pack"
probe_is "once repaired it is read again, nothing was remembered" "$unharmed" pages "$mem" mem.raw
umount_store mnt
truncate -s $((offset + 100)) "$pack"
mount_store store mnt || bail "cannot mount"
like "a pack that was cut" "$(probe pages "$mem" mem.raw)" "^errors: 1000.*differ: none"
rm "$pack"
umount_store mnt
mount_store store mnt || bail "cannot mount"
like "a pack that is gone" "$(probe pages "$mem" mem.raw)" "^errors: 0-2047.differ: none"
ok "the log is short" test "$(wc -l <mnt.log)" -lt 30
done_testing
