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
is "is said at the start" "$(events start '.enabled | tojson')" false
is "no decision is shown" "$(get /decisions | jq -c '[.enabled, .scanned_seconds, .decisions]')" '[false,null,[]]'
sleep 0.5
is "it does not look" "$(scans)" 0

conf 'scan_interval = 100ms' 'min_session_age = never'
kill -HUP "$grad_pid"
ok "a bad file is refused" within 20 refused 1
is "with file, line and key" "$(events config_refused .error)" \
	"$T/grad.conf:5: min_session_age in section [graduation]: 'never' is not a duration of at most 3650d"
is "the old one stays" "$(get /health | jq .enabled)" false
shows "which is counted" last_reload_failed 1
shows "among all of them" reload_failures_total 1

conf 'scan_interval = 100ms' 'min_session_age = 2h'
kill -HUP "$grad_pid"
ok "a good one is taken" within 20 loaded 1
ok "it looks now" next_scan
decides "with the new age" .reason too_young
shows "the reload has gone well" last_reload_failed 0
shows "it was the second" reloads_total 2
is "all settings are told, as they are" \
	"$(jq -c 'select(.event == "config_loaded") | del(.time, .level, .event)' log)" \
	"{\"enabled\":true,\"runtime_dir\":\"$T/run\",\"metrics_socket\":\"$T/run/graduator.sock\",\"min_session_age_seconds\":7200,\"max_concurrent\":1,\"max_active_sessions\":0,\"scan_interval_seconds\":0.1,\"completion_timeout_seconds\":600,\"failure_backoff_seconds\":300,\"rate\":0,\"min_available\":0,\"max_pressure\":0}"
keys() { sed -n "/^\.Ss \[graduation\]/,/^\.El/s/^\.It Cm //p" "$srcroot/man/lamina.conf.5" | sort; }
is "each key of the manual is there" \
	"$(jq -r 'select(.event == "config_loaded") | del(.time, .level, .event) | keys[] | sub("_seconds$"; "")' log | sort)" "$(keys)"

conf 'enabled = false'
kill -HUP "$grad_pid"
ok "a key that is given twice is refused" within 20 refused 2
is "with both lines" "$(events config_refused .error | tail -1)" \
	"$T/grad.conf:4: key 'enabled' of section [graduation] was given in line 2 already"

printf '[graduation]\nenabeld = true\n' >grad.conf
kill -HUP "$grad_pid"
ok "an unknown key is refused" within 20 refused 3
like "with its name" "$(events config_refused .error | tail -1)" "grad.conf:2: unknown key 'enabeld' in section \[graduation\]"
rm grad.conf
kill -HUP "$grad_pid"
ok "and a file that is gone" within 20 refused 4
ok "it looks on" next_scan

conf 'scan_interval = 100ms'
sed -i 's|^runtime_dir.*|runtime_dir = /nosuch|' grad.conf
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
