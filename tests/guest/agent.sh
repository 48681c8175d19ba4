#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# agent.sh
#
# lamina-agent in a booted Debian, its disk a live image, asked over a forwarded port: what
# it freezes is frozen, what it collapses is huge, what it trims is punched out of the live
# image, and a step that is stuck on a slow disk is left behind. Part of `make check-guest`,
# and a program of its own (TAP). GUEST_DEBIAN=DIR names a finished guest.

# shellcheck source-path=SCRIPTDIR source=../lib.sh
. "$(dirname "$0")/../lib.sh"
GUEST_RAM_MIB=768
# shellcheck source=debian-lib.sh
. "$srcroot/tests/guest/debian-lib.sh"
debian_requires
requires loop lamina-agent
debian_image

answer() { # FILTER: of the agent's last one
	jq -r "$1" body
}

is_status() { # NAME STATUS
	is "$1" "$status" "$2" || diag "$(head -c 400 body)"
}

# --- a guest on a live image ---

cp --sparse=always "$debian/rootfs" disk
(umask 077; echo "$token" >token)
ok "the agent is put into an image" lamina guest provision --listen tcp:0.0.0.0:1052 \
	--agent-token token disk
lamina -q --store store init || bail "no store"
lamina -q --store store commit --rootfs disk --tag base >/dev/null || bail "no layer"
mount_store store mnt || bail "no mount"
lamina -q --store store live create web --from base || bail "no live image"
debian_boot "$T/mnt/live/web/rootfs" || bail "it does not boot"
ok "it answers" within 60 agent_answers

agent GET /version
is_status "it says which it is" 200
is "and what it can do" "$(answer '.features | sort | join(" ")')" \
	"collapse freeze logs reclaim resumed stats"
is "nothing is frozen" "$(answer '.frozen | length')" 0
is "and nothing compacts of its own" "$(answer .compaction_proactiveness)" 0
token=no agent GET /version
is_status "whoever has no token learns nothing" 401

agent_pid=$(in_guest 'pidof lamina-agent')
like "it runs once" "$agent_pid" '^[0-9]+
?$'
resident=$(in_guest "awk '/^VmRSS/ {print \$2}' /proc/$agent_pid/status")
ok "it has at most 4 MiB of memory, and has $resident KiB" test "$resident" -le 4096

# --- vsock ---

# Over the loopback everybody's CID is 1, the host's is 2: a stranger is sent away, and with
# --vsock-peer 1 is whom the agent waits for.
cat >vsock.py <<'END'
import socket, sys
s = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
s.settimeout(60)
s.connect((1, int(sys.argv[1])))
try:
    s.sendall(b"GET /health HTTP/1.1\r\nHost: guest\r\nConnection: close\r\n\r\n")
    print(s.recv(4096).split(b"\r\n")[0].decode() or "closed")
except (BrokenPipeError, ConnectionResetError):
    print("closed")
END
in_guest "cat >/root/vsock.py <<'END'
$(cat vsock.py)
END
/usr/local/sbin/lamina-agent --kmsg none --listen vsock:any:1052 >/dev/null 2>&1 &
/usr/local/sbin/lamina-agent --kmsg none --listen vsock:any:1053 --vsock-peer 1 >/dev/null 2>&1 &" >/dev/null

by_vsock() { # PORT
	in_guest "python3 /root/vsock.py $1"
}

vsock_answers() { # PORT
	[ "$(by_vsock "$1")" = "HTTP/1.1 200 OK" ]
}

ok "by vsock it answers whom it waits for" within 60 vsock_answers 1053
is "and nobody else" "$(by_vsock 1052)" closed
in_guest 'pkill -f listen.vsock' >/dev/null

# --- the freezer ---

in_guest 'mkdir /sys/fs/cgroup/busy.slice
	(echo $BASHPID >/sys/fs/cgroup/busy.slice/cgroup.procs
	 while :; do i=$((i + 1)); echo $i >/run/busy.new; mv /run/busy.new /run/busy; done) &' >/dev/null

