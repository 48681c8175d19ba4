#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina pause: whatever goes wrong, and when it is interrupted, the guest goes on, and what is
# frozen is thawed.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/host/lib.sh"
. "$srcroot/tests/host/pause-lib.sh"
requires fuse root python3 jq

begin_guest "$hinting" || bail "no guest"
rest="pause=done snapshot=done sync=done seal=done resume=done"
printf '[pause]\nagent_timeout = 1s\nfreeze_timeout = 1s\ncollapse_timeout = 1s\nsnapshot_timeout = 2s\n' >>conf

goes_on() { # NAME
	is "$1: the guest goes on" "$(state)" Running
}

# --- agents ---

every=(--freeze web.slice --collapse --reclaim '{"sync":10}')
lamina guest add web --replace -H firecracker -S web.sock -A "unix:$T/agent" -L web
ok "no agent where there should be one" lamina pause web --json "${every[@]}"
is "fails no pause" "$(results out)" "freeze=failed collapse=failed reclaim=failed $rest commit=done"
start_agent --old
ok "an old one" lamina pause web --json "${every[@]}"
is "is not asked for what it has not" "$(results out)" \
	"freeze=unsupported collapse=unsupported reclaim=unsupported $rest resumed=unsupported commit=done"
is "but for its version" "$(asked)" "/version "
start_agent --features reclaim,freeze
ok "one that has some of it" lamina pause web --json "${every[@]}"
is "is asked for that, and thaws" "$(asked)" "/version /freeze /reclaim /thaw "
start_agent --hang /version
ok "one that does not answer" lamina pause web --json "${every[@]}"
is "is waited for once" "$(results out)" "freeze=timeout collapse=timeout reclaim=timeout $rest commit=done"
is "that is all it was asked" "$(asked)" "/version "
start_agent --hang /freeze
ok "one that does not say whether it froze" lamina pause web --json "${every[@]}"
is "is told to thaw nevertheless" "$(results out) $(asked | grep -o /resumed)" \
	"freeze=timeout collapse=done reclaim=done $rest resumed=done commit=done /resumed"
is "and that is not said to be frozen" "$(jq -c .frozen out)" '[]'
start_agent --hang /collapse
ok "a collapse that does not end" lamina pause web --json "${every[@]}"
is "is left at its time" "$(results out)" "freeze=done collapse=timeout reclaim=done $rest resumed=done commit=done"
start_agent --die /collapse
ok "an agent that dies" lamina pause web --json "${every[@]}"
is "costs what it was to do" "$(results out)" "freeze=done collapse=failed reclaim=failed $rest resumed=failed commit=done"
like "that it could not be thawed is told" "$(cat err)" "could not be thawed"
start_agent --fail /freeze=404
ok "one that refuses" lamina pause web --json "${every[@]}"
like "is quoted" "$(jq -r '.steps[0].error' out)" "it does not want to"
goes_on "agents"

# --- the hypervisor ---

start_agent
fails_at() { # WHAT TROUBLE STEP
	fc web trouble "$2" >/dev/null
	: >agent.log
	exits "$1" 1 lamina pause web --json --freeze web.slice
	is "$1: is what failed" "$(result out "$3")" failed
	like "$1: is told, with the state" "$(cat err)" "guest 'web' goes on"
	is "$1: thawed" "$(asked | grep -o '/resumed\|/thaw')" /resumed
	goes_on "$1"
}

fails_at "a pause that is refused" 'PATCH /vm=refuse:no' pause
fails_at "a snapshot that is refused" 'PUT /snapshot/create=refuse:no' snapshot
fc web trouble $'PATCH /vm=refuse:a\e[2Jb' >/dev/null
exits "a hypervisor that answers with escapes" 1 lamina pause web
is "moves no cursor" "$(grep -c $'\e' out err | tr '\n' ' ')" "out:0 err:0 "
like "and is quoted" "$(cat err)" 'a\?\[2Jb'
goes_on "escapes"
fc web trouble 'PUT /snapshot/create=slow:4000' >/dev/null
exits "a snapshot that takes too long" 1 lamina pause web --json
is "is given up" "$(result out snapshot) $(result out resume)" "timeout done"
goes_on "a slow snapshot"
fc web trouble 'PATCH /vm=late:300' >/dev/null
ok "an answer that is late is awaited" lamina pause web --json
goes_on "late"

# --- the commit ---

