#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A real QEMU that survived the daemon of the mount which its disk, or its memory, is in is not made
# a layer of when the store was mounted anew.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/host/qemu-lamina-lib.sh"
requires qemu root fuse jq

begin_lamina
anew() { # kills the daemon, and mounts the store again
	kill -9 "$fuse_pid"
	wait "$fuse_pid" 2>/dev/null
	umount -l mnt
	mount_store s mnt || bail "no mount"
}
lamina -q export gen0 --memfile gen0.mem

# --- private memory, whose file is no mount's, so that it goes on ---

ok "a guest is resumed" resume web gen0 "$T/gen0.mem"
write_disk web 0 1
ok "and paused" lamina pause web --tag one
anew
reply web >/dev/null
is "the guest runs still when the daemon was killed" "$(state web)" running
exits "a dry run" 1 lamina pause web --dry-run
exits "a pause" 1 lamina pause web --json
like "tells why there is no layer" "$(cat err)" "the hypervisor, process ${qemu_pid[web]}, has 'rootfs' of a mount whose daemon has ended, and not of '$T/mnt/live/web'"
is "and it was not paused" "$(jq -r .state out) $(state web)" "running running"
end_qemu web

# --- memory that is the live image's ---

ok "a guest whose disk is elsewhere" eval '
	words in "{live}/memfile" on "$T/boot.disk" -S -incoming defer
	lamina resume one --json --name in -H qemu -S in.qmp -- "${qemu[@]}" >in.json'
qemu_pid[in]=$(jq .pid in.json)
at_exit "kill -9 ${qemu_pid[in]}"
ok "is paused" lamina pause in
hyper in pause
anew
exits "when its memory is of a mount that is gone" 1 lamina pause in
like "that is told" "$(cat err)" "the hypervisor, process ${qemu_pid[in]}, has 'memfile' of a mount whose daemon has ended"
end_qemu in
done_testing
