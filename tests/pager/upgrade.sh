#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Another pager takes the sessions over, or does not, and no guest notices.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/pager/lib.sh"
requires lamina-pager curl jq userfaultfd root
seed=${SEED:-$RANDOM}
echo "# SEED=$seed"
mkimage mem.raw 4096 0-1199:data=1 1800-3999:data=2 4000-4095:fill=7
start_pager || bail "no pager"

options=(--foreground --socket "$sock" --runtime-dir "$T/run")

take_over() { # the old one ends well, and the new one answers
	local old=$pager_pid
	lamina-pager "${options[@]}" --takeover >>pager.log 2>&1 &
	pager_pid=$!
	wait "$old" && next_worker none
}

refused() {
	! tomorrow "${options[@]}" --takeover >tomorrow.log 2>&1 && answers
}

# --- there is one pager ---

exits "a second one" 4 lamina-pager "${options[@]}"
like "says why" "$(cat err)" "a pager serves '$T/run' already"
exits "nor with another socket" 4 lamina-pager -f -s "$T/run/other.sock" --runtime-dir "$T/run"
exits "nor with that socket from another directory" 4 lamina-pager -f -s "$sock" -r "$T/elsewhere"
like "says why" "$(cat err)" "a pager answers on '$sock' already"
ok "the first one serves on" answers

# --- while guests work ---

take_over || bail "no takeover"
keeper_fds=$(fds_of "$(keeper_pid)")
session a mem.raw
guest_begin a mem.raw
ok "a guest" guest_does a "map auto 8M 0" "map auto 8M 8M memfd" "handoff run/a.sock"
sessions w 20 mem.raw
guest_begin p mem.raw
ok "one that has connected only" guest_does p "map auto 4M 0" "handoff run/w20.sock silent"
ok "works while others take over" while_works a take_over "churn 3 $seed threads 6" syscall check
echo "# $n takeovers"
ok "some of them" test $n -ge 1
is "each was a worker of its own" "$(fact a .counters.workers)" $((n + 1))
like "and told" "$(cat pager.log)" "took over 21 sessions.*another pager has taken over 21 sessions"
is "those who waited wait" "$(count_state waiting)" 20
ok "at the same sockets" client -t 60 -f mem.raw -e "map auto 8M 0; handoff run/w3.sock; touch random threads 4; check"
ok "and who is connected, too" is_state w20 waiting

# --- one that knows nothing of these sessions ---

keeper=$(keeper_pid)
exits "a program of another layout" 1 tomorrow "${options[@]}" --takeover
like "says why" "$(cat err)" "state has layout 2, this program knows 1000"
is "the old keeper is there" "$(keeper_pid)" "$keeper"
next_worker none
ok "its sessions wait" is_count waiting 19
ok "its guest works while it is asked again" while_works a refused "churn 2 $((seed + 1)) threads 6" check
echo "# $n refusals"
like "the log tells" "$(cat pager.log)" "another pager did not take over: Protocol not supported; going on"
has python3 && ok "one that speaks another language" python3 -c "
import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect('$T/run/keeper.sock'); s.send(b'hello')"
ok "then one that knows them" take_over
guest_does a "touch random write threads 4" check || fail "the guest goes on"
guest_end a
is "the guest ends" $? 0
ok "and its session" within 10 is_state a gone
guest_end p
ok "the other one failed" within 10 is_state w20 failed
close_all
kept() { [ "$(fds_of "$(keeper_pid)")" = "$keeper_fds" ]; }
ok "the keeper has no descriptor too many" within 10 kept

# --- the end ---

session z mem.raw
guest_begin z mem.raw
guest_does z "map auto 4M 0" "handoff run/z.sock" "touch seq count 10"
kill "$pager_pid"
told() { grep -q "not ending: 1 guest would hang" pager.log; }
ok "it does not end while guests depend on it" within 10 told
ok "and serves" guest_does z "touch random threads 2" check
guest_end z
within 10 is_state z gone
kill "$pager_pid"
wait "$pager_pid"
is "then it does" $? 0
is "nothing is left" "$(find run -type s)" ""
lamina-pager "${options[@]}" --takeover >>pager.log 2>&1 &
pager_pid=$!
ok "a takeover from nobody is a start" next_worker none
asks "drain" 200 POST /drain
ok "a takeover from one that drains" take_over
draining() { curl -sf --unix-socket "$sock" http://pager/health | jq -e .draining; }
ok "is one that drains" draining
ok "whoever is killed" kill_keeper
ok "of the two" kill_worker
ok "or in whatever order" kill_keeper
ok "it drains" draining
done_testing
