#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# GET /logs of lamina-agent: to whoever follows, and across a pause.
. "$(dirname "$0")/../lib.sh"
requires curl jq
. "$srcroot/tests/host/agent-lib.sh"
start_agent

# --- as it is ---

is "lines have numbers without gaps" "$(get /logs | jq -cs 'map(.seq) == [range(1; length + 1)]')" true
is "and all that they need" "$(get /logs | jq -cs 'all(.[]; has("time") and has("level") and has("text"))')" true
ok "among them those of debugging" says '.level == "debug" and .text == "GET /health"'
is "since a line" "$(get '/logs?since=3' | jq -s '.[0].seq')" 4
is "a number that is none" "$(status get '/logs?since=x')" 400
is "their type" "$(get /logs -o /dev/null -w '%{content_type}')" text/x-ndjson

# --- following ---

follow() { # FILE [SINCE]: its pid is in $follower
	curl -sN --unix-socket agent.sock "http://agent/logs?follow=1&since=${2:-0}" >"$1" &
	follower=$!
	at_exit "kill $follower"
}
marks() { # N: N lines that can be found again
	local i
	for ((i = 0; i < $1; i++)); do
		get "/mark-$i" >/dev/null	# is not to be found, and not logged
		status get /version >/dev/null
	done
}
last() { # FILE: the newest number in it; a line that is cut off counts for nothing
	grep '}$' "$1" | tail -1 | jq -r .seq
}
newest() {
	get /logs | tail -1 | jq -r .seq
}
has_reached() { # FILE SEQ
	[ "$(last "$1")" -ge "$2" ]
}

follow one
marks 3
seq=$(newest)
ok "who follows is sent what comes" within 30 has_reached one "$seq"
is "without gaps" "$(grep '}$' one | jq -cs 'map(.seq) == [range(1; length + 1)]')" true

# --- across a pause: a guest that is stopped does nothing, and loses its connections ---

stop "$agent_pid"
ask /thaw '{}'
kill -CONT "$agent_pid"
seq=$(newest)
ok "after a pause it goes on" within 30 has_reached one "$seq"
stop "$agent_pid"
kill "$follower"
wait "$follower" 2>/dev/null
kill -CONT "$agent_pid"
marks 20
had=$(last one)
follow two "$had"
seq=$(newest)
ok "who comes back" within 30 has_reached two "$seq"
is "is sent what he missed, from the next line on" "$(head -1 two | jq -r .seq)" $((had + 1))
is "all of it" "$(grep '}$' two | jq -cs --argjson had "$had" \
	'map(.seq) == [range($had + 1; $had + 1 + length)]')" true

# --- more than it keeps ---

kill "$follower"
wait "$follower" 2>/dev/null
had=$(last two)
for ((i = 0; i < 6; i++)); do	# over one connection each
	curl -s --unix-socket agent.sock "http://agent/health?n=[1-100]" >/dev/null
done
get "/logs?since=$had" >three
ok "a condition of a line is found behind what was lost" says '.text | startswith("GET /health")'
lost=$(head -1 three | jq -r .lost)
ok "what was lost is counted ($lost)" test "$lost" -gt 0
is "exactly" "$(sed -n 2p three | jq -r .seq)" $((had + lost + 1))
is "what is there is the ring" "$(grep -c '"seq"' three)" 512

# --- an agent before this one ---

end_agent TERM
start_agent
is "numbers that are yet to come are of an agent before: all is sent" \
	"$(get "/logs?since=100000" | head -1 | jq -r .seq)" 1
end_agent TERM
start_agent --log-level warning
get /version >/dev/null
is "below the level nothing is kept" "$(get /logs)" ""
done_testing
