#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A disk with an unreadable sector is not committed, nor is a part of it.  The
# disk is a loop device over a mounted image of which a chunk is damaged.
. "$(dirname "$0")/lib.sh"
requires loop

lamina -q init
mkimage disk.raw 2048 0-2047:noise=1
id=$(commit --rootfs disk.raw)
pack=store/packs/00000001.pack
cp "$pack" pack.good
offset=$(LC_ALL=C grep -obUaP "$(dd if=disk.raw bs=4096 skip=1000 count=1 2>/dev/null |
	head -c 16 | od -An -tx1 | tr -d '\n' | sed 's/ /\\x/g')" "$pack" | head -1 | cut -d: -f1)
[ -n "$offset" ] || bail "page 1000 is not in the pack"
printf 'damaged' | dd of="$pack" bs=1 seek=$((offset + 2000)) conv=notrunc 2>/dev/null
mount_store store mnt || bail "cannot mount"
device=$(losetup --show -r -f "mnt/layers/$id/rootfs") || skip_all "no loop device of a mount"
at_exit 'losetup -d "$device"'
exits "the device has a bad sector" 1 dd if="$device" of=/dev/null bs=1M iflag=direct

lamina --store new init -q
mkimage mem.raw 600 0-99:data=2
mkimage older.raw 2048 0-99:data=3
before=$(lamina --store new commit -q --memfile mem.raw --rootfs older.raw --tag good)
size=$(stat -c %s new/packs/*.pack)
bad() { # NAME ARGUMENT...
	local name=$1
	shift
	exits "$name fails" 1 lamina --store new commit --rootfs "$device" "$@" --tag bad
	like "and the message says of which file, and where" "$(cat err)" \
		"^lamina: cannot commit: cannot read '$device' at offset [0-9]+: Input/output error$"
	is "in one line" "$(wc -l <err)" 1
	is "nothing is published" "$(lamina --store new ls -q)" "$before"
	exits "no tag either" 1 lamina --store new show bad
	is "nothing is left in the pack" "$(stat -c %s new/packs/*.pack)" "$size"
}
bad "a commit of it"
bad "with an image that can be read" --memfile mem.raw
bad "as a child" --parent good
bad "by one thread" --threads 1
exits "a dry run fails, too" 1 lamina --store new commit -n --rootfs "$device"
echo '[[0, 65536], [4096000, 4096]]' >ranges
bad "a commit of ranges that hold it" --dirty rootfs=ranges --parent good
echo '[[0, 65536]]' >ranges
ok "one of other ranges does not read it" lamina --store new commit -q --rootfs "$device" \
	--dirty rootfs=ranges --parent good
ok "the store is whole" lamina --store new verify --deep

cp pack.good "$pack"
losetup -d "$device"
device=$(losetup --show -r -f "mnt/layers/$id/rootfs") || bail "cannot attach it again"
ok "a disk that can be read again" lamina --store new commit --rootfs "$device" --tag whole
lamina --store new export whole --rootfs back
same "is committed" disk.raw back
done_testing
