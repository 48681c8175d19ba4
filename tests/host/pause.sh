#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina pause: the steps, what each came to, what is in the layer, and the metrics.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/host/lib.sh"
. "$srcroot/tests/host/pause-lib.sh"
requires fuse root python3 jq

begin_guest "$hinting" || bail "no guest"

# --- without an agent, every step off ---

fc web random 4096 100000 1 >/dev/null
fc web dump m1 >/dev/null
ok "a guest is paused" lamina pause web --json --tag one --meta why=test
cp out p1
is "the steps that were made" "$(results p1)" \
	"pause=done snapshot=done sync=done seal=done resume=done commit=done"
is "it goes on" "$(jq -r .state p1) $(state)" "running Running"
is "the record has the layer" "$(lamina guest show --json web | jq -r .layer)" "$(jq -r .layer p1)"
lamina export one --memfile x --force >/dev/null
same "the layer has its memory" x m1
is "and what was said of it" "$(lamina show --json one | jq -r '.attributes.why')" test

fc web write 8192 4096 9 >/dev/null
fc web dump m2 >/dev/null
ok "the next one is a diff" lamina pause web --json --tag two
is "as the hypervisor says" "$(jq '.steps[] | select(.step == "snapshot") | .detail.diff' out)" true
is "with a page" "$(jq '.images[] | select(.image == "memfile") | .diff_bytes' out)" 4096
is "above the first" "$(jq -r .commit.parent out)" "$(jq -r .layer p1)"
lamina export two --memfile x --force >/dev/null
same "it has its memory" x m2
lamina export one --memfile x --force >/dev/null
same "and the first has its own" x m1

# --- with one ---

start_agent --compaction 0
all=(--freeze web.slice --collapse --drain 500
	--reclaim '{"sync":500,"drop_caches":0,"fstrim":0.5,"compact_memory":"x"}')
ok "every step" lamina pause web --json --tag three "${all[@]}" --metrics-file "$T/m.prom"
cp out p3
is "each is done" "$(results p3)" "freeze=done collapse=done reclaim=done drain=done pause=done \
snapshot=done sync=done seal=done resume=done resumed=done commit=done"
is "over one connection each is asked for" "$(asked)" \
	"/version /freeze /collapse /reclaim /resumed "
is "steps of reclaim that mean nothing are left out" \
	"$(grep /reclaim agent.log)" 'POST /reclaim {"sync":500}'
is "what was frozen is an attribute" "$(lamina show --json three | jq -r .attributes.frozen)" web.slice
is "and said" "$(jq -c .frozen p3)" '["web.slice"]'
like "nothing compacts, which is a warning" "$(cat err)" \
	"warning: nothing compacts the guest's memory: see compact_memory in lamina-pause\\(1\\)"
is "as JSON, too" "$(jq '.warnings | length' p3)" 1
ok "with compact_memory" lamina pause web --json --reclaim '{"compact_memory":100}'
is "it is none" "$(jq '.warnings | length' out)" 0
ok "without, and quietly" lamina pause web --json --quiet
is "it is in JSON alone" "$(jq '.warnings | length' out) $(cat err)" "1 "
printf '[reclaim]\ncompact_memory = 0\n' >>conf
ok "where lamina.conf says that nothing is to compact" lamina pause web --json
is "there is none either" "$(jq '.warnings | length' out)" 0
sed -i '3,$d' conf

ok "nothing to reclaim" lamina pause web --reclaim '{"sync":0}' --json
is "is not asked for" "$(result out reclaim)" skipped
rm -f agent.log
start_agent --killed sync
ok "a step of reclaim that is killed" lamina pause web --json --reclaim '{"sync":5,"drop_caches":5}'
is "makes it killed" "$(result out reclaim)" killed
is "and the answer is there" "$(jq -r '.steps[] | select(.step == "reclaim") | .detail.steps[0].result' out)" killed

# --- metrics ---

value() { # NAME{LABELS}
	grep -F "$1 " m.prom | cut -d' ' -f2
}

