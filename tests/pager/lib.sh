# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# A pager, requests to it and guests of it, for the tests that source this behind
# tests/lib.sh.
# shellcheck source-path=SCRIPTDIR source=pool.sh
. "$srcroot/tests/pager/pool.sh"
PATH=$buildroot/tests/pager:$PATH

# Starts one whose runtime directory is ./run; its socket is $sock, its log pager.log.
start_pager() { # [OPTION...]
	sock=$T/run/api.sock
	lamina-pager --foreground --socket "$sock" --runtime-dir "$T/run" "$@" >pager.log 2>&1 &
	pager_pid=$!
	at_exit "kill $pager_pid; sleep 0.2; kill $pager_pid; sleep 0.2; end_pager"
	within 20 curl -sf --unix-socket "$sock" http://pager/health && return
	sed 's/^/# /' pager.log
	return 1
}

# Its processes have one command line, because they are forks of one program.
pager_pids() { # [NAME]: lamina-pager (the keeper), pager-worker, pager-spare
	local pid
	for pid in $(pgrep -f -- "--runtime-dir $T/run"); do
		[ "${1:-$(cat "/proc/$pid/comm")}" != "$(cat "/proc/$pid/comm")" ] || echo "$pid"
	done 2>/dev/null
}

end_pager() { # at once, whoever is the keeper by now
	local i
	for i in 1 2 3; do
		pager_pids | xargs -r kill -9
	done
}

keeper_pid() {
	pager_pids lamina-pager | head -1
}

worker_pid() {
	pager_pids pager-worker | tail -1
}

fds_of() { # PID: without those that it has from this shell
	find "/proc/$1/fd" -mindepth 1 ! -lname '*.in' ! -lname /dev/null ! -lname '*.log*' ! -lname 'pipe:*' 2>/dev/null | wc -l
}

answers() {
	curl -sf --max-time 5 --unix-socket "$sock" -o "$T/.health" http://pager/health
}

# kill -9; the next one answers when this returns.
kill_worker() {
	local old
	old=$(worker_pid)
	kill -9 "$old"
	next_worker "$old"
}

next_worker() { # OLD
	is_next() {
		local now
		now=$(worker_pid)
		[ -n "$now" ] && [ "$now" != "$1" ] && answers
	}
	within 20 is_next "$1"
}

# kill -9; its successor has a spare of its own when this returns.
kill_keeper() {
	local old
	old=$(keeper_pid)
	kill -9 "$old"
	is_next() {
		local now
		now=$(keeper_pid)
		[ -n "$now" ] && [ "$now" != "$1" ] && [ -n "$(pager_pids pager-spare)" ]
	}
	within 20 is_next "$old"
}

