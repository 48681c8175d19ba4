#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina-agent and the kernel's freezer: a freeze that nobody ends, and an agent that is killed
# while it holds one.
. "$(dirname "$0")/../lib.sh"
requires root curl jq
. "$srcroot/tests/host/agent-lib.sh"

root=/sys/fs/cgroup
[ ! -e $root/unified/cgroup.procs ] || root=$root/unified
group=lamina-test-$$
mkdir "$root/$group" 2>/dev/null || skip_all "no cgroup of version 2 can be made"
undo() {
	echo 0 >"$root/$group/cgroup.freeze"
	kill -9 "$worker"
	wait "$worker" 2>/dev/null
	[ ! -d "$root/$group/own" ] || within 30 rmdir "$root/$group/own"
	within 30 rmdir "$root/$group"
}
at_exit undo
[ -e "$root/$group/cgroup.freeze" ] || skip_all "this kernel has no freezer"

while :; do echo >>ticks; sleep 0.02; done &
worker=$!
echo $worker >"$root/$group/cgroup.procs"

is_frozen() {
	grep -q '^frozen 1' "$root/$group/cgroup.events"
}
runs() {
	grep -q '^frozen 0' "$root/$group/cgroup.events"
}
freeze() {
	status post /freeze "{\"cgroup\":\"$group\"}"
}
begin() { # SECONDS
	start_agent --cgroup-root "$root" --thaw-after "$1"
}

for bad in 0 -1 86401 1.5 x ''; do
	exits "--thaw-after '$bad'" 2 lamina-agent --thaw-after "$bad"
done
like "is told so" "$(cat err)" "'' is no number of seconds from 1 to 86400"

# --- nobody ends it ---

begin 1
ok "the worker works" within 30 test -s ticks
is "it is frozen" "$(freeze)" 200
ok "nobody thaws it: it runs again" within 60 runs
size=$(stat -c %s ticks)
grows() {
	[ "$(stat -c %s ticks)" -gt "$size" ]
}
ok "in fact" within 30 grows
ok "which is said" within 30 says ".level == \"warning\" and .text == \"cgroup '$group' was thawed: nobody had in time\""
is "and it is held no more" "$(get /version | jq -c .frozen)" '[]'
end_agent TERM

# --- a second agent ---

other() { # PATH: of the second one
	curl -s --max-time 60 --unix-socket other.sock "http://agent$1"
}
begin_other() {
	lamina-agent --listen "unix:$T/other.sock" --cgroup-root "$root" --kmsg none >other.log 2>&1 &
	other_pid=$!
	at_exit "kill -9 $other_pid"
	within 30 other /health
}
end_other() {
	kill "$other_pid"
	wait "$other_pid" 2>/dev/null
}
begin 600
is "it is frozen" "$(freeze)" 200
ok "another agent begins, at another socket" begin_other
is "which has frozen nothing" "$(other /version | jq -c .frozen)" '[]'
ok "and ends" end_other
ok "what the first one froze still is" is_frozen
is "and it knows" "$(get /version | jq -c .frozen)" "[\"$group\"]"
end_agent KILL
begin 600
is "when it has been killed, the next takes it up" "$(get /version | jq -c .frozen)" "[\"$group\"]"
ok "beside which another begins again" begin_other
is "that has frozen nothing, either" "$(other /version | jq -c .frozen)" '[]'
ok "and ends" end_other
ok "it is frozen still" is_frozen
end_agent TERM
ok "who took it up thaws it" within 30 runs

# --- an agent that is killed ---

begin 600
is "it is frozen" "$(freeze)" 200
end_agent KILL
ok "after a crash it still is" is_frozen
begin 600
is "the next agent knows" "$(get /version | jq -c .frozen)" "[\"$group\"]"
ok "and says so" says ".text == \"cgroup '$group' was frozen by an agent that did not thaw it\""
exits "another that cannot begin" 1 lamina-agent --listen "unix:$T/agent.sock" --cgroup-root "$root"
ok "thaws nothing" is_frozen
is "a resume thaws it" "$(post /resumed '{}' | jq -c .thawed)" "[\"$group\"]"
ok "in fact" within 30 runs

is "it is frozen" "$(freeze)" 200
end_agent KILL
begin 1
ok "after a crash it runs again when its time is over, too" within 60 runs
is "and is held no more" "$(get /version | jq -c .frozen)" '[]'

is "it is frozen" "$(freeze)" 200
end_agent KILL
echo 0 >"$root/$group/cgroup.freeze"
begin 600
is "one that somebody has thawed meanwhile is not held" "$(get /version | jq -c .frozen)" '[]'
end_agent KILL
echo 1 >"$root/$group/cgroup.freeze"
begin 600
is "nor one that somebody else has frozen" "$(get /version | jq -c .frozen)" '[]'
end_agent TERM
ok "which stays so" within 30 is_frozen
echo 0 >"$root/$group/cgroup.freeze"

# --- what it is in ---

begin 600
mkdir "$root/$group/own"
echo "$agent_pid" >"$root/$group/own/cgroup.procs"
is "it does not freeze what it is in" "$(freeze)" 400
is "it says why" "$(jq -r .error answer)" "the agent itself is in cgroup '$group'"
ok "and goes on" get /health
end_agent TERM
done_testing
