#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# How sessions end: by the guest's death, its hypervisor's hanging up, by close, by force.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/pager/lib.sh"
requires lamina-pager curl jq userfaultfd root
mkimage mem.raw 4096 0-1199:data=1 1800-3999:data=2 4000-4095:fill=7
cat >pager.conf <<END
[pager]
stop_command = echo "\$LAMINA_SESSION \$LAMINA_PID" >>'$T/stopped'; kill -9 "\$LAMINA_PID"
END
start_pager || bail "no pager"
kill_worker
keeper_fds=$(fds_of "$(keeper_pid)")
worker_fds=$(fds_of "$(worker_pid)")
clean() {
	[ "$(fds_of "$(keeper_pid)")" = "$keeper_fds" ] && [ "$(fds_of "$(worker_pid)")" = "$worker_fds" ]
}
states() { # KiB of shared memory that sessions' states have in the worker
	awk '/^[0-9a-f]+-.*memfd/ {of = 1; next} /^[0-9a-f]+-/ {of = 0} of && $1 == "Rss:" {n += $2} END {print n + 0}' \
		"/proc/$(worker_pid)/smaps"
}

# --- kill -9 ---

ok "sessions" sessions k 8 mem.raw
for i in {1..8}; do
	guest_begin "k$i" mem.raw
	guest_does "k$i" "map auto 8M 0" "map auto 8M 8M memfd" "handoff run/k$i.sock" "touch seq count 1" ||
		fail "guest $i"
done
is "they serve" "$(count_state serving)" 8
for i in {1..8}; do # in the middle of everything
	eval "(echo 'churn 20 $i threads 3' >&\$guest_fd_k$i)"
done
busy() { [ "$(fact k8 .counters.faults)" -gt 100 ]; }
within 20 busy
for i in {1..8}; do
	eval "kill -9 \$guest_pid_k$i"
done
ok "guests that are killed: their sessions end" within 20 is_count gone 8
is "and say why" "$(curl -s --unix-socket "$sock" http://pager/sessions | jq -c '[.[].reason] | unique')" '["the hypervisor ended"]'
is "no socket is left" "$(find run -name 'k?.sock')" ""
wait 2>/dev/null "$guest_pid_k1"
one_page_each() { [ "$(states)" -le $((8 * 64)) ]; } # of the head
ok "their pages' bytes are given back" within 20 one_page_each || diag "$(states) KiB"
close_all
ok "when they are forgotten, no descriptor is left" within 20 clean

# --- hanging up ---

session h mem.raw
guest_begin h mem.raw
ok "a hypervisor that hangs up" guest_does h "map auto 8M 0" "handoff run/h.sock" "touch random count 100" close
hung_up() { [ "$(fact h '"\(.state) \(.hung_up)"')" = "serving true" ]; }
ok "while its memory is there is served on" within 20 hung_up
ok "gets its bytes" guest_does h "touch random threads 3" "remove 1M 1M" check
ok "from the next worker, too" kill_worker
ok "which looks itself" within 20 hung_up
ok "its pages are right" guest_does h check
guest_end h 0
ok "when it ends, the session does" within 20 is_state h gone
is "and says why" "$(fact h .reason)" "the hypervisor ended"

session u mem.raw
guest_begin u mem.raw
ok "a guest that unmaps its memory" guest_does u "map auto 8M 0" "map auto 8M 8M" "handoff run/u.sock" \
	"touch random count 100" "unmap 0" "touch random off 8M len 8M count 500"
ok "is a guest" is_state u serving
ok "that closes its userfaultfd" guest_does u closefd "touch random off 8M len 8M threads 2"
guest_end u
is "and ends well" $? 0
ok "as its session does" within 20 is_state u gone

# --- close ---

session c mem.raw
guest_begin c mem.raw
guest_does c "map auto 16M 0" "handoff run/c.sock" "touch seq count 10"
asks "close of one that serves" 409 POST /sessions/c/close
ok "leaves it alone" guest_does c "touch random threads 2" check
asks "by force" 202 POST "/sessions/c/close?force=1"
ok "the session ends" within 20 is_state c gone
guest_end c
is "because the guest was killed by the signal" $? 137
is "and says that it was stopped" "$(fact c .stopped)" true
is "and why" "$(fact c .reason)" "stopped by force"
ok "by the command-line tool" lamina pager close -S "$sock" c
is "it is forgotten" "$(state_of c)" none

session w mem.raw
ok "one that waits is closed" lamina pager close -S "$sock" w
ok "its socket is gone" test ! -e run/w.sock

# --- drain, and what comes after ---

session d mem.raw
guest_begin d mem.raw
guest_does d "map auto 8M 0" "handoff run/d.sock" "touch seq count 10"
session d2 mem.raw
ok "drain" lamina pager drain -S "$sock"
ok "nothing new" eval '! session e mem.raw'
is "the answer is to try elsewhere" "$status" 503
draining() { curl -sf --unix-socket "$sock" http://pager/health | jq -e .draining; }
ok "the worker is killed" kill_worker
ok "the next one drains, too" draining
ok "nothing new" eval '! session e mem.raw'
is "for the same reason" "$status" 503
like "in the same words" "$(error_text)" "takes no new sessions"
ok "who waits may come" client -t 60 -f mem.raw -e "map auto 8M 0; handoff run/d2.sock; touch random threads 2; check"
ok "who is here stays" guest_does d "touch random threads 2" check
guest_end d
ok "until the last one has gone" within 20 is_count serving 0
close_all
ok "no descriptor is left" within 20 clean
counted() { curl -s --unix-socket "$sock" http://pager/metrics | grep -E '_total |_(sum|count) ' | grep -v '^#'; }
counted >counted.1
ok "what they counted stays" grep -q '^lamina_pager_faults_total [1-9]' counted.1
ok "when the worker is killed" kill_worker
counted >counted.2
same "to the last one" counted.1 counted.2

# --- the stop command ---

kill "$pager_pid"
wait "$pager_pid"
is "it ends" $? 0
start_pager --config "$T/pager.conf" || bail "no second pager"
ok "another pager does not drain" eval '! draining'
session s mem.raw
guest_begin s mem.raw
guest_does s "map auto 8M 0" "handoff run/s.sock" "touch seq count 10"
ok "force" lamina pager close -S "$sock" --force s
ok "ends the session" within 20 is_state s gone
is "by the stop command" "$(cat stopped)" "s $guest_pid_s"
guest_end s
is "which kills the guest" $? 137
done_testing
