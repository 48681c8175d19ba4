#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Guests that no longer need their pager: every byte is right, nothing is populated that
# would be zeros, and whatever goes wrong leaves the session serving.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/pager/solo-lib.sh"
requires userfaultfd root jq

# 8 MiB: data, a hole, data, zeros that are written, a fill.
mkimage mem.raw 2048 0-599:data=1 900-1999:data=2 2000-2031:zero 2032-2047:fill=7
start_solo

guest_of() { # ID MAPS SCRIPT [FILE]: in the background; its output is ID.out
	client -t 100 -f "${4:-mem.raw}" -e "$2; handoff run/$1.sock; $3" >"$1.out" 2>&1 &
	guest_pid=$!
	within 20 grep -q '^ok handoff' "$1.out" && within 20 is_fact "$1" .state serving
}

# The same, one command after the other.
declare -A pid_of in_of
does() { # ID COMMAND...: and waits until each is done
	local id=$1 n=0 command fd
	shift
	if [ -z "${pid_of[$id]:-}" ]; then
		mkfifo "$id.in"
		client -t 100 -f mem.raw <"$id.in" >"$id.out" 2>&1 &
		pid_of[$id]=$!
		at_exit "kill -9 $!"
		exec {fd}>"$id.in"
		in_of[$id]=$fd
	else
		n=$(grep -c '^ok ' "$id.out")
	fi
	for command; do
		echo "$command" >&"${in_of[$id]}"
	done
	has_done() { [ "$(grep -c '^ok ' "$id.out")" = $((n + $#)) ]; }
	within 30 has_done "$@" && return
	sed 's/^/# /' "$id.out"
	return 1
}

begin() { # ID [JSON]
	caller=$(ask "complete $1 ${2:-{\}}")
	caller=${caller#begun }
}
outcome() { # [FILTER]
	ask "wait $caller" >outcome
	jq -r "${1:-.code}" outcome
}
graduates() { # ID [JSON]
	begin "$@"
	outcome >code
	[ ! -s code ] || [ "$(cat code)" = "" ] || { diag "$(cat outcome)"; return 1; }
}
fails() { # NAME CODE PATTERN ID [JSON]
	local name=$1 code=$2 pattern=$3
	shift 3
	begin "$@"
	is "$name" "$(outcome)" "$code"
	like "... and says why" "$(jq -r .error outcome)" "$pattern"
}

# --- every byte, and no more memory than that ---

kinds=("map auto 8M 0" "map auto 4M 4M; map auto 4M 0 memfd" "map auto 8M 0 memfd")
i=0
for kind in "${kinds[@]}"; do
	for before in "" "touch random len 2M count 300; remove 1M 1M; expect zero 1M 64K"; do
		id=g$((++i))
		session $id mem.raw ',"prefetch":"off"'
		ok "the guest begins" guest_of $id "$kind" "$before; sleep 0; hangup 60; expect absent 2400K 1200K
			expect absent 8000K 128K; expect resident 4M 1M; check; touch random write count 500; check"
		within 20 grep -q '^ok sleep' $id.out
		ok "${kind// /_}, ${before:-untouched}: graduates" graduates $id
		is "its state" "$(fact $id .state)" graduated
		ok "every byte is right, what is zeros was not populated" wait $guest_pid || sed 's/^/# /' $id.out
		is "only missing data was populated" "$(jq ".pages <= 1716 and .bytes == .pages * 4096" outcome)" true
	done
done
is "of an untouched guest, all data" "$(fact g1 .counters.completed)" 1716
begin g1
is "once more: it has graduated already" "$(outcome '[.code, .already, .pages] | @csv')" '"",true,1716'

# --- with a guest that is at it ---

for kind in "map auto 8M 0" "map auto 4M 0; map auto 4M 4M memfd"; do
	for seed in 1 2 3; do
		id=c$((++i))
		session $id mem.raw ',"prefetch":"off"'
		ok "churn" guest_of $id "$kind" "churn 1 $seed threads 8; check; hangup 60; check"
		ok "graduates in the middle of it" graduates $id '{"rate":16777216}'
		ok "every byte is right" wait $guest_pid || sed 's/^/# /' $id.out
	done
done

# --- callers ---

session join mem.raw ',"prefetch":"off"'
ok "a guest" guest_of join "map auto 8M 0" "hangup 60; check"
slow='{"rate":1048576}'
begin join "$slow"
first=$caller
ok "it is completing" within 20 is_fact join '.state' completing
begin join
second=$caller
is "a caller leaves" "$(ask "cancel $first")" cancelled
caller=$first
is "he hears that" "$(outcome)" ECANCELED
is "the other one still waits" "$(fact join .state)" completing
is "he leaves too" "$(ask "cancel $second")" cancelled
caller=$second
is "and hears that" "$(outcome)" ECANCELED
like "in words" "$(jq -r .error outcome)" "cancelled; it serves on"
is "the guest is served as before" "$(fact join .state)" serving
done_before=$(fact join .counters.completed)
ok "what was populated stays" [ "$done_before" -gt 0 ]
fails "no time" ETIMEDOUT "in time; it serves on" join '{"rate":1048576,"timeout_ms":300}'
is "what was populated before counts" "$(jq ".pages >= $done_before" outcome)" true
spent=$(jq .ns outcome)
begin join "$slow"
within 20 is_fact join .state completing
is "who pauses the guest" "$(ask "stop join")" stopped
is "stops it for all" "$(outcome)" ECANCELED
like "with his words" "$(jq -r .error outcome)" "session 'join': the guest is being paused; it serves on"
is "there is nothing left to stop" "$(ask "stop join")" "error: nothing to stop"
ok "later it graduates" graduates join
is "with what all attempts have populated" "$(jq '.pages == 1716 and .bytes == 1716 * 4096' outcome)" true
ok "and the time that they took" [ "$(jq .ns outcome)" -gt "$spent" ]
ok "every byte is right" wait $guest_pid

session two mem.raw ',"prefetch":"off"'
ok "a guest" guest_of two "map auto 8M 0" "hangup 60; check"
begin two '{"rate":8388608}'
first=$caller
begin two
is "two callers, one completion" "$(outcome .pages)" 1716
caller=$first
is "with the same result" "$(outcome .pages)" 1716
ok "every byte is right" wait $guest_pid

session early mem.raw
fails "before the handoff" EBUSY "still waits for its hypervisor" early
is "closed" "$(ask "close early")" closed

# --- what goes wrong ---

session gone mem.raw ',"prefetch":"off"'
ok "a guest" guest_of gone "map auto 8M 0" "hangup 60"
begin gone "$slow"
within 20 is_fact gone .state completing
kill -9 $guest_pid
is "the guest dies in the middle" "$(outcome)" ESRCH
like "... which is said" "$(jq -r .error outcome)" "gone"
fails "and afterwards" ESRCH "is gone" gone

cp mem.raw cut.raw
session cut cut.raw ',"prefetch":"off"'
ok "a guest" guest_of cut "map auto 8M 0" "touch seq len 1M; hangup 60; check"
within 20 grep -q '^ok touch' cut.out
truncate -s 4M cut.raw
fails "the memfile is cut off" EIO "offset [0-9]+ of '.*cut.raw' cannot be read: .*too short" cut
is "the guest is served" "$(fact cut .state)" serving
is "nothing of the guest is lost: what could be read was populated" "$(fact cut '.counters.completed > 0')" true
dd if=mem.raw of=cut.raw bs=1M skip=4 seek=4 conv=notrunc status=none
ok "the file is whole again: it graduates" graduates cut
ok "every byte is right" wait $guest_pid

cp mem.raw poison.raw
session poison poison.raw ',"prefetch":"off","on_error":"poison"'
truncate -s 4M poison.raw
ok "a guest" guest_of poison "map auto 8M 0" "touch seq len 1M; expect bus 6M 4K; hangup 60; check"
ok "a page is poisoned" within 20 is_fact poison .counters.poisoned 1
fails "it cannot be populated" EIO "cannot be read" poison
dd if=mem.raw of=poison.raw bs=1M skip=4 seek=4 conv=notrunc status=none
ok "until it can be read: then it graduates" graduates poison
ok "and the page is healed" wait $guest_pid || sed 's/^/# /' poison.out

session guard mem.raw ',"prefetch":"off"'
ok "a guest" guest_of guard "map auto 8M 0" "hangup 60; check"
fails "a host without memory to spare" ENOMEM "available, .* are to be left" guard '{"min_available":1125899906842624}'
is "the guest is served" "$(fact guard .state)" serving
ok "a host with memory" graduates guard '{"min_available":1}'
ok "every byte is right" wait $guest_pid

# A guest that may have no more memory than it has.  (With version 2 of cgroups the kernel
# would kill it.)
group=/sys/fs/cgroup/memory/lamina-test-$$
allow() { # MIB: more than it has now
	echo $(($(cat $group/memory.usage_in_bytes) + ($1 << 20))) >$group/memory.limit_in_bytes
}
if mkdir $group 2>/dev/null && [ -e $group/memory.oom_control ]; then
	at_exit "rmdir $group"
	echo 1 >$group/memory.oom_control
	session memory mem.raw ',"prefetch":"off"'
	(
		echo $BASHPID >$group/cgroup.procs
		exec client -t 100 -f mem.raw -e "map auto 8M 0; handoff run/memory.sock; hangup 60; check"
	) >memory.out 2>&1 &
	guest_pid=$!
	within 20 is_fact memory .state serving
	allow 1
	fails "a guest that gets no memory" ENOMEM "gets no more memory" memory
	is "is served" "$(fact memory .state)" serving
	allow 64
	ok "with more memory it graduates" graduates memory
	ok "every byte is right" wait $guest_pid || sed 's/^/# /' memory.out
else
	rmdir $group 2>/dev/null
	skip "no memory cgroup of version 1" 6
fi

# --- huge pages ---

if take_pool 8; then
	session huge mem.raw ',"prefetch":"off"'
	ok "a guest on huge pages" guest_of huge "map auto 8M 0 huge" "touch seq count 1; hangup 60; check"
	ok "it graduates" graduates huge
	is "with all its pages" "$(jq -c '[.pages <= 4, .holes]' outcome)" "[true,0]"
	ok "every byte is right" wait $guest_pid || sed 's/^/# /' huge.out

	session balloon mem.raw ',"prefetch":"off"'
	ok "one that has removed some" guest_of balloon "map auto 8M 0 huge" \
		"touch seq; remove 2M 4M; sleep 0; hangup 60; expect zero 2M 4M; expect file 0 2M; expect file 6M 2M"
	within 20 grep -q '^ok sleep' balloon.out
	set_pool 3
	fails "whose pages are not free" ENOMEM "lacks 2 huge pages; [01] huge pages are free, and 0 are promised to other guests" balloon
	is "is served on" "$(fact balloon .state)" serving
	set_pool 8
	ok "with free pages it graduates" graduates balloon
	ok "and finds them" wait $guest_pid || sed 's/^/# /' balloon.out

	# Two guests that have four each, and lack two of these.
	for id in one other; do
		session $id mem.raw ',"prefetch":"off"'
		ok "a guest with a balloon" does $id "map auto 8M 0 huge" "handoff run/$id.sock" "touch seq" "remove 2M 4M"
	done
	set_pool 7
	ok "of three pages that are free, one guest is promised two" graduates one
	fails "which the other one cannot have" ENOMEM \
		"the guest lacks 2 huge pages; 3 huge pages are free, and 2 are promised to other guests" other
	is "that one is served on" "$(fact other .state)" serving
	session third mem.raw ',"prefetch":"off"'
	set_pool 10
	ok "a guest that lacks all" does third "map auto 8M 0 huge" "handoff run/third.sock" "touch seq count 1"
	set_pool 9
	fails "does not take them either" ENOMEM "lacks 3 huge pages; 4 huge pages are free, and 2 are promised" third
	is "not one" "$(fact third .counters.completed)" 0
	ok "the first one takes what is its" does one "hangup 60" "expect zero 2M 4M" "expect file 0 2M"
	ok "then it is promised no longer: the other one graduates" graduates other
	fails "and has the promise now" ENOMEM "lacks 3 huge pages; 2 huge pages are free, and 2 are promised" third
	ok "it dies" kill -9 "${pid_of[other]}"
	wait "${pid_of[other]}"
	ok "with its promise" graduates third
	ok "every byte is right" does third "hangup 60" check
	for id in one third; do
		kill -9 "${pid_of[$id]}"
		wait "${pid_of[$id]}"
	done

	session churn mem.raw ',"prefetch":"off"'
	ok "churn on huge pages" guest_of churn "map auto 8M 0 huge" "churn 1 4 threads 2; check; hangup 60; check"
	ok "it graduates in the middle of it" graduates churn '{"rate":16777216}'
	ok "every byte is right" wait $guest_pid || sed 's/^/# /' churn.out
	give_pool
else
	skip "may not make huge pages" 32
fi

# --- many ---

for ((n = 1; n <= 200; n++)); do
	make_session m$n mem.raw ',"prefetch":"off"' || fail "session m$n"
done
for ((n = 1; n <= 200; n++)); do
	client -t 200 -f mem.raw -e "map auto 8M 0; handoff run/m$n.sock; touch random count 20; hangup 180; check" >m$n.out 2>&1 &
	pid[n]=$!
done
for ((n = 1; n <= 200; n++)); do
	within 60 is_fact m$n .state serving || fail "m$n is served"
	begin m$n
	is_caller[n]=$caller
done
good=0
for ((n = 1; n <= 200; n++)); do
	caller=${is_caller[n]}
	if [ "$(outcome)" = "" ] && wait "${pid[n]}"; then
		good=$((good + 1))
	else
		diag "m$n: $(cat outcome): $(tail -1 m$n.out)"
	fi
done
is "two hundred graduate" $good 200

quit_solo
done_testing
