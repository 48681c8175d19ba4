#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# kill -9 of lamina pause at each command to a real QEMU, while files are written, and when it
# has sealed: the next pause has exactly the guest's memory and disk, a guest that nobody wanted
# to stay paused goes on, and one whose administrator had stopped it stays stopped.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/host/qemu-lamina-lib.sh"
requires qemu root fuse plain jq lamina-fault

begin_lamina
count=0
work() { # GUEST: it writes a page of memory, and one of its disk
	count=$((count + 1))
	reply "$1" >said
	write_disk "$1" $((count % 64 * 4096)) $((count % 255 + 1))
}

# The next pause, of a guest that a killed one left as it may be: prints what is wrong.
pauses_well() { # GUEST WANTED-STATE
	local was
	was=$(cat said)
	memory_of "$1" has
	lamina pause "$1" --json >out 2>err || echo "no pause: $(cat err)"
	[ "$(jq -r .state out) $(state "$1")" = "$2 $2" ] || echo "it is $(jq -r .state out) $(state "$1")"
	differs "$(jq -r .layer out)" has "$1.disk"
	[ "$(ignores "$1")" = "" ] || echo "a live migration would lose its memory"
	[ "$2" = running ] || lamina guest cont "$1" 2>err || echo "it does not go on: $(cat err)"
	reply "$1" >said
	[ "$(cat said)" = "$(next "$was")" ] || echo "it counts $(cat said) behind $was"
}

# Killed when it has sent the Nth command, by N from FIRST on; the guest is RUNNING or stopped before.
every() { # DESCRIPTION GUEST FIRST BY STATE
	local name=$2 n i wrong='' left=0 line
	[ "$5" = running ] || ask "$name" stop >/dev/null
	n=$(count_faults sendmsg lamina-fault pause "$name")
	lamina -q guest cont "$name"
	ok "$1: commands are counted: $n" test "$n" -gt 12
	for ((i = $3; i <= n; i += $4)); do
		work "$name"
		[ "$5" = running ] || ask "$name" stop >/dev/null
		{ LAMINA_FAULT=sendmsg:$i:killed lamina-fault pause "$name" >out 2>err; } 2>killed
		[ $? = 137 ] || wrong+="$i: is not killed: $(cat err)"$'\n'
		[ "$(state "$name")" = running ] || left=$((left + 1))
		while read -r line; do
			wrong+="$i: $line"$'\n'
		done < <(pauses_well "$name" "$5")
	done
	is "$1: killed at one of $4, from $3: the next pause has what the guest has" "$wrong" ""
	ok "$1: some of them left it paused: $left" test "$left" -gt 2
}

# --- private memory ---

ok "a guest is resumed" resume web gen0
every "private memory" web 1 2 running
every "private memory, stopped by its administrator" web 2 5 paused

# --- while files are written ---

have_ended() {
	local child
	while read -r child; do
		! grep -qs '^State:.[^ZX]' "/proc/$child/status" || return
	done <children
}
for kind in pwrite:3 pwrite:4; do	# the first two are of locks
	work web
	work web
	LAMINA_FAULT_CHILDREN=1 LAMINA_FAULT=$kind:stop lamina-fault pause web >/dev/null 2>&1 &
	pauser=$!
	ok "the memory file is written, up to $kind" within 20 is_stopped
	kill -9 $pauser
	wait $pauser 2>/dev/null
	ok "killed then: who writes ends as well" within 20 have_ended
	is "and the next one has what the guest has" "$(pauses_well web running)" ""
	like "all of it, since" "$(cat err)" "or its last pause was not finished"
done
stop "$fuse_pid"
lamina pause web >/dev/null 2>&1 &
pauser=$!
within 20 children
kill -9 $pauser
wait $pauser 2>/dev/null
kill -CONT "$fuse_pid"
is "killed while the mount hangs: the next one" "$(pauses_well web running)" ""

# --- sealed, and not committed ---

flock -o s/lock sleep 100 &
holder=$!
at_exit "kill $holder"
is_committing() { # the guest goes on, and is held by its pause
	[ "$(lamina live show --json web | jq '.sealed > 0')" = true ] &&
		[ "$(ask web query-status | grep -o '"status": "[a-z]*"')" = '"status": "running"' ]
}
work web
lamina pause web --wait 60s >/dev/null 2>&1 &
pauser=$!
ok "a pause waits to commit" within 20 is_committing
kill -9 $pauser
wait $pauser 2>/dev/null
kill "$holder"
wait "$holder" 2>/dev/null
work web
is "killed then: the next one" "$(pauses_well web running)" ""
is "which is a diff" "$(jq '.steps[] | select(.step == "snapshot") | .detail.diff' out)" true

# --- lamina guest cont, and --leave ---

work web
{ LAMINA_FAULT=sendmsg:9:killed lamina-fault pause web >/dev/null 2>&1; } 2>killed
is "a killed one leaves it paused" "$(state web)" paused
ok "it is let go on by hand" lamina guest cont web
is "and runs" "$(state web)" running
is "the next pause" "$(pauses_well web running)" ""
is "has nothing to tell of that" "$(grep -c "was killed" err)" 0
end_qemu web

# --- memory that is the live image's ---

within 20 is_closed web
lamina -q live rm web || bail "the live image is not removed"
rm web.disk
ok "a guest is resumed in the live image's memory" resume web gen0 '{live}/memfile' on
work web
every "shared memory" web 2 3 running
every "shared memory, stopped by its administrator" web 3 6 paused
done_testing
