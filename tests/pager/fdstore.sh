#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# All processes of the pager are killed at once, or it is stopped: with what systemd has
# stored every guest goes on, and every byte is right.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/pager/lib.sh"
requires lamina-pager curl jq userfaultfd root
mkimage mem.raw 4096 0-1199:data=1 1800-3999:data=2 4000-4095:fill=7
sock=$T/run/pager.sock

# $T/said is what systemd answers; $systemd its standard input.
begin_systemd() {
	rm -f orders notify said
	mkfifo orders
	: >said
	env "$@" systemd lamina-pager --foreground --takeover --runtime-dir "$T/run" \
		<orders >>said 2>>pager.log &
	systemd_pid=$!
	at_exit "kill $systemd_pid"
	exec {systemd}>orders
}

end_systemd() {
	exec {systemd}>&-
	wait "$systemd_pid"
}

order() { # LINE: and what is answered
	local before
	before=$(wc -l <said)
	printf '%s\n' "$1" >&"$systemd"
	answer() { tail -n "+$((before + 1))" said; }
	obeyed() { [ "$(answer | tail -1)" = end ]; }
	within 20 obeyed && answer | sed '$d'
}

starts() {
	order start && within 20 answers
}

kill_all() {
	gone() {
		pager_pids | grep -vx "$systemd_pid" | xargs -r kill -9
		[ "$(pager_pids | grep -vxc "$systemd_pid")" = 0 ]
	}
	within 20 gone
}

# How many of a role are stored; `names` is what `order names` said.
stored() { # ROLE
	order names | grep -c "^$1"
}

is_stored() { # ROLE N
	[ "$(stored "$1")" = "$2" ]
}

at_exit end_pager
begin_systemd
ok "a service" starts

# --- a crash of all ---

for g in a b; do
	session $g mem.raw
	guest_begin $g mem.raw
	ok "guest $g" guest_does $g "map auto 8M 0" "map auto 8M 8M memfd" "handoff run/$g.sock" "touch random count 50"
done
touch lease
session c mem.raw ",\"hold\":[\"$T/lease\"]"
is "three sessions" "$(curl -s --unix-socket "$sock" http://pager/sessions | jq length)" 3
ok "their states are stored" within 10 is_stored 2 3
ok "two userfaultfds" within 10 is_stored 5 2
is "one hold" "$(stored 7)" 1
is "and the API's socket" "$(stored 1)" 1
guest_works() { # NAME: one that faults while nobody serves
	guest_does "$1" "churn 1 5 threads 4" check
}
guest_works a &
one=$!
guest_works b &
two=$!
ok "all are killed while they fault" kill_all
ok "and started again, with what was stored" starts
wait $one
is "guest a goes on, every byte right" $? 0
wait $two
is "guest b, too" $? 0
is "they are served" "$(count_state serving)" 2
is "and the third one waits" "$(count_state waiting)" 1
like "the log says what was kept" "$(cat pager.log)" 'systemd has kept 3 sessions'
is "the API's socket is one" "$(stored 1)" 1
ok "the hold is held" test "$(flock -n lease echo free)" != free
ok "the third one serves" client -t 60 -f mem.raw -e "map auto 8M 0; handoff run/c.sock; touch random; check"
ok "and is gone" within 10 is_state c gone
ok "its userfaultfd is stored no longer" within 10 is_stored 5 2

# --- at once again, and a client that waits ---

kill_all
curl -s --max-time 60 --unix-socket "$sock" -o waited http://pager/version &
waiting=$!
sleep 0.2
ok "killed again, and started" starts
wait $waiting
is "who asked meanwhile is answered" $? 0
guest_works a && guest_works b
is "both guests go on" $? 0

# --- somebody else answers there ---

kill_all
python3 - "$sock" <<'P' &
import os, socket, sys, time
path = sys.argv[1]
os.path.lexists(path) and os.unlink(path)
s = socket.socket(socket.AF_UNIX)
s.bind(path)
s.listen(8)
open("foreign", "w").close()
time.sleep(60)
P
foreign=$!
within 20 test -e foreign
before=$(grep -c 'answers on' pager.log)
refused() { [ "$(grep -c 'answers on' pager.log)" -gt "$before" ]; }
order start
ok "a foreign socket at that path is refused" within 10 refused
is "with all that was stored still there" "$(stored 5)" 2
kill $foreign
wait $foreign 2>/dev/null
ok "when it is gone, the pager starts with a new one" starts
guest_works a && guest_works b
is "both guests go on" $? 0
ok "the new one is stored" within 10 is_stored 1 1

# --- a stop, as systemd does it that keeps descriptors ---

guest_end a
guest_end b
within 10 none_left
kill_all
end_systemd
rm -rf run
begin_systemd FDSTORE=1000
ok "a service whose descriptors are kept" starts
session d mem.raw
guest_begin d mem.raw
guest_does d "map auto 8M 0" "handoff run/d.sock"
within 10 is_stored 5 1
request POST /drain
kill "$(keeper_pid)"
ended() { [ "$(pager_pids | grep -vxc "$systemd_pid")" = 0 ]; }
ok "SIGTERM ends it at once" within 10 ended
ok "its socket is gone" test ! -e "$sock"
guest_works d &
one=$!
ok "it is started again" starts
wait $one
is "the guest goes on" $? 0
request GET /health
is "the new one drains as the old one did" "$(jq -r .draining body)" true
ok "and its API is the new socket" within 10 is_stored 1 1

# --- half of it ---

kill_all
order "keep 1248"
ok "a start without userfaultfds" starts
ok "the session has failed" within 10 is_state d failed
is "and says why" "$(fact d .reason)" "its userfaultfd was lost"
ok "nothing but its state is stored" within 10 is_stored 4 0
kill "${guest_pid_d:?}"
wait "$guest_pid_d" 2>/dev/null
kill_all
order "keep 34567"
ok "a start without states" starts
is "knows no sessions" "$(curl -s --unix-socket "$sock" http://pager/sessions)" "[]"
ok "a session is none of those" session e mem.raw
ok "and works" client -t 60 -f mem.raw -e "map auto 8M 0; handoff run/e.sock; touch random; check"

# --- one that does not listen ---

order deaf
ok "systemd does not listen" sessions w 40 mem.raw
is "which no session waits for" "$(count_state waiting)" 40
late() { grep -q 'does not take descriptors now' pager.log; }
ok "the log says so" within 20 late
order hear
ok "then it does, and has all" within 20 is_stored 3 40
order deaf
close_all
order hear
ok "what was closed meanwhile is not stored" within 20 is_stored 3 0
again() { grep -q 'has taken all descriptors again' pager.log; }
ok "the log says that it has" within 20 again
is "once" "$(grep -c 'has taken all descriptors again' pager.log)" "$(grep -c 'does not take descriptors now' pager.log)"
order deaf
sessions v 20 mem.raw
ok "the keeper is killed meanwhile" kill_keeper
order hear
ok "the next one says what it had not" within 20 is_stored 3 20
done_testing
