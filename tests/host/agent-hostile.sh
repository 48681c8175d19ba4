#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Who speaks to lamina-agent as nobody should: it answers, goes on for others, and needs no more
# memory than it may.
. "$(dirname "$0")/../lib.sh"
requires curl jq python3
. "$srcroot/tests/host/agent-lib.sh"
(umask 077 && echo 0123456789abcdef >token)
start_agent --listen tcp:127.0.0.1:0 --token-file token
port=$(get /logs | jq -r 'select(.text | test("^listens on tcp:")) | .text' | sed 's/.*://')

rude() { # WHAT [ARG...]
	"$srcroot/tests/host/agent-rude" "$T/agent.sock" "$@"
}
raw() { # REQUEST: the status
	rude raw "$1"
}

# --- HTTP ---

end='Host: a\r\nConnection: close\r\n\r\n'
is "HTTP/1.0" "$(raw 'GET /health HTTP/1.0\r\n\r\n')" 200
is "HEAD" "$(raw "HEAD /health HTTP/1.1\r\n$end")" 200
is "HEAD of what has no end ends" "$(raw "HEAD /logs?follow=1 HTTP/1.1\r\n$end")" 200
is "a method that nobody knows" "$(raw "FROB /health HTTP/1.1\r\n$end")" 405
is "a NUL in the path" "$(raw "GET /he%00alth HTTP/1.1\r\n$end")" 404
is "as it is" "$(raw "GET /he\0alth HTTP/1.1\r\n$end")" 400
is "in a parameter" "$(raw "GET /logs?since=%00 HTTP/1.1\r\n$end")" 400
is "a path that is no UTF-8" "$(raw "GET /\xff\xfe HTTP/1.1\r\n$end")" 404
is "a negative length" "$(raw "POST /thaw HTTP/1.1\r\nContent-Length: -1\r\n$end")" 400
is "a chunk that is none" "$(raw "POST /thaw HTTP/1.1\r\nTransfer-Encoding: chunked\r\n${end}zz\r\n")" 413
is "garbage" "$(rude garbage)" 400
head -c 17000 /dev/zero | tr '\0' ' ' >body
is "a body that is too large" "$(status get /thaw --data-binary @body)" 413
is "it is said why" "$(jq -r .error answer)" \
	"the body has more than 16384 bytes, or its chunks are malformed"
is "several requests at once are all answered" "$(rude pipeline)" 5
is "many headers" "$(rude headers 300)" 200
is "too many" "$(rude headers 600)" 400
is "many values" "$(rude values 2060)" 200
is "too many" "$(rude values 2065)" 400

# --- what is no such thing ---

while read -r path body want; do
	is "$path $body" "$(status post "$path" "$body")" "$want"
done <<-'LIST'
	/freeze null 400
	/freeze "web.slice" 400
	/freeze {"cgroup":null} 400
	/freeze {"cgroup":["web.slice"]} 400
	/freeze {"cgroup":""} 400
	/freeze {"cgroup":"/"} 400
	/freeze {"cgroup":"web\u0000"} 400
	/thaw {"cgroup":7} 400
	/thaw {"cgroup":".."} 400
	/thaw {"cgroup":"none"} 404
	/resumed {"now":"noon"} 400
	/resumed {"now":null} 400
	/resumed {"now":1e308} 400
	/resumed {"now":1e999} 400
	/collapse {"self":false} 400
	/collapse {"all":null} 400
	/collapse {"pids":[1.5]} 400
	/collapse {"pids":["1"]} 400
	/collapse {"pids":[0]} 400
	/collapse {"pids":[99999999999]} 400
	/collapse {"cgroup":null} 400
	/collapse {"pids":[],"self":true} 400
	/reclaim [] 400
	/reclaim {"order":null} 400
	/reclaim {"order":["sync","sync"]} 400
	/reclaim {"order":[["sync"]]} 400
LIST

# --- crowds ---

peak() { # KiB
	awk '/^VmHWM/ {print $2}' "/proc/$agent_pid/status"
}
crowd() { # NAME WHAT WANT [ARG...]
	is "$1" "$(rude "$2" "${@:4}")" "$3"
	diag "at most $(peak) KiB so far"
}
crowd "1000 connections with half a request" many 200 1000
crowd "64 with half a body" bodies 200
crowd "large objects" json 200
crowd "who follows the log, and does not read, keeps no others from it" followers "503 200"
crowd "who reads slowly has all of it" readers 512

# --- who has no token keeps nobody out who has it ---

by_token() { # PATH [OPTION...]: the status
	curl -s --max-time 60 -o answer -w '%{http_code} ' -H "Authorization: Bearer 0123456789abcdef" \
		"${@:2}" "http://127.0.0.1:$port$1"
}
beside() { # NAME REQUEST: 100 send that by TCP, and come back whenever they are turned out
	rude flood "$port" "$2" >flood.txt 2>&1 &
	local flood=$! got=
	at_exit "kill $flood 2>/dev/null"
	within 30 eval '[ "$(ss -Htn state established "( sport = :$port )" | wc -l)" -ge 40 ]'
	for _ in {1..20}; do
		got+=$(by_token /health)
	done
	is "$1: /health" "$got" "$(printf '200 %.0s' {1..20})"
	got=
	for _ in {1..20}; do
		got+=$(by_token /resumed -d '{}')
	done
	is "$1: /resumed" "$got" "$(printf '200 %.0s' {1..20})"
	is "$1: by the unix socket" "$(status get /health)" 200
	kill "$flood"
	wait "$flood" 2>/dev/null
	is "$1: they never ended" "$(cat flood.txt)" ""
	diag "at most $(peak) KiB so far"
}
beside "100 with half a header" 'POST /reclaim HTTP/1.1\r\nContent-Len'
beside "100 with half a body" 'POST /thaw HTTP/1.1\r\nContent-Length: 100\r\n\r\n{'
beside "100 without a token" 'GET /health HTTP/1.1\r\nHost: a\r\n\r\n'
curl -sN --max-time 60 -H "Authorization: Bearer 0123456789abcdef" \
	"http://127.0.0.1:$port/logs?follow=1" >followed.txt &
follower=$!
at_exit "kill $follower 2>/dev/null"
within 30 test -s followed.txt
beside "100 beside one who follows the log" 'GET /he'
ok "he still does" kill -0 "$follower"
kill "$follower"
wait "$follower" 2>/dev/null
is "it goes on" "$(get /health)" '{"status":"ok"}'
if has plain; then
	ok "it never was resident with more than 4 MiB ($(peak) KiB)" test "$(peak)" -le 4096
else
	skip "under a sanitizer or valgrind"
fi
end_agent TERM
is "it ends when told to" "$agent_status" 0
is "it has said nothing" "$(cat log.txt)" ""
done_testing
