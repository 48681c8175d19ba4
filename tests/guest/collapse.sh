#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# collapse.sh
#
# What collapsing a process's memory before the pause is worth when the guest is resumed
# cold: a Debian with a heap of 256 MiB that lies scattered over four times as much is
# captured without and with it, resumed twice through lamina-pager, and the heap is walked.
# Counts the frames of 2 MiB in which the pages are that the guest came for (its trace).
# Part of `make check-guest`, and a program of its own (TAP).
# GUEST_DEBIAN=DIR names a finished guest. HEAP_MIB=N: a heap of another size.

# shellcheck source-path=SCRIPTDIR source=../lib.sh
. "$(dirname "$0")/../lib.sh"
heap_mib=${HEAP_MIB:-256}
spread=3
# shellcheck disable=SC2034	# of debian-lib.sh
GUEST_RAM_MIB=$((heap_mib * (spread + 2)))
# shellcheck source=debian-lib.sh
. "$srcroot/tests/guest/debian-lib.sh"
# shellcheck source=../pager/lib.sh
. "$srcroot/tests/pager/lib.sh"
debian_requires
requires loop lamina-agent userfaultfd lamina-pager
[ -e "$buildroot/tests/guest/paged-ram.so" ] || skip_all "no paged-ram.so: see make check-guest"
debian_image

capture() { # TAG: what the guest is now, as a layer
	ctl save "$run_dir/qmp" "$T/state" &&
		lamina -q --store store commit --memfile "$ram" --rootfs disk --state state \
			--tag "$1" >/dev/null && ctl cont "$run_dir/qmp"
}

# Leaves NAME.trace, and the frames that it touched in $frames.
walk() { # TAG
	local layer=$T/mnt/tags/$1
	request POST /sessions "$(jq -cn --arg id "$1" --arg memfile "$layer/memfile" \
		--arg record "$T/run/$1.trace" '{$id, $memfile, $record, prefetch: "off"}')"
	[ "$status" = 201 ] || bail "session $1: $(cat body)"
	guest_env=("LD_PRELOAD=$(realpath "$buildroot/tests/guest/paged-ram.so")"
		"PAGED_RAM_FILE=$(realpath "$layer/memfile")"
		"PAGED_RAM_SOCKET=$T/run/$1.sock")
	disk_options=,snapshot=on debian_resume "$layer/memfile" "$layer/state" "$layer/rootfs"
	guest_env=()
	is "resumed $1, the heap is walked, and is whole" "$(in_guest "rm -f /run/heap.walked
		kill -USR1 $heap; while [ ! -e /run/heap.walked ]; do sleep 0.1; done
		cat /run/heap.walked")" "$sum"
	debian_stop
	within 30 ended "$1" || bail "the session of $1 does not end"
	frames=$(lamina trace show "$T/run/$1.trace" --json | jq .frames)
	pages=$(lamina trace show "$T/run/$1.trace" --json | jq .pages)
}

ended() { # SESSION
	request GET "/sessions/$1" && [ "$(jq -r .state body)" = gone ]
}

cp --sparse=always "$debian/rootfs" disk
(umask 077; echo "$token" >token)
lamina -q guest provision --listen tcp:0.0.0.0:1052 --agent-token token disk ||
	bail "no agent in it"
lamina -q --store store init || bail "no store"
debian_boot "$T/disk" || bail "it does not boot"
within 60 agent_answers || bail "no agent"
in_guest 'echo madvise >/sys/kernel/mm/transparent_hugepage/enabled' >/dev/null
read -r heap scattered < <(in_guest "heap $heap_mib $spread")
least=$((heap_mib / 2))
ok "a heap of $heap_mib MiB lies scattered over $scattered frames" \
	test "$scattered" -ge $((least * spread))
in_guest "kill -USR1 $heap; while [ ! -e /run/heap.walked ]; do sleep 0.1; done" >/dev/null
sum=$(in_guest 'cat /run/heap.walked')
capture before || bail "no layer before"

agent POST /collapse "{\"pids\":[$heap]}"
is "it is collapsed" "$status" 200
diag "$(cat body)"
capture after || bail "no layer after"
debian_stop
lamina --store store diff before after 2>/dev/null | sed 's/^/# /'

mount_store store mnt || bail "no mount"
start_pager || bail "no pager"
walk before
before=$frames
diag "not collapsed: $pages pages in $frames frames"
walk after
diag "collapsed:     $pages pages in $frames frames"
ok "a cold resume touches $((100 - 100 * frames / before)) % fewer frames, at least 60" \
	test $((100 * frames)) -le $((40 * before))

done_testing
