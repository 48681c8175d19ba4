#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Damage of the layer below a live image, and of a live image itself.
. "$(dirname "$0")/live-lib.sh"

lamina -q init
mkimage mem.raw 2048 0-2047:noise=1
id=$(commit -m mem.raw)
pack=store/packs/00000001.pack
live_create x "$id"
live_create y "$id"

offset=$(LC_ALL=C grep -obUaP "$(dd if=mem.raw bs=4096 skip=1000 count=1 2>/dev/null |
	head -c 16 | od -An -tx1 | tr -d '\n' | sed 's/ /\\x/g')" "$pack" | head -1 | cut -d: -f1)
[ -n "$offset" ] || bail "page 1000 is not in the pack"
printf 'damage' | dd of="$pack" bs=1 seek=$((offset + 2000)) conv=notrunc 2>/dev/null
mount_store store mnt || bail "cannot mount"
f=mnt/live/x/memfile

probe_is "only the pages of that chunk cannot be read" $'errors: 1000-1007\ndiffer: none' \
	pages "$f" mem.raw
writer_is "a part of such a page cannot be written" EIO put "$f" direct 4096512 512 0x11
writer_is "nor through the cache" EIO put "$f" write 4096010 20 0x11
like "the log says why" "$(cat mnt.log)" "chunk 1:[0-9]+ in pack 00000001: checksum differs"
ok "it is counted" test "$(counter write_errors)" -ge 1
writer_is "a whole page can" ok put "$f" write 4096000 4096 0x12
writer put mem.raw write 4096000 4096 0x12 >/dev/null
probe evict "$f" >/dev/null
probe_is "and is read from then on" $'errors: 1001-1007\ndiffer: none' pages "$f" mem.raw
ok "the next one can be punched" fallocate -p -o 4100096 -l 4096 "$f"
fallocate -p -o 4100096 -l 4096 mem.raw
probe_is "too" $'errors: 1002-1007\ndiffer: none' pages "$f" mem.raw
ok "closed" within 20 closed

truncate -s 100 store/live/y/1/memfile
probe_is "a delta that was cut cannot be opened" EIO open mnt/live/y/memfile rw
like "the log says which" "$(cat mnt.log)" "live image 'y'"
ok "its directory can be listed" ls mnt/live/y
rm -r store/live/y
probe_is "nor can one that is gone" EIO open mnt/live/y/memfile rw
probe_is "the other is as it was" ok open "$f" rw
done_testing
