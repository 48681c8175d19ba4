#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Whatever process of the pager is killed: guests see a pause, every byte is right, and no
# descriptor is lost or too many.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/pager/lib.sh"
requires lamina-pager curl jq userfaultfd root
seed=${SEED:-$RANDOM}
echo "# SEED=$seed"
mkimage mem.raw 4096 0-1199:data=1 1800-3999:data=2 4000-4095:fill=7
start_pager || bail "no pager"
kill_worker
kill_keeper
keeper_fds=$(fds_of "$(keeper_pid)")
worker_fds=$(fds_of "$(worker_pid)")

in_turn() {
	kill_worker && kill_keeper
}

# --- the worker ---

ok "a session" session a mem.raw
guest_begin a mem.raw
ok "a guest with memory of two kinds" guest_does a "map auto 8M 0" "map auto 8M 8M memfd" "handoff run/a.sock"
ok "works while workers are killed" while_works a kill_worker "churn 2 $seed threads 6" syscall check
echo "# $n workers were killed"
ok "some of them" test $n -ge 1
is "the session counts them" "$(fact a .counters.workers)" $((n + 1))
like "the log, too" "$(cat pager.log)" 'worker was ended by signal 9.*its sessions are kept'

# --- a recording ---

recorded() { # has the pages of a trace as numbers, one a line
	awk '/^[0-9]/ {for (i = 0; i < $2; i++) print $1 + i}' r.trace
}
demand() { # what the guest asked for is in it, all of it and once
	[ "$(recorded | sort -n | uniq | wc -l)" = "$(fact r .counters.demand)" ] &&
		[ "$(recorded | wc -l)" = "$(fact r .counters.demand)" ]
}
printf 'lamina-trace 1 page-size 4096 size 16777216\n5 1\nend 1\n' >r.trace
session r mem.raw ",\"record\":\"$T/r.trace\""
guest_begin r mem.raw
guest_does r "map auto 16M 0" "handoff run/r.sock" "touch random seed 1 count 300"
ok "the worker is killed during a recording" kill_worker
ok "what the guest had asked for is in it" within 20 demand
recorded >first
ok "it goes on" guest_does r "touch random seed 2 count 300" check
kill_worker
guest_end r
ok "the session ends" within 10 is_state r gone
ok "nothing that was asked for is missing" demand
recorded >all
is "it begins with what there was" "$(head -n "$(wc -l <first)" all | cmp - first && echo yes)" yes

# --- the keeper ---

worker=$(worker_pid)
ok "it works while keepers are killed" while_works a kill_keeper "churn 1 $((seed + 1)) threads 6" check
echo "# $n keepers were killed"
is "the worker is the same one" "$(worker_pid)" "$worker"
ok "there is one keeper" test "$(pager_pids lamina-pager | wc -l)" = 1
ok "by turns" while_works a in_turn "churn 2 $((seed + 2)) threads 6" check
echo "# $n times both"
stop "$(keeper_pid)"
ok "a keeper that hangs is not missed" guest_does a "churn 1 $((seed + 3)) threads 6" check
kill -CONT "$(keeper_pid)"
guest_end a
is "the guest ends" $? 0
ok "and its session" within 10 is_state a gone

# --- 2 MiB pages ---

if take_pool 8; then
	session h mem.raw
	guest_begin h mem.raw
	ok "a guest with huge pages" guest_does h "map auto 8M 0 huge" "map auto 8M 8M huge memfd" "handoff run/h.sock"
	ok "works while both are killed" while_works h in_turn "churn 1 $seed threads 4" check
	guest_end h
	is "and ends" $? 0
	give_pool
else
	skip "no huge pages of our own" 3
fi

# --- the handoff ---

kill_now() { # and do not wait
	kill -9 "$(worker_pid)"
}

session b mem.raw
guest_begin b mem.raw
old=$(worker_pid)
guest_does b "map auto 8M 0"
stop "$old"
ok "a handoff to a worker that hangs" guest_does b "handoff run/b.sock"
kill -9 "$old"
ok "is its successor's" guest_does b "touch random threads 4" check
is "which is the first that serves it" "$(fact b .counters.workers)" 1
guest_end b
is "b ends" $? 0

session c mem.raw
guest_begin c mem.raw
ok "after a handoff" guest_does c "map auto 8M 0" "handoff run/c.sock"
ok "the worker is killed" kill_worker
ok "before the first fault" guest_does c "touch random write threads 4" check
guest_end c
is "c ends" $? 0

