#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Guest memory is nobody else's business, unless an option says so.
. "$(dirname "$0")/lib.sh"
requires setpriv

lamina -q init
mkimage mem.raw 100 0-99:data=1
id=$(commit -m mem.raw --tag t)
chmod 711 "$T"
mem=$T/mnt/layers/$id/memfile
cp "$(command -v probe)" "$T/probe"
as() { # UID GID COMMAND...
	local uid=$1 gid=$2
	shift 2
	setpriv --reuid "$uid" --regid "$gid" --clear-groups "$@" 2>&1
}
may() { # UID GID: what they may do
	echo "$(as "$1" "$2" ls "$T/mnt/layers" >/dev/null && echo list)" \
		"$(as "$1" "$2" "$T/probe" open "$mem" r)" "$(as "$1" "$2" "$T/probe" open "$mem" rw)"
}
# Where even the way there is closed, there is nothing to try.
if [ "$(as 1234 1234 "$T/probe" open /dev/null r)" != ok ]; then
	chmod 755 "$T/probe"
	for dir in "$T" "$T"/.. "$T"/../.. "$T"/../../..; do
		as 1234 1234 test -x "$dir" || skip_all "others cannot reach $dir"
	done
fi

mount_store store mnt
is "others get nothing" "$(may 1234 1234)" " EACCES EACCES"
umount_store mnt
mount_store store mnt -o allow_other
is "allow_other alone lets nobody in" "$(may 1234 1234)" " EACCES EACCES"
umount_store mnt
mount_store store mnt -o allow_other,gid=1234
is "the group may read" "$(may 1235 1234)" "list ok EACCES"
is "others still not" "$(may 1235 1235)" " EACCES EACCES"
is "not even the counters" "$(as 1235 1235 cat "$T/mnt/.stats")" \
	"cat: $T/mnt/.stats: Permission denied"
umount_store mnt
mount_store store mnt -o allow_other,uid=1234,mode=0660
is "0660 is for hypervisors" "$(may 1234 1235)" "list ok ok"
is "but nobody writes" "$(as 1234 1235 "$T/probe" write "$mem")" EROFS
umount_store mnt
mount_store store mnt -o allow_other,mode=0444
is "0444 is for everybody" "$(may 1235 1235)" "list ok EACCES"
done_testing
