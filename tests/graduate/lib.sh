# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Pagers that are none, and lamina-graduator, for the tests that source this
# behind tests/lib.sh.
PATH=$buildroot/tests/graduate:$PATH
mkdir run

# Listens at run/pager-NAME/pager.sock; its pid is in ${fake_pid[NAME]}.
declare -A fake_pid
start_fake() { # NAME VERSION
	mkdir -p "run/pager-$1"
	fake "run/pager-$1/pager.sock" "$2" 2>>"fake-$1.log" &
	fake_pid[$1]=$!
	at_exit "kill -CONT ${fake_pid[$1]}; kill -9 ${fake_pid[$1]}"
	within 20 ask_fake "$1" GET /version || bail "no fake pager"
}

ask_fake() { # NAME METHOD PATH [BODY]: prints the answer
	curl -sf --max-time 10 --unix-socket "run/pager-$1/pager.sock" -X "$2" ${4:+-d "$4"} \
		"http://fake$3"
}

end_fake() { # NAME
	kill -9 "${fake_pid[$1]}"
	wait "${fake_pid[$1]}" 2>/dev/null
}

# One that serves, can be detached and is an hour old, unless FIELDS say otherwise.
number=0
session() { # NAME ID [FIELDS]: as in '"age_seconds": 5'
	number=$((number + 1))
	ask_fake "$1" POST /fake/session "$(jq -nc --arg id "$2" --argjson n $number \
		"{id: \$id, number: \$n, state: \"serving\", age_seconds: 3600, detachable: true,
		pid: (100000 + \$n)} + {${3:-}}")" || bail "no session"
}

# What the fake was asked, "WHAT ID" a line.
asked() { # NAME
	ask_fake "$1" GET /fake/log | jq -r '.[] | "\(.what) \(.id)"'
}

states() { # NAME: "ID STATE ..." of all sessions
	ask_fake "$1" GET /sessions | jq -r '[.[] | "\(.id) \(.state)"] | join(", ")'
}

conf() { # LINE...: of [graduation], with enabled = true
	printf '%s\n' "[graduation]" "enabled = true" "runtime_dir = $T/run" "$@" >grad.conf
}

graduator() { # [OPTION...]
	lamina-graduator --config grad.conf "$@"
}

# In the foreground; its log is log, its pid $grad_pid.
start_graduator() { # [OPTION...]
	lamina-graduator --config grad.conf --foreground "$@" 2>log &
	grad_pid=$!
	at_exit "kill -9 $grad_pid"
	within 20 has_event start || bail "no lamina-graduator: $(cat log)"
	within 20 get /health >/dev/null || bail "it does not answer"
}

get() { # PATH: of the graduator
	curl -sf --max-time 10 --unix-socket run/graduator.sock "http://graduator$1"
}

has_event() { # EVENT [JQ-CONDITION]
	jq -es "any(.[]; .event == \"$1\" and (${2:-true}))" log >/dev/null 2>&1
}

events() { # EVENT JQ-EXPRESSION: of each such line
	jq -r "select(.event == \"$1\") | $2" log
}

metric() { # SERIES: its value
	get /metrics | awk -v s="lamina_graduator_$1" '$1 == s { print $2 }'
}

# What is counted and shown follows the log, and the scan that sees a change may be yet to
# come: these wait.
shows() { # NAME SERIES VALUE
	has_metric() { [ "$(metric "$1")" = "$2" ]; }
	ok "$1" within 20 has_metric "$2" "$3"
}

decides() { # NAME JQ-EXPRESSION OUTPUT: of each decision
	has_decision() { [ "$(get /decisions | jq -r ".decisions[] | $1")" = "$2" ]; }
	ok "$1" within 20 has_decision "$2" "$3"
}

scans() {
	metric scans_total
}

# At least one whole scan from now.
next_scan() {
	local n
	n=$(($(scans) + 2))
	more_scans() { [ "$(scans)" -ge $n ]; }
	within 30 more_scans
}
