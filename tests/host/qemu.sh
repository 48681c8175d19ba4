#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# QEMU behind the hypervisors' vtable: a real one, saved and loaded with each kind of memory.
. "$(dirname "$0")/../lib.sh"
requires qemu root
. "$srcroot/tests/host/qemu-lib.sh"

# --- saved and loaded, for each kind of memory ---

save_and_load() { # NAME [again]: of a guest that runs; that was saved twice before it goes on
	local n
	n=$(reply)
	like "$1: the guest counts" "$n" '^[1-9A-Za-z:;<=>?@]$'
	exits "$1: while it runs it is not saved" 1 hyper snapshot memfile state
	like "$1: with a sentence" "$(cat err)" "is in state 'running': it cannot be saved \[EBUSY\]"
	ok "$1: it is paused" hyper pause
	ok "$1: of a paused one that is nothing" hyper pause
	is "$1: it is paused now" "$(fact state)" paused
	ok "$1: it is saved" hyper snapshot memfile state
	cp out saved
	is "$1: a state was written" "$(number state)" "$(stat -c %s state)"
	is "$1: it is paused still" "$(fact state)" paused
	[ -z "${2:-}" ] || ok "$1: it is saved again" hyper snapshot memfile state
	cp memfile saved-memfile
	like "$1: a live migration of it would send its memory" \
		"$(monitor query-migrate-capabilities)" \
		'"state": false, "capability": "x-ignore-shared"'
	ok "$1: it goes on" hyper resume
	ok "$1: of a running one that is nothing" hyper resume
	is "$1: and counts on" "$(reply)" "$(next "$n")"
	end_guest
	mv saved-memfile memfile
	mapfile -t memory < <(private memfile)
	start "${memory[@]}" -S -incoming defer
	is "$1: a QEMU that waits is new" "$(fact state)" new
	ok "$1: the state is loaded" hyper load memfile state
	is "$1: and is paused" "$(fact state)" paused
	ok "$1: then runs" hyper resume
	is "$1: it counts on from what was saved" "$(reply)" "$(next "$n")"
}

head -c "$bytes" /dev/zero | tr '\0' '\377' >memfile	# all of it has to go
: >state
boot -machine q35 -chardev "socket,id=pretty,path=$T/pretty,server=on,wait=off" \
	-mon chardev=pretty,mode=control,pretty=on
ok "a monitor whose answers have several lines" "$buildroot/tests/host/hyper" qemu "$T/pretty" facts
is "says the same" "$(cat out)" "$(hyper facts)"
is "the version is QEMU's" "$(fact version)" \
	"$(qemu-system-x86_64 --version | sed -n 's/.*version \([0-9.]*\).*/\1/p')"
is "the process is known" "$(fact pid)" "$guest"
is "there is no balloon" "$(fact balloon)" no
is "its memory is known" "$(fact memory)" "$bytes"
is "what anonymous memory was written to cannot be told" "$(fact dirty)" no
save_and_load "anonymous memory"
is "a private mapping can be told" "$(fact dirty)" yes

save_and_load "private memory"	# it was loaded from memfile, and is saved into that
ok "private memory: less than 2 MiB were written" test "$(number memory)" -lt $((2 << 20))
end_guest

rm memfile
truncate -s "$bytes" memfile
mapfile -t memory < <(private memfile on)
start "${memory[@]}" -device virtio-balloon-pci
is "there is a balloon" "$(fact balloon)" yes
exits "the host cannot start its hinting" 1 hyper drain 100
like "it says so" "$(cat err)" 'has no free page hinting that the host can start \[EOPNOTSUPP\]'
end_guest
rm memfile
truncate -s "$bytes" memfile
boot "${memory[@]}"
save_and_load "memory in the memfile" again
is "memory in the memfile: nothing is written" "$(number memory)" 0
end_guest

head -c "$bytes" /dev/zero | tr '\0' '\377' >memfile
boot -machine q35,memory-backend=ram -object "memory-backend-memfd,id=ram,size=$bytes"
save_and_load "memory that others share"

# --- what cannot be loaded ---

