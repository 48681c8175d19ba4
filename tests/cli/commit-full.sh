#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina commit of whole images: counts, sameness, inheritance.
. "$(dirname "$0")/../lib.sh"
requires jq
export LAMINA_STORE=$T/s
lamina init -q

mkimage m 1536 0-99:data=1 600-699:data=2 700-799:zero
mkimage d 1024 0-49:data=3 512-561:data=1
printf 'device state' >st

ok "three images are committed" lamina commit --json --memfile m --rootfs d --state st \
	--tag first --meta who=me --meta note='two words'
cp out first.json
like "the layer has an id" "$(jq -r .layer first.json)" '^[0-9a-f]{64}$'
is "it is new" "$(jq .existed first.json)" false
is "pages of the memfile" "$(jq -c '.images[0] | [.name, .size, .pages, .zero, .same, .known, .new]' first.json)" \
	'["memfile",6291456,1536,1336,0,0,200]'
is "pages of the rootfs: those of the memory are known" \
	"$(jq -c '.images[1] | [.name, .pages, .zero, .known, .new]' first.json)" \
	'["rootfs",1024,924,50,50]'
is "a page at the end that is not whole counts" \
	"$(jq -c '.images[2] | [.name, .size, .pages, .new, .frames]' first.json)" '["state",12,1,1,1]'
is "the total is the sum" "$(jq -c '.total.new == ([.images[].new] | add)' first.json)" true
is "frames touched" "$(jq -c '[.frames_touched, .images[0].frames_touched]' first.json)" '[5,2]'
like "it took time" "$(jq .seconds first.json)" '^[0-9.e-]+$'

ok "the same again" lamina commit --json --memfile m --rootfs d --state st
is "is the same layer" "$(jq -r .layer out)" "$(jq -r .layer first.json)"
is "and says so" "$(jq -c '[.existed, .bytes_stored]' out)" '[true,0]'
is "there is one layer" "$(lamina ls -q | wc -l)" 1

# The next generation: a page less, a page more, pages that moved.
cp m m2
mkimage m2 1536 0:hole 5:data=9 1100-1199:data=2
ok "a child" lamina commit --json --memfile m2 --parent first --tag second
cp out second.json
is "what it shares with its parent" \
	"$(jq -c '.images[0] | [.zero, .same, .known, .new, .frames_touched]' second.json)" \
	'[1237,198,100,1,2]'
is "its parent" "$(jq -r .parent second.json)" "$(jq -r .layer first.json)"
ok "images that are not given are inherited" lamina export second --rootfs d2 --state st2
same "rootfs" d d2
same "state" st st2
ok "and its own is its own" lamina export second --memfile m2.out
same "memfile" m2 m2.out

ok "text says the same" lamina commit --memfile m2 --parent first
like "the layer" "$(head -1 out)" "^layer $(jq -r .layer second.json) \(was there already\)$"
like "the table" "$(sed -n 3,4p out | tr -s ' ' | tr '\n' ';')" \
	'^image pages zero same known new stored frames touched;memfile 1536 1237 198 101 0 0 B 2 of 3;'
is "quiet is the id alone" "$(lamina commit -q --memfile m2 --parent first)" \
	"$(jq -r .layer second.json)"

# A dry run says what would be, and changes nothing.
mkimage m3 1536 0-9:data=33
before=$(lamina stat --json; lamina ls --json)
ok "a dry run" lamina commit --dry-run --json --memfile m3 --parent second
is "counts" "$(jq -c '[.dry_run, .layer, .images[0].new]' out)" '[true,null,10]'
is "and changes nothing" "$(lamina stat --json; lamina ls --json)" "$before"
is "quiet says nothing" "$(lamina commit -q --dry-run --memfile m3 --parent second)" ""
ok "text" lamina commit --dry-run --memfile m3 --parent second
like "says what it would store" "$(head -1 out)" '^would store [0-9.]+ K?i?B in '
is "as much as the commit then does" \
	"$(lamina commit --memfile m3 --parent second --json | jq -c .total.new)" 10

# Images grow, and other disks have names of their own.
mkimage big 2600 0-99:data=1 2500-2599:data=5
ok "an image grows" lamina commit --json --memfile big --parent first --image data.1=d --tag grown
is "its size" "$(jq '.images[0].size' out)" $((2600 * 4096))
is "a disk that is known costs nothing" "$(jq -c '.images[1] | [.name, .new, .stored_bytes]' out)" \
	'["data.1",0,0]'
is "metadata is kept" "$(lamina show first --json | jq -c '.attributes | [.who, .note]')" \
	'["me","two words"]'

# What is said of a layer that was there already is kept, too, and what it replaces is told.
attributes() { lamina show first --json | jq -c '.attributes | [.who, .note, .new]'; }
counts=$(lamina show first --json | jq -c '.attributes | with_entries(select(.key | startswith("lamina.")))')
again=(--memfile m --rootfs d --state st --meta who=you --meta new=1 --meta "note=two words")
ok "a dry run of the same with other metadata" lamina commit -n "${again[@]}"
is "changes nothing" "$(attributes)" '["me","two words",null]'
is "and promises nothing" "$(cat err)" ""
ok "the same with other metadata" lamina commit -q "${again[@]}"
id=$(cat out)
is "is the same layer" "$(lamina show -q first)" "$id"
is "and has it" "$(attributes)" '["you","two words","1"]'
is "what was counted stays" "$counts" \
	"$(lamina show first --json | jq -c '.attributes | with_entries(select(.key | startswith("lamina.")))')"
is "each is said, and what was there before" "$(cat err)" \
	"lamina: layer ${id:0:12} was there already: --meta new=1 is added to it
lamina: layer ${id:0:12} was there already: --meta who=you replaces 'me'"
size=$(stat -c %s s/packs/*.pack)
ok "the same with the same" lamina commit -q --memfile m --rootfs d --state st --meta who=you
is "says nothing" "$(cat err)" ""
is "and writes nothing" "$(stat -c %s s/packs/*.pack)" "$size"
full=$(head -c 60000 /dev/zero | tr '\0' x)
ok "much" lamina commit -q --memfile m --rootfs d --state st --meta "much=$full"
exits "more than 64 KiB in all" 1 lamina commit -q --memfile m --rootfs d --state st --meta "more=$full" --tag no
like "are refused" "$(cat err)" "layer ${id:0:12} was there already, .* more than 64 KiB$"
exits "with the tag" 1 lamina show no
rm s/index.db*
ok "recover" lamina recover
is "brings back what was said last" "$(attributes)" '["you","two words","1"]'
ok "repack" lamina gc --repack --ratio 1
rm s/index.db*
ok "recover" lamina recover
is "as it does after a repack" "$(attributes)" '["you","two words","1"]'
ok "the store is whole" lamina verify --deep

done_testing