is "metrics are there for everybody to read" "$(stat -c %a m.prom)" 644
is "one pause" "$(value 'lamina_pause_step_seconds_count{step="pause",success="true"}')" 1
is "what collapse did" "$(value 'lamina_collapse_chunks_total{result="collapsed"}')" 3
is "the difference" "$(value 'lamina_snapshot_diff_bytes_count{image="memfile"}')" 1
ok "another pause" lamina pause web --collapse --metrics-file m.prom
is "is added: two pauses" "$(value 'lamina_pause_step_seconds_count{step="pause",success="true"}')" 2
is "and its windows" "$(value 'lamina_collapse_chunks_total{result="collapsed"}')" 6
is "the largest bucket counts all" \
	"$(value 'lamina_snapshot_diff_ratio_bucket{image="rootfs",le="+Inf"}')" 2
echo hello >foreign
ok "a file that is none of ours" lamina pause web --metrics-file foreign
like "is told" "$(cat err)" "this pause is not counted, and the metrics are as they were: 'foreign': \
line 1 is none of lamina's metrics: another file, or none, lets it count from the beginning"
is "and left" "$(cat foreign)" hello
sed '/^lamina_collapse_chunks_total{result="collapsed"} /s/ .*/ 999999999999999999999/' m.prom >damaged
cp damaged as-it-was
ok "a number that is beyond counting" lamina pause web --metrics-file damaged
like "is told" "$(cat err)" "'damaged': line [0-9]+ is none of lamina's metrics"
same "and left" damaged as-it-was

# --- lamina.conf ---

cat >>conf <<END
[pause]
collapse = true
drain = 100
[reclaim]
sync = 300
[guest other-*]
freeze = other.slice
[guest we?]
reclaim = true
collapse = false
fstrim = 200
END
ok "lamina.conf says what is done" lamina pause web --json
is "the guest's section wins" "$(results out)" "reclaim=killed drain=done pause=done snapshot=done \
sync=done seal=done resume=done resumed=done commit=done"
is "over [reclaim], key by key" "$(grep /reclaim agent.log | tail -1)" \
	'POST /reclaim {"fstrim":200,"sync":300}'
ok "--bare does none of it" lamina pause web --json --bare
is "none" "$(results out)" "pause=done snapshot=done sync=done seal=done resume=done resumed=done commit=done"
ok "options win" lamina pause web --json --drain 0 --collapse --reclaim '{}'
is "these alone" "$(results out)" "collapse=done pause=done snapshot=done sync=done seal=done \
resume=done resumed=done commit=done"
sed -i 's/sync = 300/sync = soon/' conf
exits "a bad value" 1 lamina pause web
like "is told with its line" "$(cat err)" "conf:[0-9]+: sync in section \[reclaim\]: 'soon' is not"
sed -i '3,$d' conf

# --- left paused ---

ok "a guest is left paused" lamina pause web --leave --json --freeze a.slice
is "is paused" "$(jq -r .state out) $(state)" "paused Paused"
like "which is told" "$(cat err)" "'lamina guest cont web' lets it go on"
ok "it can be paused again" lamina pause web --leave --json --collapse
is "without what needs a guest that runs" "$(results out)" \
	"pause=done snapshot=done sync=done seal=done commit=done"
is "it says that it was" "$(jq .was_paused out)" true
ok "without --leave, too" lamina pause web --json
is "and stays paused, as it was found" "$(jq -r .state out) $(state) $(result out resume)" \
	"paused Paused skipped"
like "which is told" "$(jq -r '.steps[] | select(.step == "resume") | .error' out)" \
	"was paused already, and stays so"
ok "and goes on" lamina guest cont web --json
is "running" "$(jq -r .state out) $(state)" "running Running"
is "thawed by the agent" "$(tail -1 agent.log | cut -d' ' -f2)" /resumed

# --- left paused by one that was killed ---

killed_at_snapshot() {
	fc web trouble 'PUT /snapshot/create=slow:1000' >/dev/null
	lamina pause web >/dev/null 2>&1 &
	pauser=$!
	within 20 eval '[ "$(state)" = Paused ]'
	kill -9 $pauser
	wait $pauser 2>/dev/null
}

