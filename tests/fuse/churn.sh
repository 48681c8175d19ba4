#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Readers that come and go while layers come and go: nobody reads wrong bytes,
# and the daemon keeps nothing.
. "$(dirname "$0")/lib.sh"

lamina -q init
for i in 1 2 3; do
	mkimage $i.raw 300 0-299:data=$i
	md5sum <$i.raw >>right
done
kept=$(commit -m 1.raw --tag kept)
mount_store store mnt || bail "cannot mount"

reader() {
	local i got
	for ((i = 0; i < 40; i++)); do
		cmp -s 1.raw mnt/tags/kept/memfile || echo "kept differs"
		ls -lR mnt >/dev/null 2>&1
		for id in mnt/layers/*; do
			got=$(md5sum <"$id/memfile")	# nothing: the layer has gone
			[ -z "$got" ] || grep -qxF "$got" right || echo "$id differs"
		done
		echo 2 >/proc/sys/vm/drop_caches
	done
}
writer() {
	local i id
	for ((i = 0; i < 15; i++)); do
		id=$(commit -m $((i % 2 + 2)).raw --tag moving) && lamina -q rm -f "$id" && lamina -q gc
	done
}
reader >1.log 2>/dev/null &
a=$!
reader >2.log 2>/dev/null &
b=$!
writer >3.log 2>&1
ok "readers ended" wait $a $b
is "they saw nothing wrong" "$(cat 1.log 2.log)" ""
is "the writer was not disturbed" "$(grep -v '^[0-9a-f]*$' 3.log)" ""
is "no errors" "$(counter errors) $(counter read_errors)" "0 0"
echo 2 >/proc/sys/vm/drop_caches
clean() { [ "$(counter leases) $(counter open_files)" = "0 0" ] && [ "$(counter layers_known)" -le 1 ]; }
ok "nothing is kept" within 10 clean
same "what stayed is whole" 1.raw "mnt/layers/$kept/memfile"
is "the log is empty" "$(cat mnt.log)" ""
umount_store mnt
ok "the daemon ends with success" wait "$fuse_pid"
done_testing
