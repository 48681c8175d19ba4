#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Graduation as the API has it (lamina-pager-api(7)): what it answers, who may
# cancel it, what is remembered, and a pager that ends with its last session.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/pager/lib.sh"
requires lamina-pager curl jq userfaultfd root
mkimage mem.raw 2048 0-599:data=1 900-1999:data=2
start_pager || bail "no pager"

guest() { # ID [MEMBERS]
	session "$1" mem.raw ",\"prefetch\":\"off\"${2:-}" && guest_begin "$1" mem.raw &&
		guest_does "$1" "map auto 8M 0" "handoff run/$1.sock" && within 20 is_state "$1" serving
}
begin() { # NAME ID [BODY]: in the background; its answer is NAME.json, its status NAME.status
	curl -sS --unix-socket "$sock" -o "$1.json" -w '%{http_code}' "http://pager/sessions/$2/complete" \
		-H 'Content-Type: application/json' --data-binary "${3:-{\}}" >"$1.status" &
	eval "begun_$1=$!"
}
answered() { # NAME STATUS
	local pid=begun_$1
	wait "${!pid}"
	[ "$(cat "$1.status")" = "$2" ] && return
	diag "$(cat "$1.status" "$1.json")"
	return 1
}
under_way() { # ID
	[ "$(fact "$1" '.state == "completing" and .completion.pages > 0')" = true ]
}
slowly='{"rate":262144}'	# what there is takes half a minute

# --- what is refused ---

asks "an unknown id" 404 POST /sessions/nosuch/complete
is "is told by a word" "$(jq -c 'del(.error)' body)" '{"reason":"unknown","id":"nosuch","state":null,"pages":0,"bytes":0}'
is "and a sentence" "$(error_text)" "there is no session 'nosuch'"
asks "an id with a slash" 404 POST "/sessions/..%2Fkeeper.lock/complete"
asks "an id that is not UTF-8" 404 POST "/sessions/%ff%fe/complete"
asks "a long one" 404 POST "/sessions/$(printf 'x%.0s' {1..4000})/complete"
asks "an unknown id cannot be cancelled" 404 DELETE /sessions/nosuch/complete
asks "GET is neither" 405 GET /sessions/nosuch/complete
session w mem.raw || bail "no session"
while IFS='|' read -r body sentence; do
	asks "$body" 400 POST /sessions/w/complete "$body"
	is "says" "$(error_text)" "$sentence"
done <<'END'
{"fast":true}|'fast' is no field of this request
{"rate":-1}|'rate' is to be an integer of at least 0
{"rate":"200M"}|'rate' is to be an integer of at least 0
{"rate":1.5}|'rate' is to be an integer of at least 0
{"timeout_ms":null}|'timeout_ms' is to be an integer of at least 0
{"timeout_ms":9000000000000000000}|'timeout_ms' is more than 31 years
{"min_available":[]}|'min_available' is to be an integer of at least 0
{"max_pressure":101}|'max_pressure' is to be a number from 0 to 100
{"max_pressure":"high"}|'max_pressure' is to be a number from 0 to 100
[]|the body is no JSON object
END
while read -r method path; do
	asks "$method $path" 400 "$method" "$path"
	is "says" "$(error_text)" "'rate' is no parameter of this request"
done <<'END'
POST /sessions/w/complete?rate=1
DELETE /sessions/w/complete?rate=1
POST /sessions/w/close?force=1&rate=1
POST /sessions?rate=1
POST /drain?rate=1
GET /sessions?limit=1&rate=1
GET /sessions/w?histogram=1&rate
END
asks "one that waits" 409 POST /sessions/w/complete
is "is told by a word" "$(jq -c '[.reason, .id, .state]' body)" '["waiting","w","waiting"]'
asks "nor is there anything to cancel" 200 DELETE /sessions/w/complete
is "as it says" "$(jq -c . body)" '{"id":"w","state":"waiting","cancelled":false}'
asks "fields where there are none" 400 DELETE /sessions/w/complete '{"force":true}'
ok "it has no age yet" [ "$(fact w '.age_seconds == null and .completion == null and .graduation == null')" = true ]
asks "it is closed" 200 POST /sessions/w/close
ok "a guest" guest gone
guest_end gone
ok "that ends" within 20 is_state gone gone
asks "is too late" 409 POST /sessions/gone/complete
is "by a word" "$(jq -r .reason body)" gone
age=$(fact gone .age_seconds)
is "its age stands still" "$(fact gone .age_seconds)" "$age"
ok "where it ended" jq -ne --argjson a "$age" '$a > 0 and $a < 120'

