#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A layer that was removed keeps its bytes for as long as a guest is paged from it, whatever
# process dies meanwhile.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/pager/lib.sh"
requires lamina-pager curl jq userfaultfd root fuse flock
export LAMINA_STORE=$T/store
mkimage mem.raw 5000 0-4499:noise=1 4900-4999:data=2
lamina -q init
id=$(lamina -q commit --memfile mem.raw)
mount_store store mnt || bail "cannot mount"
start_pager || bail "no pager"
mem=mnt/layers/$id/memfile
lease=$T/store/leases/$id

packed() { # there are still megabytes of chunks
	[ "$(du -sb store/packs | cut -f1)" -gt 1000000 ]
}
freed() {
	lamina gc --repack && ! packed
}
is_held() {
	! flock -n -x "$lease" true
}
nobody_else() { # the process has ended (it may be a zombie)
	! grep -qs '^State:[[:space:]]*[^Z]' "/proc/$1/status"
}

# --- a lease that the session holds ---

exec {reader}<"$mem"
ok "the lease of a layer that is open is a file" test -f "$lease"
ok "a session that holds it" session a "$mem" ",\"hold\":[\"$lease\"]"
exec {reader}<&-
is "says so" "$(fact a '.hold[0]')" "$lease"
guest_begin a mem.raw
ok "a guest" guest_does a "map auto 19M 0" "handoff run/a.sock" "touch random count 300 len 8M"
ok "the layer is removed" lamina rm --force "$id"
ok "gc" lamina gc --repack
ok "keeps the bytes" packed
ok "the guest reads" guest_does a "touch random count 300 len 9M seed 2"

is "the layer is not listed" "$(ls mnt/layers)" ""

# --- whoever dies ---

ok "the worker is killed" kill_worker
ok "the lease is held" is_held
ok "the next one opens the memfile by its name" guest_does a "touch random count 300 off 10M len 2M"
ok "the keeper is killed" kill_keeper
ok "the lease is held" is_held
kill -9 "$fuse_pid"
within 10 nobody_else "$fuse_pid"
ok "the daemon of the mount is killed: the lease is held" is_held
ok "by the keeper and the worker alone" lamina gc --repack
ok "which keep the bytes" packed
guest_does a "touch random count 100 seed 3" check >a.does &
doing=$!
asked() { [ "$(fact a .counters.retries)" -gt 0 ]; }
ok "the guest waits" within 10 asked
ok "another worker comes" kill_worker
umount -l mnt
mount_store store mnt || bail "cannot mount again"
wait $doing
is "another daemon comes: the guest gets every byte" $? 0 || cat a.does
ok "another worker comes again" kill_worker
ok "all of it" guest_does a "touch random threads 4" check
is "and still the layer is not listed" "$(ls mnt/layers)" ""

# --- the end of the guest ---

guest_end a
is "it ends" $? 0
ok "its session, too" within 10 is_state a gone
unheld() { ! is_held; }
ok "and nobody holds the lease" within 10 unheld
ok "the layer has no name any more" within 10 test ! -e "$mem"
ok "and gc frees the bytes" within 10 freed
ok "and forgets the lease" test ! -e "$lease"

# --- which files can be held ---

ok "a file like a lease" touch lock
ok "two sessions" session b mem.raw ",\"hold\":[\"$T/lock\"]"
ok "share it" session c mem.raw ",\"hold\":[\"$T/lock\",\"$T/mem.raw\"]"
lease=$T/lock
ok "it is held" is_held
asks "one is closed" 200 POST /sessions/b/close
ok "it is held" is_held
asks "the other, too" 200 POST /sessions/c/close
ok "it is not" within 10 unheld
done_testing
