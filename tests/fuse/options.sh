#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Options come from the command line, from lamina.conf(5), and from fstab(5).
. "$(dirname "$0")/lib.sh"

lamina -q init
mkimage mem.raw 100 0-99:data=1
id=$(commit -m mem.raw)
mem=mnt/layers/$id/memfile
look() {
	stat -c '%a %u %g' "$mem"
}
readahead() {
	cat "/sys/class/bdi/$(mountpoint -d mnt)/read_ahead_kb"
}

mount_store store mnt
is "the defaults" "$(look)" "440 0 0"
is "2 MiB of read-ahead" "$(readahead)" 2048
umount_store mnt
mount_store store mnt -o mode=0660,uid=12 -o gid=34,readahead=512
is "from the command line" "$(look)" "660 12 34"
is "read-ahead" "$(readahead)" 512
is "directories follow the mode" "$(stat -c %a mnt "mnt/layers/$id" | tr '\n' ' ')" "550 550 "
is "texts are never writable" "$(stat -c %a "mnt/layers/$id/info.json" mnt/.stats | tr '\n' ' ')" \
	"440 440 "
umount_store mnt

printf '[store]\npath = /nowhere\n[mount]\nmode = 0444\nuid = 5\nreadahead = 256\n' >my.conf
mount_store store mnt --config my.conf -o uid=6
is "from lamina.conf, unless an option says otherwise" "$(look)" "444 6 0"
is "read-ahead, too" "$(readahead)" 256
umount_store mnt
LAMINA_CONF=my.conf mount_store store mnt
is "which LAMINA_CONF can name" "$(look)" "444 5 0"
umount_store mnt

mount_store store mnt -o root_nothing -s
is "unknown words pass with --sloppy" "$(look)" "440 0 0"
umount_store mnt
mount_store store mnt -o 'defaults,noauto,nofail,_netdev,user,relatime,x-systemd.automount,x-a="b,c",uid=root'
is "what fstab has for others is passed over" "$(look)" "440 0 0"
umount_store mnt
mount_store store mnt -o noexec,suid,dev
like "flags reach the kernel" "$(grep " $T/mnt " /proc/mounts)" "rw,noexec,relatime"
umount_store mnt

for words in clone_fd threads=1 threads=32,clone_fd cache=0 cache=1M; do
	mount_store store mnt -o $words
	probe_is "$words" "$unharmed" pages "$mem" mem.raw
	umount_store mnt
done
mount_store store mnt -o debug
ls mnt >/dev/null
like "debug logs every request" "$(cat mnt.log)" "debug: .*LOOKUP"
umount_store mnt
cp -r store 's,t\ore x'
mount_store 's,t\ore x' mnt
is "a store with a comma in its name" "$(findmnt -n -o SOURCE mnt)" "$T/s,t\\ore x"
done_testing
