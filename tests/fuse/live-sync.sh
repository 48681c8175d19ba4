#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# fsync is the disk's answer: one that failed is told, and what it was about is not trusted again.
. "$(dirname "$0")/live-lib.sh"
requires lamina-fuse-fault

lamina -q init
mkimage mem.raw 100 0-99:noise=1
id=$(commit -m mem.raw)
live_create x "$id"
live_create y "$id"
export FUSE_PROGRAM=lamina-fuse-fault LAMINA_FAULT_COUNT=$T/count
mount_store store mnt || bail "cannot mount"
f=mnt/live/x/memfile
syncs() { awk '$1 == "fsync" {n += $2} END {print n + 0}' count; }
is "written" "$(writer put "$f" write 8192 4096 0x11; writer put "$f" write 12288 100 0x11)" $'ok\nok'
writer_is "a layer's file can be synced, to no effect" ok fsync "mnt/layers/$id/memfile"
umount_store mnt
within 20 test -s count
before=$(syncs)
rm count
mount_store store mnt || bail "cannot mount"
writer put "$f" write 8192 4096 0x12 >/dev/null
writer_is "synced" ok fsync "$f"
umount_store mnt
within 20 test -s count
ok "the disk was asked to ($before, $(syncs))" test "$(syncs)" -gt "$before"
unset LAMINA_FAULT_COUNT

LAMINA_FAULT=fsync:1:EIO mount_store store mnt || bail "cannot mount"
exec 5<>"$f"
writer put "$f" write 8192 4096 0x13 >/dev/null
writer_is "it fails" EIO fsync "$f"
writer_is "and goes on to" EIO fsync "$f"
writer_is "nothing is written any more" EIO put "$f" direct 16384 4096 0x14
like "the log says it" "$(cat mnt.log)" "live image 'x'|memfile"
writer_is "the other is well" ok put mnt/live/y/memfile write 0 4096 0x15
writer_is "and synced" ok fsync mnt/live/y/memfile
exec 5<&-
ok "closed" within 20 closed
writer_is "opened again it is what the disk has" ok fsync "$f"
done_testing
