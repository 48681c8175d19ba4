#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina-graduator --once: who is graduated, in which order, and what is said when
# that fails.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/graduate/lib.sh"
requires lamina-graduator curl jq

once() { # NAME STATUS [OPTION...]: its log is log
	exits "$1" "$2" graduator --once "${@:3}"
	cp err log
}

conf
once "without a pager" 0
is "nothing is said" "$(cat err)" ""
like "the lock is where it is to be" "$(ls run)" "graduator.lock"

start_fake a 1.0
session a young '"age_seconds": 599'
session a due '"age_seconds": 700'
session a oldest '"age_seconds": 7200'
session a stuck '"detachable": false'
session a early '"state": "waiting", "age_seconds": null'
session a over '"state": "gone"'
session a theirs '"state": "completing"'
once "two are due" 0
is "they were graduated, the oldest first" "$(asked a)" $'complete oldest\ncomplete due'
is "the others were not" "$(states a)" \
	"young serving, due graduated, oldest graduated, stuck serving, early waiting, over gone, theirs completing"
ok "each line of the log is JSON" jq -es 'length > 0 and all(.[]; has("time") and has("level") and has("event"))' log
is "it tells of each" "$(jq -r 'select(.session) | "\(.event) \(.session)"' log)" \
	$'graduating oldest\ngraduated oldest\ngraduating due\ngraduated due'
is "with figures" "$(events graduated '"\(.level) \(.version) \(.number) \(.pages) \(.bytes) \(.pager)"' | head -1)" \
	"info 1.0 3 2 8192 $T/run/pager-a/pager.sock"
ok "and a time" jq -es 'any(.[]; .event == "graduated" and .seconds >= 0)' log
once "then nobody is due" 0
is "and nobody is asked" "$(asked a | grep -c complete)" 2

# --- limits go along ---

conf 'rate = 64M' 'min_available = 1G' 'max_pressure = 12.5' 'completion_timeout = 90s'
session a limited
once "with limits" 0
is "they are passed on" "$(ask_fake a GET /fake/log | jq -c '.[-1].body | (.timeout_ms |= (. <= 90000))')" \
	'{"timeout_ms":true,"rate":67108864,"min_available":1073741824,"max_pressure":12.5}'

conf 'rate = 64M' 'max_concurrent = 3'
session a shared
once "as one of three that there may be" 0
is "it has its share of the host's rate" "$(ask_fake a GET /fake/log | jq '.[-1].body.rate')" 22369622

# --- failures ---

conf 'max_concurrent = 3' 'failure_backoff = 0s'
for how in memory timeout waiting unreadable cancelled lie other gone unknown ok; do
	session a "bad-$how" "\"complete\": \"$how\""
done
before=$(asked a | grep -c complete)
once "some fail" 1
is "each was tried once" "$(($(asked a | grep -c complete) - before))" 10
is "the good one is done" "$(states a | grep -o 'bad-ok [a-z]*')" "bad-ok graduated"
is "the results" "$(jq -r 'select(.result) | "\(.session) \(.event) \(.result)"' log | sort)" "$(sort <<'END'
bad-memory not_graduated memory
bad-timeout not_graduated timeout
bad-waiting not_graduated waiting
bad-unreadable not_graduated unreadable
bad-cancelled not_graduated cancelled
bad-lie not_graduated refused
bad-other not_graduated refused
bad-gone not_graduated gone
bad-unknown not_graduated gone
bad-ok graduated graduated
END
)"
is "the pager's sentence is there" "$(events not_graduated 'select(.result == "memory") | .error')" "told to fail"
is "and what was done in vain" "$(events not_graduated 'select(.result == "memory") | .bytes')" 4096
like "the last line counts them" "$(tail -1 log)" '"7 of the graduations failed"'

end_fake a
start_fake b 1.0
session b gone '"complete": "gone"'
once "a guest that has gone is no failure" 0

# --- a pager that does not answer ---

start_fake mute 1.0
ask_fake mute POST /fake/mode '{"list": "hang"}'
session b beside
once "one that does not answer" 1
is "is told" "$(events pager_silent .pager)" "$T/run/pager-mute/pager.sock"
is "the last line counts it" "$(tail -1 log | jq -r .error)" \
	"1 of the pagers did not answer: nothing was done for their sessions"
is "the others are served" "$(events graduated .session)" beside
session b poor '"complete": "memory"'
once "together with a failure" 1
is "both are told" "$(tail -1 log | jq -r .error)" \
	"1 of the graduations failed; 1 of the pagers did not answer: nothing was done for their sessions"
session b poor '"state": "gone"'
end_fake mute
once "one at whose socket nobody listens has ended" 0
is "as it says" "$(events pager_ended .pager)" "$T/run/pager-a/pager.sock
$T/run/pager-mute/pager.sock"

# --- when it must not, or cannot ---

conf
sed -i 's/^enabled.*/enabled = false/' grad.conf
session b due
once "graduation is not enabled" 0
is "which is said" "$(jq -r .event log)" "disabled"
is "nobody is asked" "$(asked b | grep -c due)" 0
conf 'max_concurrent = 0'
once "a bad file" 1
is "is refused" "$(jq -r .error log)" \
	"$T/grad.conf:4: max_concurrent in section [graduation]: '0' is not a number from 1 to 64"
conf
once "another directory without pagers" 0 --runtime-dir "$T/elsewhere"
ok "it was made" test -e elsewhere/graduator.lock
: >file
once "a file for a directory" 1 --runtime-dir "$T/file"
like "is refused" "$(jq -r .error log)" "/file'"

# --- the command line ---

exits "an unknown option" 2 graduator --nosuch
is "is named" "$(cat err)" "lamina-graduator: unknown or ambiguous option '--nosuch'
Try 'lamina-graduator --help'."
exits "--json alone" 2 graduator --json
like "goes with --dry-run" "$(cat err)" "--json goes with --dry-run"
exits "an operand" 2 graduator vm1
like "is not expected" "$(cat err)" "unexpected 'vm1'"
ok "--version" lamina-graduator --version
is "is that of the package" "$(cat out)" "$(lamina --version | sed 's/^lamina/lamina-graduator/')"
done_testing
