#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina log: the chain, with parents that are gone.
. "$(dirname "$0")/../lib.sh"
requires jq
export LAMINA_STORE=$T/s
lamina init -q
parent=()
for i in 1 2 3 4; do
	mkimage m 512 0-3:data=$i
	id[$i]=$(lamina commit -q --memfile m "${parent[@]}" --tag "g$i")
	parent=(--parent "${id[$i]}")
done
is "the chain, newest first" "$(lamina log g4 -q | tr '\n' ' ')" \
	"${id[4]} ${id[3]} ${id[2]} ${id[1]} "
is "from the middle" "$(lamina log g2 -q | tr '\n' ' ')" "${id[2]} ${id[1]} "
is "JSON" "$(lamina log g2 --json | jq -c '[.[] | [.layer, .removed, .parent, .tags[0]]]')" \
	"[[\"${id[2]}\",false,\"${id[1]}\",\"g2\"],[\"${id[1]}\",false,null,\"g1\"]]"
lamina rm --force g2
is "a removed parent ends it, and is named" "$(lamina log g4 --json | jq -c '[.[] | [.layer, .removed]]')" \
	"[[\"${id[4]}\",false],[\"${id[3]}\",false],[\"${id[2]}\",true]]"
like "in words" "$(lamina log g4 | tail -1)" "^${id[2]:0:12}  removed "
lamina gc -q
is "after gc as well" "$(lamina log g4 -q | tr '\n' ' ')" "${id[4]} ${id[3]} ${id[2]} "
lamina export g4 --memfile m4
same "and nothing is missing from the layers above" m m4
done_testing
