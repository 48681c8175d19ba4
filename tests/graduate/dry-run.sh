#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina-graduator --dry-run: says what would be done and why, and does nothing.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/graduate/lib.sh"
requires lamina-graduator curl jq

conf
ok "without a pager" graduator --dry-run
is "the table is empty" "$(cat out)" ""
is "which is said" "$(cat err)" "lamina-graduator: there is no pager below '$T/run'"

start_fake old 1.9
start_fake new 1.10
session old outdated '"age_seconds": 700'
session new aged '"age_seconds": 900'
session new fresh '"age_seconds": 8'
session new stuck '"age_seconds": 99999, "detachable": false'
session new early '"state": "waiting", "age_seconds": null'
session new silent-age '"age_seconds": null'
session new theirs '"state": "completing"'
session new strange '"state": "levitating", "age_seconds": 5'
session new over '"state": "graduated"'
ok "several" graduator --dry-run --json
cp out all.json
jq -r '.decisions[] | "\(.session) \(.reason) \(.graduate)"' all.json >got
cat >want <<'END'
outdated graduate true
stuck not_detachable false
theirs completing false
aged max_concurrent false
fresh too_young false
strange not_serving false
early waiting false
silent-age no_age false
END
same "each has its reason, in order" got want
is "and a sentence" "$(jq -r '.decisions[] | select(.session == "fresh").why' all.json)" \
	"it was handed over 8.0 s ago, min_session_age is 10 min 0 s"
is "the first one's" "$(jq -r '.decisions[0].why' all.json)" \
	"its pager is outdated, and it was handed over 11 min 40 s ago"
is "what it is" "$(jq -c '.decisions[0] | del(.why)' all.json)" \
	"{\"session\":\"outdated\",\"number\":1,\"pager\":\"$T/run/pager-old/pager.sock\",\"version\":\"1.9\",\"outdated\":true,\"age_seconds\":700,\"graduate\":true,\"reason\":\"graduate\"}"
is "the pagers" "$(jq -c '.pagers[] | [.version, .outdated, .draining, .sessions, .error]' all.json)" \
	$'["1.10",false,false,7,null]\n["1.9",true,false,1,null]'
is "nobody is graduated" "$(asked old; asked new)" ""

ok "a table" graduator --dry-run
is "has heads" "$(head -1 out | tr -s ' ')" "session pager version age decision why"
is "and a line for each" "$(wc -l <out)" 9
is "the first one" "$(sed -n 2p out | tr -s ' ')" \
	"outdated $T/run/pager-old/pager.sock 1.9 (outdated) 11 min 40 s graduate its pager is outdated, and it was handed over 11 min 40 s ago"

# --- with a ceiling ---

conf 'max_active_sessions = 5' 'max_concurrent = 8'
ok "with a ceiling" graduator --dry-run --json
is "the outdated one goes, then the oldest in excess" \
	"$(jq -r '.decisions[] | select(.session == "outdated" or .session == "aged") | "\(.session) \(.reason)"' out)" \
	$'outdated graduate\naged below_ceiling'
conf 'max_active_sessions = 3' 'max_concurrent = 8'
graduator --dry-run --json >out
is "a lower one lets the oldest go" "$(jq -r '.decisions[] | select(.session == "aged").reason' out)" graduate

# --- not enabled, and a pager that is silent ---

sed -i 's/^enabled.*/enabled = false/' grad.conf
ok "not enabled" graduator --dry-run --once
is "is said" "$(cat err)" "lamina-graduator: graduation is not enabled; if it were:"
is "with the table nevertheless" "$(grep -c ' graduate ' out)" 2
ok "in JSON too" graduator --dry-run --json
is "it is said" "$(jq -c .enabled out)" false

end_fake new
ok "one is silent" graduator --dry-run
like "is said" "$(cat err)" "pager-new/pager.sock"
is "the other is no longer outdated" "$(sed -n 2p out | tr -s ' ' | cut -d' ' -f1-3)" \
	"outdated $T/run/pager-old/pager.sock 1.9"
conf
ask_fake old POST /fake/mode '{"list": "junk"}'
ok "one that speaks nonsense" graduator --dry-run
like "is said" "$(cat err)" "the list of sessions of '$T/run/pager-old/pager.sock' is not understood"
ask_fake old POST /fake/mode '{"list": "fail"}'
ok "one that fails" graduator --dry-run --json
is "is listed with that" "$(jq -r '.pagers[] | select(.error | test("told")).error' out)" \
	"cannot list the sessions of '$T/run/pager-old/pager.sock': told to fail"
exits "a bad file" 1 graduator --dry-run --config nosuch
is "is named" "$(cat err)" "lamina-graduator: cannot open '$T/nosuch': No such file or directory"
ok "no lock was made" test ! -e run/graduator.lock

# --- beside one that runs ---

ask_fake old POST /fake/mode '{"list": "ok"}'
conf 'scan_interval = 100ms' 'max_concurrent = 1'
session old outdated '"state": "gone"'
session old ours '"complete": "hold"'
session old theirs '"state": "completing"'
session old next
start_graduator
ok "one has one under way" within 20 eval 'states old | grep -q "ours completing"'
decides "as it shows" 'select(.session == "ours").reason' running
ok "beside it" graduator --dry-run --json
is "it is told from what others asked for" "$(jq -r '.decisions[] | "\(.session) \(.reason)"' out | sort)" \
	$'next max_concurrent\nours running\ntheirs completing'
is "which is theirs" "$(jq -r '.decisions[] | select(.session == "theirs").why' out)" \
	"it is being graduated at somebody else's request"
ok "the table" graduator --dry-run
like "says that one runs" "$(cat err)" "lamina-graduator: another one runs for '$T/run'; what it has under way is running$"
ok "the lock is not disturbed" get /health
stop "$grad_pid"
ok "while it does not answer" graduator --dry-run --json
is "that is left open" "$(jq -r '.decisions[] | select(.session != "next") | .why' out | sort -u)" \
	"it is being graduated, by the lamina-graduator that runs or at somebody else's request"
ok "the table" graduator --dry-run
like "says so" "$(cat err)" "another one runs for '$T/run', and does not tell what it has under way$"
kill -CONT "$grad_pid"
kill "$grad_pid"
wait "$grad_pid"
back() { states old | grep -q "ours serving"; }
ok "it ends" within 20 back
graduator --once --foreground 2>log &
once=$!
ok "one of --once" within 20 eval 'states old | grep -q "ours completing"'
ok "beside it" graduator --dry-run --json
is "that is left open, too" "$(jq -r '.decisions[] | select(.session == "ours").why' out)" \
	"it is being graduated, by the lamina-graduator that runs or at somebody else's request"
ask_fake old POST /fake/release
wait $once
ok "beside none" graduator --dry-run
is "nothing of that" "$(grep -c "another one" err)" 0
done_testing
