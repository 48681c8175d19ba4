#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Guests that give memory back as fast as they can, against a pager that fetches ahead, replays a
# trace, and is killed meanwhile: no byte is stale, and no removal is lost.  TRIES=1000000 wants
# so many removals, KILLS=1000 so many kills; `make check` has time for fewer.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/pager/lib.sh"
requires lamina-pager curl jq userfaultfd root
tries=${TRIES:-20000} kills=${KILLS:-15} seed=${SEED:-$RANDOM}
echo "# SEED=$seed TRIES=$tries KILLS=$kills"
mkimage mem.raw 1024 0-599:data=1 700-999:data=2 1000-1023:fill=7
{
	echo 'lamina-trace 1 page-size 4096 size 4194304'
	printf '%d 16\n' {0..1008..16}
	echo 'end 1024'
} >trace
start_pager || bail "no pager"

# Churns in rounds until there were enough removals, or for ever if there is a file `on`.
churns() { # ID KIND THREADS PREFETCH
	local n=0 script
	session "$1" mem.raw ",\"prefetch\":\"$4\",\"trace\":\"$T/trace\"" || return
	coproc guest { exec client -t 3600 -f mem.raw 2>&1; }
	echo "map auto 4M 0 $2
handoff run/$1.sock" >&"${guest[1]}"
	while [ -e on ] || [ "$(fact "$1" .counters.removes)" -lt "$tries" ]; do
		echo "churn 1 $((seed + n)) threads $3" >&"${guest[1]}"
		script=
		while [[ $script != ok\ churn* ]]; do
			read -r -t 60 -u "${guest[0]}" script || { echo "no answer: $script" && return 1; }
		done
		n=$((n + 1))
	done
	echo check >&"${guest[1]}"
	eval "exec ${guest[1]}>&-"
	wait "$guest_PID"
}

ok "no byte is stale" churns plain "" 6 2M
ok "nor of shared memory" churns shared memfd 6 64K
for id in plain shared; do
	removes=$(fact $id .counters.removes)
	ok "of $removes removals" test "$removes" -ge "$tries"
done

touch on
churns killed "" 6 adaptive >killed.out 2>&1 &
churning=$!
within 20 is_state killed serving
done=0
for ((i = 0; i < kills; i++)); do
	kill_worker && done=$((done + 1))
done
rm on
is "workers are killed" $done "$kills"
ok "and no event is lost" wait $churning || sed 's/^/# /' killed.out
done_testing
