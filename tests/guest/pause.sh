#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# pause.sh
#
# `lamina pause` of a booted Debian under QEMU, its disk and its RAM a live image, with
# lamina-agent in it: with every step, with a disk so slow that a sync is stuck, with
# Ctrl-C in the middle, with an agent that is gone or older; each time the guest goes on.
# What was taken frozen resumes frozen, and is thawed by the agent. Part of `make
# check-guest`, and a program of its own (TAP). GUEST_DEBIAN=DIR names a finished guest.

# shellcheck source-path=SCRIPTDIR source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=debian-lib.sh
. "$srcroot/tests/guest/debian-lib.sh"
debian_requires
requires loop lamina-agent
debian_image

mkdir -m 755 run
cat >lamina.conf <<END
[store]
path = $T/store
[pager]
runtime_dir = $T/run
END
export LAMINA_CONF=$T/lamina.conf

reclaim='{"fstrim":20000,"sync":20000,"drop_caches":20000,"compact_memory":20000}'

# What a pause tells is in NAME.json.
pause() { # NAME [OPTION...]
	local name=$1
	shift
	timeout 200 lamina pause web --json "$@" >"$name.json" 2>"$name.err" || {
		diag "$(head -c 2000 "$name.err")"
		return 1
	}
}

told() { # NAME FILTER
	jq -r "$2" "$1.json"
}

came_to() { # NAME STEP: its result
	told "$1" ".steps[] | select(.step == \"$2\") | .result"
}

results() { # NAME STEP...
	local name=$1 step
	shift
	for step; do
		printf '%s ' "$(came_to "$name" "$step")"
	done
}

row() { # NAME
	diag "$1: $(told "$1" '[.steps[] | "\(.step) \(.result) \(.seconds * 1000 | round) ms"] | join(", ")')"
	told "$1" '.steps[] | select(.result == "failed") | "# \(.step): \(.error)"'
	diag "$1: paused for $(told "$1" '.paused_seconds * 1000 | round') ms, $(told "$1" \
		'[.images[] | "\(.image) \(.diff_bytes / 1048576 * 10 | round / 10) MiB"] | join(", ")')"
}

is_running() {
	ctl qmp "$run_dir/qmp" query-status | grep -q '"status": "running"'
}

busy() { in_guest 'cat /run/busy'; }

other_than() { [ "$(busy)" != "$1" ]; }

goes_on() {
	local before
	before=$(busy) && within 20 other_than "$before"
}

stands() {
	local before
	before=$(busy) && sleep 1 && [ "$(busy)" = "$before" ]
}

# --- a guest on a live image ---

cp --sparse=always "$debian/rootfs" disk
(umask 077; echo "$token" >token)
lamina -q guest provision --listen tcp:0.0.0.0:1052 --agent-token token disk ||
	bail "no agent in it"
debian_boot "$T/disk" || bail "it does not boot"
within 60 agent_answers || bail "no agent"
in_guest 'mkdir /sys/fs/cgroup/busy.slice
	(echo $BASHPID >/sys/fs/cgroup/busy.slice/cgroup.procs
	 while :; do i=$((i + 1)); echo $i >/run/busy.new; mv /run/busy.new /run/busy; done) &
	sync' >/dev/null
ctl save "$run_dir/qmp" "$T/state" || bail "it cannot be captured"
lamina -q init || bail "no store"
lamina -q commit --memfile "$ram" --rootfs disk --state state --tag booted >/dev/null ||
	bail "no layer"
debian_stop
rm "$ram"
mount_store store mnt || bail "no mount"
lamina -q live create web --from booted || bail "no live image"
live=$T/mnt/live/web

begin() {
	share=on debian_resume "$live/memfile" "$live/state" "$live/rootfs"
	lamina -q guest add web --replace --hypervisor qemu --socket "$run_dir/qmp" \
		--agent "tcp:127.0.0.1:$agent_port" --agent-token-file token --mount mnt
}
ok "it goes on, on a live image" begin
within 60 agent_answers || bail "the agent does not answer"

# --- every step ---

curl -sN -H "Authorization: Bearer $token" "http://127.0.0.1:$agent_port/logs?follow=1" >followed &
at_exit "kill $!"
ok "a pause with every step" pause all --freeze busy.slice --collapse --reclaim "$reclaim" \
	--drain 500 --tag all
row all
is "all are done, but there is no balloon" \
	"$(results all freeze collapse reclaim drain pause snapshot sync commit resume resumed)" \
	"done done done unsupported done done done done done done "
is "in the guest, too" "$(told all '[.steps[] | select(.step == "reclaim") | .detail.steps[] |
	"\(.step) \(.result)"] | join(", ")')" \
	"fstrim done, sync done, drop_caches done, compact_memory done"
