#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# mount -t lamina, by hand and from fstab.
. "$(dirname "$0")/lib.sh"

lamina -q init
mkimage mem.raw 100 0-99:data=1
commit -m mem.raw --tag t >/dev/null
mkdir mnt
at_exit "umount -l '$T/mnt'"

ok "mount.lamina mounts" mount.lamina store mnt -o rw,mode=0444
same "the store" mem.raw mnt/tags/t/memfile
is "with its options" "$(stat -Lc %a mnt/tags/t/memfile)" 444
ok "umount" umount mnt
ok "what mount(8) passes is taken" mount.lamina store mnt -s -n -v -t lamina -o ro,nonsense
like "-v shows the command" "$(cat err)" "lamina-fuse .*-o ro,nonsense"
umount mnt
ok "-f mounts nothing" mount.lamina store mnt -f -o rw
ok "really" test -z "$(ls -A mnt)"
exits "without -s unknown options count" 2 mount.lamina store mnt -o nonsense
exits "a failure is passed on" 1 mount.lamina nothing mnt
like "with lamina-fuse's sentence" "$(cat err)" "^lamina-fuse: .*nothing"
exits "wrong usage" 2 mount.lamina store
exits "other namespaces are refused" 2 mount.lamina store mnt -N 1
ok "--help" mount.lamina --help
cp "$(realpath "$(command -v mount.lamina)")" "$T/alone"
ok "lamina-fuse is found in PATH" "$T/alone" store mnt
umount mnt
exits "and missed" 1 env PATH=/nonexistent "$T/alone" store mnt

# mount(8) looks for helpers in /sbin only, and resets PATH: they are put there,
# for us alone.
cat >inside <<'END'
set -e
mount -t overlay -o "lowerdir=/usr/sbin,upperdir=$PWD/up/u,workdir=$PWD/up/w" overlay /usr/sbin
mount -t lamina store mnt -o mode=0444
stat -Lc %a mnt/tags/t/memfile
umount mnt
echo "$PWD/store $PWD/mnt lamina ro,noauto,nofail,x-test=1,mode=0400 0 0" >fstab
mount -T fstab "$PWD/mnt"
findmnt -n -o FSTYPE,OPTIONS mnt
mount -T fstab -a -t lamina
grep -c " $PWD/mnt fuse" /proc/mounts
umount mnt
END
mkdir -p up && mount -t tmpfs none up && at_exit "umount '$T/up'" && mkdir up/u up/w
for program in mount.lamina lamina-fuse; do
	cp "$(realpath "$(command -v $program)")" up/u/
done
if [ /sbin -ef /usr/sbin ] && unshare -m mount -t overlay \
	-o lowerdir=/usr/sbin,upperdir=up/u,workdir=up/w overlay /usr/sbin 2>/dev/null; then
	ok "mount -t lamina, and from fstab" unshare -m bash inside
	is "the mode of -o" "$(sed -n 1p out)" 444
	like "the type" "$(sed -n 2p out)" "fuse.lamina +ro,"
	is "mounted once" "$(sed -n 3p out)" 1
else
	skip "cannot put a helper into /sbin" 4
fi
done_testing
