#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Firecracker behind the hypervisors' vtable: states, snapshots, loads, and what it refuses.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/host/lib.sh"
requires python3 hyper

h() { # NAME COMMAND...
	hyper firecracker "$1.sock" "${@:2}"
}

says() { # NAME FACT: of the last `ok`
	sed -n "s/^$1 //p" out
}

refuses() { # NAME ERRNO SENTENCE COMMAND...
	exits "$1" 1 "${@:4}"
	like "says" "$(cat err)" "^hyper: .*$3.* \[$2\]$"
}

files() { # MIB: m and s, as a live image has them
	rm -f m s
	truncate -s "$1M" m
	: >s
}

# --- facts ---

fc_config small.json 8
fc_config tracked.json 8 '"track_dirty_pages":true' "$hinting"
fc_config quiet.json 8 '' "$balloon"
start_fc a --config-file small.json
ok "facts" h a facts
is "of a small one" "$(grep -v ^pid out | paste -sd' ')" \
	"version 1.14.0 state running balloon no hinting no dirty no memory 8388608"
is "with its pid" "$(says pid)" "${fc_pid[a]}"
start_fc b --config-file tracked.json
ok "facts" h b facts
is "of one that has all" "$(grep -v ^pid out | paste -sd' ')" \
	"version 1.14.0 state running balloon yes hinting yes dirty yes memory 8388608"
start_fc c
ok "facts" h c facts
is "of one that waits for a load" "$(says state)" new
refuses "which cannot be paused" EREMOTEIO "firecracker on 'c.sock' refuses to pause the guest: \
The requested operation is not supported before starting" h c pause
end_fc c

# --- pause, resume ---

ok "pause" h a pause
is "pauses" "$(fc a state)" Paused
ok "of a paused one is fine" h a pause
ok "resume" h a resume
is "resumes" "$(fc a state)" Running
ok "of a running one is fine" h a resume

# --- snapshots ---

files 8
refuses "no snapshot of a running guest" EREMOTEIO "save/restore unavailable while running" \
	h a snapshot m s
h a pause
fc a random 1000000 100000 1 >/dev/null
ok "a snapshot without tracking" h a snapshot m s
is "is a full one" "$(says diff) $(says memory)" "no $((8 << 20))"
is "has a state" "$(says state)" "$(stat -c %s s)"
fc a dump d >/dev/null
same "and all of memory" m d
is "which zero pages are a part of" "$(($(stat -c %b m) * 512 >= 8 << 20))" 1

files 8
h b pause
ok "a snapshot with tracking" h b snapshot m s
is "is a diff" "$(says diff)" yes
ok "one after it" h b snapshot m s
is "has nothing" "$(says diff) $(says memory)" "yes 0"
fc b random 3000000 300000 2 >/dev/null
fc b write 4096 10 9 >/dev/null
printf 'not touched' | dd of=m bs=4096 seek=2000 conv=notrunc status=none
is "what is dirty" "$(fc b dirty)" 75
ok "a diff" h b snapshot m s
is "says how much it had" "$(says memory)" $((75 * 4096))
is "leaves what is not dirty" "$(dd if=m bs=4096 skip=2000 count=1 status=none | head -c 11)" \
	"not touched"
fc b dump d >/dev/null
is "and has what is" "$(cmp -l m d | wc -l)" 11
ok "full where it is asked for" h b snapshot m s full
is "says so" "$(says diff) $(says memory)" "no $((8 << 20))"
same "and is whole" m d

cp m kept
truncate -s 9M m
refuses "a file of another size" EINVAL "'m' has 9437184 bytes and the guest of firecracker on \
'b.sock' 8388608: its snapshot needs a file of that size" h b snapshot m s
is "keeps its size" "$(stat -c %s m)" 9437184
same "and its bytes" <(head -c 8M m) kept
refuses "also for a full one" EINVAL "of that size" h b snapshot m s full
: >m
ok "an empty one" h b snapshot m s
is "gets all of it" "$(says diff) $(says memory)" "no $((8 << 20))"
fc b dump d >/dev/null
same "as it is" m d
refuses "no such memory file" ENOENT "cannot look at 'none': No such file" h b snapshot none s
refuses "no such state" ENOENT "cannot look at 'none': No such file" h b snapshot kept none
mv kept m

# What an older one would empty, or lose when it fails, is not handed to it as a diff.
fc_config plain-tracked.json 8 '"track_dirty_pages":true'
start_fc old --config-file plain-tracked.json --version-is 1.9.0
ok "facts of 1.9" h old facts
is "that it has diffs" "$(says dirty)" yes
end_fc old
start_fc old --config-file plain-tracked.json --version-is 1.8.1
h old pause
ok "facts of 1.8" h old facts
is "that it has no diff which could be merged" "$(says dirty)" no
ok "its snapshot" h old snapshot m s
is "is full" "$(says diff)" no
fc old dump d >/dev/null
same "and whole" m d
end_fc old

