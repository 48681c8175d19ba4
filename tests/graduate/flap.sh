#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Pagers that come, go and hang: said once for each change, and no hindrance for the others.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/graduate/lib.sh"
requires lamina-graduator curl jq

start_fake a 1.0
start_fake b 1.0
conf 'scan_interval = 100ms'
start_graduator
ok "both answer" within 20 eval '[ "$(events pager_answers .pager | wc -l)" = 2 ]'

ask_fake b POST /fake/mode '{"list": "hang"}'
ok "one hangs" within 30 has_event pager_silent '.pager | test("pager-b")'
session a vm1
ok "the other is served" within 30 has_event graduated '.session == "vm1"'
is "said once" "$(events pager_silent .pager | wc -l)" 1
shows "and shown" silent_pagers 1
ask_fake b POST /fake/mode '{"list": "ok"}'
ok "it answers again" within 30 eval '[ "$(events pager_answers .pager | grep -c pager-b)" = 2 ]'

session b vm2
end_fake a
ok "one dies" within 30 has_event pager_ended '.level == "warning" and (.error | test("nobody listens on .*pager-a"))'
shows "that is counted" ended_pagers 1
shows "and is no silence" silent_pagers 0
is "nor is it said to be one" "$(events pager_silent .pager | wc -l)" 1
ok "the other is served" within 30 has_event graduated '.session == "vm2"'
rm -r run/pager-a
ok "it is gone" within 30 has_event pager_gone '.pager | test("pager-a")'
next_scan
is "said once" "$(events pager_gone .pager | wc -l)" 1

# A worker that is replaced cuts the connection; the next one knows what it graduated.
session b vm3 '"complete": "hold"'
ok "one is under way" within 20 eval 'states b | grep -q "vm3 completing"'
stop "$grad_pid"		# it would ask before the session is there
end_fake b
start_fake b 1.0
number=$((number - 1))
session b vm3
kill -CONT "$grad_pid"
ok "cut, it is tried again" within 30 has_event graduated '.session == "vm3"'
is "that is no failure" "$(events not_graduated .session)" ""

session b vm4 '"complete": "hold"'
ok "another one" within 20 eval 'states b | grep -q "vm4 completing"'
end_fake b
ok "whose pager is gone for good" within 30 has_event not_graduated '.session == "vm4"'
is "cannot be reached" "$(events not_graduated .result)" unreachable
is "nothing was said to be done" "$(events graduated .session | tr '\n' ' ')" "vm1 vm2 vm3 "

kill "$grad_pid"
wait "$grad_pid"
is "it ends well" $? 0
done_testing
