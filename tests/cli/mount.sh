#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina mount and umount.
. "$(dirname "$0")/../lib.sh"
requires fuse jq
export LAMINA_STORE=$T/s
lamina init -q
mkimage m 1000 0-99:data=1
id=$(lamina commit -q --memfile m --tag a)
mkdir mnt
at_exit "umount -l $T/mnt"

ok "mount" lamina mount mnt --pidfile pid
same "the layer is there at once" m "mnt/layers/$id/memfile"
same "and its tag" m mnt/tags/a/memfile
ok "its daemon runs" kill -0 "$(cat pid)"

exits "where it is mounted already" 4 lamina mount mnt
is "is busy" "$(cat err)" "lamina: cannot mount: '$T/mnt' is mounted already: store '$T/s'"
# As mount.fuse(8) runs us when mount(8) is to remount.
exits "remount" 2 lamina "$T/s" "$T/mnt" -o ro,nosuid,nodev,relatime,remount
is "is refused" "$(head -1 err)" "lamina: '$T/mnt' cannot be remounted: unmount and mount it again"
as_other() {
	setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
}
cp "$(realpath "$(command -v lamina)")" theirs
chmod go+rx . ..
if has root && as_other ./theirs --version >/dev/null 2>&1; then
	exits "umount by another user" 1 as_other ./theirs umount mnt
	is "is not permitted" "$(cat err)" \
		"lamina: cannot unmount: '$T/mnt' was mounted by another user (uid 0)"
else
	skip "no other user can come here" 2
fi

bash -c 'exec 9<"$1"; touch reading; exec sleep 60' bash "mnt/layers/$id/memfile" &
reader=$!
at_exit "kill $reader"
within 10 test -e reading
exits "umount while somebody reads" 4 lamina umount mnt
like "says who" "$(cat err)" "^lamina: cannot unmount: '.*/mnt' is in use by pid $reader \(sleep\)$"
lamina untag a
exits "rm while somebody reads" 4 lamina rm "$id"
like "says who" "$(cat err)" "^lamina: cannot remove: layer ${id:0:12} is .*$(cat pid)"
lamina tag a "$id"
kill "$reader"
wait "$reader" 2>/dev/null
ok "umount" lamina umount mnt
is "it is gone" "$(ls mnt)" ""
is "its daemon has ended" "$(pgrep -f "^[^ ]*lamina-fuse .*$T/mnt$")" ""
exits "umount of nothing" 1 lamina umount mnt
like "is named" "$(cat err)" "nothing is mounted on '.*/mnt'"
exits "a directory that is not there" 1 lamina umount nosuch

ok "options are passed on" lamina mount mnt -o mode=0400 -o threads=2,cache=8M
is "and hold" "$(stat -c %a "mnt/layers/$id/memfile")" 400
ok "umount" lamina umount mnt/
lamina mount -f mnt >log 2>&1 &
daemon=$!
ok "in the foreground" within 20 test -e "mnt/layers/$id/memfile"
ok "umount ends it" lamina umount mnt
wait "$daemon"
is "well" "$?" 0

# A daemon that was killed.
lamina mount mnt --pidfile pid
kill -9 "$(cat pid)"
within 10 eval '! ls mnt'
ok "umount of what a killed daemon left" lamina umount mnt
ok "and a fresh one can mount again" lamina mount mnt
ok "and be unmounted" lamina umount mnt

exits "a mountpoint that is not there" 1 lamina mount nosuch
exits "a store that is not there" 1 lamina mount --store nosuch mnt
exits "an unknown option" 2 lamina mount mnt -o nosuch
if has mount; then
	mkdir other
	mount -t tmpfs none other
	at_exit "umount $T/other"
	exits "what is not ours" 1 lamina umount other
	like "is left alone" "$(cat err)" "what is mounted on '.*/other' is not a lamina store, but tmpfs"
else
	skip "may not mount" 2
fi
done_testing
