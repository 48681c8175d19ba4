#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The file system of a layer, mounted from a live image through a loop device; and a new one.
. "$(dirname "$0")/live-lib.sh"
requires loop mkfs.ext4 e2fsck fstrim

lamina -q init
mkdir tree dir
head -c 3000000 /dev/urandom >tree/data
truncate -s 64M fs.img
mkfs.ext4 -q -d tree fs.img || skip_all "mkfs.ext4 cannot fill an image"
id=$(commit -r fs.img)
live_create x "$id"
live_create y - rootfs=67108864
mount_store store mnt || bail "cannot mount"
f=mnt/live/x/rootfs

at_exit "umount '$T/dir'"
ok "mounted" mount -o loop,discard "$f" dir
same "what was there" tree/data dir/data
head -c 8000000 /dev/urandom >new
ok "a file is written" cp new dir/new
ok "another is removed" rm dir/data
sync -f dir
ok "it is trimmed" fstrim dir
full=$(blocks "$f")
ok "the file is removed" rm dir/new
sync -f dir
ok "trimmed again" fstrim dir
freed() { [ "$(blocks "$f")" -le $((full - 7000000)) ]; }
ok "its blocks are free" freed
cp new dir/new
ok "unmounted" umount dir
ok "closed" within 20 closed
ok "e2fsck finds nothing" e2fsck -fn "$f"
umount_store mnt
mount_store store mnt || bail "cannot mount again"
ok "mounted again" mount -o loop "$f" dir
same "the file is there" new dir/new
ok "the other is not" test ! -e dir/data
ok "unmounted" umount dir

f=mnt/live/y/rootfs
device=$(losetup --show -f "$f")
at_exit 'losetup -d "$device"'
ok "a file system is made on an empty one" mkfs.ext4 -q -F "$device"
ok "mounted" mount -o discard "$device" dir
cp new dir/new
ok "unmounted" umount dir
losetup -d "$device"
device=
ok "closed" within 20 closed
ok "e2fsck finds nothing" e2fsck -fn "$f"
ok "the layer is as it was" cmp fs.img "mnt/layers/$id/rootfs"
is "no errors" "$(counter errors) $(counter read_errors) $(counter write_errors)" "0 0 0"
done_testing
