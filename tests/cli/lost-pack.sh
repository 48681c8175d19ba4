#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A pack is missing: who needs it hears so, with exit status 3 and the way out; nobody else does.
. "$(dirname "$0")/../lib.sh"
requires jq
export LAMINA_STORE=$T/s
lamina init -q
mkimage mem 600 0-299:noise=1
mkimage disk 1200 0-99:noise=2
parent=$(lamina commit -q --memfile mem --rootfs disk --tag monday)
mkimage mem2 600 0-299:noise=3
truncate -s $((600 * 4096)) mem.diff
mkimage mem.diff 600 3:data=4
mv s/packs/00000001.pack hidden

damaged() { # NAME PATTERN COMMAND...
	local name=$1 pattern=$2
	shift 2
	exits "$name" 3 lamina "$@"
	like "says why and what to do" "$(cat err)" "$pattern.*pack 00000001: No such file.*lamina recover"
	is "in one line" "$(wc -l <err)" 1
}
of="layer ${parent:0:12} would be inherited, but cannot be read"
damaged "a commit that inherits from it" "image 'rootfs' of $of" \
	commit --memfile mem2 --parent monday
damaged "its dry run" "image 'rootfs' of $of" commit -n --memfile mem2 --parent monday
damaged "a diff against it" "image 'memfile' of $of" \
	commit --memfile mem.diff --diff --rootfs disk --parent monday
echo '[[0, 4096]]' >ranges
damaged "a commit of ranges" "image 'memfile' of $of" \
	commit --memfile mem2 --dirty memfile=ranges --rootfs disk --parent monday
is "nothing was committed" "$(lamina ls -q)" "$parent"
mv hidden s/packs/00000001.pack
ok "copied back" lamina commit -q --memfile mem2 --parent monday --tag tuesday
lamina export tuesday --rootfs back
same "it is inherited" back disk

lamina rm -q --force monday
mv s/packs/00000001.pack hidden
damaged "a repack of it" "" gc --repack --ratio 1
ok "gc alone does not need it" lamina gc
mv hidden s/packs/00000001.pack
ok "copied back, it is repacked" lamina gc --repack --ratio 1
ok "the store is whole" lamina verify --deep
lamina export tuesday --rootfs back --force
same "as is the image" back disk
done_testing
