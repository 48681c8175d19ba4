#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# kill -9 of tag, trace and rm: the answer before or the answer after, nothing else.
. "$(dirname "$0")/../lib.sh"
requires jq plain

# Runs `lamina COMMAND...` on a copy of the store `before` once for each call that
# changes the disk, killed there (before it; for every third also after it and,
# where it writes, in its middle), then `check`, which prints what is wrong.
_at() { # WORDS COMMAND...: one run; prints what is wrong
	local words=$1 status
	shift
	rm -rf s
	cp -a before s
	{ LAMINA_STORE=$T/s LAMINA_FAULT=$words lamina-fault "$@" >out 2>err; } 2>killed
	status=$?
	[ "$status" -eq 137 ] || echo "$words: exit $status instead of a kill: $(head -1 err)"
	LAMINA_STORE=$T/s check 2>&1 | sed "s/^/$words: /"
}

every() { # COMMAND...
	local n i wrong
	rm -rf s
	cp -a before s
	rm -f counts
	LAMINA_STORE=$T/s LAMINA_FAULT_COUNT=$T/counts lamina-fault "$@" >out 2>err ||
		{ ok "runs when nobody kills it: lamina $*" false; diag "$(cat err)"; }
	n=$(awk '$1 == "change" {print $2}' counts)
	wrong=
	for ((i = 1; i <= n; i++)); do
		wrong+=$(_at "change:$i:kill" "$@")
		[ $((i % 3)) -ne 0 ] || wrong+=$(_at "change:$i:killed" "$@")
		[ $((i % 3)) -ne 1 ] || wrong+=$(_at "change:$i:torn" "$@" | grep -v 'instead of a kill')
	done
	is "lamina $1, killed at each of $n calls" "$wrong" ""
	ok "which are some" test "$n" -gt 3
}

# The layer reads back as the file; prints otherwise.
whole() { # LAYER FILE
	rm -f back
	lamina export "$1" --memfile back >exported 2>&1 || { echo "cannot export $1: $(cat exported)"; return; }
	cmp -s back "$2" || echo "$1 is not $2"
}

# Nothing is damaged, and gc leaves nothing that no layer reaches.
sound() {
	lamina verify --deep -q >verified 2>&1 || echo "verify: $(head -2 verified | tr '\n' ' ')"
	lamina gc --repack --ratio 1 --json >collected 2>&1 || echo "gc: $(head -1 collected)"
	lamina verify --deep -q >verified 2>&1 || echo "verify after gc: $(head -2 verified | tr '\n' ' ')"
	[ "$(lamina gc --repack --ratio 1 --json | jq .dead_bytes)" -lt 4096 ] || echo "gc left dead bytes"
	[ "$(find "$LAMINA_STORE/packs" -name '*.pack' | wc -l)" -le 2 ] || echo "packs are left over"
}

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

printf 'lamina-trace 1 page-size 4096 size 2129920\n7 3\nend 3\n' >old
printf 'lamina-trace 1 page-size 4096 size 2129920\n90 1\n7 2\nend 3\n' >new
lamina trace import one old
check() {
	local order
	order=$(lamina trace show one --runs --json | jq -c .order)
	case $order in
	"[[7,3]]" | "[[90,1],[7,2]]") ;;
	*) echo "trace: $order" ;;
	esac
	whole one m1
	sound
	[ "$(lamina trace show one --runs --json | jq -c .order)" = "$order" ] ||
		echo "gc changed the trace"
	lamina recover -q >recovered 2>&1 || echo "recover: $(cat recovered)"
	[ "$(lamina trace show one --runs --json | jq -c .order)" = "$order" ] ||
		echo "recover changed the trace"
}
every trace import one new

lamina trace import "$second" old
check() {
	case $(lamina ls --json | jq length) in
	2) whole "$second" m2; lamina trace show "$second" >shown 2>&1 || echo "no trace" ;;
	1)
		lamina show "$second" >shown 2>&1 && echo "a removed layer is shown"
		[ "$(lamina trace ls -q | wc -l)" = 1 ] || echo "its trace is listed"
		;;
	*) echo "layers are missing" ;;
	esac
	whole one m1
	sound
	lamina recover -q >recovered 2>&1 || echo "recover: $(cat recovered)"
	whole one m1
}
every rm "$second"
done_testing
