#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina live commit: who has the live image open, and daemons that do not answer.
. "$(dirname "$0")/live-lib.sh"
requires flock

lamina -q init
mkimage mem.raw 100 0-99:noise=1
id=$(commit -m mem.raw --tag base)
live_create x "$id"
f=mnt/live/x/memfile

limited() { # a hang fails the test, and does not end it
	timeout -s KILL 60 "$@"
}
first() { # the delta that is written to when nothing is sealed
	livectl info store x | sed -n 's/^sealed .* first //p'
}
mount_it() { # [OPTION...]
	mount_store store mnt "$@" || bail "cannot mount"
	at_exit "kill -CONT $fuse_pid"
}
hold_lock() { # as a writer does
	rm -f locked
	mkfifo lock_fifo
	bash -c 'exec 9<>store/lock; flock 9; touch locked; read -r _' <lock_fifo &
	exec 8>lock_fifo
	rm lock_fifo
	within 20 test -e locked || bail "cannot lock"
}
free_lock() {
	echo >&8
	exec 8>&-
}
hold_live() { # as another process than a mount's
	rm -f live_held
	mkfifo live_fifo
	livectl hold store x <live_fifo >live_held &
	holder=$!
	exec 7>live_fifo
	rm live_fifo
	within 20 grep -q held live_held || bail "cannot hold"
}

# --- open in no mount ---

hold_live
exits "one that another process has open" 4 limited lamina live commit x -w 0
like "says who" "$(head -n 1 err)" "^lamina: cannot commit the live image: .*pid $holder"
lamina live create spare --size rootfs=1M
exits "nor is it removed" 4 lamina live rm x spare --json
is "but the other is" "$(jq -c .removed out)" '["spare"]'
like "and JSON says why" "$(jq -r .error out)" "pid $holder"
echo >&7
wait "$holder"
mount_it

# A commit has it open for a moment; who opens it then in the mount waits.
for round in 1 2 3 4 5; do
	hold_live
	{ sleep 0.2; echo >&7; } &
	got=$(probe open "$f" rw)
	wait "$holder"
	[ "$got" != ok ] || break
done
is "an open in the mount meanwhile is not refused" "$got" ok
ok "closed" within 20 closed

# --- a daemon that was stopped ---

stop "$fuse_pid" || bail "cannot stop it"
ok "one that is closed is committed all the same" limited lamina live commit x -w 1s -t one
kill -CONT "$fuse_pid"
hold "$f" mem.raw open
writer put "$f" write 0 4096 0x12 >/dev/null
stop "$fuse_pid"
exits "one that is open there is not" 4 limited lamina live commit x -w 1s
is "and says why" "$(head -n 1 err)" "lamina: cannot commit the live image: live image 'x' is open, and the daemon that serves it does not answer (mount '$(realpath -s mnt)')"
catches() { # it is lamina by now, and waits
	grep -qx lamina "/proc/$1/comm" && grep -q '^SigCgt:.*4[0-9a-f]\{3\}$' "/proc/$1/status"
}
if has plain; then
	lamina live commit x -w forever >out 2>err &
	waiter=$!
	within 20 catches "$waiter"
	kill -TERM "$waiter"
	within 20 nobody_else "$waiter" || { fail "it ends"; kill -9 "$waiter"; }
	wait "$waiter" 2>/dev/null
	is "a signal ends the wait" "$?" 143
	is "with a sentence" "$(cat err)" "lamina: live: interrupted"
else
	skip "$(_lacks plain)" 2
fi
mkdir other
kill -CONT "$fuse_pid"
daemon=$fuse_pid
mount_store store other || bail "cannot mount twice"
at_exit "kill -CONT $fuse_pid"
stop "$fuse_pid"
ok "another mount's is not waited for" limited lamina live commit x -w forever -t two
kill -CONT "$fuse_pid"
umount_store other
fuse_pid=$daemon
same "what is committed" "$f" mnt/tags/two/memfile

# After the commit it is only told.
writer put "$f" write 4096 4096 0x13 >/dev/null
next=$(($(first) + 1))
hold_lock
limited lamina live commit x -w 40s -t three >out 2>err &
waiter=$!
within 20 test -e "store/live/x/$next" || fail "it is sealed"
stop "$fuse_pid"
free_lock
wait "$waiter"
is "one that is stopped when all is done" "$?" 0
is "is noted" "$(grep daemon err)" "lamina: the daemon that serves live image 'x' does not answer: it stands on the new layer once it goes on"
kill -CONT "$fuse_pid"
same "the layer is whole" "$f" mnt/tags/three/memfile

