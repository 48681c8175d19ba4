#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# An image may be opened for writing, as QEMU does, but nobody can change what
# anybody else sees.
. "$(dirname "$0")/lib.sh"

lamina -q init
mkimage mem.raw 600 0-99:data=1 200:fill=7 300-500:noise=3
id=$(commit -m mem.raw --tag t)
mount_store store mnt || bail "cannot mount"
layer=mnt/layers/$id
mem=$layer/memfile

for mode in r w rw append direct; do
	probe_is "open $mode" ok open "$mem" "$mode"
done
probe_is "open trunc" EROFS open "$mem" trunc
probe_is "info.json for writing" EROFS open "$layer/info.json" rw
probe_is ".stats for writing" EROFS open mnt/.stats w
probe_is "write" EROFS write "$mem"
for call in truncate chmod chown utime xattr fallocate; do
	probe_is "$call" EROFS call "$mem" "$call"
done
probe_is "a shared map, read only" ok map "$mem" r shared-r
probe_is "a private map, opened read-only" ok map "$mem" r private-rw
probe_is "a private map, opened read-write" ok map "$mem" rw private-rw
probe_is "a shared writable map, opened read-only" EACCES map "$mem" r shared-rw
probe_is "a shared writable map, opened read-write" ENODEV map "$mem" rw shared-rw
probe_is "a shared map that could be made writable" ENODEV map "$mem" rw shared-r

hold "$mem" mem.raw map
probe_is "writes to a private map stay private" \
	$'before: same\nothers: same\nours: kept' scribble "$mem" mem.raw
is "a reader that had it mapped saw nothing of it" "$(release)" "$unharmed"
same "nor does the next" mem.raw "$mem"

exits "mkdir" 1 mkdir mnt/x
exits "create" 1 touch "$layer/x"
exits "unlink" 1 rm -f "$mem"
exits "rmdir" 1 rmdir "$layer/traces"
exits "rename" 1 mv "$mem" "$layer/x"
exits "symlink" 1 ln -s x mnt/tags/x
exits "link" 1 ln "$mem" "$layer/x"
exits "mknod" 1 mknod mnt/tags/x p
like "and the reason is" "$(cat err)" "Read-only file system"
exits "a tag cannot be removed through the mount" 1 rm mnt/tags/t
like "refusals are counted" "$(counter requests.refused)" '^[1-9][0-9]*$'

umount_store mnt
mount_store store mnt -o ro
probe_is "ro: opens for writing are refused" EROFS open "$mem" rw
probe_is "ro: reading goes on" ok open "$mem" r
done_testing
