# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# A pager, requests to it and guests of it, for the tests that source this behind
# tests/lib.sh.
PATH=$buildroot/tests/pager:$PATH

# Starts one whose runtime directory is ./run; its socket is $sock, its log pager.log.
start_pager() { # [OPTION...]
	sock=$T/run/api.sock
	mkdir -p run
	lamina-pager --foreground --socket "$sock" --runtime-dir "$T/run" "$@" >pager.log 2>&1 &
	pager_pid=$!
	at_exit "kill $pager_pid; sleep 0.2; kill $pager_pid; sleep 0.2; kill -9 $pager_pid"
	within 20 curl -sf --unix-socket "$sock" http://pager/health && return
	sed 's/^/# /' pager.log
	return 1
}

# Leaves the status in $status, the answer in ./body, its head in ./head.
request() { # METHOD PATH [BODY]
	local options=(-X "$1")
	[ "$1" != HEAD ] || options=(-I)
	[ $# -lt 3 ] || options+=(-H 'Content-Type: application/json' --data-binary "$3")
	rm -f body head
	status=$(curl -sS --max-time 60 --path-as-is --unix-socket "$sock" -D head -o body \
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

# A guest that goes on until `guest_end NAME`, with commands from `guest_does`.
guest_begin() { # NAME MEMFILE
	mkfifo "$1.in"
	client -t 120 -f "$2" <"$1.in" >"$1.out" 2>&1 &
	eval "guest_pid_$1=$!"
	at_exit "kill -9 $!"
	eval "exec {guest_fd_$1}>$1.in"
}

guest_does() { # NAME COMMAND...: and waits until each is done
	local name=$1 fd=guest_fd_$1 n
	shift
	n=$(grep -c '^ok ' "$name.out")
	printf '%s\n' "$@" >&"${!fd}"
	guest_has() { [ "$(grep -c '^ok ' "$name.out")" -ge $((n + $#)) ]; }
	within 30 guest_has "$@" && return
	sed 's/^/# /' "$name.out"
	return 1
}

guest_end() { # NAME: returns the guest's status
	local fd=guest_fd_$1 pid=guest_pid_$1
	exec {fd}>&"${!fd}"
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
