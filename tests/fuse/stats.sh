#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# MNT/.stats counts what the daemon did.
. "$(dirname "$0")/lib.sh"

lamina -q init
mkimage mem.raw 1600 0-1599:noise=1
id=$(commit -m mem.raw)
mount_store store mnt || bail "cannot mount"
mem=mnt/layers/$id/memfile

ok "it is JSON" jq . mnt/.stats
is "who and what" "$(counter store) $(counter pid)" "$T/store $fuse_pid"
is "nothing is open" "$(counter open_files) $(counter leases)" "0 0"
is "nothing was read" "$(counter bytes_read)" 0
cat "$mem" >/dev/null
is "bytes" "$(counter bytes_read)" $((1600 * 4096))
chunks=$(counter chunk_cache.misses)
is "each chunk was decompressed once" "$chunks" "$(lamina stat --json | jq .counts.chunks)"
hold "$mem" mem.raw open
is "an open file, and a lease" "$(counter open_files) $(counter leases)" "1 1"
release >/dev/null
closed() { [ "$(counter open_files)" = 0 ]; }
ok "closed" within 20 closed
a=$(counter uptime_seconds)
sleep 0.1
ok "time passes" jq -e ".uptime_seconds > $a" mnt/.stats
is "no errors" "$(counter errors) $(counter read_errors) $(counter damaged_reads)" "0 0 0"
done_testing