# --- under way, and cancelled ---

ok "a guest" guest a
begin slow a "$slowly"
ok "it is under way" within 20 under_way a
asks "it is shown" 200 GET /sessions/a
ok "how far it came" jq -e '.completion | .pages > 0 and .bytes == .pages * 4096 and .position_bytes > 0 and
	.seconds > 0 and .bytes_per_second > 0 and .held == false and .zero_pages >= 0' body
ok "with its age" jq -e '.age_seconds > 0 and .age_seconds < 120 and .graduation == null' body
like "ls shows it" "$(lamina pager ls -S "$sock")" 'a +completing [0-9]+ % +[0-9]+ '
like "top, too" "$(lamina pager top -S "$sock" -n 1 -i 100ms)" 'a +completing [0-9]+ % '
ok "top --json" jq -e '.sessions[] | select(.id == "a") | .completion.pages > 0' \
	<<<"$(lamina pager top -S "$sock" -n 1 -i 100ms --json)"
like "and show" "$(lamina pager show -S "$sock" a)" 'state +completing [0-9]+ %'
metric() { # SERIES
	curl -s --unix-socket "$sock" http://pager/metrics | awk -v s="$1" '$1 == s {print $2}'
}
is "metrics count it" "$(metric lamina_pager_completing)" 1
ok "the guest goes on" guest_does a "touch random write count 100"
asks "it is cancelled" 200 DELETE /sessions/a/complete
is "says so" "$(jq -c 'del(.state)' body)" '{"id":"a","cancelled":true}'
ok "its caller is told" answered slow 409
ok "what was done" jq -e '.reason == "cancelled" and .id == "a" and .pages > 0 and .bytes == .pages * 4096 and
	(.error | length > 5)' slow.json
ok "it serves on" within 20 is_state a serving
ok "what is there is right" guest_does a "touch random len 1M count 300"
is "nothing is under way" "$(fact a .completion)" null
is "metrics, too" "$(metric lamina_pager_completing)" 0
is "metrics know why" "$(metric 'lamina_pager_completions_total{result="cancelled"}')" 1

begin slow a "$slowly"
ok "again" within 20 under_way a
kill "$begun_slow"
ok "its caller hangs up: it serves on" within 20 is_state a serving
asks "a time" 504 POST /sessions/a/complete '{"rate":262144,"timeout_ms":300}'
is "that passes" "$(jq -c '[.reason, .id]' body)" '["timeout","a"]'
ok "leaves it serving" within 20 is_state a serving
asks "a time, on a host with too little memory" 504 POST /sessions/a/complete '{"min_available":1000000000000000,"timeout_ms":500}'
like "that passes, and says why" "$(error_text)" \
	"did not graduate in time: the host has .* of memory available, 909.5 TiB are to be left; it serves on"
begin held a '{"min_available":1000000000000000}'
is_held() { [ "$(fact a .completion.held)" = true ]; }
ok "a host with too little memory" within 20 is_held
asks "is not drowned" 200 DELETE /sessions/a/complete
ok "as its caller hears" answered held 409
ok "what is there is right" guest_does a "touch random len 1M count 300"

# --- what all attempts came to ---

ok "a guest" guest sum
begin slow sum "$slowly"
ok "an attempt" within 20 under_way sum
ok "its worker is killed" kill_worker
wait "$begun_slow"
before=$(fact sum .counters.completed)
ok "has populated some" [ "$before" -gt 0 ]
asks "another one" 504 POST /sessions/sum/complete '{"rate":262144,"timeout_ms":300}'
ok "counts what the first one did" jq -e --argjson n "$before" '.pages >= $n and .bytes == .pages * 4096' body
asks "and another one, to the end" 200 POST /sessions/sum/complete
is "all of them" "$(jq -c '[.pages, .bytes / 4096, .durable]' body)" "[1700,1700,true]"
ok "the time, too" jq -e '.seconds > 0.3' body
asks "it is closed" 200 POST /sessions/sum/close
guest_end sum

# --- two at once, and too many ---

begin slow a '{"rate":1048576}'
ok "one" within 20 under_way a
begin leaves a "$slowly"
callers() { [ "$(metric lamina_pager_completing)" = "$1" ]; }
ok "another one joins" within 20 callers 2
kill "$begun_leaves"
ok "and goes" within 20 callers 1
ok "the completion goes on" under_way a
begin joins a "{}"
ok "one in a hurry joins" answered joins 200
ok "and hears what was done" jq -e '.id == "a" and .state == "graduated" and .already == false and .pages > 0 and
	.bytes == .pages * 4096 and .hole_pages > 0 and .seconds > 0 and .unregister_seconds >= 0' joins.json
