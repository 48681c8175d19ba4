#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What lamina live commit keeps of a guest is resumed only where its memory, state and disk are known
# to be of one moment; lamina pause makes such layers, and --paused says so.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/host/lib.sh"
. "$srcroot/tests/host/pause-lib.sh"
requires fuse root python3 jq

begin_guest || bail "no guest"
export FIRECRACKER_OPTIONS=

ends() { # NAME
	end_fc "$1"
	within 50 is_closed "$1"
	lamina live rm "$1"
}
moment() { # LAYER: what is said of it
	lamina show --json "$1" | jq -r '.attributes["lamina.moment"]'
}
writes() { # GUEST SEED
	fc "$1" random $(($2 * 50000)) 20000 "$2" >/dev/null
}
disk_of() { # LIVE
	head -c 4096 /dev/urandom | dd of="mnt/live/$1/rootfs" conv=notrunc status=none
}
mixed() { # LAYER [JSON]: the last answer says that it is marked, and so does the layer
	is "... which is told" "$(jq -c .one_moment out)" false
	like "... and said" "$(cat err)" "layer $(lamina show -q "$1" | cut -c1-12) keeps the files, and is none to resume: .*'lamina pause' makes one"
	is "... and shown" "$(moment "$1")" unknown
	like "... for people, too" "$(lamina show "$1" | tr -s ' ')" $'\nlamina.moment unknown\n'
}

# --- a half-written snapshot ---

writes web 1
ok "a guest is paused" lamina pause web --tag one
is "of one moment" "$(moment one)" one
one=$(lamina show -q one)
end_fc web
ok "a guest goes on from it" resume_file tw one
writes tw 2
ok "and is paused" lamina pause tw --json --tag tw1
is "which is told" "$(jq -c .commit.one_moment out)" true
tw1=$(lamina show -q tw1)
fc tw random 0 6000000 3 >/dev/null
fc tw trouble "PUT /snapshot/create=die-half" >/dev/null
exits "its hypervisor dies in the middle of the next snapshot" 1 lamina pause tw
within 50 is_closed tw
exits "the live image is in the way" 1 resume_file tw tw1
like "what is advised is no layer to resume" "$(cat err)" \
	"'lamina live commit tw' keeps its files, not to be resumed, 'lamina live rm tw' forgets it"
ok "its files are kept" lamina live commit tw --tag kept --json
mixed kept
ok "and it is removed" lamina live rm tw
exits "what was kept is not resumed" 1 resume_file tw kept
is "but what can be is named" "$(cat err)" \
	"lamina: cannot resume the guest: it is not known that memory, state and disk of layer 'kept' are of one moment ('lamina live commit' made it): resume layer ${tw1:0:12}, which it stands on, or give --any-moment"
is "and nothing is left" "$(lamina live ls -q | grep -cx tw)" 0
ok "as it says" resume_file tw "${tw1:0:12}"
ends tw
ok "nevertheless" resume_file tw kept --any-moment
ok "with nothing written since it is" lamina live commit tw --json --tag kept2
mixed kept2
exits "what it was" 1 resume_file no kept2
like "so both are passed over" "$(cat err)" "resume layer ${tw1:0:12}, which it stands on"
ok "a pause of it is good" lamina pause tw --tag good
is "again" "$(moment good)" one
ends tw
ok "and can be resumed" resume_file tw good

# --- a disk that went on ---

disk_of tw
ok "a guest that runs is committed" lamina live commit tw --json --tag runs
mixed runs
exits "it cannot be resumed" 1 resume_file no runs
writes tw 5
ok "the next pause can" lamina pause tw --tag next
is "though it stands on that" "$(lamina show --json next | jq -r .parent)" "$(lamina show -q runs)"
ok "with nothing written since" lamina live commit tw --json --tag still
is "all is as it was" "$(jq -c .one_moment out) $(wc -c <err)" "true 0"
ok "a dry run tells it, too" lamina live commit tw --json --dry-run
is "as nothing was written" "$(jq -c .one_moment out)" true
disk_of tw
ok "and behind a write" lamina live commit tw --json --dry-run
is "it is not known" "$(jq -c .one_moment out)" false
like "what of" "$(cat err)" "the layer keeps the files"
ends tw
ok "what was committed with nothing written can be resumed" resume_file tw still

# --- a snapshot of one's own ---

api() { # METHOD PATH [BODY]
	curl -sf --unix-socket tw.sock -X "$1" "http://localhost$2" ${3:+-d "$3"} >/dev/null
}
disk_of tw
api PATCH /vm '{"state":"Paused"}'
ok "a guest is paused and saved by hand" api PUT /snapshot/create \
	"{\"snapshot_type\":\"Full\",\"snapshot_path\":\"$T/mnt/live/tw/state\",\"mem_file_path\":\"$T/mnt/live/tw/memfile\"}"
ok "and committed without a word of it" lamina live commit tw --json --tag unsaid
mixed unsaid
ok "said afterwards" lamina live commit tw --paused --json --tag said
is "it is believed" "$(jq -c .one_moment out) $(wc -c <err) $(moment said)" "true 0 one"
fc tw dump has >/dev/null
ends tw
ok "that one can be resumed" resume_file tw said
fc tw dump got >/dev/null
same "and has the memory" got has
ends tw

# --- elsewhere ---

cp -r s copy
rm copy/index*
lamina --store copy recover >/dev/null 2>&1
is "an index made anew has it, too" "$(lamina --store copy show --json kept | jq -r '.attributes["lamina.moment"]')" unknown
lamina live create disk --size rootfs=1M
ok "a disk alone is of one moment" lamina live commit disk --json
is "as nothing can be resumed" "$(jq -c .one_moment out) $(wc -c <err) $(moment "$(jq -r .layer out)")" "true 0 null"
lamina live create new --size memfile=1M --size state=4K --size rootfs=1M
ok "one that stands on nothing" lamina live commit new --json --tag new
mixed new
exits "cannot be resumed" 1 resume_file no new
like "nor anything else" "$(cat err)" "no layer below it can be resumed either, or give --any-moment"
done_testing
