#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Memory that cannot be read: the guest waits, gets SIGBUS or is stopped, as it was asked for;
# it never reads zeros, and nobody else notices.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/pager/lib.sh"
requires lamina-pager curl jq userfaultfd root
mkimage mem.raw 2048 0-599:data=1 900-2047:noise=2
for name in wait poison stop; do
	cp mem.raw $name.raw
done
start_pager || bail "no pager"
other_pages() { # OFF: pages around one that is hurt
	echo "touch random len $1 count 200" "touch random off $(($1 + 2097152)) count 100"
}

retries() { # ID
	[ "$(fact "$1" .counters.retries)" -gt 2 ]
}

# --- a file that was cut: all three policies at once ---

for name in wait poison stop; do
	session $name $name.raw ",\"on_error\":\"$name\",\"prefetch\":\"off\""
	guest_begin $name mem.raw
	ok "$name: a guest" guest_does $name "map auto 8M 0" "handoff run/$name.sock" "touch random count 100 len 4M"
	truncate -s 5M $name.raw
	addr_of=$(sed -n 's/^ok map 0x//p' $name.out)
	eval "addr_$name=$addr_of"
done
guest_does wait "touch seq off 6M len 64K" >wait.does &
waiting=$!
guest_does stop "touch seq off 7M len 4K" >stop.does &
stopping=$!
for name in wait stop; do
	ok "$name: it is tried again" within 10 retries $name
	like "$name: the log says where" "$(grep "$name:" pager.log)" \
		"$name: address 0x[0-9a-f]+, offset $([ $name = wait ] && echo 6291456 || echo 7340032) of '$T/$name.raw': .*: will be tried again"
done
like "with the guest's address" "$(grep wait: pager.log)" "address 0x$(printf %x $((16#$addr_wait + 6291456))),"
ok "poison: other pages are served" guest_does poison "touch random count 300 off 3M len 1M"
ok "poison: the hurt one is SIGBUS" guest_does poison "expect bus 6M 4K"
ok "poison: its neighbours, too, each when it is asked for" guest_does poison "touch random off 4M len 1M count 100"
is "poison: counted" "$(fact poison .counters.poisoned)" 1
like "poison: logged" "$(grep poison: pager.log)" \
	"offset 6291456 of '$T/poison.raw': .*: poisoned: whoever touches it gets SIGBUS"
wait $stopping
guest_end stop
is "stop: the guest is stopped" $? 137
ok "stop: the session ends" within 10 is_state stop gone
is "stop: which says why" "$(fact stop .reason)" \
	"stopped, because offset 7340032 of '$T/stop.raw' cannot be read: $(sed -n 's/.* stop: .*: \(.*\): the guest is stopped/\1/p' pager.log)"
like "stop: logged" "$(grep stop: pager.log)" "offset 7340032 of '$T/stop.raw': .*: the guest is stopped"
ok "wait: the guest still waits" kill -0 $waiting
ok "wait: for the next worker, too" kill_worker
ok "wait: which tries again" within 10 retries wait
ok "wait: still" kill -0 $waiting
dd if=mem.raw of=wait.raw bs=1M conv=notrunc status=none
ok "wait: the file is whole again: the guest goes on" wait $waiting || cat wait.does
is "wait: the log says that it can be read" "$(grep -c "wait: '.*/wait.raw' can be read again" pager.log)" 1
ok "wait: with the right bytes" guest_does wait "touch random" check
ok "poison: is for ever" guest_does poison "expect bus 6M 4K"
dd if=mem.raw of=poison.raw bs=1M conv=notrunc status=none
ok "poison: pages that were not poisoned are right" guest_does poison "touch random off 7M len 1M"
request GET /metrics
ok "metrics have both" awk '/^lamina_pager_read_errors_total/ {e = $2} /^lamina_pager_poisoned_pages_total/ {p = $2}
	END {exit !(e > 5 && p == 1)}' body
for name in wait poison; do
	guest_end $name
	is "$name: the guest ends" $? 0
done

# --- a layer in the mount ---

has fuse || { skip "no FUSE" 12; done_testing; }
export LAMINA_STORE=$T/store
lamina -q init
id=$(lamina -q commit --memfile mem.raw)
mkimage cold.raw 2048 0-2047:noise=3
cold=$(lamina -q commit --memfile cold.raw)
mount_store store mnt || bail "cannot mount"
memfile=mnt/layers/$id/memfile
pack=store/packs/00000001.pack
# Noise is stored as it is, so a page's bytes can be found in the pack.
offset=$(grep -obUaP "$(dd if=mem.raw bs=4096 skip=1000 count=1 status=none | head -c 16 | od -An -tx1 |
	tr -d '\n' | sed 's/ /\\x/g')" "$pack" | head -1 | cut -d: -f1)
[ -n "$offset" ] || bail "page 1000 is not in the pack"
dd if="$pack" of=page.good bs=1 skip=$((offset + 2000)) count=1 status=none
printf "%b" "\\x$(printf %x $(($(od -An -tu1 page.good) ^ 16)))" |
	dd of="$pack" bs=1 seek=$((offset + 2000)) conv=notrunc status=none
session l "$memfile" ',"prefetch":"off"'
guest_begin l mem.raw
ok "a damaged chunk" guest_does l "map auto 8M 0" "handoff run/l.sock" "touch random len 3900K" "touch random off 4M"
is "hurts nobody who does not come for it" "$(fact l .counters.retries)" 0
guest_does l "touch seq off 4000K len 4K" >l.does &
waiting=$!
ok "its own pages" within 10 retries l
like "are I/O errors" "$(grep ' l: ' pager.log)" "offset 4096000 of '.*/memfile': Input/output error: will be tried again"
dd if=page.good of="$pack" bs=1 seek=$((offset + 2000)) conv=notrunc status=none
ok "until it is mended" wait $waiting || cat l.does
ok "then every byte is right" guest_does l check

nobody_else() { # the process has ended (it may be a zombie)
	! grep -qs '^State:[[:space:]]*[^Z]' "/proc/$1/status"
}
session m "mnt/layers/$cold/memfile"
session w "mnt/layers/$cold/memfile"
guest_begin m cold.raw
guest_does m "map auto 8M 0" "handoff run/m.sock" "touch random count 50 len 1M"
kill -9 "$fuse_pid"
within 10 nobody_else "$fuse_pid"
guest_does m "touch random threads 4" check >m.does &
waiting=$!
ok "a daemon that was killed: the guest waits" within 10 retries m
session n mem.raw
ok "others are served from other files" client -t 60 -f mem.raw -e "map auto 8M 0; handoff run/n.sock; touch random threads 4; check"
ok "a worker that comes while it is dead" kill_worker
is "has the session that waits" "$(state_of w)" waiting || diag "$(fact w .reason)"
umount -l mnt
mount_store store mnt || bail "cannot mount again"
ok "it is mounted again: the guest goes on" wait $waiting || cat m.does
guest_end m
is "with every byte" $? 0
ok "a guest of the session that waited, too" client -t 60 -f cold.raw -e "map auto 8M 0; handoff run/w.sock; touch random; check"
guest_end l
is "and the other one" $? 0
done_testing
