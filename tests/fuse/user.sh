#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A user who is not root mounts a store of their own, by fusermount3.
. "$(dirname "$0")/lib.sh"
requires setpriv unshare fusermount3 mount

uid=1
chmod 711 "$T"
setpriv --reuid $uid --clear-groups test -x "$T" || skip_all "others cannot reach $T"
id -un $uid >/dev/null || skip_all "user $uid has no name"
for program in lamina lamina-fuse probe mkimage; do
	cp "$(realpath "$(command -v $program)")" "$T/"
done
mkdir home
chown $uid home
mknod fuse c 10 229
chmod 666 fuse

# /dev/fuse may be root's alone: in a namespace of its own it is everybody's.
cat >inside <<'END'
cd "$T/home" && PATH=$T:$PATH
mkimage m.raw 100 0-99:data=1
mkdir mnt
export LAMINA_STORE=$PWD/store
lamina -q init && lamina -q commit -m m.raw --tag t >/dev/null || exit
gone() { for _ in $(seq 100); do test -e mnt/tags || return 0; sleep 0.05; done; return 1; }
exec 2>&1
lamina-fuse --pidfile pid store mnt && echo mounted
cmp m.raw mnt/tags/t/memfile && echo same
kill "$(cat pid)" && gone && echo unmounted
lamina-fuse --pidfile pid store mnt
exec 8<mnt/tags/t/memfile
kill "$(cat pid)" && gone && echo out of sight
cmp m.raw - <&8 && echo still same
exec 8<&-
lamina-fuse --pidfile pid store mnt
kill -9 "$(cat pid)" && sleep 0.2
lamina-fuse --pidfile pid store mnt && echo mounted over a dead one
lamina umount mnt && gone && echo unmounted
END
export T
is "everything works" "$(unshare -m bash -c "mount --bind '$T/fuse' /dev/fuse &&
	exec setpriv --reuid $uid --regid $uid --clear-groups bash '$T/inside'")" \
	$'mounted\nsame\nunmounted\nout of sight\nstill same\nmounted over a dead one\nunmounted'
done_testing
