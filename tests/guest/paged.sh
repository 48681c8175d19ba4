#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# paged.sh
#
# The guests of a series, their RAM served by lamina-pager from mounted layers (see
# paged-ram.c): each answers as at its capture, also when its pages are replayed from a
# trace, when the pager's worker or the mount dies in the middle, when it graduates, and
# beside another one.
# GUEST_SERIES=DIR names a finished series of two generations or more to use instead of
# recording one. Part of `make check-guest`, and a program of its own (TAP).

# shellcheck source-path=SCRIPTDIR source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=../pager/lib.sh
. "$srcroot/tests/pager/lib.sh"
guest=$srcroot/tests/guest
requires root fuse plain qemu userfaultfd lamina-pager curl jq setpriv python3
[ -e "$buildroot/tests/guest/paged-ram.so" ] || skip_all "no paged-ram.so: see make check-guest"

series=${GUEST_SERIES:-$T/series}
if [ -z "${GUEST_SERIES:-}" ]; then
	"$guest/series" "$series" 3 2>series.log || bail "no series: $(tail -n 1 series.log)"
fi
last=$(($(find "$series" -maxdepth 1 -name 'memfile-*' | wc -l) - 1))

# --- a session, and its guest ---

session() { # ID K [FIELDS]: of generation K's layer; FIELDS: a JSON object of others
	request POST /sessions "$(jq -cn --arg id "$1" --arg memfile "$T/mnt/tags/gen$2/memfile" \
		--argjson more "${3:-null}" '{$id, $memfile, prefetch: "off"} + $more')"
	[ "$status" = 201 ] || bail "session $1: $(cat body)"
}

resume() { # ID K [ARGUMENT...]: leaves answer-ID
	local layer=$T/mnt/tags/gen$2
	"$guest/resume" --pager "$T/run/$1.sock" --memfile "$layer/memfile" \
		--state "$layer/state" --rootfs "$layer/rootfs" "${@:3}" >"answer-$1" 2>"err-$1"
}

look() { # ID FILTER: of what the pager says of the session
	request GET "/sessions/$1" && jq -r "$2" body
}

counted() { # ID COUNTER N: whether it has come to N
	[ "$(look "$1" ".counters.$2")" -ge "$3" ]
}

answers() { # NAME ID K: its guest has, as generation K did
	same "$1" "answer-$2" "$series/answer-$3" || diag "$(cat "err-$2")"
}

row() { # ID NAME
	diag "$2: $(look "$1" '"\(.counters.faults) faults, \(.counters.demand) pages for them, \(
		.counters.ahead) ahead, \(.counters.replayed) replayed, \(
		.resident_bytes / 1048576 * 10 | round / 10) MiB installed"')"
	diag "   $(tail -n 1 "err-$1")"
}

lamina -q --store store init || bail "no store"
for ((k = 0; k <= last; k++)); do
	lamina -q --store store commit --memfile "$series/memfile-$k" \
		--rootfs "$series/rootfs-$k" --state "$series/state-$k" --tag "gen$k" >/dev/null ||
		bail "no layer $k"
done
mount_store store mnt || bail "no mount"
start_pager || bail "no pager"

# --- each generation ---

for ((k = 0; k <= last; k++)); do
	session "each$k" "$k" '{"prefetch": "adaptive"}'
	ok "generation $k resumes through the pager" resume "each$k" "$k"
	answers "it answers as at its capture" "each$k" "$k"
	ok "its session ends with it" within 10 is_state "each$k" gone
	row "each$k" "generation $k, adaptive window"
done

# --- recorded, and replayed ---

session first 1 "{\"record\": \"$T/run/first.trace\"}"
ok "a resume is recorded" resume first 1
answers "its guest is right" first 1
ok "the recording ends with it" within 10 is_state first gone
row first "recorded"
ok "it becomes a trace of the layer" lamina --store store trace import gen1 run/first.trace
replay="{\"trace\": \"$T/mnt/tags/gen1/traces/resume\"}"
touched=$(lamina --store store trace show gen1 --json | jq .pages)
is "which has every page that the guest came for" "$touched" "$(look first .counters.demand)"
session again 1 "$replay"
ok "a resume with the trace" resume again 1
answers "is right, too" again 1
within 10 is_state again gone
row again "replayed"
left=$(look again .counters.faults)
diag "trace: $touched pages; $(look again .counters.replayed) replayed, $left faults left"
ok "most of the trace was replayed" counted again replayed $((touched / 2))
ok "and most faults are gone" test "$left" -lt $((touched / 2))

# --- the worker is killed ---

worker() {
	pgrep -P "$pager_pid" -x pager-worker
}

is_other() { # PID
	local now
	now=$(worker) && [ "$now" != "$1" ]
}

kill_worker() {
	local old
	old=$(worker) && kill -9 "$old" && within 20 is_other "$old"
}

unanswered() { # ID
	kill -0 "$running" && ! [ -s "answer-$1" ]
}

# 48 MiB more than the answer needs, so that there is a middle on a fast machine, too.
session killed 1
resume killed 1 --command 'python3 -c "b\"x\" * (48 << 20)" && answer' &
running=$!
for n in 1 2 3 4 5; do
	within 60 counted killed faults $((touched * n / 8))
	served=$(look killed .counters.faults)
	ok "the worker is killed, $n of 5, after $served faults" kill_worker
done
ok "its guest comes through" wait "$running"
answers "and is right" killed 1
within 10 is_state killed gone
ok "it needed the last worker, too" counted killed faults $((served + 1))
is "which was the sixth" "$(look killed .counters.workers)" 6
row killed "five workers killed"

# --- the mount dies ---

umount_store mnt && mount_store store mnt || bail "no mount"	# with nothing in the page cache
session orphan 1
resume orphan 1 --state "$series/state-1" --rootfs "$series/rootfs-1" &	# QEMU's own files stay
running=$!
within 60 counted orphan faults $((touched / 4))
kill -9 "$fuse_pid"
ok "lamina-fuse is killed: the guest waits for a page" within 60 counted orphan retries 3
ok "and goes on waiting" unanswered orphan
umount -l mnt
ok "the store is mounted again" mount_store store mnt
ok "the guest goes on" wait "$running"
answers "and is right" orphan 1
within 10 is_state orphan gone
row orphan "lamina-fuse killed and mounted again"

# --- a guest that needs its pager no more ---

session weaned 1 '{"detachable": true}'
resume weaned 1 &
running=$!
within 60 counted weaned faults $((touched / 4))
request POST /sessions/weaned/complete '{}'
is "a guest graduates while it runs" "$status" 200
is "the pager lets go of it" "$(look weaned .state)" graduated
kill_worker
ok "it comes through without its pager" wait "$running"
answers "and is right" weaned 1
row weaned "graduated in the middle"

# --- two of one layer ---

session left 1 "$replay"
session right 1
resume left 1 &
running=$!
ok "one of two guests of a layer" resume right 1
ok "and the other" wait "$running"
answers "the one is right" right 1
answers "the other too" left 1
within 10 is_state left gone
within 10 is_state right gone
row left "beside another, replayed"
row right "beside another"

done_testing
