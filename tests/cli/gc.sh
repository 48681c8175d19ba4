#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina gc as its user sees it; store and crash tests look closer.
. "$(dirname "$0")/../lib.sh"
requires jq
export LAMINA_STORE=$T/s
lamina init -q
mkimage a 2000 0-999:noise=1
mkimage b 2000 0-999:noise=2
lamina commit -q --memfile a --tag a >/dev/null
lamina commit -q --memfile b --tag b >/dev/null

ok "nothing to do" lamina gc --json
is "frees nothing" "$(jq -c '[.layers, .pages, .packs, .bytes_before - .bytes_after]' out)" '[0,0,0,0]'
lamina rm --force a
before=$(lamina stat --json)
ok "a dry run" lamina gc --dry-run --repack --json
is "would forget a layer" "$(jq -c '[.dry_run, .layers]' out)" '[true,1]'
is "and changes nothing" "$(lamina stat --json)" "$before"
ok "gc" lamina gc --json
is "forgets it" "$(jq .layers out)" 1
is "its bytes are dead" "$(jq '.dead_bytes > 4000000' out)" true
ok "repack" lamina gc --repack --json
is "copies what is alive" "$(jq -c '[.repacked, .packs]' out)" '[1,1]'
is "and frees the rest" "$(jq '.bytes_before - .bytes_after > 4000000' out)" true
lamina export b --memfile b.out
same "what was kept is whole" b b.out
ok "the store is sound" lamina verify --deep
ok "text" lamina gc --repack
like "freed" "$(head -1 out)" "^freed$"
is "quiet" "$(lamina gc -q)" ""
lamina rm --force b
ok "an empty store" lamina gc --json
is "has no dead bytes" "$(jq '.dead_bytes < 1000' out)" true

exits "a ratio alone" 2 lamina gc --ratio 0.5
for bad in 0 -1 1.1 x ""; do
	exits "ratio '$bad'" 2 lamina gc --repack "--ratio=$bad"
	like "is refused" "$(cat err)" "^lamina: --ratio: '$bad' is not a ratio above 0, at most 1"
done
done_testing
