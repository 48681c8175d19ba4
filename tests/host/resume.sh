#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina resume: a guest begins as a layer, paged or from the file, and is paused again; what fails
# leaves nothing behind.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/host/lib.sh"
. "$srcroot/tests/host/resume-lib.sh"
requires fuse root python3 jq curl userfaultfd

begin_resume

fc web random 0 3000000 1 >/dev/null
fc web dump m1 >/dev/null
ok "a guest is paused" lamina pause web --tag one --freeze none
end_fc web

start_agent
ok "it is resumed, paged" resume a -A "unix:$T/agent"
ends
cp out r1
is "by the pager" "$(jq -r '.backend + " " + .session' r1)" "uffd a"
is "its agent is told" "$(jq .told r1) $(tail -1 agent.log | grep -c '/resumed {"now":')" "true 1"
is "after which faults are counted" "$(jq '.faults > 0 and .frames_fetched > 0' r1)" true
is "the live image is made" "$(lamina live show --json a | jq -r .layer)" "$(jq -r .layer r1)"
is "the pager has the session" "$(lamina pager show --json a | jq -r .state)" serving
is "it has its memory" "$(fc a verify m1)" same
is "it runs" "$(fc a state)" Running
lamina guest show --json a >g1
is "the record says what it is" "$(jq -r '[.live, .session, .backend, .layer] | join(" ")' g1)" \
	"a a uffd $(jq -r .layer r1)"
is "and what was run" "$(jq -r '.command | join(" ")' g1)" \
	"firecracker --api-sock $T/a.sock --control $T/a.ctl --id a"
is "its pid" "$(jq .pid g1)" "$(jq .pid r1)"
exits "it is not resumed twice" 4 lamina resume one --name a -H firecracker -S a.sock
like "while it runs" "$(cat err)" "guest 'a' runs already"

fc a write 4096 4096 7 >/dev/null
fc a dump m2 >/dev/null
ok "it is paused by its name" lamina pause a --json --tag two
is "as a child of what it began as" "$(jq -r .commit.parent out)" "$(jq -r .layer r1)"
lamina export two --memfile x >/dev/null
same "with what it wrote" x m2

# --- a trace, which is replayed ---

printf 'lamina-trace 1 page-size 4096 size 8388608\n0 8\n100 2\nend 10\n' >t
lamina trace import one t >/dev/null
ok "with the layer's trace" resume b
ends
like "which is the session's" "$(lamina pager show --json b | jq -r .trace)" '/traces/resume$'
is "and the record's" "$(lamina guest show --json b | jq .no_trace)" false
ok "or without" resume c --no-trace
ends
is "it" "$(jq .trace out) $(lamina guest show --json c | jq .no_trace)" "null true"

# --- a pause while it graduates ---

lamina pager graduate c --rate 64K >grad.out 2>grad.err &
graduating=$!
is_completing() { [ "$(lamina pager show --json c | jq -r .state)" = completing ]; }
ok "it graduates, slowly" within 20 is_completing
ok "meanwhile it is paused" lamina pause c --json --tag three
like "what that ends is told" "$(cat err)" "^lamina: the graduation of session 'c' is called off: its guest is paused$"
wait $graduating
is "who waited for it" $? 1
like "is told, too" "$(cat grad.err)" "graduation was called off"
is "the guest is served as before" "$(lamina pager show --json c | jq -r .state) $(fc c state)" "serving Running"
ok "the next pause" lamina pause c --json --tag four
is "has none to end" "$(cat err)" ""

ok "paths may be relative" resume o -P "${sock#"$T/"}" -r o.trace -l o.uffd
ends
is "the pager has another directory" "$(lamina pager show --json o | jq -r '.record + " " + .socket')" \
	"$T/o.trace $T/o.uffd"
is "and the record is read from any" "$(lamina guest show --json o | jq -r .pager)" "$sock"

# --- from the file ---

ok "from the file" resume d --backend file
ends
is "no session is made" "$(jq -r '[.session, .faults] | tostring' out)" '[null,null]'
is "it has its memory" "$(fc d verify m1)" same
fc d write 8192 4096 3 >/dev/null
fc d dump m3 >/dev/null
ok "and is paused" lamina pause d --json --tag three
lamina export three --memfile x --force >/dev/null
same "with what it wrote" x m3

# --- one that runs ---

start_fc e
ok "a hypervisor that waits is told" lamina resume one --name e -H firecracker -S e.sock
is "and runs" "$(fc e state) $(fc e verify m1)" "Running same"
exits "one that has a guest" 4 lamina resume one --name f -H firecracker -S e.sock
like "is left alone" "$(cat err) $(fc e state)" "has a guest already.*Running"
nothing_of() { # NAME
	is "nothing of it is left: $1" "$(lamina live ls -q | grep -cx "$1") $(lamina pager ls --json |
		jq "[.[] | select(.id == \"$1\" and .state == \"waiting\")] | length") $(lamina guest ls -q | grep -cx "$1")" "0 0 0"
	is "nor beside its record, but a log that was named" "$(find run/guests -name "$1.*" | wc -l)" \
		"$(grep -c "guests/$1\.log'" err)"
	rm -f "run/guests/$1.log"
}
nothing_of f

# --- what fails ---

