#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Mapped files have the right bytes, however they were opened and in whatever
# order they are touched; what one reader brought in, the next one finds.
. "$(dirname "$0")/lib.sh"

lamina -q init
mkimage mem.raw 5000+300 0-1999:data=1 2500-2600:noise=2 4000-5000:data=3
id=$(commit -m mem.raw)
mount_store store mnt || bail "cannot mount"
mem=mnt/layers/$id/memfile

probe_is "mapped" "$unharmed" touch "$mem" mem.raw
read_once=$(counter bytes_read)
probe_is "again" "$unharmed" touch "$mem" mem.raw
same "and read" mem.raw "$mem"
probe_is "page by page" "$unharmed" pages "$mem" mem.raw
# (Not exactly as much: somebody else may empty the page cache.)
ok "all from the page cache, across opens" test "$(counter bytes_read)" -lt $((read_once * 2))
probe_is "pieces that begin nowhere in particular" "$unharmed" pages "$mem" mem.raw 5001
probe evict "$mem" >/dev/null
probe_is "and from the daemon" "$unharmed" pages "$mem" mem.raw 5001
is "opened read-write and read" "$(cmp mem.raw - <>"$mem" && echo same)" same
probe_is "opened read-write and mapped" $'before: same\nothers: same\nours: kept' \
	scribble "$mem" mem.raw
dd if="$mem" of=direct.raw iflag=direct bs=1M 2>/dev/null
same "past the page cache" mem.raw direct.raw
done_testing
