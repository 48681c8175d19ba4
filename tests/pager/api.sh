#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What lamina-pager answers over HTTP (lamina-pager-api(7)), also to who is not polite.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/pager/lib.sh"
requires lamina-pager curl jq userfaultfd root
mkimage mem.raw 2048 0-599:data=1 900-1999:data=2
start_pager || bail "no pager"

fds() { # of all its processes
	local pid n=0
	for pid in $pager_pid $(pgrep -P "$pager_pid"); do
		n=$((n + $(find "/proc/$pid/fd" -mindepth 1 2>/dev/null | grep -c .)))
	done
	echo "$n"
}

# --- the pager itself ---

asks "health" 200 GET /health
is "says that it is well" "$(jq -c . body)" '{"status":"ok","draining":false,"exiting":false,"sessions":0}'
asks "version" 200 GET /version
is "is that of the package" "lamina $(jq -r .version body)" "$(lamina --version)"
asks "no sessions" 200 GET /sessions
is "are an empty list" "$(cat body)" "[]"
request HEAD /health
is "HEAD is GET" "$status" 200
asks "no such path" 404 GET /nosuch
asks "another method" 405 DELETE /sessions
like "says which there are" "$(tr -d '\r' <headers)" 'Allow: .*POST'
asks "no such session" 404 GET /sessions/nosuch
like "is named" "$(error_text)" "^there is no session 'nosuch'$"
asks "nor one to close" 404 POST /sessions/nosuch/close

# --- what is refused, and leaves nothing ---

before=$(fds)
while IFS='|' read -r want body sentence; do
	asks "$body" "$want" POST /sessions "${body//\$T/$T}"
	like "says" "$(error_text)" "$sentence"