# Memory that can be plugged in, and what is above 3 GiB, is in slots of its own.
fc_config slots.json 8 '"track_dirty_pages":true' '"memory-hotplug":{"total_size_mib":128}'
for version in 1.14.1 1.14.2; do
	files 136
	start_fc slots --config-file slots.json --version-is $version
	fc slots write 40960 10 9 >/dev/null
	fc slots random 9000000 10000 6 >/dev/null
	h slots pause
	ok "$version: a snapshot of memory in two slots" h slots snapshot m s
	diff=$(says diff)
	fc slots dump d >/dev/null
	same "$version: is right" m d
	is "$version: and a diff where that may be" "$version $diff" \
		"$version $([ $version = 1.14.2 ] && echo yes || echo no)"
	end_fc slots
done

# --- loads ---

load_into() { # NAME OPTIONS WORD...
	local name=$1 options=$2
	shift 2
	# shellcheck disable=SC2086
	start_fc "$name" $options
	ok "$name loads" h "$name" load m s "$@" && ok "facts" h "$name" facts
}

files 8
fc b random 5000000 50000 3 >/dev/null
h b snapshot m s full >/dev/null
load_into l1 "" run
is "runs" "$(says state)" running
is "has its balloon still" "$(says hinting)" yes
is "but does not track" "$(says dirty)" no
is "its memory" "$(fc l1 verify m 2)" same
refuses "no second load" EREMOTEIO "load the snapshot: .*after starting" h l1 load m s
end_fc l1
load_into l2 "" track
is "stays paused" "$(says state)" paused
is "tracks" "$(says dirty)" yes
fc l2 write 8192 1 7 >/dev/null
ok "a diff of it" h l2 snapshot m s
is "has two pages: one is of its devices" "$(says diff) $(says memory)" "yes 8192"
fc l2 dump d >/dev/null
same "over what it was loaded from" m d
end_fc l2

for version in 1.12.1 1.13.0 1.17.0-dev; do
	load_into "v$version" "--version-is $version" track
	is "$version tracks, by the name that it knows" "$(says dirty)" yes
	end_fc "v$version"
done
start_fc v1.0 --version-is 1.0.2
refuses "1.0 has no backends" EOPNOTSUPP "firecracker 1.0.2 on 'v1.0.sock' has no memory backends" \
	h v1.0 load m s
end_fc v1.0

echo rubbish >bad
start_fc l3
refuses "what is no state" EREMOTEIO "refuses to load the snapshot: .*no magic" h l3 load m bad
within 20 fc_ended l3
ok "ends it" fc_ended l3

# --- draining ---

start_fc q --config-file quiet.json
refuses "no balloon" EOPNOTSUPP "firecracker on 'a.sock' has no balloon" h a drain 100
refuses "one without hinting" EOPNOTSUPP "set up without free_page_hinting" h q drain 100
end_fc q
h b resume
fc b random 6000000 8192 4 >/dev/null
fc b free 4096000 4096 >/dev/null
ok "drain" h b drain 20000
is "to its end" "$(cat out)" "pages 0
whole yes"
is "drops what is free" "$(fc b read 4096000 4)" 00000000
fc b random 6000000 8192 5 >/dev/null
fc b free 6000640 4096 >/dev/null
ok "another" h b drain 20000
is "does not take the end of the last one for its own" "$(fc b read 6000640 4)" 00000000
fc b hinting -1 >/dev/null
for i in 1 2; do
	ok "a guest that does not end it ($i)" h b drain 60
	is "is not waited for" "$(says whole)" no
	like "and told to stop" "$(fc b log)" 'PATCH /balloon/hinting/stop 204$'
done
ok "no time at all" h b drain 0
is "is not the whole" "$(says whole)" no
refuses "cancelled" ECANCELED "'b.sock'" h b --stop 100 drain 60000
like "it is told to stop, too" "$(fc b log)" 'PATCH /balloon/hinting/stop 204$'
fc b hinting 0 >/dev/null
ok "the next" h b drain 20000
is "is whole again" "$(says whole)" yes
fc b trouble 'GET /balloon/hinting/status=refuse:Device is inactive' >/dev/null
refuses "trouble in the middle" EREMOTEIO "say how free page hinting goes: Device is inactive" \
	h b drain 20000
like "ends it" "$(fc b log)" 'PATCH /balloon/hinting/stop 204$'

# --- in a jail ---

mkdir -p jail/img
mv m s jail/img
start_fc j --config-file small.json --jail "$T/jail" --api-sock /api.sock
ln -s jail/api.sock j.sock
ok "pause" h j pause
refuses "a file outside" EINVAL "'$T/m' is not in the hypervisor's jail '$T/jail'" \
	h j --chroot "$T/jail" snapshot "$T/m" "$T/jail/img/s"
refuses "one that leads out" EINVAL "'$T/jail/../m' has '..' in it" \
	h j --chroot "$T/jail" snapshot "$T/jail/../m" "$T/jail/img/s"
