#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# stdout that is full, closed or a pipe nobody reads; stdin and stderr closed.
. "$(dirname "$0")/../lib.sh"
export LAMINA_STORE=$T/s
lamina init -q
mkimage m 3000 0-2999:data=1
lamina commit -q --memfile m --tag a >/dev/null
mkimage n 3000 0-2999:data=2
lamina commit -q --memfile n --tag b >/dev/null

for command in ls "ls --json" "ls -q" "show a" "show a --json" "log a" "diff a b" "diff a b --json -r" \
	stat "stat --prometheus" "map a" "map a --json" "map a --svg -" tag verify gc "prune --keep-last 9" \
	--help "ls --help" --version "completion bash" "commit --dry-run --memfile m"; do
	exits "full: $command" 1 bash -c "lamina $command >/dev/full"
	like "it says so" "$(cat err)" "^lamina: cannot write to standard output: No space left on device$"
	exits "closed: $command" 1 bash -c "lamina $command >&-"
	like "it says so" "$(cat err)" "^lamina: cannot write to standard output: Bad file descriptor$"
done
mkimage p 512 0:data=3
exits "full, but committed" 1 bash -c "lamina commit --memfile p --tag p >/dev/full"
is "it says both" "$(cat err)" "lamina: cannot write to standard output: No space left on device; layer $(
	lamina show -q p) is committed"
lamina rm -q --force p
ok "who prints nothing needs no stdout" bash -c 'lamina tag c a >&-'
is "it did its work" "$(lamina tag -q | tr '\n' ' ')" "a b c "
ok "stdin and stderr may be closed" bash -c 'lamina commit -q --memfile m --parent b <&- 2>&-'
ok "the store is sound" lamina verify --deep
exits "all of them" 1 bash -c 'lamina ls <&- >&- 2>&-'
is "a reader that stops is no error" \
	"$(bash -c 'lamina diff a b --json --ranges | head -1; exit 0' 2>&1)" "{"
done_testing
