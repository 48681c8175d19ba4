#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What recover makes of the index.db that it replaces: whose store it is, and what it knows of.
. "$(dirname "$0")/../lib.sh"
requires jq
export LAMINA_STORE=$T/s
for i in 1 2 3; do mkimage "m$i" 600 0-99:data=$i; done
lamina init -q
one=$(lamina commit -q --memfile m1 --tag one)
two=$(lamina commit -q --memfile m2)
size=$(stat -c %s s/packs/00000001.pack)
three=$(lamina commit -q --memfile m3)
cp -r s sound

again() { # a sound store
	rm -rf s && cp -r sound s
}

# Two packs of another store, which has more of them.
lamina --store other init -q
lamina --store other commit -q --memfile m1 >/dev/null
for i in 2 3; do
	lamina --store other rm -q "$(lamina --store other commit -q --memfile "m$i")"
	lamina --store other gc -q --repack --ratio 1 >/dev/null
	cp "other/packs/0000000$i.pack" .
done
cp 0000000[23].pack s/packs/
exits "packs of another store" 3 lamina recover
like "are named" "$(cat err)" "pack 00000002 belongs to another store: renamed"
ok "and set aside, though they are more" test -e s/packs/00000002.pack.foreign
ok "ours is read" lamina export one --memfile back
same "as it was" back m1
is "all layers are there" "$(lamina ls --json | jq length)" 3

again
cp other/index.db s/index.db
before=$(sha256sum s/index.db s/packs/*)
exits "an index.db of another store" 1 lamina recover
like "is refused" "$(cat err)" "index.db and the packs of '.*' are of different stores"
is "and nothing was touched" "$(sha256sum s/index.db s/packs/*)" "$before"
rm s/index.db
ok "without it the packs say" lamina recover

again
printf '\0\0\0\143' | dd of=s/index.db bs=1 seek=60 conv=notrunc status=none
before=$(sha256sum s/index.db)
exits "an index.db of a newer lamina" 1 lamina recover
like "is refused" "$(cat err)" "written by a newer lamina .schema 99"
is "and left as it is" "$(sha256sum s/index.db)" "$before"
is "alone" "$(compgen -G 's/index.db.*' | grep -v -e -shm)" ""

# A pack that ends where a commit began has no trace of it.
again
truncate -s "$size" s/packs/00000001.pack
exits "a layer that is gone as a whole" 3 lamina recover
like "is named" "$(cat err)" "^lamina: layer ${three:0:12} is lost: the old index names it, but no pack has its manifest"
like "and counted" "$(tail -1 out)" "^layers: 2 recovered, 1 lost, 0 stay removed; tags: 1$"
ok "after that the new index is the old one" lamina recover
like "and nothing more is lost" "$(tail -1 out)" "^layers: 2 recovered, 0 lost,"
rm s/index.db
ok "without an index" lamina recover --json
is "nobody knows" "$(jq -c '[.layers, .lost, .compared]' out)" '[2,0,false]'
rm s/index.db
lamina recover >out
like "and it says so" "$(tail -1 out)" "^layers: 2 found, 0 known to be lost,"

again
rm s/packs/00000001.pack
exits "all packs are gone" 3 lamina recover --json
is "all layers are counted" "$(jq -c '[.layers, .lost, .compared]' out)" '[0,3,true]'
is "and named" "$(grep -cE "layer (${one:0:12}|${two:0:12}|${three:0:12}) is lost" err)" 3

# What was removed is not lost.
again
lamina rm -q "$three"
ok "a layer that was removed" lamina recover
like "is not lost" "$(tail -1 out)" "^layers: 2 recovered, 0 lost, 1 stay removed"
lamina gc -q --repack --ratio 1 >/dev/null
ok "nor when gc has freed it" lamina recover
like "and nobody remembers it" "$(tail -1 out)" "^layers: 2 recovered, 0 lost, 0 stay removed"
done_testing
