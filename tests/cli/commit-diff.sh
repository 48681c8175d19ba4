#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina commit --diff: holes mean "as in the parent", zero pages mean zero.
. "$(dirname "$0")/../lib.sh"
requires jq
export LAMINA_STORE=$T/s
lamina init -q
mkimage base 1536 0-199:data=1 600-799:data=2
mkimage disk 512 0-99:data=3
lamina commit -q --memfile base --rootfs disk --tag base >base.id

# What the guest has now, and the diff that a hypervisor would write.
cp base now
mkimage now 1536 10:data=7 20-29:zero 1400:data=8
mkimage diff 1536 10:data=7 20-29:zero 1400:data=8
ok "a diff is committed" lamina commit --json --memfile diff --diff --parent base --tag now
cp out diff.json
is "what was read" "$(jq .total.read_bytes diff.json)" $((12 * 4096))
is "pages that were not given are the parent's" \
	"$(jq -c '.images[0] | [.zero + .same, .known, .new]' diff.json)" '[1534,0,2]'
lamina export now --memfile out.now
same "it is what the guest has" now out.now
is "a full image of that is the same layer" \
	"$(lamina commit -q --memfile now --parent base)" "$(jq -r .layer diff.json)"

# --diff=NAME leaves the others full.
mkimage disk2 512 5:data=9
ok "one diff, one full image" lamina commit -q --memfile diff --rootfs disk2 --diff=memfile \
	--parent base --tag mixed
lamina export mixed --memfile mixed.m --rootfs mixed.d
same "the diff" now mixed.m
same "the full one" disk2 mixed.d

# A diff grows the image; what is beyond the parent's end is zero.
mkimage longer 2000 1900:data=4
cp base long.now
mkimage long.now 2000 1900:data=4
ok "a diff that is longer" lamina commit -q --memfile longer --diff --parent base --tag longer
lamina export longer --memfile longer.out
same "grows the image" long.now longer.out

mkimage empty 1536
ok "a diff without data" lamina commit --json --memfile empty --diff --parent base
is "changes no frame" "$(jq .frames_touched out)" 0

exits "a diff wants a parent" 2 lamina commit --memfile diff --diff
like "and says so" "$(cat err)" "^lamina: --diff and --dirty want --parent"
exits "of an image that is given" 2 lamina commit --memfile diff --diff=rootfs --parent base
like "which is named" "$(cat err)" "--diff: no image 'rootfs' is given"
exits "and that the parent has" 1 lamina commit --image other=diff --diff --parent base
like "which is said" "$(cat err)" "image 'other' is a diff, but the parent has no such image"
done_testing
