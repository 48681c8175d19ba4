#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina pause: what it says of steps that fail, and of what is asked of it in lamina.conf.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/host/lib.sh"
. "$srcroot/tests/host/pause-lib.sh"
requires fuse root python3 jq

begin_guest "$hinting" || bail "no guest"

why() { # FILE STEP: why it is what it is
	jq -r --arg s "$2" '.steps[] | select(.step == $s) | .error' "$1"
}

# --- a jail in which the files of the snapshot are not ---

fc web log >before
exits "a jail that is not there" 1 lamina pause web --chroot none --json
like "is told with the file that it lacks" "$(cat err)" "'$T/mnt/live/web/memfile' is not in the hypervisor's jail '$T/none'"
is "before the guest was paused" "$(jq -r .state out) $(result out pause)" "running skipped"
exits "a dry run" 1 lamina pause web --chroot conf --dry-run
is "the guest was not touched" "$(fc web log | grep -c PATCH)" "$(grep -c PATCH before)"

# --- what took too long, for how long, and what allows more ---

printf '[pause]\nagent_timeout = 300ms\nfreeze_timeout = 200ms\ncollapse_timeout = 400ms\nsnapshot_timeout = 500ms\n' >>conf
start_agent --hang /version
ok "an agent that does not answer" lamina pause web --json --freeze x --collapse
is "the first step says so" "$(why out freeze)" \
	"the agent's answer took longer than 0.3 s: more is allowed by agent_timeout in [pause] of lamina.conf"
is "so does the next" "$(why out collapse)" "$(why out freeze)"
start_agent --hang /freeze --hang /collapse --hang /reclaim
ok "one whose steps do not end" lamina pause web --json --freeze x --collapse --reclaim '{"sync":1}'
is "freeze" "$(why out freeze)" \
	"the freeze took longer than 0.2 s: more is allowed by freeze_timeout in [pause] of lamina.conf"
is "collapse" "$(why out collapse)" \
	"the collapse took longer than 0.4 s: more is allowed by collapse_timeout in [pause] of lamina.conf"
like "reclaim" "$(why out reclaim)" "the reclaim took longer than 2.001 s: more is allowed by its caps"
start_agent
fc web trouble 'PUT /snapshot/create=slow:1500' >/dev/null
exits "a snapshot that does not end" 1 lamina pause web
like "is told likewise" "$(cat err)" "cannot pause the guest: the hypervisor's snapshot took \
longer than 0.5 s: more is allowed by snapshot_timeout in \[pause\] of lamina.conf"
sed -i '3,$d' conf

# --- what an agent answers ---

start_agent --killed sync
ok "a reclaim of which a step was killed" lamina pause web --reclaim '{"sync":5,"drop_caches":7}'
like "names it" "$(cat out)" "reclaim +killed .* sync killed at its cap of 5 ms"
for n in -1 5 1e300 '"many"' null; do
	start_agent --collapsed "$n"
	rm -f m.prom
	ok "a collapse of $n windows, in 8 MiB" lamina pause web --json --collapse --metrics-file m.prom
	is "has failed" "$(result out collapse)" failed
	like "and is told" "$(why out collapse)" \
		"the agent's 'collapsed' is (no number of windows|5 windows .* more than the guest can have)"
	is "not counted" "$(grep -c 'lamina_collapse_chunks_total{' m.prom)" 0
done
start_agent --collapsed 4
ok "as many as there can be" lamina pause web --json --collapse
is "are believed" "$(result out collapse)" "done"

start_agent --hang /resumed
ok "an agent that does not hear that the guest goes on" lamina pause web -q
like "is told also with -q: its clock is not set" "$(cat err)" \
	"warning: the agent was not told that the guest goes on, so that its clock is not set: "
ok "as JSON" lamina pause web --json
like "too" "$(jq -r '.warnings[]' out)" "its clock is not set"
start_agent
ok "one that hears it" lamina pause web -q
is "is not" "$(grep -v 'not a diff: it is not known' err)" ""

# --- what dies ---

fc web trouble 'PUT /snapshot/create=slow:4000' >/dev/null
lamina pause web >out 2>err &
pauser=$!
within 20 eval '[ "$(state)" = Paused ]'
kill -KILL "$(pgrep -P $pauser | head -1)"
wait $pauser
is "a pause whose child is killed fails" "$?" 1
like "and says what died, by what" "$(cat err)" "cannot pause the guest: the child process that \
has the files of the live image open was killed by signal 9 \(Killed\)"
is "the guest goes on" "$(state)" Running

# --- before anything was begun ---

exits "a hypervisor that there is not" 1 lamina pause nobody -H firecracker -S nothing.sock -L web -M mnt
is "has no table" "$(cat out)" ""
failed() {
	sed -n 's/^lamina_pauses_total{success="false"} //p' n.prom
}
exits "nor is it forgotten" 1 lamina pause nobody -H firecracker -S nothing.sock -L web -M mnt \
	--metrics-file n.prom
is "it is counted" "$(failed)" 1
exits "a live image that there is not" 1 lamina pause web --live nothing --metrics-file n.prom
is "is counted, too" "$(failed)" 2
exits "a dry run" 1 lamina pause web --live nothing --metrics-file n.prom --dry-run
is "is not" "$(failed)" 2
mkdir d.prom
ok "metrics that are a directory" lamina pause web --metrics-file "$T/d.prom"
like "are told, with the path" "$(cat err)" "this pause is not counted, .*'$T/d.prom': it is a directory"
ok "in no directory" lamina pause web --metrics-file "$T/none/m.prom"
like "too" "$(cat err)" "this pause is not counted, .*cannot open '$T/none/'"

# --- interrupted, and its hypervisor does not answer ---

fc web trouble 'PUT /snapshot/create=slow:4000' >/dev/null
lamina pause web >pause.out 2>pause.err &
pauser=$!
within 20 eval '[ "$(state)" = Paused ]'
stop "${fc_pid[web]}"
kill -INT $pauser
ok "that the guest does not go on is said" within 20 grep -q "guest 'web' does not go on yet" pause.err
like "with how long, and what ends the wait" "$(cat pause.err)" "waiting [0-9]+ s at most; Ctrl-C gives up"
kill -INT $pauser
wait $pauser
is "one Ctrl-C more ends the wait, as a failure" "$?" 1
like "it says how the guest was left" "$(cat pause.err)" \
	"guest 'web' may be paused: .*; 'lamina guest cont web' lets it go on"
like "and why" "$(cat pause.err)" "cannot pause the guest: interrupted, and the guest could not be told to go on: "
is "and not that anything is undone" "$(grep undone pause.err)" ""
kill -CONT "${fc_pid[web]}"
ok "that is so" lamina guest cont web
is "it runs" "$(state)" Running

done_testing
