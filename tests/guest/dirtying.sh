#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# dirtying.sh
#
# What a generation of a Debian guest costs, and what makes it less: CYCLES (4) times the
# guest writes a little, logs, starts a process and idles for 5 s, is paused and committed,
# in five kinds of guests, each booted anew: as Debian is; provisioned; provisioned, and with
# every step of /reclaim before each pause; and with /collapse of all; and with init_on_free=1.
# Prints, a line each: pages that are not as the parent's, frames that they are in, and what
# was stored, of memory and of disk: the median of the cycles, and the least and the most.
# Not part of `make check-guest`: it measures. GUEST_DEBIAN=DIR names a finished guest.

# shellcheck source-path=SCRIPTDIR source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=debian-lib.sh
. "$srcroot/tests/guest/debian-lib.sh"
debian_requires
requires loop lamina-agent
debian_image
cycles=${CYCLES:-4}

work='head -c 64K /dev/urandom >>/root/written; logger -p user.notice "a line in the log"
	python3 -c "import json; json.dumps(list(range(1000)))"; sleep 5; sync'

ask() { # PATH BODY
	agent POST "$1" "$2"
	[ "$status" = 200 ] || bail "$1: $(cat body)"
}

before_pause() { # KIND
	case $1 in
	*reclaim*) ask /reclaim '{"fstrim":9000,"sync":9000,"drop_caches":9000,"compact_memory":9000}' ;;&
	*collapse*) ask /collapse '{"all":true}' ;;
	esac
}

capture() { # N: a child of the last one; its numbers are in N.json
	local parent=()
	[ "$1" = 0 ] || parent=(--parent "$(jq -r .layer last.json)")
	ctl save "$run_dir/qmp" "$T/state" &&
		lamina --store "$T/store" commit --json --memfile "$ram" --rootfs disk \
			--state state "${parent[@]}" >last.json && ctl cont "$run_dir/qmp" ||
		bail "no layer"
}

numbers() { # KIND: of the last layer
	jq -r --arg kind "$1" '.images[] | select(.name != "state") |
		"\($kind) \(.name) \(.known + .new) \(.frames_touched) \(.stored_bytes / 1024 | round)"' \
		last.json
}

measure() { # KIND
	local n
	cp --sparse=always "$debian/rootfs" disk
	case $1 in
	plain) ;;
	*) lamina -q guest provision --listen tcp:0.0.0.0:1052 --agent-token token disk ;;
	esac || bail "not provisioned"
	kernel_arguments=
	[[ $1 != *init-on-free* ]] || kernel_arguments=init_on_free=1
	debian_boot "$T/disk" || bail "it does not boot"
	[ "$1" = plain ] || within 60 agent_answers || bail "no agent"
	for ((n = 0; n <= cycles; n++)); do
		in_guest "$work" >/dev/null || bail "no work"
		before_pause "$1"
		capture "$n"
		[ "$n" = 0 ] || numbers "$1" >>numbers
	done
	debian_stop
}

table() {
	sort -s -k1,2 numbers | awk '
	function flush(  c, line) {
		line = sprintf("%-36s %-8s", kind, image)
		for (c = 0; c < 3; c++)
			line = line " " sorted(c)
		print line
	}
	function sorted(c,  i, j, t) {
		for (i = 2; i <= n; i++)
			for (j = i; j > 1 && v[c, j] < v[c, j - 1]; j--) {
				t = v[c, j]; v[c, j] = v[c, j - 1]; v[c, j - 1] = t
			}
		return sprintf("%7d (%d-%d)", v[c, int((n + 1) / 2)], v[c, 1], v[c, n])
	}
	$1 != kind || $2 != image { if (n) flush(); n = 0; kind = $1; image = $2 }
	{ n++; for (c = 0; c < 3; c++) v[c, n] = $(3 + c) + 0 }
	END { flush() }'
}

(umask 077; echo "$token" >token)
lamina -q --store store init || bail "no store"
for kind in plain provisioned provisioned-reclaim provisioned-reclaim-collapse \
	provisioned-init-on-free; do
	measure "$kind"
	pass "measured: $kind"
done
diag "kind, image: pages changed, frames touched, KiB stored: the median of $cycles (least-most)"
diag "$(table)"

done_testing
