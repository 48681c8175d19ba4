#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A thousand sessions wait and two hundred serve, one of them flooded: right bytes for all.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/pager/lib.sh"
requires lamina-pager curl jq userfaultfd root
mkimage mem.raw 4096 0-1199:data=1 1800-3999:data=2 4000-4095:fill=7
start_pager || bail "no pager"

rss() { # KiB, of the worker
	awk '$1 == "VmRSS:" {print $2}' "/proc/$(worker_pid)/status"
}

# --- waiting ---

kill_worker
before=$(rss)
ok "a thousand sessions" sessions w 1000 mem.raw
is "wait" "$(count_state waiting)" 1000
each=$(((($(rss) - before) * 1024) / 1000))
echo "# $each bytes of memory for each, $(fds_of "$(worker_pid)") descriptors"
if has plain; then
	ok "each at no more than 64 KiB" test $each -le 65536
else
	skip "memory is not itself under a sanitizer"
fi
asks "a page of them" 200 GET "/sessions?limit=10&after=500"
is "is ten" "$(jq length body)" 10

# --- serving ---

mkfifo go.in
exec {go}<>go.in
for ((i = 1; i <= 200; i++)); do # each does a little, waits for the word, and does the rest
	client -t 100 -f mem.raw -e "map auto 1M $((i % 15))M; handoff run/w$i.sock
		touch random count 60 seed $i; hold; touch random write threads 2 seed $i; check" \
		<go.in >"g$i.out" 2>&1 {go}>&- &
	pids[i]=$!
done
at_exit "kill -9 ${pids[*]}"
begun() { [ "$(grep -l '^ok hold' g?*.out | wc -l)" = 200 ]; }
ok "two hundred guests" within 60 begun || diag "$(grep -h client: g?*.out | head)"
is "are served" "$(count_state serving)" 200
is "and eight hundred wait" "$(count_state waiting)" 800
echo "# $(rss) KiB, $(fds_of "$(worker_pid)") descriptors"
if has plain; then
	ok "at no more than 64 KiB each" test $((($(rss) - before) / 1000)) -le 64
else
	skip "memory is not itself under a sanitizer"
fi

# --- one is flooded ---

guest_begin w201 mem.raw
guest_does w201 "map auto 16M 0" "handoff run/w201.sock"
guest_begin w202 mem.raw
guest_does w202 "map auto 16M 0 memfd" "handoff run/w202.sock"
guest_does w201 "churn 2 1 threads 16" check >flood &
flood=$!
ok "beside one that is flooded" guest_does w202 "touch random threads 2" "remove 1M 4M" syscall check
ok "which is right itself" wait $flood || cat flood
for i in 1 2; do
	guest_end w20$i
	is "guest $i ends" $? 0
done

# --- all of it again with another worker ---

ok "the worker is killed" kill_worker
is "two hundred are served" "$(count_state serving)" 200
exec {go}>&-
bad=0
for i in "${!pids[@]}"; do
	wait "${pids[i]}" && continue
	bad=$((bad + 1))
	diag "$(tail -1 "g$i.out")"
done
is "their bytes are right" $bad 0
ok "and they have ended" within 20 is_count gone 202
is "the others wait" "$(count_state waiting)" 798
done_testing
