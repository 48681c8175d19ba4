#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina resume after a kill -9 of the hypervisor, of lamina resume itself, or of the pager: it works
# again, or what it says is what is to be done.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/host/lib.sh"
. "$srcroot/tests/host/resume-lib.sh"
requires fuse root python3 jq curl userfaultfd

begin_resume
ok "a guest is paused" lamina pause web --tag one --freeze none
end_fc web

# Whose hypervisor was killed: the pager and the mount see it, too.
is_gone() { # NAME
	[ "$(lamina pager show --json "$1" | jq -r .state)" = gone ] &&
		[ "$(lamina live show --json "$1" | jq .pid)" = null ]
}
kill_guest() { # NAME PID
	kill -9 "$2"
	within 50 is_gone "$1"
	rm -f "$1.ctl"
}

# --- the hypervisor ---

ok "a guest is resumed" resume a
pid=$(jq .pid out)
ends "$pid"
exits "while it runs it is not again" 4 resume a
like "it is said which process that is" "$(cat err)" "guest 'a' runs already \(pid $pid\): end it"
exits "nor another at its socket" 4 resume b -S a.sock
like "where it listens" "$(cat err)" "process $pid listens on '$T/a.sock' already: end it, name another --socket"
is "of which nothing is left" "$(lamina live ls -q | grep -cx b) $(lamina pager ls -q | grep -cx b)" "0 0"
kill_guest a "$pid"
ok "its socket is still there" test -S a.sock
ok "it is resumed again nevertheless" resume a
pid=$(jq .pid out)
ends "$pid"
kill_guest a "$pid"
rm a.sock
echo mine >a.sock
exits "what is no socket" 1 resume a
like "is told" "$(cat err)" "'$T/a.sock' is there and no socket"
is "and left" "$(cat a.sock)" mine
rm a.sock
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("vsock")'
ok "it is resumed, its agent behind a vsock device whose socket is left, too" \
	resume a -A "hybrid:$T/vsock:52" -w 10s
pid=$(jq .pid out)
ends "$pid"
ok "which is removed for the device" test ! -e vsock
kill_guest a "$pid"

# --- its live image ---

dd if=/dev/urandom of=mnt/live/a/rootfs bs=4096 count=1 conv=notrunc status=none
exits "a disk that went on" 1 resume a
like "is told, with what can be done" "$(cat err)" \
	"live image 'a' was written to since layer [0-9a-f]{12}: 'lamina live commit a' keeps its files, not to be resumed, 'lamina live rm a' forgets it, --live names another"
ok "as it says" lamina live rm a
ok "it is resumed" resume a
ends "$(jq .pid out)"

# --- lamina resume ---

lamina resume one --name h -H firecracker -S h.sock -w 60s -- sh -c 'echo $$ >h.pid; exec sleep 100' 2>err &
resumer=$!
within 20 test -s h.pid
ends "$(cat h.pid)"
kill -9 $resumer
wait $resumer 2>/dev/null
exits "what was killed while it waited" 4 resume h
like "has left a session" "$(cat err)" \
	"session 'h' waits for a hypervisor already: 'lamina pager close h --socket $sock' ends it"
ok "as it says" lamina pager close h
ok "it is resumed" resume h
ends "$(jq .pid out)"
lamina resume one --name k -H firecracker -S k.sock -A "unix:$T/nobody" -w 60s \
	-- firecracker --api-sock '{socket}' --control "$T/k.ctl" 2>err &
resumer=$!
runs() { [ "$(fc k state)" = Running ]; }
within 50 runs
pid=$(pgrep -f "api-sock $T/k.sock")
ends "$pid"
kill -9 $resumer
wait $resumer 2>/dev/null
exits "what was killed when the guest ran" 4 resume k
like "has left that" "$(cat err)" "session 'k' has a guest that runs, process $pid, .*: end that"
kill_guest k "$pid"
ok "as it says" resume k
ends "$(jq .pid out)"

# --- the pager ---

end_pager
exits "without a pager" 1 resume p
like "it is said who is to be started" "$(cat err)" "nobody listens on '$sock': is lamina-pager running\?"
is "and nothing is left" "$(lamina live ls -q | grep -cx p)" 0
start_pager
ok "with another one" resume p
pid=$(jq .pid out)
ends "$pid"

# --- the mount ---

kill_guest p "$pid"
kill -9 "$fuse_pid"
wait "$fuse_pid" 2>/dev/null
exits "without the mount's daemon" 1 resume p
like "it is said what is to be done" "$(cat err)" \
	"nobody serves the mount '$T/mnt' any more: 'lamina umount' and 'lamina mount' it again"
ok "as it says" lamina umount mnt
exits "without a mount" 1 resume p
like "that, too" "$(cat err)" "the store is not mounted: 'lamina mount' does that"
mount_store s mnt
ok "with another one" resume p
ends "$(jq .pid out)"
done_testing
