#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# kill -9 of gc and gc --repack at every call that changes the disk: layers
# that exist stay whole, what was removed stays removed, and the next gc ends
# the work.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/crash/lib.sh"
requires jq plain
mkimage m1 1100 0-99:data=1 512-530:data=2
mkimage m2 1100 0-99:data=1 90-120:data=3 600-700:data=4
mkimage m3 1100 0-49:data=1 300-330:data=5
export LAMINA_STORE=$T/before
lamina init -q
lamina commit -q --memfile m1 --tag one >/dev/null
lamina commit -q --memfile m2 --parent one --tag two >/dev/null
lamina commit -q --memfile m3 --parent two --tag three >/dev/null
removed=$(lamina show one --json | jq -r .layer)
lamina rm -q --force one

check() {
	[ "$(lamina tag -q | tr '\n' ' ')" = "three two " ] || echo "tags: $(lamina tag -q | tr '\n' ' ')"
	lamina show "$removed" >shown 2>&1 && echo "a removed layer is back"
	whole two m2
	whole three m3
	sound
	whole two m2
	lamina recover -q >recovered 2>&1 || echo "recover: $(head -1 recovered)"
	lamina show "$removed" >shown 2>&1 && echo "a removed layer is back after recover"
	whole two m2
	whole three m3
}
every gc
every gc --repack --ratio 1
done_testing
