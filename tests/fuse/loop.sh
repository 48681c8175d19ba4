#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A rootfs can be mounted read-only through a loop device.
. "$(dirname "$0")/lib.sh"
requires loop mkfs.ext4

lamina -q init
mkdir tree dir mnt
head -c 3000000 /dev/urandom >tree/data
ln -s data tree/link
truncate -s 16M fs.img
mkfs.ext4 -q -d tree fs.img || skip_all "mkfs.ext4 cannot fill an image"
id=$(commit -r fs.img)
mount_store store mnt || bail "cannot mount"

at_exit "umount '$T/dir'"
ok "mount -o loop,ro,noload" mount -o loop,ro,noload "mnt/layers/$id/rootfs" dir
same "its file" tree/data dir/data
is "its link" "$(readlink dir/link)" data
umount dir
device=$(losetup --show -r -f "mnt/layers/$id/rootfs")
at_exit 'losetup -d "$device"'
ok "losetup -r" cmp fs.img "$device"
exits "is read-only" 1 sh -c "dd if=/dev/zero of=$device bs=4096 count=1 conv=notrunc"
losetup -d "$device"
device=
same "nothing has changed" fs.img "mnt/layers/$id/rootfs"
done_testing
