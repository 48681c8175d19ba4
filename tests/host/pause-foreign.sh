#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina pause takes a diff only over the memory file that it belongs to: whatever happened to the
# hypervisor, its live image or its record since, the layer has what the guest has.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/host/lib.sh"
. "$srcroot/tests/host/pause-lib.sh"
requires fuse root python3 jq

begin_guest || bail "no guest"
export FIRECRACKER_OPTIONS=
seed=0
writes() { # GUEST: somewhere, a few pages
	seed=$((seed + 1))
	fc "$1" random $((seed * 5000 % 7000000)) 20000 $seed >/dev/null
}
# The layer is what the guest has; a diff or all of memory was written.
pauses() { # WHAT GUEST diff|full [OPTION...]
	local what=$1 name=$2 how=$3
	shift 3
	fc "$name" dump "$name.has" >/dev/null
	ok "$what: a pause" lamina pause "$name" --json "$@"
	cp err "$name.err"
	cp out "$name.json"
	is "$what: is a $how one" \
		"$(jq -r '.steps[] | select(.step == "snapshot") | if .detail.diff then "diff" else "full" end' out)" "$how"
	lamina export "$(jq -r .layer out)" --memfile "$name.mem" --force >/dev/null
	same "$what: the layer has its memory" "$name.mem" "$name.has"
}
why() { # GUEST
	jq -r '.steps[] | select(.step == "snapshot") | .detail.why' "$1.json"
}
says() { # GUEST REGEX: why, once, in the note and in the answer
	is "which is said once" "$(grep -c "all of the guest's memory was saved, not a diff:" "$1.err")" 1
	like "with the reason" "$(cat "$1.err")" "$2"
	like "also as JSON" "$(why "$1")" "$2"
}
# --- a guest that lamina did not resume ---

writes web
pauses "the first pause of an added guest" web full --tag one
says web "it is not known what the memfile held when the hypervisor began to track dirty pages"
writes web
pauses "the second one" web diff
is "of which nothing is said" "$(grep -c "not a diff" web.err)" 0
is "nor a reason given" "$(why web)" null
writes web
fuse_is_idle() { lamina umount mnt 2>/dev/null; }
within 20 fuse_is_idle
mount_store s mnt || bail "no mount"
pauses "after the store was mounted anew" web diff
lamina live create fresh --from one
fc_config fresh.json 8 '"track_dirty_pages":true'
start_fc fresh --config-file fresh.json
lamina guest add fresh -H firecracker -S fresh.sock
writes fresh
pauses "a guest that was booted on a layer's live image" fresh full
end_fc fresh

# --- an ordinary series ---

ok "a guest is resumed" resume_file sw one
is "with its record" "$(lamina guest show --json sw | jq -c '[.memory.pid == .pid, .memory.live, .memory.layer == .layer]')" \
	'[true,"sw",true]'
writes sw
pauses "after a resume" sw diff --tag two
writes sw
pauses "the next one" sw diff
writes sw
head -c 8192 /dev/urandom | dd of=mnt/live/sw/rootfs conv=notrunc status=none
ok "somebody commits the live image" lamina live commit sw
writes sw
pauses "after that" sw diff
writes sw
flock -o s/lock sleep 60 &
holder=$!
at_exit "kill $holder"
exits "a commit that fails" 4 lamina pause sw --wait 50ms
kill "$holder"
wait "$holder" 2>/dev/null
writes sw
pauses "after that" sw diff
writes sw
fc sw trouble 'PUT /snapshot/create=refuse:no' >/dev/null
exits "a snapshot that is refused" 1 lamina pause sw
writes sw
pauses "after that" sw diff
fc sw trouble 'PATCH /vm=refuse:no' >/dev/null
exits "a pause that is refused" 1 lamina pause sw
writes sw
pauses "after that" sw diff
writes sw
pauses "one that is to be whole" sw full --full
is "of which there is no note" "$(grep -c "not a diff" sw.err)" 0
writes sw
pauses "after that" sw diff
writes sw
ok "one that leaves the guest" lamina pause sw --leave
ok "it goes on" lamina guest cont sw
writes sw
pauses "after that" sw diff

# --- killed in the middle ---

writes sw
fc sw trouble 'PUT /snapshot/create=slow:4000' >/dev/null
lamina pause sw >/dev/null 2>&1 &
pauser=$!
within 20 eval '[ "$(fc sw state)" = Paused ]'
sleep 0.3
kill -9 $pauser
wait $pauser 2>/dev/null
within 20 lamina guest cont sw
writes sw
pauses "after a SIGKILL while the snapshot is taken" sw full
says sw "or its last pause was not finished"
writes sw
pauses "the next one" sw diff
flock -o s/lock sleep 60 &
holder=$!
at_exit "kill $holder"
writes sw
lamina pause sw --wait 60s >/dev/null 2>&1 &
pauser=$!
committing() {
	[ "$(lamina guest show --json sw | jq '.memory != null')" = true ]
}
within 20 committing
within 20 eval '[ "$(fc sw state)" = Running ]'
kill -9 $pauser
wait $pauser 2>/dev/null
kill "$holder"
wait "$holder" 2>/dev/null
writes sw
pauses "after one while it commits" sw diff

# --- another hypervisor at the same socket ---

first=${fc_pid[sw]}
kill -9 "$first"
within 20 fc_ended sw
start_fc sw --config-file vm.json
writes sw
pauses "of another process at the socket" sw full
says sw "the hypervisor is process ${fc_pid[sw]}, and it was another one, $first, that was resumed or paused last"
writes sw
pauses "its next one" sw diff

