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
	ok "$how: the lease has ended" within 20 leases 0
	ok "$how: gc again" lamina gc --repack
	ok "$how: has freed the bytes" freed
	is "$how: the layer can come back" "$(commit -m mem.raw)" "$id"
done
same "and is read through the same name" mem.raw "$mem"
ok "a layer that was only looked at" within 20 leases 0
ok "can be removed" lamina rm "$id"

# --- somebody who is no reader holds it, as lamina-pager's keeper does ---

is "a layer" "$(commit -m mem.raw --tag t)" "$id"
lease=store/leases/$id
touch "$lease"
(
	flock -s 8 && touch locked
	exec sleep 1000
) 8<"$lease" &
holder=$!
at_exit "kill $holder"
ok "a lock on its lease" within 10 test -e locked
ok "the layer is removed" lamina rm --force "$id"
for daemon in "the daemon" "the next daemon"; do
	is "$daemon: it is not listed" "$(ls mnt/layers)" ""
	same "$daemon: but read by its id" mem.raw "$mem"
	is "$daemon: info.json, too" "$(jq -r .layer "mnt/layers/$id/info.json")" "$id"
	ok "$daemon: which has all digits" test ! -e "mnt/layers/${id:0:12}"
	ok "$daemon: nothing else of it is named" test ! -e mnt/tags/t
	ok "$daemon: its own lease ends" within 20 leases 0
	ok "$daemon: gc" lamina gc --repack
	ok "$daemon: keeps the bytes" packed
	[ "$daemon" = "the daemon" ] || break
	kill -9 "$fuse_pid"
	within 10 nobody_else "$fuse_pid"
	umount -l mnt
	mount_store store mnt || bail "cannot mount again"
done
hold "$mem" mem.raw open
kill "$holder"
wait "$holder" 2>/dev/null
same "whoever reads it holds it, too" mem.raw "$mem"
is "to the end" "$(release)" "$unharmed"
ok "then it has no name any more" within 20 test ! -e "$mem"
ok "nor has its directory" test ! -e "mnt/layers/$id"
ok "and gc" lamina gc --repack
ok "frees the bytes" freed
done_testing