# Leaves the status in $status, the answer in ./body, its headers in ./headers.
request() { # METHOD PATH [BODY]
	local options=(-X "$1")
	[ "$1" != HEAD ] || options=(-I)
	[ $# -lt 3 ] || options+=(-H 'Content-Type: application/json' --data-binary "$3")
	rm -f body headers
	status=$(curl -sS --max-time 60 --path-as-is --unix-socket "$sock" -D headers -o body \
		-w '%{http_code}' "${options[@]}" "http://pager$2")
}

# The status, and that the answer is one JSON value, and a sentence if it is an error.
asks() { # NAME STATUS METHOD PATH [BODY]
	local name=$1 want=$2
	shift 2
	request "$@"
	if [ "$status" != "$want" ]; then
		fail "$name"
		diag "status $status, want $want: $(head -c 300 body)"
	elif [ "$want" -ge 400 ]; then
		ok "$name" jq -es 'length == 1 and (.[0].error | length > 5)' body
	else
		ok "$name" jq -es 'length == 1' body
	fi
}

error_text() {
	jq -r .error body
}

# Makes a session; MEMBERS, if any, begin with a comma.
session() { # ID MEMFILE [MEMBERS]
	request POST /sessions "{\"id\":\"$1\",\"memfile\":\"$(realpath "$2")\"${3:-}}"
	[ "$status" = 201 ] && return
	cat body
	return 1
}

# N sessions, ID1, ID2, ..., by one curl.
sessions() { # ID N MEMFILE [MEMBERS]
	local i file
	file=$(realpath "$3")
	for ((i = 1; i <= $2; i++)); do
		printf 'url = "http://pager/sessions"\nunix-socket = "%s"\noutput = "%s"\nfail\n' \
			"$sock" "$T/.made"
		printf 'data = "%s"\nnext\n' \
			"{\\\"id\\\":\\\"$1$i\\\",\\\"memfile\\\":\\\"$file\\\"${4:-}}"
	done | sed '$d' | curl -sS -K -
}

close_all() { # that can be closed
	curl -s --unix-socket "$sock" http://pager/sessions | jq -r '.[].id' | while read -r id; do
		printf 'url = "http://pager/sessions/%s/close"\nunix-socket = "%s"\noutput = "%s"\n' \
			"$id" "$sock" "$T/.closed"
		printf 'data = ""\nnext\n'
	done | sed '$d' | curl -sS -K -
}

# What jq finds in a session.
fact() { # ID FILTER
	curl -s --unix-socket "$sock" "http://pager/sessions/$1" | jq -r "$2"
}

# How many are in that state.
count_state() { # STATE
	curl -s --unix-socket "$sock" "http://pager/sessions?state=$1" | jq length
}

# All guests have gone.
none_left() {
	[ "$(curl -s --unix-socket "$sock" http://pager/sessions | jq '[.[] | select(.state != "gone")] | length')" = 0 ]
}

is_count() { # STATE N
	[ "$(count_state "$1")" = "$2" ]
}

# A guest that goes on until `guest_end NAME`, with commands from `guest_does`.
guest_begin() { # NAME MEMFILE
	mkfifo "$1.in"
	client -t 120 -f "$2" <"$1.in" >"$1.out" 2>&1 &
	eval "guest_pid_$1=$!"
	at_exit "kill -9 $!"
	eval "exec {guest_fd_$1}>$1.in"
}

guest_does() { # NAME COMMAND...: and waits until each is done
	local name=$1 fd=guest_fd_$1 pid=guest_pid_$1 n
	shift
	n=$(grep -c '^ok ' "$name.out")
	(printf '%s\n' "$@" >&"${!fd}") 2>/dev/null
	guest_has() { [ "$(grep -c '^ok ' "$name.out")" -ge $((n + $#)) ]; }
	guest_has_or_ended() { guest_has "$@" || ! kill -0 "${!pid}"; }
	within 60 guest_has_or_ended "$@" && guest_has "$@" && return
	sed 's/^/# /' "$name.out"
	return 1
}

# Does COMMAND again and again while a guest works; $n is how often.
while_works() { # GUEST COMMAND GUEST-COMMAND...
	local guest=$1 command=$2 doing
	shift 2
	n=0
	guest_does "$guest" "$@" >"$guest.does" &
	doing=$!
	while kill -0 $doing 2>/dev/null; do
		$command || break
		n=$((n + 1))
	done
	wait $doing && return
	cat "$guest.does"
	return 1
}

# Processes that were started meanwhile have the pipe too: its end is not seen, so it is said.
# With a STATUS it ends at once, and has unmapped nothing before.
guest_end() { # NAME [STATUS]: returns the guest's status
	local fd=guest_fd_$1 pid=guest_pid_$1
	exec {fd}>&"${!fd}"
	(echo "exit ${2:-}" >&"$fd") 2>/dev/null
	eval "exec {guest_fd_$1}>&-"
	exec {fd}>&-
	wait "${!pid}"
}

# The state of a session, "none" if there is none.
state_of() { # ID
	curl -s --unix-socket "$sock" "http://pager/sessions/$1" | jq -r '.state // "none"'
}

is_state() { # ID STATE
	[ "$(state_of "$1")" = "$2" ]
}
