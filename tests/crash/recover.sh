#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# kill -9 of recover at every call that changes the disk: the next one ends the work.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/crash/lib.sh"
requires jq plain
mkimage m1 1100 0-99:data=1 512-530:data=2
mkimage m2 1100 0-99:data=1 90-120:data=3
export LAMINA_STORE=$T/before
lamina init -q
lamina commit -q --memfile m1 --tag one >/dev/null
lamina commit -q --memfile m2 --parent one --tag two >/dev/null
rm -f before/index.db*

check() {
	lamina recover -q >recovered 2>&1 || echo "recover: $(head -1 recovered)"
	whole one m1
	whole two m2
	sound
}
every recover
done_testing
