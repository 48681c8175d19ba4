#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina pager: what it asks, what it prints, how it exits.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/pager/lib.sh"
requires lamina-pager curl jq userfaultfd root
mkimage mem.raw 16384 0-8191:data=1 10000-15999:data=2

# --- without a pager ---

exits "no socket" 1 lamina pager ls --socket "$T/nosuch"
like "is named" "$(cat err)" "^lamina: cannot list the pager's sessions: there is no socket '$T/nosuch'$"
: >file
exits "a file that is no socket" 1 lamina pager show --socket "$T/file" x
like "is named" "$(cat err)" "^lamina: cannot show the session: .*'$T/file'"

while IFS='|' read -r arguments message; do
	# shellcheck disable=SC2086
	exits "lamina pager $arguments" 2 lamina pager $arguments
	is "says" "$(head -1 err)" "lamina: $message"
done <<'END'
|pager wants VERB [ID...]
nosuch|'nosuch' is not ls, show, create, close, graduate, cancel, drain, top or upgrade
ls x|pager ls takes no operands
show|pager show wants ID
show --force x|pager show has no --force
close x --memfile y|pager close has no --memfile
close|pager close wants ID
ls --hold x|pager ls has no --hold
create x|pager create wants --memfile
create --memfile x|pager create wants ID
create --memfile x a --peer-uid no.such.user|--peer-uid: 'no.such.user' is neither a number nor a user
create --memfile x a --handoff-timeout soon|--handoff-timeout: 'soon' is not a duration from 1ms to 1h
create --memfile x a --handoff-timeout 0|--handoff-timeout: '0' is not a duration from 1ms to 1h
create --memfile x a --handoff-timeout 61m|--handoff-timeout: '61m' is not a duration from 1ms to 1h
create --memfile x a -p 3M|--prefetch: '3M' is none of off, adaptive, 64K, 128K, 256K, 512K, 1M, 2M
create --memfile x a -p off,|--prefetch: 'off,' is none of off, adaptive, 64K, 128K, 256K, 512K, 1M, 2M
create --memfile x a -p M|--prefetch: 'M' is none of off, adaptive, 64K, 128K, 256K, 512K, 1M, 2M
create --memfile x a -e die|--on-error: 'die' is none of wait, poison, stop
top --interval 5ms|--interval: '5ms' is not a duration from 100ms to 1d
top --count few|--count: 'few' is not a number from 1 on
top -n 0|--count: '0' is not a number from 1 on
drain --count 3|pager drain has no --count
END

# --- one ---

start_pager || bail "no pager"
printf '[pager]\nsocket = %s\n' "$sock" >pager.conf
export LAMINA_CONF=$T/pager.conf
pager() {
	lamina pager "$@"
}
ok "ls of none" pager ls
is "prints nothing" "$(cat out)" ""
ok "ls --json of none" pager ls --json
is "is an empty list" "$(jq -c . out)" "[]"

ok "create" pager create vm1 --memfile mem.raw
is "prints the socket" "$(cat out)" "$T/run/vm1.sock"
exits "once" 4 pager create vm1 --memfile mem.raw
is "says" "$(cat err)" "lamina: cannot make the session: session 'vm1' exists"
exits "what is not there" 1 pager create vm2 --memfile nosuch
like "is named from here" "$(cat err)" "cannot open '$T/nosuch'"
exits "what the pager refuses" 1 pager create a/b --memfile mem.raw
like "is told by the pager" "$(cat err)" "'id'"
: >lock
ok "with everything" pager create all --memfile mem.raw --listen mine.sock --prefetch 128K --record all.trace \
	--on-error poison --detachable --hold lock --hold mem.raw --peer-uid daemon --handoff-timeout 3s --json
cp out answer
ok "prints JSON" jq -e --arg s "$T/mine.sock" '.id == "all" and .socket == $s and .state == "waiting"' answer
ok "show --json" pager show all --json
cp out answer
ok "has all of it" jq -e --arg t "$T" --argjson u "$(id -u daemon)" '.memfile == $t + "/mem.raw" and
	.prefetch == "128K" and .record == $t + "/all.trace" and .on_error == "poison" and .detachable and
	.hold == [$t + "/lock", $t + "/mem.raw"] and .peer_uid == $u and .handoff_timeout_ms == 3000' answer
ok "show" pager show all
like "says it in lines" "$(cat out)" "on_error +poison"
like "each hold is one" "$(grep -c '^hold ' out)" "^2$"
ok "ls" pager ls
like "has a table" "$(head -1 out)" '^session +state +pid +age +memory +resident +faults +p50 +p99 +memfile$'
like "with both" "$(cat out)" 'vm1 +waiting .*all +waiting '
is "ls --quiet has ids" "$(pager ls --quiet | tr '\n' ' ')" "vm1 all "
exits "no such session" 1 pager show nosuch
is "says" "$(cat err)" "lamina: cannot show the session: there is no session 'nosuch'"
exits "an odd name" 1 pager show '../all?x=%41'
like "is one name" "$(cat err)" "there is no session '../all\?x=%41'"
ok "close" pager close all
is "is silent" "$(cat out err)" ""
is "and it is gone" "$(pager ls -q)" vm1