bad=0
for i in {1..12}; do # at any moment of it
	session "d$i" mem.raw ',"prefetch":"off"' >why || diag "$(cat why)"
	client -t 60 -f mem.raw -e "map auto 1M 0; handoff run/d$i.sock; touch random count 20; remove 64K 64K; check" \
		>"d$i.out" 2>&1 &
	sleep "0.00$((RANDOM % 10))"
	kill_now
	wait $! && continue
	bad=$((bad + 1))
	diag "$(cat "d$i.out")"
done
is "killed at any moment of a handoff" $bad 0
next_worker none
ok "all guests have ended, and their sessions" within 10 none_left

# Kills the worker as a thread of it enters CALL for the N-th time, if one does.
remembered_at() { # CALL N
	local id=$1$2 worker tracer
	worker=$(worker_pid)
	session "$id" mem.raw || return
	strace -f -qq -p "$worker" -e "trace=$1" -e "inject=$1:signal=KILL:when=$2" -o "$T/trace" 2>/dev/null &
	tracer=$!
	traced() { ! grep -q '^TracerPid:[[:space:]]*0$' "/proc/$worker/task/"*/status; }
	within 20 traced || return
	client -t 60 -f mem.raw -e "map auto 4M 0; handoff run/$id.sock; touch random threads 2; remove 1M 1M; check" || return
	ended() { [[ "$(state_of "$id")" =~ ^(gone|none)$ ]]; }
	within 20 ended
	sleep 0.2		# it lets go of what it has of the guest
	kill $tracer
	within 10 is_state "$id" gone && none_left && [ ! -e "run/$id.sock" ]
}
killed_at() { # CALL N: which there is
	local before
	before=$(worker_pid)
	remembered_at "$@" && [ "$(worker_pid)" != "$before" ]
}
if has strace && has plain && strace -qq -o trace true; then
	for at in "recvmsg 1" "sendmsg 1" "sendmsg 2" "unlink 1" "ftruncate 1" "mmap 1" "close 1" "close 2" "epoll_ctl 1" "ioctl 1"; do
		# shellcheck disable=SC2086
		ok "at $at of it" killed_at $at
	done
	for n in {3..6}; do
		ok "it is remembered, killed at sendmsg $n of any thread" remembered_at sendmsg $n
	done
else
	skip "no strace" 14
fi

# --- sessions that wait ---

ok "hundreds of sessions" sessions w 300 mem.raw
is "wait" "$(count_state waiting)" 300
ok "the worker is killed" kill_worker
is "they still do" "$(count_state waiting)" 300
ok "the keeper is killed, too" in_turn
is "and still" "$(count_state waiting)" 300
ok "a silent peer" client -t 60 -e "map auto 1M 0; handoff run/w300.sock silent"
ok "is somebody who hung up" within 10 is_state w300 failed
guest_begin w mem.raw
ok "one that says nothing yet" guest_does w "map auto 1M 0" "handoff run/w299.sock silent"
ok "is not served" is_state w299 waiting
ok "by the next worker either" kill_worker
ok "but it still waits for its word" is_state w299 waiting
guest_does w "odd fork" # the connection is its child's
wait "$guest_pid_w"
sleep 0.3
ok "also when the process that connected has ended, and left it to another" is_state w299 waiting
echo exit >&"$guest_fd_w"
ok "and sees its end" within 20 is_state w299 failed
ok "one of them serves" client -t 60 -f mem.raw -e "map auto 8M 0; handoff run/w7.sock; touch random threads 4; check"

# --- nothing is left ---

close_all
is "all are closed" "$(curl -s --unix-socket "$sock" http://pager/sessions)" "[]"
is "no socket is left" "$(find run -name '*.sock' | sort | xargs -n1 basename | paste -sd' ')" "api.sock keeper.sock pager.sock"
kill_worker
keeper_as_before() { [ "$(fds_of "$(keeper_pid)")" = "$keeper_fds" ]; }
worker_as_before() { [ "$(fds_of "$(worker_pid)")" = "$worker_fds" ]; }
ok "the keeper has as many descriptors as at first" within 10 keeper_as_before ||
	diag "$keeper_fds: $(ls -l "/proc/$(keeper_pid)/fd")"
ok "and the worker" within 10 worker_as_before ||
	diag "$worker_fds: $(ls -l "/proc/$(worker_pid)/fd")"
done_testing
