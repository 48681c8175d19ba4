#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What a real QEMU wrote is put only over the memory file that it belongs to: whatever happened to
# the QEMU, its live image or its record since, the layer has what the guest has, or there is none.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/host/qemu-lamina-lib.sh"
requires qemu root fuse jq

begin_lamina

# The layer is what the guest has; what it wrote, or all of its memory, was read.
pauses() { # WHAT GUEST diff|full [OPTION...]
	local what=$1 name=$2 how=$3
	memory_of "$name" "$name.has"
	ok "$what: a pause" lamina pause "$name" --json "${@:4}"
	cp err "$name.err"
	cp out "$name.out"
	is "$what: is a $how one" \
		"$(jq -r '.steps[] | select(.step == "snapshot") | if .detail.diff then "diff" else "full" end' out)" "$how"
	is "$what: the guest goes on" "$(state "$name")" running
	lamina -q export "$(jq -r .layer "$name.out")" --memfile "$name.mem" --force
	same "$what: the layer has its memory" "$name.mem" "$name.has"
	is "$what: a note says why it is not a diff" \
		"$(grep -c "all of the guest's memory was saved, not a diff:" "$name.err")" \
		"$([ "$how" = diff ]; echo $?)"
}
says() { # GUEST REGEX
	like "with the reason" "$(cat "$1.err")" "not a diff: .*$2"
	like "also as JSON" "$(jq -r '.steps[] | select(.step == "snapshot") | .detail.why' "$1.out")" "$2"
}
writes() { # GUEST: a page or more
	reply "$1" >/dev/null
	reply "$1" >/dev/null
}

# --- as it should be ---

ok "a guest is resumed" resume web gen0
is "with what is known of its memory" \
	"$(lamina guest show --json web | jq -c '[.memory.pid == .pid, .memory.live, .memory.layer == .layer]')" '[true,"web",true]'
writes web
pauses "the first" web diff --tag one
writes web
pauses "the next" web diff --tag two

# --- the memory file is somebody's ---

lamina -q export gen0 --memfile gen0.mem
writes web
cp gen0.mem mnt/live/web/memfile
pauses "a memory file that somebody wrote over" web full
says web "the memfile of live image 'web' was written to since"
writes web
pauses "its next one" web diff
writes web
cp gen0.mem mnt/live/web/memfile
ok "it is committed, too" lamina live commit web
pauses "then" web full
writes web
ok "committed without a change" lamina live commit web
pauses "then" web diff
truncate -s 0 mnt/live/web/memfile
exits "an emptied one" 1 lamina pause web
is "of a guest that goes on" "$(state web)" running
truncate -s "$bytes" mnt/live/web/memfile
writes web
pauses "one of zeros" web full

# --- another live image ---

ok "another one on the same layer" lamina live create other --from gen0
writes web
pauses "into that" web full --live other
says web "it was live image 'web' that held that, and 'other' is another one"
writes web
pauses "and back" web full
end_qemu web
within 20 is_closed web
lamina -q live rm web
ok "a guest whose disk is elsewhere" eval '
	words web "{memfile}" off "$T/boot.disk" -S -incoming defer
	lamina resume two --json --name web -H qemu -S web.qmp -- "${qemu[@]}" >web.json'
qemu_pid[web]=$(jq .pid web.json)
at_exit "kill -9 ${qemu_pid[web]}"
writes web
pauses "it" web diff
ok "its live image is removed" lamina live rm web
ok "and made anew" lamina live create web --from gen0
writes web
pauses "then" web full
says web "it was live image 'web' that held that, and 'web' is another one, made anew"

# --- another process ---

first=${qemu_pid[web]}
end_qemu web
words web "$T/mnt/tags/one/memfile" off "$T/boot.disk" -S -incoming defer
"${qemu[@]}" </dev/null >web.log 2>&1 &
qemu_pid[web]=$!
at_exit "kill -9 ${qemu_pid[web]}"
within 20 hyper web facts
ok "somebody else loads another layer at the same socket" \
	hyper web load "$T/mnt/tags/one/memfile" "$T/mnt/tags/one/state" run
writes web
pauses "of that" web full
says web "the hypervisor is process ${qemu_pid[web]}, and it was another one, $first,"
writes web
pauses "its next one" web diff
cp run/guests/web.json before.json
writes web
pauses "one more" web diff
cp before.json run/guests/web.json
writes web
pauses "with a record of before that" web full

# --- another name, or none ---

ok "the same QEMU by another name" lamina guest add alias -H qemu -S web.qmp -L other
for kind in serial mon; do
	declare -n in=${kind}_in out=${kind}_out
	in[alias]=${in[web]} out[alias]=${out[web]}
done
unset -n in out
ln -s web.qmp alias.qmp
qemu_pid[alias]=${qemu_pid[web]}
writes web
pauses "by that" alias full
writes web
pauses "by the first" web full
writes web
pauses "by the first, again" web diff
writes web
memory_of web has
ok "by no record" lamina pause nobody -H qemu -S web.qmp -L other --json
like "is told" "$(cat err)" "not a diff: the guest has no record"
lamina -q export "$(jq -r .layer out)" --memfile x --force
same "and has its memory" x has
pauses "by the first, then" web full
end_qemu web

# --- the RAM of another layer ---

ok "a guest is resumed, whose RAM is another layer's" resume sw gen0 "$T/mnt/tags/two/memfile"
is "of which nothing is believed" "$(lamina guest show --json sw | jq .memory)" null
writes sw
pauses "it" sw full
says sw "lamina did not resume this guest, or with another memory file than its layer's, or its last"
writes sw
pauses "its next one" sw diff
end_qemu sw

# --- two guests, one live image ---

ok "a guest" resume a1 one
exits "another one on its live image" 4 resume a2 one '{memfile}' off -L a1
like "is refused" "$(cat err)" "live image 'a1' is guest 'a1's, which runs \(pid ${qemu_pid[a1]}\): --live names another"
exits "nor is it added" 4 lamina guest add a3 -H qemu -S a3.qmp -L a1
ok "one of its own" resume a4 two
writes a4
memory_of a4 has
ok "it is paused into that of the other, by no record" \
	lamina pause nobody -H qemu -S a4.qmp -L a1 --json
lamina -q export "$(jq -r .layer out)" --memfile x --force
same "which has its memory" x has
writes a1
pauses "the other one" a1 full
writes a4
pauses "and it, by its record" a4 full
end_qemu a4
end_qemu a1

# --- memory that is shared: the live image's ---

ok "a guest in its live image's memory" resume in gen0 '{live}/memfile' on
writes in
pauses "is in place" in diff
cp gen0.mem mnt/live/other/memfile
writes in
pauses "into another live image: what has data is read, the rest is zeros" in diff --live other
writes in
pauses "and back" in diff
exits "its live image is not removed under it" 4 lamina live rm in
end_qemu in
done_testing
