#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every image of a layer is a file with its bytes, size and times.
. "$(dirname "$0")/lib.sh"

lamina -q init
mkimage mem.raw 700 0-99:data=1 300:fill=7 400-600:noise=3
mkimage disk.raw 20+123 0-9:data=2
head -c 1000 /dev/urandom >state
: >empty
printf x >one
id=$(commit -m mem.raw -r disk.raw -t state -i empty=empty -i sdb=one --tag first)
mount_store store mnt || bail "cannot mount"
layer=mnt/layers/$id

is "the root" "$(ls -A mnt | tr '\n' ' ')" ".stats layers live tags "
is "the layers" "$(ls -A mnt/layers)" "$id"
is "a layer" "$(ls -A "$layer" | tr '\n' ' ')" "empty info.json memfile rootfs sdb state traces "
is "traces are empty" "$(ls -A "$layer/traces")" ""
same "memfile" mem.raw "$layer/memfile"
same "rootfs, not a whole number of pages" disk.raw "$layer/rootfs"
same "state" state "$layer/state"
same "no bytes at all" empty "$layer/empty"
same "one byte" one "$layer/sdb"
is "sizes" "$(cd "$layer" && stat -c %s memfile rootfs state empty sdb | tr '\n' ' ')" \
	"2867200 82043 1000 0 1 "
is "modes" "$(stat -c %A mnt mnt/layers mnt/tags "$layer" "$layer/memfile" | tr '\n' ' ')" \
	"dr-xr-x--- dr-xr-x--- dr-xr-x--- dr-xr-x--- -r--r----- "
is "links" "$(stat -c %h mnt mnt/layers mnt/tags "$layer" "$layer/traces" "$layer/memfile" |
	tr '\n' ' ')" "5 3 2 3 2 1 "
is "times" "$(stat -c '%X %Y %Z' "$layer/memfile")" \
	"$(created=$(date -d "$(jq -r .created "$layer/info.json")" +%s) && echo "$created $created $created")"
is "info.json" "$(jq -r '.layer, .images[1].name, .images[1].size' "$layer/info.json" | tr '\n' ' ')" \
	"$id memfile 2867200 "
is "its size" "$(stat -c %s "$layer/info.json")" "$(wc -c <"$layer/info.json")"
is "a tag leads to the layer" "$(readlink mnt/tags/first)" "../layers/$id"
same "and to its files" mem.raw mnt/tags/first/memfile
is "inode numbers do not repeat" \
	"$(find mnt -printf '%i\n' | sort | uniq -d)" ""
before=$(find mnt -printf '%P %i\n' | sort)
umount_store mnt
mount_store store mnt
is "and are the same in the next mount" "$(find mnt -printf '%P %i\n' | sort)" "$before"

for name in nothing layers/nothing "layers/${id:0:12}" "layers/${id^^}" tags/nothing \
	"layers/$id/nothing" "layers/$id/memfile/x" "layers/$id/traces/x"; do
	ok "there is no $name" test ! -e "mnt/$name"
done
like "the file system is the store's" "$(df --output=source mnt)" "$T/store"
done_testing
