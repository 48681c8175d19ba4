#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina recover: the store from its packs alone.
. "$(dirname "$0")/../lib.sh"
requires jq
export LAMINA_STORE=$T/s
lamina init -q
mkimage a 1000 0-99:data=1
cp a b
mkimage b 1000 5:data=2
mkimage c 1000 0-9:data=3
lamina commit -q --memfile a --tag a --meta k=v >/dev/null
lamina commit -q --memfile b --parent a --tag b >/dev/null
lamina commit -q --memfile c --tag c >/dev/null
lamina rm --force c
lamina tag moved a
lamina tag moved b
lamina ls --json >before
lamina tag --json >>before

rm s/index.db*
exits "without an index" 1 lamina ls
like "recover is named" "$(cat err)" "lamina recover"
ok "recover" lamina recover --json
is "counts" "$(jq -c '[.packs, .layers, .lost, .removed, .damaged, .compared]' out)" '[1,2,0,1,0,false]'
is "all is as before" "$(lamina ls --json; lamina tag --json)" "$(cat before)"
lamina export b --memfile b.out
same "and whole" b b.out
ok "and sound" lamina verify --deep

printf garbage >s/index.db
ok "over a damaged index" lamina recover
like "text" "$(tail -1 out)" "^layers: 2 found, 0 known to be lost, 1 stay removed; tags: 3$"
ok "the old one is kept" test -e s/index.db.broken
is "all is as before" "$(lamina ls --json; lamina tag --json)" "$(cat before)"
mkimage d 1000 0-9:data=9
ok "and can be written to" lamina commit -q --memfile d

rm s/index.db*
printf XXXX | dd of=s/packs/00000001.pack bs=1 seek=3000 conv=notrunc status=none
exits "damage is reported" 3 lamina recover --json
is "what is lost is counted" "$(jq '.damaged >= 1 and .lost >= 1' out)" true
like "and named, with a page" "$(cat err)" \
	"lamina: layer [0-9a-f]{12} is incomplete and left out: .*: page 1:[0-9]+ is not in the store"
exits "no store at all" 1 lamina recover --store nosuch

if [ -z "$(_lacks fuse)" ]; then
	mount_store "$LAMINA_STORE" served
	exits "beside an idle mount" 4 lamina recover
	like "is refused" "$(cat err)" "the store is mounted by pid $fuse_pid"
	umount_store served
fi
done_testing
