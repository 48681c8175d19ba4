#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina pager graduate, cancel and drain --exit: what they print, how they exit, and
# that Ctrl-C and a killed worker cost nothing.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/pager/lib.sh"
requires lamina-pager curl jq userfaultfd root
mkimage mem.raw 2048 0-599:data=1 900-1999:data=2
start_pager || bail "no pager"
printf '[pager]\nsocket = %s\n' "$sock" >pager.conf
export LAMINA_CONF=$T/pager.conf
pager() {
	lamina pager "$@"
}
guest() { # ID [MEMBERS]
	session "$1" mem.raw ",\"prefetch\":\"off\"${2:-}" && guest_begin "$1" mem.raw &&
		guest_does "$1" "map auto 8M 0" "handoff run/$1.sock" && within 20 is_state "$1" serving
}
under_way() { # ID
	[ "$(fact "$1" '.state == "completing" and .completion.pages > 0')" = true ]
}

while IFS='|' read -r arguments message; do
	# shellcheck disable=SC2086
	exits "lamina pager $arguments" 2 lamina pager $arguments
	is "says" "$(head -1 err)" "lamina: $message"
done <<'END'
graduate|pager graduate wants ID..., or --all
graduate --all x|pager graduate wants ID..., or --all
graduate x --rate fast|--rate: 'fast' is not a size a second such as 200M or 200M/s
graduate x --rate -1|--rate: '-1' is not a size a second such as 200M or 200M/s
graduate x --rate -1M/s|--rate: '-1M/s' is not a size a second such as 200M or 200M/s
graduate x --rate 10E|--rate: '10E' is too large
graduate x --rate /s|--rate: '/s' is not a size a second such as 200M or 200M/s
graduate x --min-available much|--min-available: 'much' is not a size such as 512M or 2G
graduate x --max-pressure 101|--max-pressure: '101' is not a number from 0 to 100
graduate x --max-pressure 5%|--max-pressure: '5%' is not a number from 0 to 100
graduate x --timeout soon|--timeout: 'soon' is not a duration such as 30s or 10m
graduate x --force|pager graduate has no --force
cancel|pager cancel wants ID
cancel x y|pager cancel takes no more than ID
cancel --all x|pager cancel has no --all
close --exit x|pager close has no --exit
END

# --- one ---

exits "nobody" 1 pager graduate nosuch
is "is named" "$(cat err)" "lamina: cannot graduate session 'nosuch': there is no session 'nosuch'"
ok "nobody needs anything" pager graduate --all
is "as it says" "$(cat err)" "lamina: no session that serves can do without its pager"
ok "a guest" guest a
ok "graduates" pager graduate a
like "it says what was done" "$(cat out)" \
	'^a: 6\.6 MiB in 1700 pages populated in [0-9.]+ m?s; 348 stay zeros without memory; unregistered in [0-9.]+ m?s$'
is "and nothing else, in a pipe" "$(cat err)" ""
ok "again" pager graduate a
like "says that it had" "$(cat out)" '^a: had graduated before: 6\.6 MiB in 1700 pages '
ok "quietly" pager graduate --quiet a
is "it says nothing" "$(cat out err)" ""
exits "several, of which one fails" 1 pager graduate nosuch a
like "the others are done" "$(cat out)" "^a: had graduated before"
exits "as JSON" 1 pager graduate --json nosuch a
cp out answer
ok "there is an element for each" jq -e 'length == 2 and .[0].reason == "unknown" and .[0].id == "nosuch" and
	.[1].id == "a" and .[1].already and .[1].pages == 1700' answer
ok "the guest has every byte" guest_does a check
guest_end a

# --- limits, Ctrl-C, cancel ---

ok "a guest" guest b
exits "a time that passes" 1 pager graduate b --timeout 300ms --rate 256K/s
like "is told" "$(cat err)" "^lamina: cannot graduate session 'b': .* in time"
lamina pager graduate b --rate 256K >back.out 2>back.err &
back=$!
ok "it is under way" within 20 under_way b
ok "cancel" pager cancel b
is "is silent" "$(cat out err)" ""
wait $back
is "who waited fails" $? 1
like "and says why" "$(cat back.err)" "^lamina: cannot graduate session 'b': "
ok "cancel of nothing" pager cancel b
is "says so" "$(cat err)" "lamina: session 'b' was not being graduated"
exits "of nobody" 1 pager cancel nosuch
is "says so, too" "$(cat err)" "lamina: cannot cancel the graduation: there is no session 'nosuch'"
bash -c 'trap - INT; exec lamina pager graduate b --rate 256K --json' >back.out 2>back.err &
back=$!
ok "under way again" within 20 under_way b
kill -TERM $back
wait $back
is "a signal ends it" $? 143
is "with a sentence" "$(cat back.err)" "lamina: pager: interrupted, sessions that have not graduated are served on"
ok "and a JSON document" jq -e '. == []' back.out
ok "the session serves on" within 20 is_state b serving
if has script; then
	script -qec "lamina pager graduate b --rate 512K --timeout 3s" /dev/null </dev/null >terminal
	like "a terminal sees how far it is" "$(tr '\r' '\n' <terminal)" 'b  [0-9.]+ .?i?B of 8\.0 MiB  [0-9]+ %'
else
	skip "no script"
fi

# --- a worker that is killed ---

lamina pager graduate b --rate 1M >back.out 2>back.err &
back=$!
ok "under way" within 20 under_way b
ok "the worker is killed" kill_worker
wait $back
is "it is done all the same" $? 0
like "as it says" "$(cat back.out back.err)" '^b: [0-9.]+ .iB in [0-9]+ pages populated'
ok "the guest has every byte" guest_does b check
guest_end b

# --- all ---

for id in c d e; do
	ok "guest $id" guest $id ',"detachable":true'
done
ok "one that needs its pager" guest stays
session waits mem.raw ',"detachable":true'
ok "graduate --all" pager graduate --all
is "takes who can do without, oldest first" "$(sed 's/:.*//' out | tr '\n' ' ')" "c d e "
is "and nobody else" "$(curl -s --unix-socket "$sock" 'http://pager/sessions?state=serving' | jq -r '.[].id')" stays
for id in c d e; do
	ok "guest $id has every byte" guest_does $id check
	guest_end $id
done

# --- drain --exit ---

ok "drain --exit" pager drain --exit
is "says what is left" "$(cat out)" "2 sessions are left"
ok "close" pager close waits
ok "the last one graduates" pager graduate stays
wait "$pager_pid"
is "the pager has ended" $? 0
ok "its guest has not" guest_does stays check
guest_end stays
exits "nobody is asked any more" 1 pager graduate stays
like "as it says" "$(cat err)" "cannot graduate session 'stays': there is no socket '$sock'"
done_testing