ok "as the first does" answered slow 200
same_numbers() { # FILE FILE
	diff <(jq -S 'del(.already)' "$1") <(jq -S 'del(.already)' "$2")
}
ok "the same" same_numbers joins.json slow.json
ok "the guest has every byte" guest_does a check "touch random write count 200" check
asks "once more" 200 POST /sessions/a/complete
is "it has graduated already" "$(jq .already body)" true
ok "with the same numbers" same_numbers body joins.json
asks "there is nothing to cancel any more" 200 DELETE /sessions/a/complete
is "as it says" "$(jq -c . body)" '{"id":"a","state":"graduated","cancelled":false}'
asks "it is shown" 200 GET /sessions/a
ok "with what was done" jq -e --slurpfile j joins.json '.state == "graduated" and .completion == null and
	.graduation.pages == $j[0].pages and .graduation.hole_pages == $j[0].hole_pages and .age_seconds > 0' body
is "metrics: by result" "$(metric 'lamina_pager_completions_total{result="graduated"}') \
$(metric 'lamina_pager_completions_total{result="already"}')" "3 1"

ok "another guest" guest many
for ((i = 0; i < 64; i++)); do
	begin "many$i" many "$slowly"
done
ok "64 callers" within 30 callers 64
asks "one more is too many" 503 POST /sessions/many/complete
is "by a word" "$(jq -r .reason body)" busy
asks "others are served" 200 GET /health
asks "and cancel all of them" 200 DELETE /sessions/many/complete
for ((i = 0; i < 64; i++)); do
	answered "many$i" 409 || break
done
is "each is told" "$i" 64
asks "then there is room" 200 POST /sessions/many/complete

# --- what is remembered ---

file=run/graduated/a
ok "there is a file" jq -e --slurpfile j joins.json '.id == "a" and .when > 0 and .pages == $j[0].pages' $file
ok "the worker is killed" kill_worker
asks "it has graduated" 200 POST /sessions/a/complete
ok "with the same numbers" same_numbers body joins.json
kill "$pager_pid"
wait "$pager_pid"
start_pager || bail "no second pager"
asks "after a restart of all there is no session" 404 GET /sessions/a
asks "but it has graduated" 200 POST /sessions/a/complete
is "already" "$(jq .already body)" true
ok "with the same numbers" same_numbers body joins.json
asks "nothing to cancel" 200 DELETE /sessions/a/complete
is "is said of it" "$(jq -c . body)" '{"id":"a","state":"graduated","cancelled":false}'
cp $file whole
head -c 20 whole >$file
asks "a torn file" 404 POST /sessions/a/complete
like "is told to the log" "$(cat pager.log)" "graduated/a' is not what a pager writes"
cp whole $file
asks "a whole one" 200 POST /sessions/a/complete
cp -p $file kept
asks "it is closed" 200 POST /sessions/a/close
is "and forgotten" "$(jq -c . body)" '{"id":"a","state":"graduated"}'
ok "with its file" test ! -e $file
asks "it has not graduated" 404 POST /sessions/a/complete
asks "and cannot be closed again" 404 POST /sessions/a/close
is "as one that never was" "$(error_text)" "there is no session 'a'"
asks "by force neither" 404 POST "/sessions/a/close?force=1"
head -c 20 whole >$file
asks "what is torn cannot be closed" 404 POST /sessions/a/close
ok "and stays" test -e $file
cp kept $file
session a nosuch >/dev/null
asks "a session of that id that is not made" 200 POST /sessions/a/complete
guest_end a
ok "one that is" session a mem.raw
asks "has not graduated" 409 POST /sessions/a/complete
is "by a word" "$(jq -r .reason body)" waiting
asks "it is closed" 200 POST /sessions/a/close
asks "and unknown" 404 POST /sessions/a/complete
is "the other one is remembered" "$(ls run/graduated)" many
asks "until it is closed" 200 POST /sessions/many/close
is "too" "$(ls run/graduated)" ""
guest_end many

# --- what cannot be remembered ---

