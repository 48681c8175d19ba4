#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Pagers of two versions: the outdated one is drained, and its sessions go first,
# whatever the ceiling.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/graduate/lib.sh"
requires lamina-graduator curl jq

drains() { # NAME
	ask_fake "$1" GET /fake/log | jq -c '.[] | select(.what == "drain").body'
}

order() {
	events graduating .session | tr '\n' ' '
}

start_fake new 2.0
start_fake old 1.9
session new n1 '"age_seconds": 9000'
session new n2 '"age_seconds": 8000'
session old o1 '"age_seconds": 700'
session old o2 '"age_seconds": 800'
session old o3 '"age_seconds": 5'
session old twin '"age_seconds": 4000, "complete": "hold"'
session new twin '"age_seconds": 9999'
conf 'scan_interval = 100ms' 'max_concurrent = 4'
start_graduator
ok "the outdated one is drained" within 20 has_event drain '.version == "1.9"'
ok "one of its sessions is held" within 20 eval 'states old | grep -q "twin completing"'
ok "the others are graduated" within 20 has_event graduated '.session == "n2"'
is "the outdated ones first, then the oldest" "$(order)" "twin o2 o1 n1 n2 "
decides "its twin elsewhere waits" 'select(.session == "twin" and .outdated == false).reason' same_guest
decides "the young one, too" 'select(.session == "o3").reason' too_young
ask_fake old POST /fake/release
ok "then it is the twin's turn" within 20 eval 'states new | grep -q "twin graduated"'
is "drained once, to its end" "$(drains old)" '{"exit":true}'
is "the newer one is not" "$(drains new)" ""
shows "sessions by version" 'sessions{version="1.9"}' 1
shows "of the newer one" 'sessions{version="2.0"}' 0
end_fake old
ok "when the outdated one has ended, that is no silence" within 20 has_event pager_ended \
	'.level == "info" and (.pager | test("pager-old"))'
ok "nor said to be" eval '! has_event pager_silent'
start_fake old 1.9
ok "one in its place" within 20 eval '[ "$(events pager_answers .pager | grep -c pager-old)" = 2 ]'
kill "$grad_pid"
wait "$grad_pid"

# --- an older pager, that knows no "exit"; and one that fails ---

start_fake older 1.0
start_fake odd 1.1
ask_fake older POST /fake/mode '{"drain": "old"}'
ask_fake odd POST /fake/mode '{"drain": "fail"}'
start_graduator
ok "the older one is drained" within 20 has_event drain '.version == "1.0"'
is "in its own way" "$(drains older | tr '\n' ' ')" '{"exit":true} {} '
ok "the odd one refuses" within 20 has_event drain_failed '.version == "1.1" and .error == "told to fail"'
next_scan
is "which is said once" "$(events drain_failed .error | wc -l)" 1
ask_fake odd POST /fake/mode '{"drain": "ok"}'
ok "and tried again" within 20 has_event drain '.version == "1.1"'
kill "$grad_pid"
wait "$grad_pid"
end_fake older
end_fake odd

# --- the newest one drains: the older is needed ---

start_fake newest 3.0
ask_fake newest POST /drain '{}' >/dev/null
start_fake middle 2.5
start_graduator
next_scan
is "it is not drained" "$(drains middle)" ""
is "but what is older is" "$(drains new)" '{"exit":true}'
kill "$grad_pid"
wait "$grad_pid"
end_fake newest
end_fake middle
end_fake old

# --- a ceiling ---

for i in 1 2 3 4 5; do
	session new c$i "\"age_seconds\": ${i}0000"
done
session new stuck '"age_seconds": 99999, "detachable": false'
conf 'scan_interval = 100ms' 'max_active_sessions = 4'
start_graduator
ok "the oldest in excess" within 20 has_event graduated '.session == "c4"'
next_scan
is "are graduated, no others" "$(order)" "c5 c4 "
decides "for that reason" 'select(.session != "stuck").reason' $'below_ceiling\nbelow_ceiling\nbelow_ceiling'
start_fake newer 4.0
ok "on an outdated pager all are" within 20 has_event graduated '.session == "c1"'
is "the oldest first" "$(order)" "c5 c4 c3 c2 c1 "
done_testing