flock -o s/lock sleep 60 &
holder=$!
at_exit "kill $holder"
exits "another writer" 4 lamina pause web --json --wait 100ms --freeze web.slice
is "is who the commit waits for, and no longer" "$(result out commit) $(result out resume)" "failed done"
goes_on "a locked store"
kill "$holder"
wait "$holder" 2>/dev/null
ok "what was sealed is in the next one" lamina pause web --json
exits "an order with a step twice" 2 lamina pause web --reclaim '{"sync":5,"order":["sync","sync"]}'
like "is told" "$(cat err)" "--reclaim: 'order' has 'sync' twice"
exits "an order of what is no step" 2 lamina pause web --reclaim '{"sync":5,"order":["frob"]}'
exits "a tag that cannot be" 2 lamina pause web --tag 'a b'
goes_on "a bad tag"

# --- the mount ---

stop "$fuse_pid"
exits "a mount that does not answer" 1 timeout -k 5 60 lamina pause web --json
is "is noticed before the pause" "$(results out)" ""
kill -CONT "$fuse_pid"
goes_on "a stopped mount"
fc web log >/dev/null

# Stopped while the guest is paused: when the snapshot is asked for.
fc web trouble 'PUT /snapshot/create=late:1500' >/dev/null
lamina pause web --json >out 2>err &
pauser=$!
within 20 eval '[ "$(state)" = Paused ]'
sleep 0.5
stop "$fuse_pid"
wait $pauser
is "a mount that stops in the middle fails the pause" "$([ $? -gt 0 ] && echo yes)" yes
goes_on "a mount that stopped in the middle"
kill -CONT "$fuse_pid"
ok "and the next one succeeds" lamina pause web --json

# --- interrupted ---

interrupted_at() { # WHAT AGENT-OPTION TROUBLE REQUEST...
	local what=$1 option=$2 trouble=$3
	# shellcheck disable=SC2086
	start_agent $option
	[ -z "$trouble" ] || fc web trouble "$trouble" >/dev/null
	lamina pause web --freeze web.slice --collapse --drain 1500 >out 2>err &
	pauser=$!
	within 20 eval "$4"
	kill -INT $pauser
	kill -INT $pauser
	wait $pauser
	is "interrupted in $what" "$?" 130
	like "in $what: says so" "$(cat err)" interrupted
	within 10 eval '[ "$(state)" = Running ]'
	goes_on "interrupted in $what"
	is "interrupted in $what: nothing is said of the daemon, which is well" "$(grep daemon err)" ""
	is "interrupted in $what: thawed" "$(curl -s --unix-socket agent http://a/version | jq -c .frozen)" '[]'
}

printf 'collapse_timeout = 30s\n' | sed -i '/collapse_timeout/d; /snapshot_timeout/r /dev/stdin' conf
sed -i 's/snapshot_timeout = .*/snapshot_timeout = 60s/' conf
interrupted_at collapse '--hang /collapse' '' 'grep -q /collapse agent.log'
fc web hinting -1 >/dev/null
interrupted_at drain '' '' 'fc web log | grep -o "hinting/start[^;]*" | tail -1 | grep -q .'
fc web hinting 0 >/dev/null
interrupted_at "the pause" '' 'PATCH /vm=late:4000' '[ "$(state)" = Paused ]'
interrupted_at "the snapshot" '' 'PUT /snapshot/create=slow:4000' '[ "$(state)" = Paused ]'
flock -o s/lock sleep 60 &
holder=$!
at_exit "kill $holder"
resumes() { fc web log bodies | grep -o Resumed | wc -l; }
before=$(resumes)
interrupted_at "the commit" '' '' '[ "$(resumes)" -gt "$before" ] && sleep 1'
kill "$holder"
ok "after all of it a pause succeeds" lamina pause web --json --tag last
fc web dump m >/dev/null
lamina export last --memfile x >/dev/null
same "with what the guest has" x m
fc web trouble 'PUT /snapshot/create=slow:4000' >/dev/null
lamina pause web >/dev/null 2>&1 &
pauser=$!
within 20 eval '[ "$(state)" = Paused ]'
exits "a guest is not forgotten while it is paused" 4 lamina guest rm web
wait $pauser
ok "its record has the layer" lamina guest show web
fc web trouble 'PUT /snapshot/create=die' >/dev/null
exits "a hypervisor that ends while it makes the snapshot" 1 lamina pause web --json
is "is said to have, in the JSON, too" "$(jq -r .state out)" ended
like "is said to have ended" "$(cat err)" "guest 'web' runs no more: its hypervisor has ended"
is "and nobody is told to let the guest go on" "$(grep 'guest cont' err)" ""
end_fc web
exits "a hypervisor that has ended" 1 lamina pause web --json
is "is nobody's guess" "$(jq -r .state out)" unknown
done_testing
