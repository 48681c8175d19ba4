#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The memfile's holes cost neither the guest's memory nor the host's page cache, however much of
# them is fetched ahead.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/pager/lib.sh"
requires lamina-pager curl jq userfaultfd
# 30 windows: of more than 32 that wait the oldest goes.
mkimage mem.raw 15360 0-3:fill=7 1000-1003:fill=8 8192-8707:data=1 15356-15359:fill=9
start_pager || bail "no pager"

cached() { # bytes of the memfile
	fincore -bno RES mem.raw
}
guest_comes() { # ID OPTIONS: for a page of each 2 MiB
	guest_begin "$1" mem.raw && guest_does "$1" "map auto 60M 0 $2" "handoff run/$1.sock" "touch stride 2M blind"
}
has_data() { # ID
	[ "$(fact "$1" .counters.present)" -ge 500 ]
}
evict() { dd if=mem.raw iflag=nocache count=0 status=none; }

sync mem.raw
for how in "" memfd; do
	id=fetched$how
	evict
	session $id mem.raw ',"prefetch":"2M"' || bail "no session"
	ok "${how:-memory}: a guest comes for a page of each 2 MiB" guest_comes $id "$how"
	ok "data is fetched ahead" within 60 has_data $id
	sleep 1		# what is not to be fetched had time for it, too
	diag "$(fact $id .counters.present) pages"
	guest_end $id
	within 20 is_state $id gone
	read=$(fact $id .counters.read_bytes)
	ok "little was read of the file: $read" test "$read" -lt $((8 << 20))
	ok "the page cache has little of it: $(cached)" test "$(cached)" -lt $((16 << 20))
	session all$how mem.raw ',"prefetch":"2M"' || bail "no session"
	ok "every byte is right" client -t 60 -f mem.raw \
		-e "map auto 60M 0 $how; handoff run/all$how.sock; touch stride 2M; check"
done
done_testing
