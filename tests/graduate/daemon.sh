#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina-graduator as a daemon: what it shows, that there is one, and how it ends.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/graduate/lib.sh"
requires lamina-graduator curl jq

start_fake a 1.0
conf 'scan_interval = 100ms' 'max_concurrent = 2'
start_graduator
is "it says that it starts" "$(events start '"\(.enabled) \(.max_concurrent)"')" "true 2"
ok "and which pager answers" within 20 has_event pager_answers '.version == "1.0"'

exits "there is one only" 4 graduator --foreground
is "which is said" "$(jq -r .error err)" "another lamina-graduator runs for '$T/run'"
exits "also for --once" 4 graduator --once
ok "--dry-run may" graduator --dry-run

session a vm1
ok "a session is found and graduated" within 20 has_event graduated '.session == "vm1"'
for i in 2 3 4; do
	session a vm$i '"complete": "hold"'
done
two_held() { [ "$(states a | grep -o completing | wc -l)" = 2 ]; }
ok "two at a time" within 20 two_held
next_scan
ok "not more" two_held
shows "it says so" running 2
decides "the third one's reason" 'select(.reason == "max_concurrent").session' vm4
decides "those of the others" 'select(.reason == "running").session' $'vm2\nvm3'

# --- what is shown ---

is "health" "$(get /health | jq -c '[.status, .enabled, .running, .error]')" '["ok",true,2,null]'
ok "with the time of the last scan" [ "$(get /health | jq '.last_scan_seconds > 1e9')" = true ]
is "version" "$(get /version | jq -r '"\(.program) \(.version)"')" "$(lamina-graduator --version)"
shows "sessions" 'sessions{version="1.0"}' 3
get /metrics >metrics
is "each series has a type" "$(grep -c '^# TYPE' metrics)" "$(grep -c '^# HELP' metrics)"
is "nothing else is in it" "$(grep -vcE '^(# (HELP|TYPE) lamina_graduator_[a-z_]+ .+|lamina_graduator_[a-z_]+(\{[^}]*\})? [0-9.e+-]+)$' metrics)" 0
shows "one has been graduated" 'completions_total{result="graduated",version="1.0"}' 1
is "none has failed" "$(metric 'failures_total{version="1.0"}')" 0
is "bytes" "$(metric 'bytes_total{version="1.0"}')" 8192
is "pagers" "$(metric 'pagers{version="1.0"}')" 1
is "as many as in the histogram" "$(metric completion_seconds_count)" 1
ok "decisions are counted" [ "$(metric 'decisions_total{reason="max_concurrent"}')" -ge 1 ]
is "the mode of the socket" "$(stat -c %a run/graduator.sock)" 660

ask_fake a POST /fake/release
ok "when they are done, the third begins" within 20 has_event graduating '.session == "vm4"'

# --- the end ---

kill "$grad_pid"
wait "$grad_pid"
is "SIGTERM ends it" $? 0
ok "the pager heard that nobody waits" within 20 eval 'asked a | grep -q "hangup vm4"'
serves_on() { [ "$(states a | grep -o 'vm4 [a-z]*')" = "vm4 serving" ]; }
ok "the session serves on" within 20 serves_on
is "what was cancelled is said" "$(events not_graduated '"\(.session) \(.result)"')" "vm4 cancelled"
is "then the end" "$(events stop .cancelled)" 1
ok "the socket is gone" test ! -e run/graduator.sock
ok "the log is JSON" jq -es 'all(.[]; has("time"))' log

# --- places ---

: >run/graduator.sock
exits "a file in the place of the socket" 1 graduator --foreground
like "is not touched" "$(jq -r .error err)" "cannot listen on '$T/run/graduator.sock': it is there and no socket"
rm run/graduator.sock
conf "metrics_socket = $T/run/pager-a/pager.sock"
exits "a socket that somebody has" 4 graduator --foreground
like "is not taken away" "$(jq -r .error err)" "somebody listens on '$T/run/pager-a/pager.sock' already"
ok "the pager still answers" ask_fake a GET /health
conf "metrics_socket = $T/other.sock" 'scan_interval = 100ms'
lamina-graduator --config grad.conf --foreground 2>log &
grad_pid=$!
at_exit "kill -9 $grad_pid"
ok "another socket" within 20 curl -sf --unix-socket other.sock http://graduator/health
ok "is the only one" test ! -e run/graduator.sock
kill -9 "$grad_pid"
wait "$grad_pid" 2>/dev/null
conf 'scan_interval = 100ms'
start_graduator
pass "after a kill -9 another one starts"
kill -INT "$grad_pid"
wait "$grad_pid"
is "SIGINT ends it, too" $? 0

# --- in the background ---

ok "without --foreground" lamina-graduator --config "$T/grad.conf"
ok "it is there afterwards" get /health
pid=$(pgrep -f "lamina-graduator --config $T/grad.conf")
at_exit "kill -9 ${pid:-$grad_pid}"
ok "it can be found" test -n "$pid"
kill "$pid"
ended() { [ ! -e run/graduator.sock ]; }
ok "and ended" within 20 ended
done_testing