# Nor does a daemon matter that was killed then.
writer put "$f" write 8192 4096 0x14 >/dev/null
cp "$f" before
next=$(($(first) + 1))
hold_lock
limited lamina live commit x -w 40s -t four >out 2>err &
waiter=$!
within 20 test -e "store/live/x/$next" || fail "it is sealed"
kill -KILL "$fuse_pid"
within 20 nobody_else "$fuse_pid"
free_lock
wait "$waiter"
is "one that is killed when all is done" "$?" 0
is "is noted" "$(grep daemon err)" "lamina: the daemon that served live image 'x' has ended: the live image stands on the new layer, and is there again once the store is mounted anew"
release >/dev/null
umount -l mnt
is "which it does" "$(lamina live show --json x | jq -r .layer)" "$(lamina show --json four | jq -r .layer)"
is "with nothing left to do" "$(lamina live show --json x | jq -c '[.sealed, .pid]')" '[0,null]'
mount_it
same "the layer is whole" before mnt/tags/four/memfile
same "as the live image, mounted anew" before "$f"
umount_store mnt

# --- two at once ---

livectl write store x memfile 0 0x21 >/dev/null
next=$(($(first) + 1))
hold_lock
lamina live commit x -w 60s -t mine >out 2>err &
mine=$!
at_exit "kill -CONT $mine; kill $mine"
within 20 test -e "store/live/x/$next"
livectl write store x memfile 8192 0x22 >/dev/null
lamina live commit x -w 60s -t theirs >/dev/null 2>&1 &
theirs=$!
within 20 test -e "store/live/x/$((next + 1))" || fail "both have sealed"
stop "$mine"
free_lock
wait "$theirs"
is "the one that sealed last" "$?" 0
kill -CONT "$mine"
wait "$mine"
is "the other seals again" "$?" 0
is "with its tag" "$(lamina diff theirs mine --json | jq '[.images[].pages_differ] | add')" 0
ok "of a layer of its own" test "$(lamina show --json mine | jq -r .parent)" = \
	"$(lamina show --json theirs | jq -r .layer)"
for round in 1 2 3 4 5; do
	livectl write store x memfile 0 "$round" >/dev/null
	lamina live commit x -t "a$round" >a.out 2>&1 &
	a=$!
	lamina live commit x -t "b$round" >b.out 2>&1 &
	b=$!
	wait "$a"
	got=$?
	wait "$b"
	is "round $round: both are done" "$got $?" "0 0" || cat a.out b.out
	lamina tag -q >tags
	is "round $round: with their tags" "$(grep -cx "[ab]$round" tags)" 2
done

# --- a mount that is read-only ---

mount_it -o ro
hold "$f" "$f" open
is "it does not seal" "$(livectl seal mnt/live/x)" EROFS
is "nor fold" "$(livectl fold mnt/live/x)" EROFS
before=$(ls store/live/x)
exits "nor does a commit" 1 limited lamina live commit x
is "which says why" "$(head -n 1 err)" "lamina: cannot commit the live image: live image 'x' is open, and the mount '$(realpath -s mnt)' is read-only"
is "nothing was sealed" "$(ls store/live/x)" "$before"
release >/dev/null
within 20 closed
ok "closed it can be committed" lamina live commit x
umount_store mnt

# --- stopped in the middle of a seal: the kernel lets nobody go who waits for it then ---

FUSE_PROGRAM=lamina-fuse-fault
LAMINA_FAULT=mkdir:1:stop mount_it
hold "$f" "$f" open
is "a commit ends all the same" "$(limited lamina live commit x -w 1s 2>err; echo "$?")" 4
is "its output, too" "$(limited lamina live commit x -w 1s 2>&1 | grep -c 'does not answer')" 1
kill -CONT "$fuse_pid"
ok "afterwards it can be committed" lamina live commit x
release >/dev/null
umount_store mnt

# --- as many sealed deltas as there can be ---

mount_it
hold "$f" "$f" open
for ((i = 0; i < 66; i++)); do
	writer put "$f" write $((i * 4096)) 4096 $((i + 1)) >/dev/null
	livectl seal mnt/live/x >/dev/null
done
is "no more than 64 are sealed" "$(lamina live show --json x | jq .sealed)" 64
before=$(lamina live show --json x | jq -r .layer)
ok "a commit" lamina live commit x --tag all
same "has what was sealed, and what was written since" "$f" mnt/tags/all/memfile
is "in two layers" "$(lamina log --json all | jq -r '[.[].layer] | index("'"$before"'")')" 2
is "nothing is sealed now" "$(lamina live show --json x | jq .sealed)" 0
release >/dev/null
ok "closed" within 20 closed
umount_store mnt

# --- damage ---

LAMINA_FAULT=mkdir:1+:EIO mount_it
hold "$f" "$f" open
exits "a seal that fails" 1 lamina live commit x
like "is told" "$(head -n 1 err)" "live image 'x' cannot be sealed through the mount '.*': Input/output error"
seq=$(first)
printf damage | dd of="store/live/x/$seq/memfile" conv=notrunc 2>/dev/null
exits "one because of damage" 3 lamina live commit x
like "tells the cause" "$(head -n 1 err)" "^lamina: cannot commit the live image: live image 'x', image 'memfile'"
release >/dev/null
ok "closed" within 20 closed
exits "when it is closed" 3 lamina live commit x
like "likewise" "$(head -n 1 err)" "^lamina: cannot commit the live image: live image 'x': "
done_testing
