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

export work='head -c 64K /dev/urandom >>/root/written; logger -p user.notice "a line in the log"
	python3 -c "import json; json.dumps(list(range(1000)))"; sleep 5; sync'
reclaim='{"fstrim":9000,"sync":9000,"drop_caches":9000,"compact_memory":9000}'

options() { # KIND: of its pauses
	case $1 in
	*collapse*) echo "--reclaim '$reclaim' --collapse" ;;
	*reclaim*) echo "--reclaim '$reclaim'" ;;
	esac
}

# KIND, image, and the median, the least and the most of what changed, was touched, was stored.
numbers() { # KIND
	jq -r --arg kind "$1" '
		def of(f; unit): "\(f.median / unit | round) (\(f.min / unit | round)-\(f.max / unit | round))";
		.summary | group_by(.image)[] | select(.[0].image | IN("memfile", "rootfs")) |
		(map({key: .figure, value: .}) | from_entries) as $f |
		[$kind, .[0].image, of($f.changed_pages; 1), of($f.frames_touched; 1),
			of($f.stored_bytes; 1024)] | @tsv' measured.json
}

measure() { # KIND
	kernel_arguments=
	[[ $1 != *init-on-free* ]] || kernel_arguments=init_on_free=1
	cp --sparse=always "$debian/rootfs" disk
	[ "$1" = plain ] || debian_provision disk || bail "not provisioned"
	debian_live "$1" disk
	[ "$1" = plain ] || within 60 agent_answers || bail "no agent"
	lamina measure-dirtying "$1" --json --workload command --cycles "$cycles" \
		--workload-command "'$guest/ctl.py' shell '$run_dir/serial' 120 \"\$work\" >&2" \
		--pause "$(options "$1")" >measured.json 2>measured.err || bail "$(tail -n 1 measured.err)"
	numbers "$1" >>table
	debian_stop
}

debian_store
for kind in plain provisioned provisioned-reclaim provisioned-reclaim-collapse \
	provisioned-init-on-free; do
	measure "$kind"
	pass "measured: $kind"
done
diag "kind, image: pages changed, frames touched, KiB stored: the median of $cycles (least-most)"
diag "$(column -t -s $'\t' table)"

done_testing
