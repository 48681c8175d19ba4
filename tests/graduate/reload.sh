#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SIGHUP: lamina.conf is read again; a bad one changes nothing.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/graduate/lib.sh"
requires lamina-graduator curl jq

loaded() { [ "$(events config_loaded .enabled | wc -l)" = "$1" ]; }
refused() { [ "$(events config_refused .error | wc -l)" = "$1" ]; }

start_fake a 1.0
session a vm1
conf 'scan_interval = 100ms'
sed -i 's/^enabled.*/enabled = false/' grad.conf
start_graduator
is "not enabled" "$(get /health | jq .enabled)" false
is "is said at the start" "$(events start .enabled)" false
is "no decision is shown" "$(get /decisions | jq -c '[.enabled, .scanned_seconds, .decisions]')" '[false,null,[]]'
sleep 0.5
is "it does not look" "$(scans)" 0

conf 'scan_interval = 100ms' 'min_session_age = never'
kill -HUP "$grad_pid"
ok "a bad file is refused" within 20 refused 1
is "with file, line and key" "$(events config_refused .error)" \
	"$T/grad.conf:5: min_session_age in section [graduation]: 'never' is not a duration of at most 3650d"
is "the old one stays" "$(get /health | jq .enabled)" false
is "which is counted" "$(metric last_reload_failed) $(metric reload_failures_total)" "1 1"

conf 'scan_interval = 100ms' 'min_session_age = 2h'
kill -HUP "$grad_pid"
ok "a good one is taken" within 20 loaded 1
ok "it looks now" next_scan
is "with the new age" "$(get /decisions | jq -r '.decisions[0].reason')" too_young
is "the reload has gone well" "$(metric last_reload_failed) $(metric reloads_total)" "0 2"

printf '[graduation]\nenabeld = true\n' >grad.conf
kill -HUP "$grad_pid"
ok "an unknown key is refused" within 20 refused 2
like "with its name" "$(events config_refused .error | tail -1)" "grad.conf:2: unknown key 'enabeld' in section \[graduation\]"
rm grad.conf
kill -HUP "$grad_pid"
ok "and a file that is gone" within 20 refused 3
ok "it looks on" next_scan

conf 'scan_interval = 100ms' 'runtime_dir = /nosuch'
kill -HUP "$grad_pid"
ok "an older age, and another directory" within 20 loaded 2
ok "the age counts" within 20 has_event graduated '.session == "vm1"'
ok "the directory only after a restart" has_event message '.message | test("after a restart")'

# --- disabled while one is under way: it is not cut off ---

session a vm2 '"complete": "hold"'
session a vm3
ok "one is under way" within 20 eval 'states a | grep -q "vm2 completing"'
conf 'scan_interval = 100ms'
sed -i 's/^enabled.*/enabled = false/' grad.conf
kill -HUP "$grad_pid"
ok "disabled" within 20 loaded 3
is "it goes on" "$(states a | grep -o 'vm2 [a-z]*')" "vm2 completing"
ask_fake a POST /fake/release
ok "to its end" within 20 has_event graduated '.session == "vm2"'
is "no other one begins" "$(states a | grep -o 'vm3 [a-z]*')" "vm3 serving"
done_testing
