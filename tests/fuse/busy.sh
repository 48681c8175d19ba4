#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SIGTERM while files are open: out of sight, but nobody loses what they have.
. "$(dirname "$0")/lib.sh"

lamina -q init
mkimage mem.raw 1000 0-999:data=1
id=$(commit -m mem.raw)
mount_store store mnt || bail "cannot mount"
hold "mnt/layers/$id/memfile" mem.raw map
probe evict "mnt/layers/$id/memfile" >/dev/null
exits "umount says that it is busy" 32 umount mnt
kill -TERM "$fuse_pid"
out_of_sight() { ! is_mounted mnt; }
ok "SIGTERM takes it out of sight" within 10 out_of_sight
like "the log names who is in the way" "$(cat mnt.log)" \
	"busy: pid $hold_pid has 'memfile' of layer ${id:0:12} open"
like "and says what will be" "$(cat mnt.log)" "open files: 1"
ok "the daemon goes on" kill -0 "$fuse_pid"
is "the reader reads on" "$(release)" "$unharmed"
ok "after the last file it ends, with success" wait "$fuse_pid"

# A successor on the same directory keeps its pid file when the old one goes.
lamina-fuse --pidfile pid store mnt
first=$(cat pid)
hold "mnt/layers/$id/memfile" mem.raw map
kill -TERM "$first"
within 10 out_of_sight
ok "another one can mount meanwhile" lamina-fuse --pidfile pid store mnt
same "and be read" mem.raw "mnt/layers/$id/memfile"
is "so does who has the old one mapped" "$(release)" "$unharmed"
ok "the old one ends" within 10 nobody_else "$first"
is "the new one has its pid file" "$(counter pid)" "$(cat pid)"
same "and is still mounted" mem.raw "mnt/layers/$id/memfile"
umount mnt

mount_store store mnt
hold "mnt/layers/$id/memfile" mem.raw map
kill -TERM "$fuse_pid"
within 10 out_of_sight
kill -TERM "$fuse_pid"
exits "a second SIGTERM ends it at once" 1 wait "$fuse_pid"
like "which the log tells" "$(cat mnt.log)" "asked to end twice"
release >/dev/null
done_testing