exits "a command that is not there" 1 lamina resume one --name f -H firecracker -S f.sock -- ./nothing
like "is named" "$(cat err)" "cannot run './nothing'"
nothing_of f
exits "one that ends" 1 lamina resume one --name f -H firecracker -S f.sock -- sh -c 'echo why >&2; exit 3'
like "is told, with its log" "$(cat err)" "'sh' has ended \(exit status 3\): see '.*/f.log'"
is "which has its words" "$(cat run/guests/f.log)" why
nothing_of f
exits "one that makes no socket" 1 lamina resume one --name f -H firecracker -S f.sock -w 300ms \
	-- sh -c 'echo $$ >f.pid; exec sleep 100'
is "is killed" "$(kill -0 "$(cat f.pid)" 2>&1 | grep -c 'No such process')" 1
like "its log is named" "$(cat err)" "'sh' does not answer \(see '.*/f.log'\): "
nothing_of f
exits "a load that fails" 1 lamina resume one --name f -H firecracker -S f.sock -- firecracker \
	--api-sock '{socket}' --control "$T/f.ctl" --trouble 'PUT /snapshot/load=refuse:no'
nothing_of f
rm -f f.sock f.ctl
exits "one that ends at it" 1 lamina resume one --name f -H firecracker -S f.sock -- firecracker \
	--api-sock '{socket}' --control "$T/f.ctl" --trouble 'PUT /snapshot/load=die'
like "is told as that" "$(cat err)" "'firecracker' has ended \(.*\): see '.*/f.log'"
is "of which nothing is to be seen but that" "$(cat run/guests/f.log)" ""
nothing_of f
rm -f f.sock f.ctl
runs() { [ "$(fc f state)" = Running ]; }
(within 50 runs; fc f quit) 2>/dev/null &
exits "one that ends before its agent answers" 1 lamina resume one --name f -H firecracker \
	-S f.sock -A "unix:$T/nobody" -w 60s -- firecracker --api-sock '{socket}' --control "$T/f.ctl"
like "is no guest that runs" "$(cat err)" "'firecracker' has ended"
nothing_of f
head -c 4096 /dev/zero >zeros
lamina commit --memfile zeros --tag stateless >/dev/null
exits "a layer without a device state" 1 lamina resume stateless --name f -H firecracker -S f.sock \
	-- sh -c 'echo >began'
like "is told" "$(cat err)" "layer 'stateless' has no image 'state'"
ok "before anything is begun" test ! -e began
nothing_of f
start_agent --hang /version
ok "an agent that does not answer" resume g -A "unix:$T/agent" -w 1500ms
ends
is "is no failure" "$(jq -c '[.told, .answer_seconds]' out)" '[false,null]'
like "but told" "$(cat err)" "warning: the agent was not told of the resume .*: no answer in 1.5 s: 'unix:$T/agent' gave no answer in time"
start_agent --hang /resumed
ok "one that answers, but is not told" resume j -A "unix:$T/agent" -w 1500ms
ends
is "is no failure either" "$(jq -c '[.told, .answer_seconds > 0]' out)" '[false,true]'
like "it is said what it was" "$(cat err)" "warning: the agent was not told of the resume \('lamina guest cont j' tells it\): .*no answer"
start_agent
ok "as it says" lamina guest cont j
is "it is told" "$(tail -1 agent.log | grep -c '/resumed {"now":') $(fc j state)" "1 Running"
ok "no agent at all is in the table" lamina resume one --name n -H firecracker -S n.sock \
	-A "unix:$T/nobody" -w 3s -- firecracker --api-sock '{socket}' --control "$T/n.ctl"
like "as that" "$(cat out)" "agent after +no answer"
pid=$(lamina guest show --json n | jq .pid)
at_exit "kill -9 $pid"
lamina resume one --name h -H firecracker -S h.sock -w 60s -- sh -c 'echo $$ >h.pid; exec sleep 100' 2>err &
resumer=$!
within 20 test -s h.pid
kill -INT $resumer
wait $resumer
is "interrupted" "$?" 130
is "what was started is killed" "$(kill -0 "$(cat h.pid)" 2>&1 | grep -c 'No such process')" 1
nothing_of h
lamina live create i --from two
exits "a live image of another layer" 1 resume i
like "is not taken" "$(cat err)" "live image 'i' stands on layer $(lamina tag --json |
	jq -r '.[] | select(.tag == "two") | .layer[:12]'), not on $(jq -r .layer[:12] r1): .*'lamina live rm i'"
is "nor removed" "$(lamina live ls -q | grep -cx i)" 1
exits "a word in braces that there is not" 2 lamina resume one --name f -H firecracker -S f.sock -- x '{name}' 'a{nope}'
like "is told, with all there are" "$(cat err)" "there is no '\{nope\}': there are \{name\}, \{memfile\}, .* and \
\{socket\}, and \{\{nope\} stands for the text itself"
exits "what is no such word is left" 1 lamina resume one --name f -H firecracker -S f.sock -- \
	sh -c 'nope=5; printf "%s " "${nope}" {{nope} {{name} {name} "{\"a\":1}" {} >&2; exit 3'
is "as it is, or as it stands for" "$(cat run/guests/f.log)" '5 {nope} {name} f {"a":1} {} '
exits "no name" 2 lamina resume one -H firecracker -S x
exits "QEMU from the pager" 2 lamina resume one --name q -H qemu -S x -B uffd
exits "a layer that is not there" 1 lamina resume nothing --name q -H qemu -S x
done_testing
