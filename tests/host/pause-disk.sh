#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina pause makes no layer of a guest whose disk is not the live image's any more: the daemon of
# the store's mount was killed, and the store mounted anew, and the hypervisor still writes into
# the mount that is gone.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/host/lib.sh"
. "$srcroot/tests/host/pause-lib.sh"
requires fuse root python3 jq mount

has_rootfs() { # DIR: with a disk of it
	echo "\"drives\":[{\"drive_id\":\"rootfs\",\"is_root_device\":true,\"path_on_host\":\"$T/$1/live/web/rootfs\"}]"
}
anew() { # kills the daemon, and mounts the store again
	kill -9 "$fuse_pid"
	wait "$fuse_pid" 2>/dev/null
	umount -l mnt
	mount_store s mnt || bail "no mount"
}
layers() { lamina ls -q | wc -l; }

begin_guest "$(has_rootfs mnt)" || bail "no guest"
fc web random 0 100000 1 >/dev/null
ok "a guest with its disk in the mount is paused" lamina pause web --tag one
ok "so it is in a dry run" lamina pause web --dry-run

# --- its daemon was killed ---

before=$(layers)
anew
fc web random 200000 100000 2 >/dev/null
exits "a dry run, when its disk is of a mount that is gone" 1 lamina pause web --dry-run
like "tells" "$(cat err)" "the hypervisor, process ${fc_pid[web]}, has 'rootfs' of a mount whose daemon has ended, and not of '$T/mnt/live/web': what the guest writes there is lost\. End it, and resume its last layer"
exits "a pause of it" 1 lamina pause web --json --tag two
like "tells" "$(cat err)" "has 'rootfs' of a mount whose daemon has ended"
like "also as JSON" "$(jq -r .error out)" "has 'rootfs' of a mount whose daemon has ended"
is "the guest was not paused" "$(jq -r .state out) $(result out pause)" "running skipped"
is "there is no new layer" "$(layers) $(lamina tag -q)" "$before one"
exits "nor does --full help" 1 lamina pause web --full
end_fc web
start_fc web --config-file vm.json
ok "one that was started anew has its disk in the mount" lamina pause web --tag three

# --- what is no other disk ---

mkdir bound
mount --bind mnt bound
at_exit "umount -l '$T/bound'"
end_fc web
fc_config vm.json 8 '"track_dirty_pages":true' "$(has_rootfs bound)"
start_fc web --config-file vm.json
ok "a disk by another name of the same mount" lamina pause web
end_fc web
touch disk
mount --bind mnt/live/web/rootfs disk
at_exit "umount -l '$T/disk'"
fc_config vm.json 8 '"track_dirty_pages":true' \
	"\"drives\":[{\"drive_id\":\"rootfs\",\"is_root_device\":true,\"path_on_host\":\"$T/disk\"}]"
start_fc web --config-file vm.json
ok "a disk that is a bind mount of the file" lamina pause web
umount -l disk
umount -l bound
anew
exits "whose daemon was killed" 1 lamina pause web
like "is known by its number" "$(cat err)" "has 'rootfs' of a mount whose daemon has ended"
end_fc web
mkdir -p other/live/web
truncate -s 2M other/live/web/rootfs
fc_config vm.json 8 '"track_dirty_pages":true' "$(has_rootfs other)"
start_fc web --config-file vm.json
ok "a disk that is elsewhere, and has such a name" lamina pause web
rm -r other
ok "one that is deleted there" lamina pause web
end_fc web

# --- another store's ---

lamina --store s2 init >/dev/null
lamina --store s2 live create web --size rootfs=2M
first=$fuse_pid
mount_store s2 other || bail "no mount"
fuse_pid=$first
start_fc web --config-file vm.json
ok "a disk of the same name in another store's mount" lamina pause web
end_fc web
done_testing
