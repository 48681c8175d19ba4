#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Random calls on a live image and on an ordinary file have the same outcome.
. "$(dirname "$0")/live-lib.sh"

lamina -q init
mkimage mem.raw 1500 0-400:noise=1 500-501:fill=3 600-1499:data=5
id=$(commit -m mem.raw)
live_create x "$id"
mount_store store mnt || bail "cannot mount"
f=mnt/live/x/memfile

cp --sparse=always mem.raw model
for round in 1 2 3 4; do
	writer_is "round $round" ok model "$f" model "${SEED:-0}" 400
	probe evict "$f" >/dev/null
	same "round $round: from the daemon" model "$f"
	[ "$round" != 2 ] || livectl seal mnt/live/x >/dev/null
done
umount_store mnt
mount_store store mnt || bail "cannot mount again"
same "mounted again" model "$f"
writer_is "and on" ok model "$f" model "${SEED:-0}" 400
writer_is "synced" ok fsync "$f"
kill_daemon mnt
mount_store store mnt || bail "cannot mount again"
same "what was synced outlives the daemon" model "$f"
same "the layer is as it was" mem.raw "mnt/layers/$id/memfile"
done_testing
