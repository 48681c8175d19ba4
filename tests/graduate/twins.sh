#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# One id on two pagers: lamina pager asks neither, until it is told which one, or only one of
# the sessions has not ended.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/graduate/lib.sh"
requires lamina-pager curl jq
printf '[pager]\nruntime_dir = %s\n' "$T/run" >pager.conf
export LAMINA_CONF=$T/pager.conf
a=$T/run/pager-a/pager.sock b=$T/run/pager-b/pager.sock

start_fake a 1.0
start_fake b 2.0
session a twin
session b twin
session a old
session b new
while IFS='|' read -r verb task; do
	exits "$verb" 1 lamina pager $verb twin
	is "names both" "$(cat err)" \
		"lamina: $task: sessions of that id are on two pagers, '$b' and '$a': --socket says which one is meant"
done <<'END'
show|cannot show the session
close|cannot close the session
close --force|cannot close the session
graduate|cannot graduate session 'twin'
cancel|cannot cancel the graduation
END
is "nobody was asked" "$(asked a; asked b)" ""
ok "one that is there once" lamina pager show --json old
is "is shown" "$(jq -r .id out)" old
ok "is graduated" lamina pager graduate old
is "where it is" "$(asked a)" "complete old"
ok "--socket says which one" lamina pager cancel --socket "$a" twin
is "it is that one" "$(asked a | tail -1)" "cancel twin"

for state in graduated gone failed; do
	session b twin "\"state\": \"$state\""
	ok "the newer one is $state" lamina pager close twin
	is "the other one is meant" "$(asked a | tail -1; asked b)" "close twin"
done
ok "it is shown" lamina pager show --json twin
is "as it is" "$(jq -r .state out)" serving
ok "and graduated" lamina pager graduate twin
is "it" "$(asked a | tail -1)" "complete twin"
ok "where both have ended" lamina pager close twin
is "the newest is asked" "$(asked b)" "close twin"
exits "one of none" 1 lamina pager close nosuch
is "is named" "$(cat err)" "lamina: cannot close the session: there is no session 'nosuch'"
done_testing
