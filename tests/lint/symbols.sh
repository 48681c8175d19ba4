#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# An external symbol's prefix is the stem of its file, dashes as underscores.
# A file NOUN-PART.c is a part of NOUN: noun_ is a prefix for it, too; and nouns_
# is for what holds many of them.
# Arguments: sources, as from the top of the tree; their objects are in $BUILD.
set -u
bad=0
for source; do
	object=$BUILD/${source%.c}.o
	[ -e "$object" ] || continue
	stem=$(basename "$source" .c)
	$NM -g --defined-only "$object" |
	awk -v stem="${stem//-/_}" -v noun="${stem%%-*}" -v file="$source" '
		$3 == "main" || $3 ~ /^(__|_GLOBAL_)/ || NF < 3 { next }
		function begins(symbol, prefix) {
			return index(symbol "_", prefix "_") == 1
		}
		!begins($3, stem) && !begins($3, noun) && !begins($3, noun "s") {
			printf "%s:1: external symbol %s does not begin with %s_\n", file, $3, stem
			bad = 1
		}
		END { exit bad }' || bad=1
done
exit $bad
