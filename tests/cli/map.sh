#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina map: cells, figures, folding, SVG.
. "$(dirname "$0")/../lib.sh"
requires jq
export LAMINA_STORE=$T/s
lamina init -q
# Frames: 0 same, 1 zero, 2 changed by a new page, 3 all changed and new,
# 4 changed by pages that are known, 5 becomes zero, 6 half of it new (and ten
# of these pages twice).
mkimage a 3700 0-199:data=1 1024-1033:data=2 1536-1545:data=3 2048-2057:data=4 2560-2569:data=5 \
	3072-3081:data=6
cp a b
mkimage b 3700 1030:data=7 1536-2047:data=8 2050-2249:data=1 2560-2569:zero 3072-3327:data=9 \
	3328-3337:data=9
lamina commit -q --memfile a --tag a >/dev/null
lamina commit --json --memfile b --parent a --tag b >commit.json

ok "text" lamina map b
is "a cell a frame" "$(grep -E '^ +0 B  ' out | awk '{print $3}')" '=.18da5.'
like "in words" "$(cat out)" '8 frames: 2 zero, 1 same, 5 changed; 989 pages changed, 769 of them new'
like "a legend" "$(cat out)" '\. zero  = same as in the parent'
is "no colours in a pipe" "$(grep -c $'\033' out)" 0
ok "JSON" lamina map b --json
is "what is new is what commit says" "$(jq '.images[0].pages_new' out)" "$(jq .total.new commit.json)"
is "frames" "$(jq -c '[.images[0].frames[] | [.frame, .count, .state, .pages_changed, .pages_new]]' out)" \
	'[[0,1,"same",null,null],[1,1,"zero",null,null],[2,1,"changed",1,1],[3,1,"changed",512,512],[4,1,"changed",200,0],[5,1,"changed",10,0],[6,1,"changed",266,256],[7,1,"zero",null,null]]'
is "packs" "$(jq -c '[.packs | length, .[0].pack, (.[0].pages > 700)]' out)" '[1,1,true]'
is "pages of packs are the layer's" "$(jq '[.packs[].pages] | add' out)" 980
is "their bytes are less than the pack" \
	"$(($(jq '.packs[0].bytes' out) < $(stat -c %s s/packs/00000001.pack)))" 1

ok "without a parent" lamina map a
like "all is changed" "$(cat out)" "^layer [0-9a-f]{12} has no parent: all of it counts as changed"
is "and new" "$(lamina map a --json | jq -c '.images[0] | [.frames_same, .pages_changed, .pages_new]')" '[0,250,250]'
# A page that two images hold is new in the first, whichever is asked for.
mkimage disk 600 0-99:data=40 100-149:data=41
mkimage memory 600 0-99:data=40 512-541:data=42
lamina commit -q --memfile memory --rootfs disk --tag both >/dev/null
lamina map both --json | jq -c '[.images[] | [.image, .pages_new, .new_bytes]]' >all.json
is "pages of two images are new once" "$(jq -c 'map(.[1])' all.json)" '[130,50]'
for image in memfile rootfs; do
	is "of $image alone the same are new" \
		"$(lamina map both --image $image --json | jq -c '.images[] | [.image, .pages_new, .new_bytes]')" \
		"$(jq -c --arg i $image '.[] | select(.[0] == $i)' all.json)"
done
lamina rm --force a
like "whose parent has gone" "$(lamina map b)" 'whose parent has been removed: all of it'

mkimage big 300000 0:data=1 150000:data=2
lamina commit -q --memfile big --tag big >/dev/null
ok "quiet rows are folded" lamina map big
is "to few lines" "$(($(wc -l <out) < 20))" 1
like "which says how many" "$(cat out)" '\(3 more rows like this\)'

ok "SVG" lamina map b --svg b.svg
is "nothing on stdout" "$(cat out)" ""
like "is one document" "$(head -1 b.svg)" '^<svg xmlns="http://www.w3.org/2000/svg" '
is "that ends" "$(tail -1 b.svg)" '</svg>'
like "with figures on each changed cell" "$(cat b.svg)" 'frame 3 at 6.0 MiB: 512 pages changed'
is "to stdout, too" "$(lamina map b --svg - | cksum)" "$(cksum <b.svg)"
if has python3; then
	ok "it is XML" python3 -c 'import sys, xml.dom.minidom as m; m.parse(sys.argv[1])' b.svg
else
	skip "no python3"
fi
exits "where it cannot be written" 1 lamina map b --svg nosuch/b.svg
like "is named" "$(cat err)" "cannot write 'nosuch/b.svg'"
exits "no such image" 1 lamina map b --image rootfs
mkfifo pipe
exits "nor over what is no regular file" 1 lamina map b --svg pipe
is "is said" "$(cat err)" "lamina: cannot draw the map: 'pipe' exists and is not a regular file"
ok "which stays as it was" test -p pipe
exits "not both" 2 lamina map b --svg x --json

if has script; then
	ok "on a terminal" script -qec "env LC_ALL=C.UTF-8 $(command -v lamina) map b" typescript
	like "there are blocks and colours" "$(cat typescript)" $'\033\\[38;5;208m▁█'
	ok "that knows no UTF-8" script -qec "env LC_ALL=C $(command -v lamina) map b" typescript
	is "there are not" "$(grep -c $'\033' typescript)" 0
else
	skip "no script(1)" 4
fi
done_testing
