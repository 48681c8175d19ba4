#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The controller and real pagers of two versions: two hundred guests are weaned in one run,
# every byte is right, and the outdated pager ends with its last session.
. "$(dirname "$0")/../lib.sh"
PATH=$buildroot/tests/pager:$PATH
requires lamina-pager curl jq userfaultfd root
root=$T/root
mkimage mem.raw 512 0-99:data=1 200-399:data=2 500-511:fill=7

end_all() {
	local i
	for i in 1 2 3; do
		pgrep -f -- "--runtime-dir $root" | xargs -r kill -9
	done
}
at_exit end_all

begin() { # DIR PROGRAM: its pid is in $begun
	"$2" --foreground --runtime-dir "$root/$1" >>"$1.log" 2>&1 &
	begun=$!
	within 20 says "$1" /health || bail "no pager: $(cat "$1.log")"
}
says() { # DIR PATH [BODY]
	curl -sf --max-time 20 --unix-socket "$root/$1/pager.sock" ${3:+-d "$3"} -o answer "http://pager$2"
}
guest() { # DIR ID [FIELDS]: in the background, pids are in ${pid[@]}
	says "$1" /sessions "{\"id\":\"$2\",\"memfile\":\"$T/mem.raw\",\"prefetch\":\"off\"${3:-}}" || bail "no session"
	client -t 300 -f mem.raw -e "map auto 2M 0; handoff $root/$1/$2.sock; touch random count 20; hangup 250; check" \
		>"$2.out" 2>&1 &
	pid+=($!)
}
served() { # DIR N
	says "$1" "/sessions?state=serving" && [ "$(jq length answer)" = "$2" ]
}
graduate() { # [LINE...]: of [graduation]
	printf '%s\n' "[graduation]" "enabled = true" "runtime_dir = $root" "min_session_age = 0s" "$@" >grad.conf
	lamina-graduator --config grad.conf --once 2>log
}
count() { # RESULT: how many ended so, by the log
	jq -s "[.[] | select(.event == \"graduated\" and .result == \"$1\")] | length" log
}

# --- two hundred ---

begin pager-a lamina-pager
old=$begun
pid=()
for ((i = 1; i <= 200; i++)); do
	guest pager-a g$i ',"detachable":true'
done
guest pager-a fixed
ok "two hundred guests that can be detached, and one that cannot" within 120 served pager-a 201
ok "in one run" graduate "max_concurrent = 4"
is "all are weaned but that one" "$(count graduated)" 200
is "which is served" "$(served pager-a 1 && jq -r '.[0].id' answer)" fixed
good=0
for p in "${pid[@]:0:200}"; do
	wait "$p" && good=$((good + 1))
done
is "every byte of each is right" $good 200

# --- a ceiling, and another version ---

pid=("${pid[200]}")
for ((i = 1; i <= 6; i++)); do
	guest pager-a h$i ',"detachable":true'
done
within 60 served pager-a 7
ok "a ceiling of five" graduate "max_active_sessions = 5"
is "takes the two that exceed it" "$(count graduated)" 2
is "five are left" "$(served pager-a 5 && echo yes)" yes
kill "${pid[0]}"
begin pager-b next
guest pager-b n1 ',"detachable":true'
within 60 served pager-b 1
within 60 served pager-a 4
ok "a newer pager beside it" graduate "max_active_sessions = 5"
is "the sessions of the older one go whatever the ceiling" "$(count graduated)" 4
is "those of the newer one stay" "$(served pager-b 1 && echo yes)" yes
is_dead() { ! kill -0 "$old" 2>/dev/null; }
ok "the older one ends with its last session" within 60 is_dead
status=0
wait "$old" || status=$?
is "and ends well" $status 0
good=0
for p in "${pid[@]:1:6}"; do
	wait "$p" && good=$((good + 1))
done
is "every byte is right" $good 6
ok "the newer one goes on" says pager-b /health
done_testing