# --- a guest ---

guest_begin vm1 mem.raw
ok "a guest" guest_does vm1 "map auto 64M 0" "handoff run/vm1.sock" "touch seq count 10"
ok "is served" within 10 is_state vm1 serving
exits "close" 4 pager close vm1
is "is refused" "$(cat err)" "lamina: cannot close the session: session 'vm1' serves a guest that lives"
like "ls has its hypervisor" "$(pager ls)" "vm1 +serving +$guest_pid_vm1 .* 64\.0 MiB "

# --- top ---

ok "create one beside it" pager create quiet --memfile mem.raw --prefetch off
(for i in 1 2 3 4 5 6 7 8; do
	printf 'remove %dM 8M\ntouch random count 2000\nsleep 0.1\n' $((i * 7))
done >&"$guest_fd_vm1")
ok "top" pager top --count 3 --interval 300ms
cp out top
is "prints so many samples" "$(grep -c '^session ' top)" 3
is "with an empty line between" "$(grep -c '^$' top)" 3
is "no escapes into a pipe" "$(tr -d -c '\033' <top | wc -c)" 0
like "the sum" "$(head -1 top)" '  2 sessions  [0-9]+ faults/s  p50 '
like "the heads" "$(sed -n 2p top)" '^session +state +faults/s +p50 +p99 +memory +resident +ahead/s +used +waiting$'
ok "every session" grep -q '^quiet  *waiting ' top
ok "top --json" pager top --json --count 2 --interval 200ms
cp out top.json
ok "is an object a sample" jq -es 'length == 2 and all(.[]; (.sessions | length) == 2 and .faults_per_second >= 0)' top.json
busy() { pager top --json -n 1 -i 200ms | jq -e '.faults_per_second > 0 and .p50_us > 0 and .p99_us >= .p50_us and
	.sessions[0].id == "vm1"'; }
(for i in 1 2 3 4 5 6 7 8 9; do
	printf 'remove 0 32M\ntouch random len 32M count 4000\n'
done >&"$guest_fd_vm1")
ok "faults are seen, the busiest first" within 10 busy
if has script; then
	on_terminal() { # COMMAND: what it writes, with ESC as ^
		script -qec "$1" /dev/null </dev/null | tr '\033' '^'
	}
	on_terminal "lamina pager top -n 2 -i 100ms --socket '$sock'" >terminal
	like "on a terminal it takes the screen" "$(head -1 terminal)" '^\^\[\?1049h\^\[\?25l\^\[H'
	like "and gives it back" "$(tail -c 14 terminal)" '\^\[\?25h\^\[\?1049l'
	on_terminal "stty cols 80; lamina pager top -n 1 -i 100ms --socket '$sock'" | tr -d '\r' | sed 's/\^\[[[?0-9]*[A-Za-z]//g' >terminal
	like "80 columns are enough for the heading" "$(head -1 terminal)" 'sessions  .*ahead/s$'
	like "and for what counts" "$(sed -n 2p terminal)" '^session +state +faults/s .*p99 .*resident +.*waiting$'
	ok "every line fits" awk 'length($0) > 80 { exit 1 }' terminal
	on_terminal "timeout -s INT --foreground 1 lamina pager top -i 100ms --socket '$sock'" >terminal
	like "after Ctrl-C, too" "$(cat terminal)" '\^\[\?25h\^\[\?1049l'
	is "once" "$(grep -o '1049l' terminal | wc -l)" 1
else
	skip "no script" 4
fi

# --- the end ---

ok "close --force" pager close vm1 --force
is "says what happens" "$(grep '^lamina' err)" "lamina: the guest of session 'vm1' is being stopped"
ok "and it does" within 10 is_state vm1 gone
guest_end vm1
ok "what has ended can be closed" pager close vm1
ok "drain" pager drain
is "tells what is left" "$(cat out)" "1 session is left"
exits "then nothing new" 1 pager create vm3 --memfile mem.raw
is "is taken" "$(cat err)" "lamina: cannot make the session: this pager takes no new sessions"
ok "close the last" pager close quiet --json
cp out answer
ok "prints JSON" jq -e '.id == "quiet" and .state == "gone"' answer
is "drain --quiet" "$(pager drain -q)" 0
kill "$pager_pid"
wait "$pager_pid"
exits "a pager that has ended" 1 lamina pager ls --socket "$sock"
like "does not answer" "$(cat err)" "^lamina: cannot list the pager's sessions: "
done_testing
