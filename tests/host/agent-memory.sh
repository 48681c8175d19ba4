#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What the agent does to the memory of others, asked over its socket.  (Its reclaim is not for the
# machine that the tests run on: only what does nothing is asked for here.)
. "$(dirname "$0")/../lib.sh"
requires root python3 curl lamina-agent
[ -z "${LAMINA_VALGRIND:-}" ] || skip_all "valgrind has no pidfd_open()"

heap=$buildroot/tests/guest/heap

ask() { # PATH [BODY]
	curl -sS --unix-socket agent.sock ${2:+-d "$2"} "http://agent$1"
}

field() { # NAME...: of the JSON on stdin
	python3 -c '
import json, sys
value = json.load(sys.stdin)
for name in sys.argv[1:]:
    value = value[name]
print(value)' "$@"
}

lines() { # N: there are so many
	[ "$(wc -l <lines)" -ge "$1" ]
}

lamina-agent --listen "unix:$T/agent.sock" --kmsg none >agent.out 2>&1 &
agent=$!
at_exit "kill $agent"
ok "the agent answers" within 60 ask /health

is "of reclaim nothing is asked" "$(ask /reclaim '{}' | field steps)" '[]'
is "nor so" "$(ask /reclaim '{"sync": 0, "fstrim": -1, "drop_caches": 0.5, "compact_memory": "x"}' |
	field steps)" '[]'
is "/stats" "$(ask /stats | field memory total)" \
	$(($(awk '/^MemTotal/ { print $2 }' /proc/meminfo) * 1024))

"$heap" 32 128 >lines 2>errors &
pid=$!
at_exit "kill -9 $pid"
ok "a process with a scattered heap" within 120 lines 1
before=$(sed -n 1p lines | field frames)
ok "is stopped" stop $pid

if ! ask /version | grep -q '"collapse"'; then
	skip "no MADV_COLLAPSE here" 6
else
	ask /collapse "{\"pids\": [$pid]}" >first
	diag "$(cat first)"
	is "its windows" "$(field chunks <first)" 16
	is "are collapsed" "$(field collapsed <first)" 16
	is "once" "$(ask /collapse "{\"pids\": [$pid, $pid]}" | field already_huge)" 32
	kill -CONT $pid
	kill -USR1 $pid
	ok "it goes on" within 60 lines 2
	is "with the same bytes" "$(sed -n 2p lines | field good)" True
	after=$(sed -n 2p lines | field frames)
	diag "$before frames before, $after after"
	[ "$after" -le $((before * 4 / 10)) ] && pass "in much fewer frames" ||
		fail "in much fewer frames"
fi

# Each of them is looked at again, which takes long; the caller does not wait.
many=$(printf "$pid,%.0s" {1..1500})
exits "a caller hangs up" 28 curl -sS -m 0.1 --unix-socket agent.sock \
	-d "{\"pids\": [${many%,}]}" http://agent/collapse
ended() {
	ask /logs | grep -q 'collapse: ended .*hung up'
}
ok "the collapse ends then" within 60 ended
is "and another may begin" "$(ask /collapse '{"pids": []}' | field chunks)" 0

kill $pid $agent
wait $pid
wait $agent
is "the agent has nothing to say" "$(cat agent.out)" ""
done_testing
