# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# What the crash tests share.  A test prepares the store `before`, then
#
#	every COMMAND...
#
# runs `lamina COMMAND...` on a copy of it once for each call that changes the
# disk, killed at that call (before it, and for every third also after it and,
# where it writes, in its middle), and calls `check` with $LAMINA_STORE set.
# What `check` prints is what is wrong.

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
	[ "$(lamina gc --repack --ratio 1 --json | jq .dead_bytes)" = 0 ] || echo "gc left dead bytes"
	[ "$(find "$LAMINA_STORE/packs" -name '*.pack' | wc -l)" -le 2 ] || echo "packs are left over"
}
