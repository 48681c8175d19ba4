#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A session whose graduation failed is left alone for failure_backoff; the others
# are not.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/graduate/lib.sh"
requires lamina-graduator curl jq

tries() { # ID
	asked a | grep -cx "complete $1"
}

start_fake a 1.0
conf 'scan_interval = 100ms' 'failure_backoff = 1h'
session a bad '"age_seconds": 9000, "complete": "memory"'
session a good '"age_seconds": 5000'
start_graduator
ok "the older one fails" within 20 has_event not_graduated '.session == "bad" and .result == "memory"'
ok "the other is graduated" within 20 has_event graduated '.session == "good"'
next_scan
next_scan
is "it was tried once" "$(tries bad)" 1
decides "it is backing off" '"\(.session) \(.reason)"' "bad backing_off"
like "for an hour" "$(get /decisions | jq -r '.decisions[0].why')" "^it was tried in vain, and is tried again in (59 min|1 h)"
shows "the failure counts" 'failures_total{version="1.0"}' 1
shows "by its reason" 'completions_total{result="memory",version="1.0"}' 1

# Another session of that id is another session.
session a bad '"age_seconds": 9000'
ok "a new one of that name is graduated" within 20 has_event graduated '.session == "bad"'

session a late '"complete": "timeout"'
ok "another failure" within 20 has_event not_graduated '.session == "late"'
is "is tried once" "$(tries late)" 1
conf 'scan_interval = 100ms' 'failure_backoff = 200ms'
kill -HUP "$grad_pid"
more_tries() { [ "$(tries late)" -ge 3 ]; }
ok "a shorter time counts at once" within 20 more_tries
done_testing
