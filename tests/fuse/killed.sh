#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# After kill -9 the mount answers ENOTCONN, and a fresh daemon takes its place.
. "$(dirname "$0")/lib.sh"

lamina -q init
mkimage mem.raw 100 0-99:data=1
id=$(commit -m mem.raw)
mkdir mnt
ok "mounted" lamina-fuse --pidfile pid store mnt
at_exit "umount -l '$T/mnt'"
hold "mnt/layers/$id/memfile" mem.raw open
kill -9 "$(cat pid)"
within 10 nobody_else "$(cat pid)"
like "the old mount is dead" "$(ls mnt 2>&1)" "not connected"
is "its lease has ended" "$(lamina -q rm "$id" 2>&1; commit -m mem.raw)" "$id"
ok "a new one mounts in its place" lamina-fuse --pidfile pid store mnt/
same "and can be read" mem.raw "mnt/layers/$id/memfile"
is "once" "$(grep -c " $T/mnt fuse" /proc/mounts)" 1
like "who read from the dead one knows" "$(release)" "errors: 0-99"

kill -9 "$(cat pid)"
within 10 nobody_else "$(cat pid)"
ok "lamina umount clears a dead one" lamina umount mnt
ok "it is gone" test -d mnt
done_testing
