#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Two writers: the second waits, or exits 4 and says who holds the lock.
. "$(dirname "$0")/../lib.sh"
requires jq flock
export LAMINA_STORE=$T/s
lamina init -q
mkimage m 600 0-9:data=1
lamina commit -q --memfile m --tag t >/dev/null
mkimage other 600 0-9:data=2
lamina commit -q --memfile other >other.id
lamina live create box --from "$(head -n 1 other.id)" -q >/dev/null

# As a writer does: flock, then pid and what into the file.
bash -c 'exec 9<>s/lock; flock 9; echo "pid $$ commit since $(date +%s)" >&9; touch held; exec sleep 60' &
holder=$!
at_exit "kill $holder"
within 10 test -e held

for command in "commit --memfile m --parent t" "tag x t" "untag t" "rm t" "prune --keep-last 0" \
	"gc"; do
	[ "$command" != "rm t" ] || command="rm --force t"
	# shellcheck disable=SC2086
	exits "$command --wait 0" 4 lamina $command --wait 0
	like "says who" "$(cat err)" "^lamina: cannot .*: store .* is being written by pid $holder \(commit, since [0-9]+ s\)"
done
ok "readers never wait" lamina ls
ok "nor verify" lamina verify
ok "nor export" lamina export t --memfile m.out
exits "a bad duration" 2 lamina tag x t --wait soon
like "is named" "$(cat err)" "--wait: 'soon' is not a duration"
exits "a short wait ends" 4 lamina tag x t --wait 100ms
printf '[store]\nlock_wait = 0\n' >conf
exits "lamina.conf says how long" 4 lamina tag x t --config conf
printf '[store]\nlock_wait = soon\n' >conf
exits "and is checked" 1 lamina tag x t --config conf
like "by name" "$(cat err)" "lock_wait in lamina.conf: 'soon' is not a duration"

waits() { # it is lamina by now, and catches SIGTERM
	grep -qx lamina "/proc/$1/comm" && grep -q '^SigCgt:.*4[0-9a-f]\{3\}$' "/proc/$1/status"
}
at_lock() {
	find "/proc/$1/fd" -lname "$T/s/lock" 2>/dev/null | grep -q .
}
gone() {
	! kill -0 "$1" 2>/dev/null || grep -q '^State:.Z' "/proc/$1/status"
}
if has plain; then
	lamina commit --memfile m --parent t --wait forever >out 2>err &
	waiter=$!
	within 10 waits "$waiter"
	kill -TERM "$waiter"
	wait "$waiter" 2>/dev/null
	is "a signal ends the wait" "$?" 143
	is "with a sentence" "$(cat err)" "lamina: commit: interrupted"
	# gc has worked before it waits.
	for command in gc "live commit box"; do
		# shellcheck disable=SC2086
		lamina $command --wait forever >waiter.out 2>waiter.err &
		waiter=$!
		within 10 at_lock "$waiter"
		within 10 waits "$waiter"
		kill -TERM "$waiter"
		ok "$command ends in its wait, too" within 10 gone "$waiter"
		kill -KILL "$waiter" 2>/dev/null
		wait "$waiter" 2>/dev/null
		is "by the signal" "$?" 143
		like "with a sentence" "$(cat waiter.err)" "^lamina: ${command%% *}.*: interrupted"
	done
else
	skip "$(_lacks plain)" 8
fi

lamina tag waited t --wait forever 2>err &
waiter=$!
sleep 0.3
is "who waits" "$(lamina tag -q)" t
kill "$holder"
wait "$holder" 2>/dev/null
wait "$waiter"
is "goes on when the lock is free" "$?" 0
is "with its work" "$(lamina tag -q | tr '\n' ' ')" "t waited "

# Real ones: all of them come through.
for i in 1 2 3 4 5; do
	mkimage "p$i" 600 0-99:data=$i
	lamina commit -q --memfile "p$i" --tag "p$i" --wait 60s >/dev/null 2>"err$i" &
done
wait
is "five commits at once" "$(lamina tag -q | grep -c ^p)" 5
ok "leave a sound store" lamina verify --deep
done_testing