# --- another live image, or another content ---

within 20 is_closed sw
ok "the live image is removed" lamina live rm sw
ok "and made anew" lamina live create sw --from one
writes sw
pauses "of a guest whose live image was replaced" sw full
says sw "it was live image 'sw' that held that, and 'sw' is another one, made anew"
writes sw
pauses "its next one" sw diff
lamina export one --memfile old --force >/dev/null
writes sw
cp old mnt/live/sw/memfile
pauses "after somebody wrote into the memfile" sw full
says sw "the memfile of live image 'sw' was written to since"
writes sw
cp old mnt/live/sw/memfile
ok "and committed it" lamina live commit sw
pauses "after that" sw full
mapped() { # NAME: somebody maps its memfile, writes, and keeps it mapped, unwritten
	rm -f mapped
	python3 -c '
import mmap, sys, time
f = open(sys.argv[1], "r+b")
m = mmap.mmap(f.fileno(), 0)
m[6710000:6710100] = b"y" * 100
open("mapped", "w").close()
time.sleep(100)' "mnt/live/$1/memfile" &
	mapper=$!
	at_exit "kill $mapper"
	within 20 test -e mapped
}
writes sw
mapped sw
pauses "what somebody wrote through a mapping, and nobody has written out yet" sw full
says sw "the memfile of live image 'sw' was written to since"
writes sw
pauses "while that mapping is there, and nothing is written" sw diff
kill $mapper
ok "another live image" lamina live create other --from one
writes sw
pauses "into that" sw full --live other
says sw "it was live image 'sw' that held that, and 'other' is another one"
writes sw
pauses "and back" sw full

# --- other names, other records ---

ok "the same guest by another name" lamina guest add alias -H firecracker -S sw.sock -L other
writes sw
cp sw.ctl alias.ctl 2>/dev/null || ln -sf sw.ctl alias.ctl
pauses "by that" alias full
writes sw
pauses "by the first" sw full
writes sw
pauses "by the first, again" sw diff
ok "by no record" lamina pause nobody -H firecracker -S sw.sock -L other --json
is "is a full one" "$(jq '.steps[] | select(.step == "snapshot") | .detail.diff' out)" false
like "which is said" "$(cat err)" "not a diff: the guest has no record"
writes sw
pauses "by the first, after that" sw full
fc sw trouble 'PUT /snapshot/create=slow:4000' >/dev/null
lamina pause sw >/dev/null 2>&1 &
pauser=$!
within 20 eval '[ "$(fc sw state)" = Paused ]'
exits "two at once, by two names" 4 lamina pause alias
like "are one too many" "$(cat err)" "process $pauser \(lamina pause\) works on process ${fc_pid[sw]}, the hypervisor"
wait $pauser
is "the first is kept" "$(lamina guest show --json sw | jq .memory.pid)" "${fc_pid[sw]}"
within 20 eval '[ "$(fc sw state)" = Running ]'
cp run/guests/sw.json before.json
writes sw
pauses "a pause" sw diff
cp before.json run/guests/sw.json
writes sw
pauses "with a record of before it" sw full
jq '.memory.pid = "x"' run/guests/sw.json >x && cat x >run/guests/sw.json
pauses "with one that says nothing that can be" sw full
jq '.memory = 7' run/guests/sw.json >x && cat x >run/guests/sw.json
exits "one whose type is wrong" 3 lamina pause sw
like "is damaged" "$(cat err)" "has a 'memory' of the wrong type"
is "nothing is left of locks on processes" "$(find run/guests -name '.[0-9]*')" ""

# --- two guests, one live image ---

ok "a guest" resume_file a1 two
exits "another one on its live image" 4 resume_file a2 two -L a1
like "is refused" "$(cat err)" "live image 'a1' is guest 'a1's, which runs \(pid ${fc_pid[a1]}\): --live names another"
is "and leaves nothing" "$(lamina guest ls -q | grep -cx a2)" 0
exits "nor is it added" 4 lamina guest add a3 -H firecracker -S a3.sock -L a1
ok "the same one may be" lamina guest add a4 -H firecracker -S a1.sock -L a1
lamina guest rm a4
writes a1
pauses "the first" a1 diff
end_fc a1 2>/dev/null
within 20 is_closed a1
ok "it has ended: another one is added" lamina guest add a3 -H firecracker -S a3.sock -L a1
start_fc a3 --config-file vm.json
exits "one that was added, and lives, counts" 4 lamina guest add a5 -H firecracker -S a5.sock -L a1
like "it is said where" "$(cat err)" "live image 'a1' is guest 'a3's, whose hypervisor listens on '$T/a3.sock'"

# --- another store ---

lamina --store s2 init >/dev/null
mkdir m2
mount_store s2 m2 || bail "no second mount"
lamina export two --memfile two.mem --state two.state --rootfs two.disk --force >/dev/null
lamina --store s2 commit --memfile two.mem --state two.state --rootfs two.disk --tag two >/dev/null
LAMINA_STORE=s2
ok "a live image of that name in another store is another one" resume_file b1 two -L sw --mount "$T/m2"
writes b1
pauses "on it" b1 diff
LAMINA_STORE=s
exits "a guest of another store's mount" 1 lamina pause b1
like "is refused" "$(cat err)" "'$T/m2' is a mount of the store '.*s2', not of '.*'"
done_testing
