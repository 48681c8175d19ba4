#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina pause on a full disk, met by the snapshot or by the commit: the guest goes on, nothing is
# lost, and the first pause after room was made has all.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/host/lib.sh"
. "$srcroot/tests/host/pause-lib.sh"
requires fuse root python3 jq mount

mkdir disk
mount -t tmpfs -o size=64m none disk
at_exit "umount -l '$T/disk'"
mkdir disk/s
ln -s disk/s s
begin_guest || bail "no guest"
start_agent

left() { # KIB
	df --output=avail -k disk | tail -1 | tr -d ' '
}
leave() { # KIB: fills the disk but for these
	dd if=/dev/zero of=disk/filler bs=1k count=$(($(left) - $1)) status=none
}
goes_on() { # NAME
	is "$1: the guest goes on" "$(state)" Running
	is "$1: thawed" "$(curl -s --unix-socket agent http://a/version | jq -c .frozen)" '[]'
}
has_all() { # TAG
	fc web dump m >/dev/null
	lamina export "$1" --memfile "$1.mem" >/dev/null
	same "$1 has all that the guest wrote" "$1.mem" m
	lamina export "$1" --rootfs "$1.disk" >/dev/null
	same "and its disk" "$1.disk" mnt/live/web/rootfs
}

fc web random 0 2000000 1 >/dev/null
ok "a guest is paused" lamina pause web --tag one --freeze web.slice

# --- what the hypervisor writes has no room ---

fc web random 2000000 3000000 2 >/dev/null
leave 1000
exits "no room for the snapshot" 1 lamina pause web --json --freeze web.slice --tag two
like "is told, with what is full" "$(cat err)" "refuses to take a snapshot: .*No space left on device.*: the file system of the store '.*s' is full"
like "also as JSON" "$(jq -r .error out)" "the file system of the store '.*s' is full"
is "is a failure of it" "$(result out snapshot) $(result out resume) $(jq .layer out)" "failed done null"
goes_on "no room for the snapshot"
is "no layer, no tag" "$(lamina tag -q | tr '\n' ' ')" "one "
fc web random 5000000 100000 3 >/dev/null
rm disk/filler
ok "there is room: the next pause" lamina pause web --json --tag two
has_all two

# --- the commit has no room ---

fc web random 1000000 3000000 4 >/dev/null
head -c 500000 /dev/urandom | dd of=mnt/live/web/rootfs bs=64k seek=1 conv=notrunc status=none
leave 4500
exits "no room for the commit" 1 lamina pause web --json --freeze web.slice --tag three
is "is a failure of that alone" "$(result out snapshot) $(result out seal) $(result out resume) $(result out commit)" \
	"done done done failed"
goes_on "no room for the commit"
like "which names what is full" "$(cat err)" "No space left on device: the file system of the store '.*' is full"
like "and says that nothing is lost" "$(cat err)" "what was sealed is kept: the next layer has it"
is "no layer, no tag" "$(lamina tag -q | sort | tr '\n' ' ')" "one two "
fc web random 4100000 50000 5 >/dev/null
rm disk/filler
ok "there is room: the next pause" lamina pause web --json --tag three
parent=$(jq -r .commit.parent out)
has_all three
is "as a child of the last" "$parent" "$(lamina show --json two | jq -r .layer)"

# --- wherever it is that room ends ---

ends='' unsaid=''
for kib in 0 100 300 600 900 1000 1010 1020 1030 1040 1100 1300 1600 2500; do
	fc web random 3000000 1000000 $((100 + kib)) >/dev/null
	leave $kib
	lamina pause web --json --freeze web.slice >out 2>err
	[ "$(jq .error out)" = null ] || grep -q "the file system of the store '.*s' is full" err ||
		unsaid+="with $kib KiB: $(cat err)"$'\n'
	ends+="$(jq -r 'if .error then first(.steps[] | select(.result == "failed") | .step) else "none" end' out) "
	[ "$(state)" = Running ] || goes_on "with $kib KiB"
	rm disk/filler
done
diag "what failed: $ends"
is "each of them says which file system is full" "$unsaid" ""
like "first the snapshot, then the commit, then nothing" "$ends" "^snapshot .*commit .*none $"
goes_on "after all of it"
ok "there is room: the next pause" lamina pause web --json --tag four
has_all four
ok "the store is whole" lamina verify --deep
done_testing
