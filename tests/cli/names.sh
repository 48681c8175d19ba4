#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Layers are named by tag, id or prefix, everywhere.
. "$(dirname "$0")/../lib.sh"
requires jq
export LAMINA_STORE=$T/s
lamina init -q
mkimage m 512 0:data=1
a=$(lamina commit -q --memfile m --tag one)

for name in one "$a" "${a:0:12}" "${a:0:5}" "${a:0:4}" "${a:0:12}" "$(tr a-f A-F <<<"${a:0:10}")"; do
	ok "show $name" lamina show "$name" --json
	is "it is the layer" "$(jq -r .layer out)" "$a"
done
for command in show log map "export --memfile x" rm "diff one" "tag new"; do
	# shellcheck disable=SC2086
	exits "$command of a layer that is not there" 1 lamina $command nosuch
	like "which is named" "$(cat err)" "^lamina: cannot .*'nosuch'"
done
exits "three digits are too few" 1 lamina show "${a:0:3}"
exits "too many digits" 1 lamina show "${a}0"
exits "nothing" 1 lamina show ""

# Until two layers begin with the same four digits: some 300 tries.
declare -A seen=(["${a:0:4}"]=$a)
for ((i = 2; i < 4000; i++)); do
	printf '%d' "$i" >f
	id=$(lamina commit -q --state f)
	[ -z "${seen[${id:0:4}]:-}" ] || break
	seen[${id:0:4}]=$id
done
exits "a prefix of two layers" 1 lamina show "${id:0:4}"
like "is ambiguous" "$(cat err)" "'${id:0:4}'.*fits 2 layers"
ok "a digit more may do" lamina show "${id:0:12}"
lamina tag "${id:0:4}" one
is "a tag goes before a prefix" "$(lamina show "${id:0:4}" --json | jq -r .layer)" "$a"
done_testing
