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

# A real file system with room for no block more, the reserve of which root may take, too.
if has loop && has mkfs.ext4; then
	small() {
		truncate -s 64M small.img
		mkfs.ext4 -q -b 4096 -m 0 small.img || bail "cannot make a file system"
		mkdir -p small
		mount -o loop small.img small || bail "cannot mount a file system"
		at_exit "umount -l '$T/small'"
	}
	fill() {
		for bs in 1M 64k 4k; do
			dd if=/dev/zero of=small/filler bs=$bs oflag=append conv=notrunc,fsync \
				2>/dev/null
		done
		sync -f small
		dd if=/dev/zero of=small/filler bs=4k oflag=append conv=notrunc,fsync 2>/dev/null
		is "the disk is full" "$(stat -f -c %a small)" 0
	}
	umount_store mnt
	rm store
	small
	ln -s small/store store
	lamina --store small/store -q init
	mkimage root.raw 2198 0-900:noise=7 2197:noise=8
	truncate -s 9000001 root.raw
	id=$(commit -r root.raw)
	live_create idle "$id"
	live_create wide "$id" rootfs=268435456
	mount_store store mnt || bail "cannot mount"
	f=mnt/live/wide/rootfs
	exec 7<>"$f"
	writer_is "room is set aside over zeros" ok fallocate "$f" keep 33554432 20971520
	fill
	same "one that was closed can be read" root.raw mnt/live/idle/rootfs
	head -c 20971520 /dev/urandom >noise
	ok "what was set aside can be written, all of it" \
		dd if=noise of="$f" bs=64k seek=512 conv=notrunc,fsync status=none
	writer_is "and no more" ENOSPC put "$f" write 67108864 65536 0x33
	ok "it is there" cmp -n 20971520 -i 33554432:0 "$f" noise
	exec 7<&-
	ok "closed" within 20 closed
	ok "when it is opened again, too" cmp -n 20971520 -i 33554432:0 "$f" noise
	ok "closed again" within 20 closed
	livectl_like "to be read, nothing is written" 'rootfs 9000001 0 0' info store idle
else
	skip "a full file system" "no loop devices"
fi
done_testing
