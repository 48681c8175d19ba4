#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Memory that is not there, and a disk that cannot be read, are errors for who
# asks at that moment: never wrong bytes, never the end of the daemon.
. "$(dirname "$0")/lib.sh"
requires lamina-fuse-fault

lamina -q init
mkimage mem.raw 700 0-599:data=1 650:noise=2
commit -m mem.raw --tag t >/dev/null
mkdir mnt
at_exit "umount -l '$T/mnt'"

# Everything a reader does, with errors, then what matters: are bytes right?
use() {
	ls -lR mnt
	readlink mnt/tags/t
	cat mnt/.stats mnt/tags/t/info.json
	probe runs mnt/tags/t/memfile
	probe pages mnt/tags/t/memfile mem.raw
}
wrong() { # "differ" with anything but "none"
	grep -q 'differ: [0-9]' "$1"
}
well() {
	probe pages mnt/tags/t/memfile mem.raw >again 2>&1
	[ "$(cat again)" = "$unharmed" ]
}
run() { # FAULT: sets verdict
	LAMINA_FAULT=$1 lamina-fuse-fault -f -o threads=2 store mnt >log 2>&1 &
	local pid=$!
	verdict=
	until is_mounted mnt; do
		nobody_else $pid && break
		sleep 0.02
	done
	if is_mounted mnt; then
		use >used 2>&1
		wrong used && verdict="$1: wrong bytes"
		# The last faults strike only now: one of two is whole.
		well || well || verdict="$1: not well afterwards: $(cat again)"
		umount mnt || verdict="$1: still busy"
		within 20 nobody_else $pid
		wait $pid || verdict="$1: ended with $?"
	else
		wait $pid
		[ $? = 1 ] && [ "$(grep -c '^lamina-fuse: ' log)" = 1 ] || verdict="$1: did not start: $(cat log)"
	fi
	[ -z "$verdict" ]
}

for fault in malloc:ENOMEM pread:EIO open:EMFILE; do # (what never happens: mkdir)
	kind=${fault%:*}
	rm -f count
	export LAMINA_FAULT_COUNT=$T/count
	ok "without a fault" run mkdir:1000000:EIO || diag "$verdict"
	unset LAMINA_FAULT_COUNT
	n=$(awk -v k="$kind" '$1 == k {n += $2} END {print n + 0}' count)
	[ "$n" -gt 0 ] || bail "no calls of $kind"
	bad=
	step=$((n / 25 + 1))
	for ((i = 1; i <= n; i += step)); do
		run "$kind:$i:${fault#*:}" || bad+="$verdict; "
	done
	is "$n calls of $kind, each $step. one fails" "$bad" ""
done
done_testing
