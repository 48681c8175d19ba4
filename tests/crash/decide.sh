#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# kill -9 of tag, untag and rm: the answer before or the answer after, nothing else.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/crash/lib.sh"
requires jq plain
mkimage m1 520 0-99:data=1
mkimage m2 520 0-99:data=1 200-250:data=2
export LAMINA_STORE=$T/before
lamina init -q
lamina commit -q --memfile m1 --tag one >/dev/null
lamina commit -q --memfile m2 --parent one >/dev/null
second=$(lamina ls --json | jq -r '.[] | select(.tags == []) | .layer')

check() {
	local tags
	tags=$(lamina tag -q | tr '\n' ' ')
	case $tags in
	"one " | "one two ") ;;
	*) echo "tags: $tags" ;;
	esac
	whole one m1
	whole "$second" m2
	sound
}
every tag two "$second"

check() {
	case $(lamina ls --json | jq length) in
	2) whole "$second" m2 ;;
	1) lamina show "$second" >shown 2>&1 && echo "a removed layer is shown" ;;
	*) echo "layers are missing" ;;
	esac
	whole one m1
	sound
	lamina recover -q >recovered 2>&1 || echo "recover: $(cat recovered)"
	whole one m1
}
every rm "$second"
done_testing
