#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# An open or mapped file keeps the bytes of its layer, and no longer than that.
. "$(dirname "$0")/lib.sh"

lamina -q init
mkimage mem.raw 3000 0-2999:noise=1
id=$(commit -m mem.raw)
mount_store store mnt || bail "cannot mount"
mem=mnt/layers/$id/memfile
leases() { [ "$(counter leases)" = "$1" ]; }
packed() { # there are still megabytes of chunks
	[ "$(du -sb store/packs | cut -f1)" -gt 1000000 ]
}
freed() {
	! packed
}

for how in open map; do
	hold "$mem" mem.raw $how
	probe evict "$mem" >/dev/null
	is "$how: a lease is held" "$(counter leases)" 1
	exits "$how: removal is refused" 4 lamina rm "$id"
	like "$how: and says by whom" "$(cat err)" "$fuse_pid"
	ok "$how: unless forced" lamina rm --force "$id"
	ok "$how: gc" lamina gc --repack
	ok "$how: has kept the bytes" packed
	is "$how: the reader reads them all" "$(release)" "$unharmed"
	ok "$how: the lease has ended" within 5 leases 0
	ok "$how: gc again" lamina gc --repack
	ok "$how: has freed the bytes" freed
	is "$how: the layer can come back" "$(commit -m mem.raw)" "$id"
done
same "and is read through the same name" mem.raw "$mem"
ok "a layer that was only looked at" within 5 leases 0
ok "can be removed" lamina rm "$id"
done_testing