exits "a guest that runs is not loaded over" 1 hyper load memfile state
like "with a sentence" "$(cat err)" "is in state 'running': it cannot be loaded \[EBUSY\]"
end_guest
mapfile -t memory < <(private memfile)
start "${memory[@]}" -S -incoming defer
exits "there is nothing to resume" 1 hyper resume
like "in one that waits for a load" "$(cat err)" "is in state 'inmigrate'.*\[EBUSY\]"
exits "nor to pause" 1 hyper pause
exits "a state that is not there is not loaded" 1 hyper load memfile nowhere
is "it waits as before" "$(fact state)" new
head -c 100000 state >half
exits "half a state is not loaded" 1 hyper load memfile half run
like "QEMU ends of that" "$(cat err)" 'it does not load the device state.*\[ECONNRESET\]'
exits "then nobody is there" 1 hyper facts
like "which is said" "$(cat err)" '\[(ECONNREFUSED|ENOENT)\]'
end_guest

# --- what cannot be saved ---

refuses() { # NAME REGEX: a guest that is paused
	hyper pause
	exits "$1" 1 hyper snapshot memfile state
	like "$1: says so" "$(cat err)" "$2"
	ok "$1: it can go on" hyper resume
	end_guest
}

start -machine q35 -vga std
refuses "a screen with private memory" "'[^ ]*vga.vram', which QEMU saves only.*EOPNOTSUPP"
mapfile -t memory < <(private memfile on)
start "${memory[@]}" -vga std
hyper pause
ok "with shared memory it is saved" hyper snapshot memfile state
exits "but not again before it goes on" 1 hyper snapshot memfile state
like "which is said, with what to do" "$(cat err)" "before it has gone on \('lamina guest cont'\)"
ok "then it goes on" hyper resume
hyper pause
ok "and is saved again" hyper snapshot memfile state
end_guest
start -machine q35 -object memory-backend-ram,id=a,size=32M \
	-object memory-backend-ram,id=b,size=32M -numa node,memdev=a -numa node,memdev=b
refuses "memory of two backends" 'has 2 backends in QEMU; there has to be one \[EOPNOTSUPP\]'
mkdir fat
start -machine q35 -drive if=none,id=fat,format=vvfat,file=fat:rw:fat \
	-device virtio-blk-pci,drive=fat
refuses "what forbids a migration" 'cannot save this guest: .*does not support live migration \[EOPNOTSUPP'
start -machine q35
truncate -s 1M small
cp memfile before
hyper pause
exits "a memfile of another size" 1 hyper snapshot small state
like "is refused" "$(cat err)" "'small' has 1048576 bytes, the guest's memory has $bytes \[EINVAL\]"
exits "one that is not there" 1 hyper snapshot nowhere state
ok "is not made" test ! -e nowhere

# --- what hangs, and Ctrl-C ---

mkfifo fifo
exits "a state file that hangs" 1 hyper --timeout 1000 snapshot memfile fifo
like "is given up" "$(cat err)" "'fifo' hangs, for 1.0 s now:.*\[ETIMEDOUT\]"
exits "Ctrl-C does not wait for it" 1 hyper --stop 1500 snapshot memfile fifo
like "either" "$(cat err)" "stopped while 'fifo' was worked on \[ECANCELED\]"
exits "nor for anything else" 1 hyper --stop 0 snapshot memfile state
like "from the first moment on" "$(cat err)" '\[ECANCELED\]'
is "the guest is paused as before" "$(fact state)" paused
"$buildroot/tests/host/hyper" qemu "$T/qmp" snapshot memfile fifo >first 2>&1 &
first=$!
ok "another one works on it" within 30 pgrep -P "$first"
exits "who comes second" 1 hyper --timeout 500 facts
like "is not served" "$(cat err)" 'qmp.*QEMU serves one client at a time, and another may hold it.*\[ETIMEDOUT\]'
child=$(pgrep -P "$first")
kill "$first"
wait "$first"
ok "who is killed leaves no child behind" within 30 has_ended "$child"
ok "and the guest goes on" hyper resume
end_guest

done_testing
