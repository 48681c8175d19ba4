#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The scattered heap that runs in the guest: that it is scattered, and still whole when asked.
. "$(dirname "$0")/../lib.sh"
requires root python3

heap=$buildroot/tests/guest/heap

field() { # N NAME: of the N-th line
	sed -n "$1p" lines | python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$2"
}

lines() { # N: there are so many
	[ "$(wc -l <lines)" -ge "$1" ]
}

exits "without a size" 2 "$heap"
for size in 0 3 -4 8x 99999999; do
	exits "a size of $size" 1 "$heap" $size
done
exits "more than is eaten" 1 "$heap" 64 8
like "which is said" "$(cat err)" 'too little is eaten'

"$heap" 16 128 >lines 2>errors &
pid=$!
at_exit "kill -9 $pid"
ok "it is made" within 120 lines 1
is "by itself" "$(field 1 pid)" $pid
is "of as many pages as were asked for" "$(field 1 pages)" 4096
is "which would fit" "$(field 1 least)" 8
frames=$(field 1 frames)
diag "in $frames frames"
[ "$frames" -ge 24 ] && pass "but lie all over" || fail "but lie all over"
is "with the bytes that were written" "$(field 1 good)" True
is "mapped in small pages" "$(awk '/^AnonHugePages/ { n += $2 } END { print n }' /proc/$pid/smaps)" 0
rss=$(awk '/^VmRSS/ { print $2 }' /proc/$pid/status)
[ "$rss" -lt 24576 ] && pass "what was eaten is free again" || fail "what was eaten is free again"

kill -USR1 $pid
ok "it says so again" within 60 lines 2
is "whole" "$(field 2 good)" True
is "where it was" "$(field 2 frames)" "$frames"
kill $pid
wait $pid
is "and ends when told to" $? 0
is "without complaint" "$(cat errors)" ""
done_testing
