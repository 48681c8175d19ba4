# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Sessions in one process (solo.c) and guests of them, for the tests that source this
# behind tests/lib.sh.
# shellcheck source-path=SCRIPTDIR source=pool.sh
. "$srcroot/tests/pager/pool.sh"
PATH=$buildroot/tests/pager:$PATH

# Its log is solo.log, its process $solo_pid.
start_solo() { # [THREADS [PATIENCE-MS]]
	mkdir -p run
	coproc solo { exec solo "$T/run" "$@" 2>>solo.log; }
	# shellcheck disable=SC2154
	solo_pid=$solo_PID
	exec {solo_in}>&"${solo[1]}" {solo_out}<&"${solo[0]}"	# those of a coproc are closed in subshells
	at_exit "kill -9 $solo_pid"
}

ask() { # LINE: a command, and its answer
	echo "$*" >&"$solo_in"
	IFS= read -r -t 300 answer <&"$solo_out" && echo "$answer"
}

make_session() { # ID MEMFILE [,FIELDS]: its socket is run/ID.sock
	local path=$2
	[[ $path == /* ]] || path=$T/$2
	[ "$(ask "{\"id\":\"$1\",\"memfile\":\"$path\"${3:-}}")" = "ok $T/run/$1.sock" ]
}

session() { # the same as a check
	ok "session $1" make_session "$@"
}

fact() { # ID FILTER: of the session's JSON
	ask "show $1" | jq -r "$2"
}

is_fact() { # ID FILTER WANT
	[ "$(fact "$1" "$2")" = "$3" ]
}

# But the states of those that have ended.
open_fds() {
	find "/proc/$solo_pid/fd" -type l ! -lname '*memfd:*' | wc -l
}

has_fds() { # N
	[ "$(open_fds)" = "$1" ]
}

guest() { # SCRIPT
	client -t 100 -f "${mem:-mem.raw}" -e "$1"
}

# A guest of a session of its own, which ends with it.
paged() { # NAME SCRIPT [,FIELDS]: in SCRIPT HAND is the handoff
	local id=s$((++paged_n))
	make_session "$id" "${mem:-mem.raw}" "${3:-}" || { fail "$1: no session"; return; }
	ok "$1" guest "${2//HAND/handoff run/$id.sock}"
	within 20 is_fact "$id" .state gone || fail "$1: its session is $(fact "$id" .state)"
}
paged_n=0

quit_solo() {
	is "nobody holds what has ended" "$(ask quit)" bye
	ok "and the pager ends well" wait "$solo_pid"
}