done <<'END'
400|{|malformed JSON at line 1
400|[]|the body is no JSON object
400|{}|'id' is missing
400||'id' is missing
400|{"id":"a"}|'memfile' is missing
400|{"id":"a","memfile":"mem.raw"}|'memfile' is to be an absolute path
400|{"id":"../a","memfile":"/x"}|'id' is to be 1 to 64 letters
400|{"id":7,"memfile":"/x"}|'id' is to be a string
400|{"id":"a","id":"b","memfile":"/x"}|duplicate
400|{"id":"a","memfile":"/x","colour":"red"}|'colour' is no field of a session
400|{"id":"a","memfile":"/x","prefetch":"3M"}|'prefetch' is to be off, adaptive
400|{"id":"a","memfile":"/x","on_error":"pray"}|'on_error' is to be wait, poison or stop
400|{"id":"a","memfile":"/x","peer_uid":"root"}|'peer_uid' is to be an integer
400|{"id":"a","memfile":"/x","hold":"/x"}|'hold' is to be an array
422|{"id":"a","memfile":"$T/nosuch"}|/nosuch'.*No such file
422|{"id":"a","memfile":"$T"}|director
422|{"id":"a","memfile":"$T/mem.raw","hold":["$T/nosuch"]}|cannot open '.*/nosuch' to hold it
422|{"id":"a","memfile":"$T/mem.raw","trace":"$T/nosuch"}|/nosuch'
422|{"id":"a","memfile":"$T/mem.raw","trace":"$T/mem.raw"}|mem\.raw
422|{"id":"a","memfile":"$T/mem.raw","record":"$T/nosuch/r"}|cannot record to
422|{"id":"a","memfile":"$T/mem.raw","socket":"$T/nosuch/s"}|cannot listen on
END
session writes mem.raw ",\"record\":\"$T/rec\""
asks "a second recording into one file" 422 POST /sessions "{\"id\":\"a\",\"memfile\":\"$T/mem.raw\",\"record\":\"$T/rec\"}"
is "is told" "$(error_text)" "session 'writes' records to '$T/rec'"
request POST /sessions/writes/close
session writes mem.raw ",\"record\":\"$T/rec\""
is "when the first has ended, it may" "$status" 201
request POST /sessions/writes/close
request POST /sessions/writes/close
cp mem.raw kept
asks "a recording over a file" 422 POST /sessions \
	"{\"id\":\"a\",\"memfile\":\"$T/mem.raw\",\"record\":\"$T/kept\",\"trace\":\"$T/nosuch\"}"
ok "that is left as it was" cmp kept mem.raw
: >lock
exec {held}<lock
flock -x "$held"
asks "a hold that somebody has" 422 POST /sessions "{\"id\":\"a\",\"memfile\":\"$T/mem.raw\",\"hold\":[\"$T/lock\"]}"
like "is told" "$(error_text)" "somebody has it locked"
asks "none of them was made" 200 GET /sessions
is "the list is empty" "$(cat body)" "[]"
same_fds() { [ "$(fds)" = "$before" ]; }
ok "no descriptor is left" within 10 same_fds
is "nor a socket" "$(find run -name 'a.sock')" ""

# --- a session that waits ---

asks "a session is made" 201 POST /sessions "{\"id\":\"vm1\",\"memfile\":\"$T/mem.raw\"}"
is "its answer" "$(jq -c . body)" "{\"id\":\"vm1\",\"socket\":\"$T/run/vm1.sock\",\"state\":\"waiting\"}"
like "says where it is" "$(tr -d '\r' <headers)" 'Location: /sessions/vm1'
ok "the socket is there" test -S run/vm1.sock
asks "an id in use" 409 POST /sessions "{\"id\":\"vm1\",\"memfile\":\"$T/mem.raw\"}"
like "is told" "$(error_text)" "session 'vm1' exists"
ok "and the first one still waits" is_state vm1 waiting
asks "it is shown" 200 GET /sessions/vm1
ok "with nothing that it has not yet" jq -e '.pid == null and .handoff == null and .ended == null and
	.reason == null and .pages.total == 0 and .regions == [] and .replay == null' body
ok "with its setup" jq -e --arg m "$T/mem.raw" '.memfile == $m and .prefetch == "adaptive" and .on_error == "wait"
	and .hold == [] and .peer_uid == -1 and .handoff_timeout_ms == 10000 and .trace == null' body
ok "with its time" jq -e '(.created | sub("\\.[0-9]+Z"; "Z") | fromdate) == (.created_seconds | floor)' body

# --- one that serves ---

guest_begin vm1 mem.raw
ok "a guest" guest_does vm1 "map auto 8M 0" "handoff run/vm1.sock" "touch random count 300" "remove 1M 1M" "check"
ok "serves" is_state vm1 serving
asks "it is shown" 200 GET "/sessions/vm1?histogram=1"
ok "with its hypervisor" jq -e ".pid == $guest_pid_vm1" body
ok "with its regions" jq -e '.regions | length == 1 and .[0].size == 8388608 and .[0].page_size == 4096' body
ok "pages add up" jq -e '.pages | .total == 2048 and .present + .removed + .missing == .total' body
ok "removed ones are counted" jq -e '.pages.removed == 256 and .counters.removed == 256' body
ok "what is there, too" jq -e '.pages.present > 0 and .resident_bytes == .pages.present * 4096 and
	.resident_percent > 0 and .resident_percent <= 100 and .memory_bytes == 8388608' body
ok "faults" jq -e '.counters.faults > 0 and .latency.count > 0 and .latency.p99_us >= .latency.p50_us' body
ok "the histogram has them all" jq -e '(.histogram | map(.[1]) | add) == .latency.count and
	(.histogram | map(.[0])) == (.histogram | map(.[0]) | sort)' body
asks "by state" 200 GET "/sessions?state=serving"
is "it is found" "$(jq -r '.[].id' body)" vm1
asks "by phase, which is the same" 200 GET "/sessions?phase=waiting"
is "nobody waits" "$(cat body)" "[]"
asks "a state that there is not" 400 GET "/sessions?state=asleep"
asks "close" 409 POST /sessions/vm1/close
like "is refused" "$(error_text)" "session 'vm1' serves a guest that lives"
ok "and it serves on" guest_does vm1 "touch random count 300" check
request GET /metrics
is "metrics" "$status" 200
like "of that format" "$(tr -d '\r' <headers)" 'Content-Type: text/plain; version=0\.0\.4'
cp body metrics.1
is "count its state" "$(awk '/^lamina_pager_sessions{state="serving"}/ {print $2}' body)" 1
asks "close by force" 202 POST "/sessions/vm1/close?force=1"
ok "stops it" within 10 is_state vm1 gone
guest_end vm1
is "by a signal" $? 137
asks "and is then known to have ended" 200 GET /sessions/vm1
ok "when" jq -e '.ended_seconds >= .handoff_seconds and .handoff_seconds >= .created_seconds' body
asks "it can be forgotten" 200 POST /sessions/vm1/close
asks "once" 404 POST /sessions/vm1/close

# --- metrics outlive sessions ---

request GET /metrics
cp body metrics.2
ok "no counter went back" awk '$1 !~ /(_total|_bucket|_count|_sum)/ || /^#/ {next}
	NR == FNR {was[$1] = $2; n++; next} $2 < was[$1] {print; bad = 1} END {exit bad || n < 20}' metrics.1 metrics.2
ok "every sample has a type" awk '/^# TYPE/ {type[$3] = 1; next} /^#/ {next}
	{name = $1; sub(/{.*/, "", name); short = name; sub(/_(bucket|sum|count)$/, "", short)
	 if (!(name in type) && !(short in type)) {print; bad = 1}} END {exit bad}' metrics.2
is "no session is named" "$(grep -c vm1 metrics.2)" 0

# --- page by page ---

for i in 1 2 3 4 5; do
	request POST /sessions "{\"id\":\"s$i\",\"memfile\":\"$T/mem.raw\",\"prefetch\":\"off\"}"
done
asks "the first two" 200 GET "/sessions?limit=2"
is "are the oldest" "$(jq -r 'map(.id) | join(" ")' body)" "s1 s2"
asks "the next" 200 GET "/sessions?limit=2&after=$(jq '.[-1].number' body)"
is "follow" "$(jq -r 'map(.id) | join(" ")' body)" "s3 s4"
asks "a limit that is none" 400 GET "/sessions?limit=few"
asks "a negative one" 400 GET "/sessions?limit=-1"
asks "a switch that is none" 400 POST "/sessions/s1/close?force=maybe"
asks "fields where there are none" 400 POST /sessions/s1/close '{"force":true}'
asks "one that waits" 200 POST /sessions/s1/close
ok "its socket is gone" test ! -e run/s1.sock

# --- hostile ---

asks "an id with a slash" 404 GET "/sessions/..%2F..%2Fetc"
asks "an id with a NUL" 400 GET "/sessions/s2%00x"
asks "an id that is not UTF-8" 404 GET "/sessions/%ff%fe"
asks "a long one" 404 GET "/sessions/$(printf 'x%.0s' {1..4000})"
head -c 3M /dev/zero | tr '\0' ' ' >large
status=$(curl -sS -o body -w '%{http_code}' --unix-socket "$sock" -H 'Expect:' --data-binary @large http://pager/sessions)
is "a body of 3 MiB" "$status" 413
jq -n '{id: "deep", memfile: "/x"} + {hold: [range(5000) | "/h"]}' >many
asks "many holds" 400 POST /sessions "$(cat many)"
printf '[%.0s' {1..5000} >deep
asks "deep JSON" 400 POST /sessions "$(cat deep)"
if has python3; then
	ok "rubbish, and who says nothing" python3 -c "
import socket, os
held = []
for i in range(50):
    s = socket.socket(socket.AF_UNIX); s.connect('$sock'); held.append(s)
    s.send(os.urandom(200) if i % 2 else b'POST /sessions HTTP/1.1\r\nContent-Length: 10\r\n\r\n{')
"
else
	skip "no python3"
fi
asks "and all is well" 200 GET /health

# --- a memfile that hangs ---

if has fuse; then
	lamina --store store init -q
	lamina --store store commit -q --memfile mem.raw --tag a >layer
	mount_store store mnt || bail "cannot mount"
	stop "$fuse_pid"
	at_exit "kill -CONT $fuse_pid"
	pids=
	for ((i = 0; i < 16; i++)); do
		curl -sS --unix-socket "$sock" -o "hung.$i" -w '%{http_code}' http://pager/sessions \
			-d "{\"id\":\"hung$i\",\"memfile\":\"$T/mnt/tags/a/memfile\"}" >"hung.$i.status" &
		pids="$pids $!"
	done
	all_hang() { # they count as sessions that there are
		[ "$(curl -s --unix-socket "$sock" http://pager/health | jq .sessions)" = 20 ]
	}
	ok "sixteen requests hang" within 20 all_hang
	asks "one more is too many" 503 POST /sessions "{\"id\":\"x\",\"memfile\":\"$T/mem.raw\"}"
	like "for now" "$(error_text)" "try again"
	asks "one that hangs is not shown yet" 404 GET /sessions/hung1
	asks "others are closed meanwhile" 200 POST /sessions/s2/close
	asks "and shown" 200 GET /sessions/s3
	kill -CONT "$fuse_pid"
	# shellcheck disable=SC2086
	wait $pids
	is "then all are made" "$(cat hung.*.status)" "$(printf '201%.0s' {1..16})"
	for ((i = 0; i < 16; i++)); do
		request POST "/sessions/hung$i/close"
	done
	asks "and room is there again" 201 POST /sessions "{\"id\":\"s2\",\"memfile\":\"$T/mem.raw\"}"
else
	skip "no fuse" 8
fi

# --- drain ---

n=$(curl -s --unix-socket "$sock" http://pager/health | jq .sessions)
asks "drain" 200 POST /drain
is "says how many are left" "$(jq -c . body)" "{\"draining\":true,\"exiting\":false,\"left\":$n}"
asks "nothing new" 503 POST /sessions "{\"id\":\"new\",\"memfile\":\"$T/mem.raw\"}"
asks "health" 200 GET /health
ok "knows it" jq -e '.draining' body
request GET /metrics
is "metrics, too" "$(awk '/^lamina_pager_draining/ {print $2}' body)" 1
asks "an unknown field" 400 POST /drain '{"leave":true}'
like "is told" "$(error_text)" "no fields but 'exit'"
asks "an exit that is neither" 400 POST /drain '{"exit":1}'
like "is told" "$(error_text)" "'exit' is to be true or false"
asks "closing goes on" 200 POST /sessions/s3/close

# --- the manual ---

documented() { # what the section sets as a member, but for members of members
	awk -v want="$1" '/^\.S[hs]/ {on = index($0, want)} on && /^\.It Cm/ {for (i = 3; i <= NF; i++) if ($i != ",") print $i}' \
		"$srcroot/man/lamina-pager-api.7" | sort -u
}
asks "a session" 200 GET "/sessions/s4?histogram=1"
is "has the members that are documented" "$(jq -r 'keys[]' body | sort)" "$(documented 'Ss A session')"
is "and the counters" "$(jq -r '.counters | keys[]' body | sort)" "$(documented 'Ss Counters')"
is "metrics are those that are documented" "$(awk '/^# TYPE/ {print $3}' metrics.2 | sort)" \
	"$(documented 'Ss Metrics')"
done_testing