ok "the guest runs" is_running
ok "what was frozen goes on" goes_on
is "the layer is known as frozen" \
	"$(lamina show all --json | jq -r '.attributes.frozen // .meta.frozen // .frozen')" busy.slice

followed() { # TEXT
	jq -r '.text // empty' followed | grep -q "$1"
}

ok "whoever follows its log hears of what was before the pause" within 60 followed 'POST /freeze'
ok "and after it" within 60 followed 'POST /resumed'
is "and misses nothing" \
	"$(jq -s 'map(.seq // 0) | . == [range(.[0]; .[0] + length)]' followed)" true

ok "a pause without any" pause bare --bare --tag bare
row bare
is "is pause, snapshot and commit" \
	"$(results bare freeze collapse reclaim drain pause snapshot sync commit resume)" \
	"skipped skipped skipped skipped done done done done done "
ok "the guest goes on" goes_on

# --- a disk that is slow ---

throttle() { # BYTES-A-SECOND of writes; 0: as fast as it is
	ctl qmp "$run_dir/qmp" block_set_io_throttle "{\"device\": \"root\", \"bps\": 0, \"bps_rd\": 0,
		\"bps_wr\": $1, \"iops\": 0, \"iops_rd\": 0, \"iops_wr\": 0}" >/dev/null
}

throttle 100000 || bail "the drive cannot be slowed down"
in_guest 'head -c 16M /dev/urandom >/root/noise' >/dev/null
ok "a pause while a sync is stuck" pause slow --freeze busy.slice \
	--reclaim '{"sync":300,"drop_caches":20000}'
row slow
is "the sync is killed at its cap, and the next step done" \
	"$(told slow '[.steps[] | select(.step == "reclaim") | .detail.steps[] |
		"\(.step) \(.result)"] | join(", ")')" "sync killed, drop_caches done"
is "and the layer is made" "$(results slow snapshot sync commit resume resumed)" \
	"done done done done done "
ok "the guest goes on" goes_on

# --- Ctrl-C ---

step_runs() { # TEXT: the agent has begun it
	agent GET /logs && grep -q "$1" body
}

frozen() {
	agent GET /version && jq -e '.frozen == ["busy.slice"]' body >/dev/null
}

# A pause lets out all that waits for the disk.
throttle 0
in_guest 'sync; head -c 16M /dev/urandom >/root/more' >/dev/null
throttle 100000
lamina ls --json | jq length >layers
lamina pause web --json --freeze busy.slice --reclaim '{"fstrim":1,"sync":60000}' \
	>stopped.json 2>stopped.err &
stopped=$!
ok "a pause waits for a sync" within 60 frozen
sleep 1
kill -INT "$stopped"
wait "$stopped"
rc=$?
ok "interrupted, it fails ($rc)" test "$rc" != 0
ok "the guest runs" is_running
ok "what it froze is thawed" goes_on
is "and no layer was made" "$(lamina ls --json | jq length)" "$(cat layers)"
throttle 0

# --- an agent that is not there, or older ---

in_guest 'systemctl stop lamina-agent' >/dev/null
ok "a pause without an agent" pause none --freeze busy.slice --collapse --reclaim "$reclaim"
row none
is "makes its layer" "$(results none pause snapshot sync commit resume)" "done done done done done "
ok "the guest goes on" goes_on

in_guest 'rm -f /run/old-agent.log; old-agent >/dev/null 2>&1 &' >/dev/null
within 60 agent_answers || bail "the old agent does not answer"
ok "a pause with an old agent" pause old --freeze busy.slice --collapse --reclaim "$reclaim"
row old
is "asks it for what it has" "$(results old freeze collapse reclaim pause commit resume)" \
	"unsupported unsupported done done done done "
is "and for nothing else" "$(in_guest 'grep POST /run/old-agent.log' | tr '\n' ' ')" "POST /reclaim "
in_guest 'pkill -f old-agent; systemctl start lamina-agent' >/dev/null

# --- what was taken frozen ---

debian_stop
layer=$T/mnt/tags/all
disk_options=,snapshot=on debian_resume "$layer/memfile" "$layer/state" "$layer/rootfs"
ok "what was taken frozen resumes frozen" stands
agent POST /resumed "{\"now\":$(date +%s.%N)}"
is "its agent is told that it resumed" "$status" 200
is "and thaws it" "$(jq -r '.thawed | join(" ")' body)" busy.slice
ok "it goes on" goes_on
ok "the clock is right to a minute" test $(($(date +%s) - $(in_guest 'date +%s'))) -lt 60

done_testing