ok "one inside" h j --chroot "$T/jail/" snapshot "$T/jail/img/m" "$T/jail/img/s"
like "is told as it is called there" "$(fc j log bodies)" \
	'"snapshot_path":"/img/s","mem_file_path":"/img/m"'
end_fc j
rm -f jail/api.sock
start_fc j --jail "$T/jail" --api-sock /api.sock
ln -s jail/api.sock j.sock
ok "a load from there" h j --chroot "$T/jail" load "$T/jail/img/m" "$T/jail/img/s" run
is "runs" "$(fc j state)" Running
end_fc j
mv jail/img/* .

# --- what misbehaves ---

refuses "no such socket" ENOENT "firecracker: there is no socket 'none.sock'" h none facts
end_fc a
refuses "nobody there" ECONNREFUSED "firecracker: nobody listens on 'a.sock'" h a facts
start_fc a --config-file tracked.json
for kind in nonsense html cut 'answer:{"app_name":"nginx"}' 'answer:[1]' 'answer:'; do
	fc a trouble "GET /=$kind" >/dev/null
	exits "GET / with '$kind'" 1 h a facts
	like "is told" "$(cat err)" "'a.sock'.* \[(EPROTO|ECONNRESET)\]$"
done
fc a trouble 'GET /vm/config=answer:{"machine-config":{}}' >/dev/null
refuses "a configuration without memory" EPROTO "what answers on 'a.sock' is not firecracker: its \
answer to 'GET /vm/config' is none of the HTTP API that was expected there" \
	h a facts
fc a trouble 'GET /balloon=answer:"none"' >/dev/null
refuses "a balloon that is a word" EPROTO "is not firecracker" h a facts
fc a trouble 'PATCH /vm=html' >/dev/null
refuses "a pause that is a page" EPROTO "is not firecracker" h a pause
fc a trouble 'PATCH /vm=full' >/dev/null
refuses "too many connections" EREMOTEIO "'a.sock' refuses to pause the guest: Too many open connections" \
	h a pause
fc a trouble 'PATCH /vm=refuse:vCPUs are busy' >/dev/null
refuses "its own words" EREMOTEIO "'a.sock' refuses to pause the guest: vCPUs are busy" h a pause
fc a trouble 'PATCH /vm=late:300' >/dev/null
ok "late" h a pause
is "is fine" "$(fc a state)" Paused
fc a trouble 'PATCH /vm=slow:2000' >/dev/null
refuses "too late" ETIMEDOUT "firecracker on 'a.sock' did not resume the guest within 200 ms" \
	h a --timeout 200 resume
is_running() {
	[ "$(fc a state)" = Running ]
}
within 20 is_running
ok "what it was told is done all the same" is_running
refuses "cancelled before" ECANCELED "stopped while firecracker on 'a.sock' was to pause the guest" \
	h a --stop 0 pause
fc a trouble 'PATCH /vm=slow:60000' >/dev/null
refuses "cancelled while it waits" ECANCELED "a.sock" h a --stop 300 pause
end_fc a
start_fc a --config-file tracked.json
h a pause
files 8
fc a trouble 'PUT /snapshot/create=slow:1500' >/dev/null
refuses "a snapshot, cancelled" ECANCELED "a.sock" h a --stop 300 snapshot m s full
ok "the guest resumes" h a resume
like "when it has been written" "$(fc a log)" 'create 204; PATCH /vm 204$'
fc a dump d >/dev/null
same "all of it" m d
h a pause
fc a trouble 'PUT /snapshot/create=die-half' >/dev/null
refuses "an end in the middle of a snapshot" ECONNRESET "a.sock" h a snapshot m s full
within 20 fc_ended a
ok "is one" fc_ended a

# --- files on a mount that does not answer ---

if has fuse && has root; then
	lamina --store st init >/dev/null && mount_store st mnt
	start_fc a --config-file tracked.json
	h a pause
	stop "$fuse_pid"
	refuses "a mount that is stopped" ETIMEDOUT "'mnt/live/x/memfile' hangs, for 1.0 s now: does the daemon" \
		h a --timeout 1000 snapshot mnt/live/x/memfile mnt/live/x/state
	refuses "or is not waited for" ECANCELED "stopped while 'mnt/live/x/memfile' was worked on" \
		h a --stop 500 snapshot mnt/live/x/memfile mnt/live/x/state
	hyper firecracker a.sock snapshot mnt/live/x/memfile mnt/live/x/state 2>err &
	asker=$!
	has_child() { pgrep -P $asker; }
	within 20 has_child
	pkill -KILL -P $asker
	wait $asker
	like "who looks for us, and is killed, is told of as that" "$(cat err)" \
		"the process that works on 'mnt/live/x/memfile' was killed by signal 9 \(Killed\) \[EIO\]"
	kill -CONT "$fuse_pid"
	is "asked nothing of the hypervisor" "$(fc a log | grep -c create)" 0
	end_fc a
else
	skip "no mounts here" 6
fi
done_testing
