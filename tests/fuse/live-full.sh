#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The disk is full: who writes is told, and what was written before is still so.
. "$(dirname "$0")/live-lib.sh"
requires mount

mkdir disk
mount -t tmpfs -o size=40m none disk
at_exit "umount -l '$T/disk'"
ln -s disk/store store
lamina --store disk/store -q init
mkimage mem.raw 8000 0-999:noise=1
id=$(commit -m mem.raw)
live_create x "$id"
mount_store store mnt || bail "cannot mount"
f=mnt/live/x/memfile

cp --sparse=always mem.raw model
writer put "$f" write 8192 100000 0x11 >/dev/null
writer put model write 8192 100000 0x11 >/dev/null
ok "something else fills the disk" sh -c '! head -c 60m /dev/zero >disk/filler 2>/dev/null'
writer_is "write" ENOSPC put "$f" write 8388608 1000000 0x22
writer_is "O_DIRECT" ENOSPC put "$f" direct 8388608 1048576 0x22
writer_is "fallocate" ENOSPC fallocate "$f" alloc 8388608 8388608
like "the log says it" "$(cat mnt.log)" "[Nn]o space left|full"
ok "errors are counted" test "$(counter write_errors)" -ge 2
probe evict "$f" >/dev/null
same "all is as it was" model "$f"
rm disk/filler
writer_is "there is room again" ok put "$f" write 8388608 1000000 0x22
writer put model write 8388608 1000000 0x22 >/dev/null
writer_is "and it is synced" ok fsync "$f"
kill_daemon mnt
mount_store store mnt || bail "cannot mount again"
same "for good" model "$f"
done_testing