busy() {
	in_guest 'cat /run/busy'
}

goes_on() {
	local before
	before=$(busy) && within 20 other_than "$before"
}

other_than() {
	[ "$(busy)" != "$1" ]
}

stands() {
	local before
	before=$(busy) && sleep 1 && [ "$(busy)" = "$before" ]
}

frozen() {
	in_guest 'grep frozen /sys/fs/cgroup/busy.slice/cgroup.events' | tr -d '\n'
}

ok "a process is busy" goes_on
agent POST /freeze '{"cgroup":"busy.slice"}'
is_status "its cgroup is frozen" 200
is "the kernel says so" "$(frozen)" "frozen 1"
ok "it stands still" stands
agent GET /version
is "the agent knows what it froze" "$(answer '.frozen | join(" ")')" busy.slice
agent POST /thaw '{"cgroup":"busy.slice"}'
is_status "it is thawed" 200
ok "and goes on" goes_on

agent POST /freeze '{"cgroup":"system.slice"}'
like "what the agent is in is not frozen" "$status" '^4'
agent POST /freeze '{"cgroup":"../busy.slice"}'
is_status "a name that leads out is none" 400
agent POST /freeze '{"cgroup":"nobody.slice"}'
is_status "nor one that is not there" 404

agent POST /freeze '{"cgroup":"busy.slice"}'
in_guest 'date -s "2001-01-01"' >/dev/null
agent POST /resumed "{\"now\":$(date +%s.%N)}"
is_status "after a resume it is told the time" 200
is "and thaws" "$(answer '.thawed | join(" ")')" busy.slice
ok "what was frozen goes on" goes_on
ok "the clock is right to a minute" test \
	$(($(date +%s) - $(in_guest 'date +%s'))) -lt 60
ok "and had been behind for long" test "$(answer '.clock_step_ms > 1e9')" = true

# --- collapse ---

in_guest 'echo madvise >/sys/kernel/mm/transparent_hugepage/enabled' >/dev/null
huge() { # KiB of huge pages that the heap has
	in_guest "awk '/^AnonHugePages/ {print \$2}' /proc/$1/smaps_rollup"
}

new_heap() { # MIB: leaves its pid in $heap
	read -r heap _ < <(in_guest "heap $1")
}

new_heap 96
is "a heap has no huge page" "$(huge "$heap")" 0
agent POST /collapse "{\"pids\":[$heap]}"
is_status "it is collapsed" 200
diag "$(cat body)"
ok "its memory is huge now" test "$(huge "$heap")" -ge $((90 << 10))
ok "as the answer says" test "$(answer .collapsed)" -ge 45
is "every window was counted" "$(answer '.collapsed + .already_huge + .skipped - .chunks')" 0
agent POST /collapse "{\"pids\":[$heap]}"
ok "once more finds it huge" test "$(answer .already_huge)" -ge 45
in_guest "kill $heap" >/dev/null

new_heap 96
in_guest "echo $heap >/sys/fs/cgroup/busy.slice/cgroup.procs" >/dev/null
agent POST /freeze '{"cgroup":"busy.slice"}'
agent POST /collapse '{"cgroup":"busy.slice"}'
is_status "a frozen cgroup is collapsed" 200
ok "its heap is huge" test "$(huge "$heap")" -ge $((90 << 10))
is "and still frozen" "$(frozen)" "frozen 1"
agent POST /thaw
in_guest "kill $heap" >/dev/null

new_heap 384
agent POST /collapse "{\"pids\":[$heap]}" -m 0.5
is "a caller hangs up in the middle of a collapse" "$status" 000
logged() { # REGEX
	agent GET /logs && grep -E "$1" body
}
ok "the agent tells that it stopped" within 60 logged 'collapse: .*hung up'
sleep 2
at=$(huge "$heap")
ok "it had begun and not finished, at $at KiB" test "$at" -lt $((384 << 10))
is "and nothing of it goes on" "$(sleep 2; huge "$heap")" "$at"
in_guest "kill $heap" >/dev/null

