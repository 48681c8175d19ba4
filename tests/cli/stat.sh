#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina stat: figures that add up, in three forms.
. "$(dirname "$0")/../lib.sh"
requires jq
export LAMINA_STORE=$T/s
lamina init -q
ok "an empty store" lamina stat --json
is "has nothing" "$(jq -c '[.logical_bytes, .data_bytes, .distinct_bytes, .dead_bytes, .counts.layers]' out)" '[0,0,0,0,0]'
is "the keys" "$(jq -c 'keys_unsorted' out)" \
	'["logical_bytes","data_bytes","distinct_bytes","stored_bytes","chunk_bytes","digest_bytes","map_bytes","index_bytes","dead_bytes","live_bytes","counts"]'

mkimage a 1024 0-99:data=1
cp a b
mkimage b 1024 0-9:data=2
one=$(lamina commit -q --memfile a --tag a)
two=$(lamina commit -q --memfile b --parent a --tag b)
ok "two layers" lamina stat --json --layers
cp out s.json
is "logical, data, distinct" "$(jq -c '[.logical_bytes, .data_bytes, .distinct_bytes]' s.json)" \
	"[$((2048 * 4096)),$((200 * 4096)),$((110 * 4096))]"
is "stored is what the packs are" "$(jq .stored_bytes s.json)" "$(du -cb s/packs/*.pack | awk 'END {print $1}')"
is "of chunks, lists and maps" "$(jq '.stored_bytes - .chunk_bytes - .digest_bytes - .map_bytes < 1000' s.json)" true
is "counts" "$(jq -c '.counts | [.layers, .tags, .removed, .packs]' s.json)" '[2,2,0,1]'
is "per layer" "$(jq -c '[.layers[] | [.layer, .logical_bytes, .data_bytes, .exclusive_bytes, .shared_bytes]]' s.json)" \
	"[[\"$one\",4194304,409600,40960,368640],[\"$two\",4194304,409600,40960,368640]]"
like "text" "$(lamina stat | tr -s ' ')" 'logical_bytes 8.0 MiB sizes of all'
like "exact" "$(lamina stat -b | tr -s ' ')" 'logical_bytes 8388608 sizes of all'
is "text of layers" "$(lamina stat --layers -b | tail -2 | awk '{print $1, $2, $3}')" \
	"${one:0:12} 4194304 409600
${two:0:12} 4194304 409600"

ok "Prometheus" lamina stat --prometheus --layers
is "the same figures" "$(awk '$1 == "lamina_distinct_bytes" {print $2}' out)" "$(jq .distinct_bytes s.json)"
is "of a layer" "$(awk -v l="lamina_layer_exclusive_bytes{layer=\"$one\"}" '$1 == l {print $2}' out)" 40960
is "each has help and a type" "$(grep -c '^# HELP' out) $(grep -c '^# TYPE .* gauge$' out)" \
	"$(grep -v '^#' out | sed 's/[{ ].*//' | sort -u | wc -l) $(grep -v '^#' out | sed 's/[{ ].*//' | sort -u | wc -l)"
is "and nothing else" "$(grep -vcE '^(# (HELP|TYPE) )?lamina_[a-z_]+' out)" 0
exits "not both" 2 lamina stat --prometheus --json

lamina rm --force a b
is "removed layers are counted" "$(lamina stat --json | jq -c '[.counts.removed, .counts.layers, .data_bytes, .dead_bytes > 0]')" '[2,0,0,true]'
done_testing
