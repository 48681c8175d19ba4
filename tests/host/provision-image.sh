#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina guest provision on an image: mounted nowhere, whole afterwards, and only if nobody uses it.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/host/provision-lib.sh"
requires root loop mount jq mkfs.ext4 e2fsck debugfs
agent=agent
new_program $agent
head -c 3M /dev/urandom >>$agent

provision() { # ARGUMENT...
	lamina guest provision "$@" --agent "$agent"
}
refused() { # DESCRIPTION STATUS SENTENCE ARGUMENT...
	local what=$1 status=$2 sentence=$3
	shift 3
	exits "$what" "$status" provision "$@"
	like "... is said" "$(head -n 1 err)" "$sentence"
}
free() { # nothing of it is left
	! losetup -a | grep -qF "$T/" && ! grep -q "$T/i" /proc/mounts
}
new_image() {
	truncate -s 192M image
	mkfs.ext4 -q -F -d root image
}

mkdir -p root/etc root/usr/lib/systemd/system
cp "$agent" root/usr/plain
new_image
cp --sparse=always image pristine
ok "an image is provisioned" provision image --json
is "with what it says" "$(jq -c '[.root, .changes, .done]' out)" '["image",7,true]'
ok "no device or mount is left" free
ok "its file system is whole" e2fsck -fn image
debugfs -R "cat /etc/sysctl.d/90-lamina.conf" image 2>/dev/null >sysctl
is "the files are there" "$(tail -n 1 sysctl)" vm.compaction_proactiveness=0
debugfs -R "dump /usr/local/sbin/lamina-agent back" image 2>/dev/null
same "and whole" back "$agent"
cp --sparse=always image before
ok "again" provision image --json
is "there is nothing to do" "$(jq .changes out)" 0
ok "a check" provision image --check
ok "a dry run" provision image --dry-run --journal 8M
exits "a check that finds something" 1 provision image --check --journal 8M
cp --sparse=always image looked
ok "to look writes nothing" provision image --check
same "not a byte" image looked
ok "reverted" lamina guest provision image --revert
ok "its file system is whole" e2fsck -fn image
debugfs -R "ls -p /etc" image 2>/dev/null | grep -v lost+found | cut -d/ -f6 | sort >names
is "nothing of ours is in it" "$(grep -v '^\.*$' names)" ""

# --- in use ---

exec 9<>image
refused "one that somebody has open" 4 "'image' is open elsewhere: it is mounted, or a guest runs on it" image
exec 9<&-
loop=$(losetup -f --show image)
at_exit 'losetup -d "$loop"'
refused "one with a loop device" 4 "'image' is in use as $loop: unmount that, or detach it" image
losetup -d "$loop"
loop=
ok "and when that is gone" within 20 provision image --dry-run
if has python3; then
	cat >hold.py <<'END'
# As QEMU does: a lock of the open file, on one byte.
import fcntl, struct, sys
f = open(sys.argv[1], "rb+")
fcntl.fcntl(f, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, 201, 1, 0))
print("held", flush=True)
sys.stdin.read()
END
	mkfifo hold
	python3 hold.py image <hold >held &
	exec 8>hold
	ok "a lock like QEMU's" within 20 grep -q held held
	refused "one that is locked" 4 "'image' is locked: a guest runs on it" image
	refused "which is not read, either" 4 "'image' is locked: a guest runs on it" image --check
	exec 8>&-
	wait
else
	skip "no python3" 5
fi

# --- as a guest that was not shut down leaves it ---

mkdir mnt
cp --sparse=always pristine dirty.whole
mount -o loop dirty.whole mnt
at_exit "umount $T/mnt"
echo x >mnt/etc/x
sync -f mnt/etc/x
cp --sparse=always dirty.whole dirty
umount mnt
refused "one that was not unmounted" 4 "was not unmounted: it may be that of a paused guest" dirty
cp --sparse=always dirty dirty.before
ok "may be looked at" provision dirty --dry-run
same "which does not replay its journal" dirty dirty.before
ok "and is taken with force" provision dirty --force
ok "it is whole" e2fsck -fn dirty
debugfs -R "cat /etc/x" dirty 2>/dev/null >x
is "with all that was written" "$(cat x)" x

# --- what it is not ---

truncate -s 4M zeros
refused "no file system" 1 "'zeros' is no image of ext4: mount it, and give the directory" zeros
printf '\125\252' | dd of=zeros bs=1 seek=510 conv=notrunc status=none
refused "partitions" 1 "'zeros' has partitions" zeros
: >nothing
refused "an empty file" 1 "'nothing' is no image of ext4" nothing
refused "a device" 1 "'/dev/null' is neither a directory nor an image" /dev/null
cp --sparse=always pristine errors
debugfs -w -R "ssv state 2" errors 2>/dev/null
refused "one with errors" 3 "the file system of 'errors' is damaged: mend it with 'e2fsck -fp errors'" errors
cp --sparse=always pristine damaged
debugfs -w -R "clri /usr" damaged 2>/dev/null
cp --sparse=always damaged damaged.before
refused "one that is damaged and not marked so" 3 \
	"the file system of 'damaged' is damaged: mend it with 'e2fsck -fp damaged'" damaged
refused "also with force" 3 "the file system of 'damaged' is damaged" damaged --force
refused "also for who only looks" 3 "the file system of 'damaged' is damaged" damaged --check
same "nothing is written" damaged damaged.before
e2fsck -fy damaged >/dev/null 2>&1
debugfs -w -R "mkdir /usr" damaged 2>/dev/null
ok "when it is mended it is taken" provision damaged
cp --sparse=always pristine newer
debugfs -w -R "ssv feature_incompat 0x80000000" newer 2>/dev/null
refused "one that e2fsck does not know" 1 "e2fsck cannot check the file system of 'newer'" newer
cp --sparse=always pristine bad
debugfs -w -R "ssv inodes_per_group 0" bad 2>/dev/null
refused "one that the kernel would refuse" 3 "the file system of 'bad' is damaged" bad
ok "nothing is left of it" free
truncate -s 8M small
mkdir -p tiny/etc tiny/usr
mkfs.ext4 -q -F -d tiny small
new_program big
head -c 7M /dev/zero >>big
exits "one that is too small" 1 lamina guest provision small --agent big
like "is said" "$(cat err)" "No space left on device"
is "what was written before" "$(grep -c '^create' out)" 2
like "what was not, and why" "$(cat out)" \
	"failed +/usr/local/sbin/lamina-agent +cannot write '/usr/local/sbin/lamina-agent': No space left"
is "and the rest" "$(grep -c '^skipped' out)" 4
exits "again" 1 lamina guest provision small --agent big --json
is "as JSON" "$(jq -c '[.changes, .done, [.actions[] | select(.action == "failed") | .file, .error]]' out)" \
	"[0,false,[\"/usr/local/sbin/lamina-agent\",\"cannot write '/usr/local/sbin/lamina-agent': No space left on device\"]]"
ok "it is whole" e2fsck -fn small
ok "and can be reverted" lamina guest provision small --revert
is "wholly" "$(debugfs -R 'ls -p /etc' small 2>/dev/null | grep -c lamina)" 0
ok "no device or mount is left at the end" free
done_testing