# --- reclaim ---

punched() { # pages of the live image's disk
	lamina --store "$T/store" live show web --json |
		jq '[.images[] | select(.name == "rootfs") | .punched] | add'
}

step() { # NAME: its result
	answer ".steps[] | select(.step == \"$1\") | .result"
}

in_guest 'mount -o remount,nodiscard /; head -c 32M /dev/urandom >/root/noise; sync
	rm /root/noise; sync' >/dev/null
before=$(punched)
agent POST /reclaim '{"sync":60000,"drop_caches":60000,"compact_memory":60000,"fstrim":60000}'
is_status "memory and disk are reclaimed" 200
is "in the order that is best" "$(answer '[.steps[] | "\(.step) \(.result)"] | join(", ")')" \
	"fstrim done, sync done, drop_caches done, compact_memory done"
after=$(punched)
ok "what was deleted is punched out of the live image: $((after - before)) pages" \
	test $((after - before)) -ge 8000
agent POST /reclaim '{"sync":0,"drop_caches":-1,"compact_memory":0.5,"fstrim":"long"}'
is "what has no time is not done" "$(answer '.steps | length')" 0

# --- a disk that is slow ---

throttle() { # BYTES-A-SECOND: of writes; 0: as fast as it is
	ctl qmp "$run_dir/qmp" block_set_io_throttle "{\"device\": \"root\", \"bps\": 0, \"bps_rd\": 0,
		\"bps_wr\": $1, \"iops\": 0, \"iops_rd\": 0, \"iops_wr\": 0}" >/dev/null
}

synced() {
	agent POST /reclaim '{"sync":1000}' && [ "$(step sync)" = "done" ]
}

throttle 100000 || bail "the drive cannot be slowed down"
in_guest 'head -c 16M /dev/urandom >/root/noise' >/dev/null
agent POST /reclaim '{"sync":300,"drop_caches":60000}'
is_status "a sync is stuck" 200
is "it is killed, and the next step done" "$(answer '[.steps[] | "\(.step) \(.result)"] | join(", ")')" \
	"sync killed, drop_caches done"
diag "$(cat body)"
agent POST /reclaim '{"sync":300,"compact_memory":300}'
is "while it is stuck there is no second one" "$(step sync)" busy
diag "$(cat body)"
throttle 0
ok "when the disk is fast again it ends, and the next one is done" within 120 synced

# --- at rest ---

cat >changed.py <<'END'
"""changed.py PID SECONDS: how many pages of the process's own memory differ after them"""
import hashlib, sys, time
def pages(pid):
    found = {}
    with open("/proc/%s/maps" % pid) as maps, open("/proc/%s/mem" % pid, "rb", 0) as mem:
        for line in maps:
            span, mode = line.split()[:2]
            begin, end = (int(x, 16) for x in span.split("-"))
            if "w" not in mode:
                continue
            for at in range(begin, end, 4096):
                mem.seek(at)
                found[at] = hashlib.md5(mem.read(4096)).digest()
    return found
before = pages(sys.argv[1])
time.sleep(float(sys.argv[2]))
after = pages(sys.argv[1])
print(sum(before.get(at) != after.get(at) for at in before.keys() | after.keys()))
END
in_guest "cat >/root/changed.py <<'END'
$(cat changed.py)
END"
in_guest "python3 /root/changed.py $agent_pid 4 >/run/changed &" >/dev/null
sleep 2
agent GET /stats
within 60 in_guest 'test -s /run/changed'
ok "an agent that is asked changes its memory" test "$(in_guest 'cat /run/changed')" -gt 0
changed=$(in_guest "python3 /root/changed.py $agent_pid 60")
ok "an idle agent changes at most 16 pages of its own in a minute: $changed" test "$changed" -le 16

done_testing