mkdir -p run/graduated/.full/x		# in the way, as a full disk is
ok "a guest" guest full
asks "that it has graduated cannot be written" 200 POST /sessions/full/complete
is "as is said" "$(jq -c '[.state, .durable]' body)" '["graduated",false]'
asks "once more" 200 POST /sessions/full/complete
is "the same" "$(jq -c '[.already, .durable]' body)" '[true,false]'
is "the session says it, too" "$(fact full .graduation.durable)" false
ok "the worker is killed" kill_worker
is "its successor knows it" "$(fact full .graduation.durable)" false
rm -r run/graduated/.full
is_durable() { [ "$(fact full .graduation.durable)" = true ]; }
ok "there is room again: it is written" within 20 is_durable
is "by itself" "$(jq -r .id run/graduated/full)" full
is "that is logged once" "$(grep -c "full: that it has graduated ends with this pager: cannot write" pager.log)" 1
guest_end full

# --- huge pages that guests are promised outlive the worker ---

balloon_guest() { # ID
	session "$1" mem.raw ',"prefetch":"off"' && guest_begin "$1" mem.raw &&
		guest_does "$1" "map auto 8M 0 huge" "handoff run/$1.sock" "touch seq" "remove 2M 4M"
}
if take_pool 8; then
	ok "a guest that lacks two" balloon_guest lacks
	ok "another one" balloon_guest needs
	set_pool 7
	asks "it graduates" 200 POST /sessions/lacks/complete
	ok "the worker is killed" kill_worker
	asks "three are free, and two promised" 503 POST /sessions/needs/complete
	is "by a word" "$(jq -r .reason body)" memory
	is "and a sentence" "$(error_text)" \
		"the guest lacks 2 huge pages; 3 huge pages are free, and 2 are promised to other guests"
	asks "it is closed" 200 POST /sessions/lacks/close
	asks "its guest lives on" 503 POST /sessions/needs/complete
	ok "and finds what it lacks" guest_does lacks "expect zero 2M 4M"
	guest_end lacks
	asks "it has ended" 200 POST /sessions/needs/complete
	guest_end needs
	give_pool
else
	skip "may not make huge pages" 10
fi

# --- ending with the last session ---

ok "a guest" guest last
ok "and one that waits" session waits mem.raw
asks "drain" 200 POST /drain '{"exit":true}'
is "says how many are left" "$(jq -c . body)" '{"draining":true,"exiting":true,"left":2}'
asks "health" 200 GET /health
ok "knows it" jq -e '.draining and .exiting and .sessions == 2' body
asks "nothing new" 503 POST /sessions "{\"id\":\"new\",\"memfile\":\"$T/mem.raw\"}"
asks "a plain drain" 200 POST /drain
is "takes nothing back" "$(jq .exiting body)" true
ok "the worker is killed" kill_worker
asks "the next one" 200 GET /health
ok "knows it" jq -e '.draining and .exiting and .sessions == 2' body
ok "the keeper is killed" kill_keeper
asks "its worker" 200 GET /health
ok "goes on" jq -e '.exiting' body
ok "the worker of that one is killed" kill_worker
asks "the next one" 200 GET /health
ok "knows it, too" jq -e '.draining and .exiting and .sessions == 2' body
asks "nothing new" 503 POST /sessions "{\"id\":\"new\",\"memfile\":\"$T/mem.raw\"}"
asks "the one that waits is closed" 200 POST /sessions/waits/close
asks "one is left" 200 GET /health
asks "it graduates" 200 POST /sessions/last/complete
is "and is told so" "$(jq -r .state body)" graduated
none() { [ -z "$(pager_pids)" ]; }
ok "all processes end" within 20 none
is "no socket is left" "$(find run -name '*.sock' -o -name '*.lock' ! -name keeper.lock)" ""
ok "the guest has every byte" guest_does last "touch random write count 100" check
guest_end last

start_pager || bail "no third pager"
asks "what graduated last" 200 POST /sessions/last/complete
ok "a session" session over mem.raw
asks "drain" 200 POST /drain '{"exit":true}'
next --foreground --takeover --socket "$sock" --runtime-dir "$T/run" >next.log 2>&1 &
next_pid=$!
wait "$pager_pid"
is "another version takes over" $? 0
within 20 answers
asks "which is there" 200 GET /health
ok "for new sessions" jq -e '.draining == false and .exiting == false and .sessions == 1' body
ok "and takes one" session new mem.raw
asks "which is closed" 200 POST /sessions/new/close
asks "and the other" 200 POST /sessions/over/close
asks "what graduated is known" 200 POST /sessions/last/complete
asks "drain without sessions" 200 POST /drain '{"exit":true}'
wait "$next_pid"
is "ends at once, with status 0" $? 0
ok "all of it" within 20 none
done_testing
