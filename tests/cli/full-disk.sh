#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A full disk: a commit says so and loses nothing; what frees still works.
. "$(dirname "$0")/../lib.sh"
requires jq mount
mkdir disk
mount -t tmpfs -o size=24m none disk
at_exit "umount $T/disk"
export LAMINA_STORE=$T/disk/s
mkimage m1 2000 0-999:noise=1
mkimage m2 2000 0-999:noise=2
mkimage big 9000 0-8999:noise=3
lamina init -q
lamina commit -q --memfile m1 --tag one >/dev/null
lamina commit -q --memfile m2 --tag two >/dev/null

exits "a commit that does not fit" 1 lamina commit --memfile big --tag big
like "says so" "$(cat err)" "No space left on device"
is "leaves no tag" "$(lamina tag -q | tr '\n' ' ')" "one two "
ok "nor damage" lamina verify --deep

dd if=/dev/zero of=disk/fill bs=64k 2>/dev/null
dd if=/dev/zero of=disk/fill2 bs=1k 2>/dev/null
is "the disk is full" "$(df --output=avail disk | tail -1 | tr -d ' ')" 0
ok "ls" lamina ls
ok "export elsewhere" lamina export two --memfile back
same "gives the bytes" back m2
ok "rm" lamina rm --force one
exits "a repack that has no room" 1 lamina gc --repack
like "says how much it needs" "$(cat err)" "the disk is full: pack 00000001 can be freed when there is room for"
like "and what to do" "$(cat err)" "make that on the store's file system, or remove more layers"
ok "verify" lamina verify --deep
ok "rm of the other" lamina rm --force two
ok "gc frees a pack that is dead" lamina gc
ok "verify" lamina verify --deep
[ "$(df --output=avail disk | tail -1)" -gt 2000 ]
is "there is room again" $? 0
rm -f disk/fill disk/fill2
ok "a commit works again" lamina commit --memfile m1 --tag again
ok "the reserve is there again" test -s disk/s/reserve
done_testing
