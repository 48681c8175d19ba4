#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Memory that is not there and a disk that is full or fails, at each step of what is done to a live
# image: an error for who asks at that moment, and nothing else.
. "$(dirname "$0")/live-lib.sh"
requires lamina-fuse-fault

lamina -q init
mkimage mem.raw 1500 0-1199:data=1 1300:noise=2
id=$(commit -m mem.raw)
cp mem.raw model
mkdir mnt
at_exit "umount -l '$T/mnt'"
f=mnt/live/x/memfile

use() { # FILE
	writer put "$1" write 40960 8192 0x11
	writer put "$1" direct 2093056 12288 0x12
	writer put "$1" write 5000 100 0x13
	writer fallocate "$1" punch 81920 8192
	writer fallocate "$1" keep 4096000 40960
	writer put "$1" shared 4100096 5000 0x14
	[ "$1" = model ] || livectl seal mnt/live/x
	writer put "$1" write 40960 100 0x15
	truncate -s 6143900 "$1"
	truncate -s 6144000 "$1"
	writer fsync "$1"
	cat "$1" | md5sum
}
use model >model.said 2>&1
untouched() { # pages that nobody writes to
	cmp -n 1000000 -i 1000000 model "$f" && cmp -n 1500000 -i 2500000 model "$f"
}
run() { # FAULT: sets verdict
	livectl rm store x >/dev/null
	live_create x "$id"
	LAMINA_FAULT=$1 lamina-fuse-fault -f -o threads=2 store mnt >log 2>&1 &
	local pid=$!
	verdict=
	until is_mounted mnt; do
		nobody_else $pid && break
		sleep 0.02
	done
	if is_mounted mnt; then
		use "$f" >used 2>&1
		within 20 closed || verdict="$1: stays open"
		untouched || untouched || verdict="$1: wrong bytes"
		for _ in 1 2 3; do
			use "$f" >used 2>&1
			cmp -s model "$f" && break
		done
		cmp -s model "$f" || cmp -s model "$f" || verdict="$1: not well afterwards: $(cat used log)"
		umount mnt || verdict="$1: still busy"
		within 20 nobody_else $pid
		wait $pid || verdict="$1: ended with $?"
	else
		wait $pid
		[ $? = 1 ] || verdict="$1: did not start: $(cat log)"
	fi
	[ -z "$verdict" ]
}

live_create x "$id"
for fault in malloc:ENOMEM pread:EIO pwrite:ENOSPC fsync:EIO; do
	kind=${fault%:*}
	rm -f count
	export LAMINA_FAULT_COUNT=$T/count
	ok "without a fault" run mkdir:1000000:EIO || diag "$verdict"
	unset LAMINA_FAULT_COUNT
	n=$(awk -v k="$kind" '$1 == k {n += $2} END {print n + 0}' count)
	[ "$n" -gt 0 ] || bail "no calls of $kind"
	bad=
	step=$((n / 15 + 1))
	for ((i = 1; i <= n; i += step)); do
		run "$kind:$i:${fault#*:}" || bad+="$verdict; "
	done
	is "$n calls of $kind, each $step. one fails" "$bad" ""
done
done_testing
