#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Many sessions: what an idle one costs, and that a busy one does not stop it.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/pager/solo-lib.sh"
requires userfaultfd root jq
ulimit -n 20000 2>/dev/null || skip_all "not enough descriptors"

N=1000
has plain || N=100
mkimage mem.raw 512 0-511:data=1
start_solo
paged "one before" "map auto 2M 0; HAND; check"
before=$(ask rss) fds=$(open_fds)

good=0
for ((i = 0; i < N; i++)); do
	[[ $(ask "{\"id\":\"i$i\",\"memfile\":\"$T/mem.raw\"}") == ok* ]] && good=$((good + 1))
done
is "$N sessions are made" $good $N
is "all wait" "$(ask count)" $N

mkfifo hold
for ((i = 0; i < N; i++)); do
	client -e "map auto 2M 0; handoff run/i$i.sock; touch seq count 1 blind; hold" <hold >/dev/null 2>"i$i.err" &
done
exec 7>hold
all_serve() { is_fact i$((N - 1)) .counters.demand 1 && is_fact i0 .counters.demand 1; }
ok "all serve a guest" within 60 all_serve
sleep 3
each=$((($(ask rss) - before) / N))
diag "resident memory of an idle session: $each KiB"
if has plain; then
	ok "which is no more than 64 KiB" test $each -le 64
else
	skip "under a sanitizer"
fi

# One that is flooded, and another guest beside it.
session flooded mem.raw ',"prefetch":"off"'
session quiet mem.raw ',"prefetch":"off"'
client -t 100 -f mem.raw -e "map auto 2M 0; handoff run/flooded.sock; churn 8 1 threads 16" >flooded.out 2>&1 &
flood=$!
within 20 is_fact flooded '.counters.faults > 1000' true
ok "a guest beside one that floods, and a crowd" client -t 60 -f mem.raw \
	-e "map auto 2M 0; handoff run/quiet.sock; latency 300; check"
ok "the flood's bytes were right" wait $flood

exec 7>&-
none_left() { [ "$(ask count)" = 0 ]; }
ok "the guests end: so do the sessions" within 30 none_left
ok "with all their descriptors" within 20 has_fds "$fds"
is "no guest has complained" "$(cat i*.err)" ""
quit_solo
is "the sanitizers are content" "$(grep -E 'Sanitizer|runtime error' solo.log)" ""
done_testing
