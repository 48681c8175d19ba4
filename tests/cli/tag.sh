#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina tag and untag.
. "$(dirname "$0")/../lib.sh"
requires jq
export LAMINA_STORE=$T/s
lamina init -q
is "no tags" "$(lamina tag)" ""
is "none as JSON" "$(lamina tag --json | jq -c .)" '[]'
mkimage m 512 0:data=1
a=$(lamina commit -q --memfile m)
mkimage m 512 0:data=2
b=$(lamina commit -q --memfile m --tag two)

ok "a layer gets a tag" lamina tag one "${a:0:8}"
is "quietly" "$(cat out)" ""
ok "a tag of a tag's layer" lamina tag uno one --json
is "JSON" "$(jq -c . out)" "{\"tag\":\"uno\",\"layer\":\"$a\"}"
is "they are listed by name" "$(lamina tag -q | tr '\n' ' ')" "one two uno "
is "with their layers" "$(lamina tag | tr -s ' ' | tr '\n' ';')" \
	"tag layer;one ${a:0:12};two ${b:0:12};uno ${a:0:12};"
lamina tag one two
is "a tag can be moved" "$(lamina tag --json | jq -c '.[0]')" "{\"tag\":\"one\",\"layer\":\"$b\"}"
mkimage m 512 0:data=3
c=$(lamina commit -q --memfile m --tag one)
is "by commit, too" "$(lamina show one -q)" "$c"
ok "and when the layer existed" lamina commit -q --memfile m --tag three
is "it points there" "$(lamina show three -q)" "$c"

exits "a layer that is not there" 1 lamina tag x nosuch
exits "no layer" 2 lamina tag x
like "is asked for" "$(cat err)" "which layer is 'x' to point at"
for bad in "" .x a/b "a b" "$(printf 'x%.0s' {1..129})" "$a" $'a\nb'; do
	exits "bad name '${bad:0:20}'" 2 lamina tag "$bad" one
	exits "and in commit" 2 lamina commit --memfile m --tag "$bad"
done

ok "untag" lamina untag one three --json
is "JSON" "$(jq -c . out)" '{"untagged":["one","three"]}'
is "they are gone" "$(lamina tag -q | tr '\n' ' ')" "two uno "
is "their layers are not" "$(lamina show "$c" -q)" "$c"
exits "untag what is not there" 1 lamina untag two nosuch
like "is named" "$(cat err)" "'nosuch'"
is "and the other stays" "$(lamina tag -q | tr '\n' ' ')" "two uno "
exits "untag nothing" 2 lamina untag
done_testing
