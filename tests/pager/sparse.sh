#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The memfile's holes cost neither the guest's memory nor the host's page cache, however much of
# them is fetched ahead.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/pager/lib.sh"
requires lamina-pager curl jq userfaultfd
mkimage mem.raw 32768 0-3:fill=7 1000-1003:fill=8 16384-16899:data=1 32764-32767:fill=9
start_pager || bail "no pager"

cached() { # bytes of the memfile
	fincore -bno RES mem.raw
}
touch_all() { # ID OPTIONS SCRIPT: a page of each 2 MiB
	client -t 60 -f mem.raw -e "map auto 128M 0 $2; handoff run/$1.sock; $3"
}
evict() { dd if=mem.raw iflag=nocache count=0 status=none; }

sync mem.raw
for how in "" memfd; do
	id=fetched$how
	evict
	session $id mem.raw ',"prefetch":"2M"' || bail "no session"
	ok "${how:-memory}: a guest comes for a page of each 2 MiB" touch_all $id "$how" "touch stride 2M blind; sleep 1"
	within 20 is_state $id gone
	ok "data is fetched ahead: $(fact $id .counters.present)" test "$(fact $id .counters.present)" -ge 500
	read=$(fact $id .counters.read_bytes)
	ok "little was read of the file: $read" test "$read" -lt $((8 << 20))
	ok "the page cache has little of it: $(cached)" test "$(cached)" -lt $((16 << 20))
	session all$how mem.raw ',"prefetch":"2M"' || bail "no session"
	ok "every byte is right" touch_all all$how "$how" "touch stride 2M; check"
done
done_testing