killed_at_snapshot
is "one that was killed leaves it paused" "$(state)" Paused
ok "the next pause knows that nobody wanted that" lamina pause web --json
is "and has it go on" "$(jq -r .state out) $(state) $(result out resume)" "running Running done"
like "which is told" "$(cat err)" "left paused by a pause that was killed"
ok "again nothing of the kind" lamina pause web --json
is "is told" "$(cat err)" ""
killed_at_snapshot
ok "when it was let go on by hand" lamina guest cont web
ok "and is left" lamina pause web --leave
ok "the next one" lamina pause web --json
is "leaves it" "$(jq -r .state out) $(state)" "paused Paused"
lamina guest cont web

# --- a look ---

fc web state >/dev/null
n=$(lamina ls -q | wc -l)
ok "a dry run" lamina pause web --dry-run --json --collapse --drain 10 --freeze x
is "plans" "$(results out)" "freeze=planned collapse=planned drain=planned pause=planned \
snapshot=planned sync=planned seal=planned resume=planned resumed=planned commit=planned"
is "and does nothing" "$(lamina ls -q | wc -l) $(state)" "$n Running"

# --- a live image that lacks what a snapshot needs ---

lacks() { # IMAGE --size...
	lamina -q live create "no-$1" "${@:2}" || bail "no live image"
	fc web log >log.before
	exits "a live image without $1" 1 lamina pause web --live "no-$1"
	like "is told, with what makes one" "$(cat err)" \
		"live image 'no-$1' has no '$1', .*'lamina live create NAME --from LAYER --size $1="
	exits "a dry run plans nothing with it" 1 lamina pause web --live "no-$1" --dry-run
	fc web log >log.after
	is "nothing was asked but how it is" \
		"$(cut -c "$(wc -c <log.before)-" log.after | grep -o 'PATCH\|PUT')" ""
}

lacks state --size memfile=8M
lacks memfile --size state=0

lamina -q live create larger --size memfile=9M --size rootfs=2M --size state=0
fc web log >log.before
exits "a memfile that is not as large as the guest's memory" 1 lamina pause web --live larger
like "is told, with the cure" "$(cat err)" "'$T/mnt/live/larger/memfile' has 9437184 bytes and the \
guest's memory 8388608: 'truncate -s 0 $T/mnt/live/larger/memfile' empties it"
exits "a dry run plans nothing with it" 1 lamina pause web --live larger --dry-run
fc web log >log.after
is "nothing was asked but how it is" \
	"$(cut -c "$(wc -c <log.before)-" log.after | grep -o 'PATCH\|PUT')" ""
ok "as it says" truncate -s 0 mnt/live/larger/memfile
ok "a dry run takes an empty one" lamina pause web --live larger --dry-run
start_agent
ok "and so does a pause" lamina pause web --live larger --json --collapse --tag whole
is "which asks for all" "$(jq -c '.steps[] | select(.step == "snapshot") | .detail | [.memory_bytes, .diff]' out)" \
	"[8388608,false]"
is "what the agent says of the guest's memory is believed" "$(result out collapse)" "done"
fc web dump m >/dev/null
lamina export whole --memfile whole >/dev/null
same "and has all" whole m

# --- words ---

exits "JSON that is none" 2 lamina pause web --reclaim '{sync}'
exits "a step that is not known" 2 lamina pause web --reclaim '{"defrag":5}'
like "is named" "$(cat err)" "'defrag' is no step"
exits "a drain that is no number" 2 lamina pause web --drain soon
exits "one that is longer than can be" 2 lamina pause web --drain 99999
like "is told the limit" "$(cat err)" "--drain: '99999' is no number of milliseconds from 0 to 1500"
exits "a hypervisor that is not known" 2 lamina pause web -H xen
exits "an agent's address that is none" 2 lamina pause web -A somewhere
exits "a guest that is not known" 1 lamina pause nobody
like "is told" "$(cat err)" "there is no guest 'nobody'"
ok "without a record options say it all" lamina pause other -H firecracker -S web.sock -L web -M mnt -q
like "and -q prints the layer" "$(cat out)" '^[0-9a-f]{64}$'
done_testing
