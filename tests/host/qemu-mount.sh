#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A QEMU whose RAM is a private mapping of a layer goes on from layer to layer; and the mount's
# daemon stops in the middle.  (tests/guest/qemu-private.sh does it with Linux in it.)
. "$(dirname "$0")/../lib.sh"
requires qemu root fuse
. "$srcroot/tests/host/qemu-lib.sh"

live=$T/mnt/live/web

resume() { # TAG: from the layer alone
	local layer memory
	layer=$(realpath "mnt/tags/$1")
	mapfile -t memory < <(private "$layer/memfile")
	start "${memory[@]}" -S -incoming defer
	hyper load "$layer/memfile" "$layer/state" run
}

commit() { # TAG
	sync "$live/memfile" "$live/state" && lamina --store store live commit web --paused --tag "$1"
}

# --- the first layer: of a guest that has booted ---

truncate -s "$bytes" memfile
: >state
boot -machine q35
count=$(reply)
hyper pause
hyper snapshot memfile state >/dev/null || bail "no snapshot"
end_guest
lamina -q --store store init || bail "no store"
lamina -q --store store commit --memfile memfile --state state --tag gen0 >/dev/null || bail "no layer"
mount_store store mnt || bail "no mount"
lamina -q --store store live create web --from gen0 || bail "no live image"

# --- three more ---

for k in 1 2 3; do
	ok "generation $k resumes from the layer before" resume "gen$((k - 1))"
	next=$(next "$count")
	count=$(reply)
	is "it counts on" "$count" "$next"
	ok "generation $k is paused" hyper pause
	ok "and saved into the live image" hyper snapshot "$live/memfile" "$live/state"
	cp out saved
	like "a few pages were written" "$(number memory)" '^[1-9][0-9]{3,5}$'
	ok "it is a layer" commit "gen$k"
	ok "which is what was saved" cmp "$live/memfile" "mnt/tags/gen$k/memfile"
	end_guest
done

# --- the daemon stops ---

resume gen3 || bail "generation 3 does not resume"
next=$(next "$count")
count=$(reply)
is "the last one counts on" "$count" "$next"
hyper pause
stop "$fuse_pid"
exits "a mount that hangs is given up" 1 hyper --timeout 1000 snapshot "$live/memfile" "$live/state"
like "with a sentence" "$(cat err)" "memfile' hangs, for 1.0 s now: does the daemon of its mount run\\? \[ETIMEDOUT\]"
exits "Ctrl-C does not wait for it" 1 hyper --stop 1000 snapshot "$live/memfile" "$live/state"
like "either" "$(cat err)" "stopped while '.*memfile' was worked on \[ECANCELED\]"
is "QEMU answers meanwhile" "$(fact state)" paused
exits "nor is a guest loaded from there" 1 hyper load "$live/memfile" "$live/state"
kill -CONT "$fuse_pid"
ok "the daemon goes on: it is saved" hyper snapshot "$live/memfile" "$live/state"
ok "and is a layer" commit gen4
end_guest
ok "which resumes" resume gen4
is "and counts on" "$(reply)" "$(next "$count")"
end_guest

# --- in the live image itself ---

lamina -q --store store live rm web || bail "the live image cannot be removed"
lamina -q --store store live create web --from gen4 || bail "no live image"
mapfile -t memory < <(private "$live/memfile" on)
start "${memory[@]}" -S -incoming defer
ok "a guest runs in the live image" hyper load "$live/memfile" "$live/state" run
next=$(next "$count")
count=$(reply)
is "it counts on from the layer" "$count" "$next"
hyper pause
ok "it is saved" hyper snapshot "$live/memfile" "$live/state"
cp out saved
is "only its state is written" "$(number memory)" 0
ok "and is a layer" commit gen5
end_guest
ok "which resumes" resume gen5
is "and counts on" "$(reply)" "$(next "$count")"
end_guest
done_testing
