#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# kill -9 of a commit at every call that changes the disk: the layers there
# were stay, the new one is there as a whole or not at all, and a retry works.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/crash/lib.sh"
requires jq plain
mkimage m1 1100 0-99:data=1 512-530:data=2
mkimage m2 1100 0-99:data=1 90-120:data=3 600-700:data=4
export LAMINA_STORE=$T/before
lamina init -q
lamina commit -q --memfile m1 --tag one >/dev/null

check() {
	local n
	whole one m1
	n=$(lamina ls --json | jq length)
	case $n in
	1) [ "$(lamina tag -q | tr '\n' ' ')" = "one " ] || echo "a tag without its layer" ;;
	2) whole two m2 ;;
	*) echo "$n layers" ;;
	esac
	sound
	lamina commit -q --memfile m2 --parent one --tag two >again 2>&1 || echo "retry: $(cat again)"
	whole two m2
	sound
}

every commit --memfile m2 --parent one --tag two
done_testing
