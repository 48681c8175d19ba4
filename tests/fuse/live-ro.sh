#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Where the store cannot be written to, a live image is shown, but not opened.
. "$(dirname "$0")/live-lib.sh"
requires mount

lamina -q init
mkimage mem.raw 100 0-99:noise=1
id=$(commit -m mem.raw)
live_create x "$id"
mkdir other
mount --bind store other && mount -o remount,bind,ro other || skip_all "no read-only bind mounts"
at_exit "umount -l '$T/other'"
mount_store other mnt || bail "cannot mount"
is "it is listed" "$(ls mnt/live) $(ls mnt/live/x)" "x memfile"
is "with its size" "$(stat -c %s mnt/live/x/memfile)" 409600
probe_is "writing" EROFS open mnt/live/x/memfile rw
probe_is "reading" EROFS open mnt/live/x/memfile r
probe_is "cutting" EROFS call mnt/live/x/memfile truncate
is "sealing" "$(livectl seal mnt/live/x)" EROFS
same "the layer can be read" mem.raw "mnt/layers/$id/memfile"
done_testing
