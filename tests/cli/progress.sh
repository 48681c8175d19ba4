#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Progress: one line on a terminal, silence in a pipe; Ctrl-C.
. "$(dirname "$0")/../lib.sh"
requires jq
export LAMINA_STORE=$T/s
lamina init -q
mkimage big 60000 0-59999:noise=1

ok "in a pipe" lamina commit --memfile big --tag big
is "stderr stays empty" "$(cat err)" ""
ok "export, too" lamina export big --memfile x
is "stderr stays empty" "$(cat err)" ""

mkimage big2 200000 0-199999:noise=2
if has script; then
	ok "on a terminal" script -qec "$(command -v lamina) export big --memfile y" typescript
	like "there is a line" "$(cat typescript)" $'\rexport  [0-9.]+ [KM]?i?B of 234.4 MiB  [0-9]+ %'
	like "and it is wiped in the end" "$(cat typescript)" $'\r\033\\[Kimage'
	ok "quiet" script -qec "$(command -v lamina) -q export big --memfile z" typescript
	is "is quiet" "$(grep -c MiB typescript)" 0
	ok "verify --deep" script -qec "$(command -v lamina) verify --deep" typescript
	like "has bytes where it reads" "$(cat typescript)" $'\rreading packs  [0-9.]+ [KM]?i?B of '
	like "and counts segments" "$(cat typescript)" $'\rchecking segments  [0-9]+ of [0-9]+  [0-9]+ %'
	like "and frames" "$(cat typescript)" $'\rchecking frames  [0-9]+ of [0-9]+  [0-9]+ %'
	ok "gc" script -qec "$(command -v lamina) gc" typescript
	like "counts layers" "$(cat typescript)" $'\rmarking  [0-9]+ of [0-9]+  [0-9]+ %'
	rm s/index.db
	ok "recover" script -qec "$(command -v lamina) recover" typescript
	like "has bytes where it reads" "$(cat typescript)" $'\rreading packs  [0-9.]+ [KM]?i?B of '
	like "and counts layers" "$(cat typescript)" $'\rchecking layers  [0-9]+ of [0-9]+  [0-9]+ %'
else
	skip "no script(1)" 14
fi

# SIGINT: a sentence, nothing published, the store as before.  The commit is
# stopped meanwhile, so that it cannot end before.
before=$(lamina stat --json | jq -c 'del(.index_bytes)')
packed() { du -cb s/packs | tail -1 | cut -f1; }
lamina commit --memfile big2 --threads 1 >out 2>err &
pid=$!
within 10 eval '[ "$(packed)" -gt 260000000 ]'
kill -STOP "$pid"
if [ "$(packed)" -gt 900000000 ]; then
	kill -CONT "$pid"
	wait "$pid"
	skip "the commit was too quick" 3
else
	kill -INT "$pid"
	kill -CONT "$pid"
	wait "$pid"
	is "SIGINT" "$?" 130
	is "a sentence" "$(cat err)" "lamina: commit: interrupted, nothing was committed"
	is "the store is as before" "$(lamina stat --json | jq -c 'del(.index_bytes)')" "$before"
fi
ok "and sound" lamina verify
done_testing
