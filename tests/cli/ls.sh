#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina ls and show.
. "$(dirname "$0")/../lib.sh"
requires jq
export LAMINA_STORE=$T/s
lamina init -q
is "an empty store has no layers" "$(lamina ls)" ""
is "as JSON" "$(lamina ls --json | jq -c .)" '[]'

mkimage m 1024 0-9:data=1
mkimage d 512 0-9:data=2
a=$(lamina commit -q --memfile m --tag b.tag --tag a-tag --meta owner=me)
lamina tag zz "$a"
b=$(lamina commit -q --rootfs d --parent "$a" --meta esc=$'a\033[31mb\nc')

is "quiet: ids, oldest first" "$(lamina ls -q)" "$a"$'\n'"$b"
ok "JSON" lamina ls --json
is "ids and parents" "$(jq -c '[.[] | [.layer, .parent]]' out)" "[[\"$a\",null],[\"$b\",\"$a\"]]"
is "tags are sorted" "$(jq -c '.[0].tags' out)" '["a-tag","zz"]'
is "images" "$(jq -c '.[1].images' out)" \
	'[{"name":"memfile","size":4194304},{"name":"rootfs","size":2097152}]'
like "when" "$(jq -r '.[0].created' out)" '^20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-9:]{8}Z$'
is "metadata" "$(jq -r '.[0].attributes.owner' out)" me
is "what it stored" "$(jq '.[0].stored_bytes > 0' out)" true
is "figures of the commit" "$(jq -r '.[0].attributes["lamina.new"]' out)" 10

ok "text" lamina ls
is "heads" "$(head -1 out | tr -s ' ')" "layer created parent tags images stored meta"
like "a line a layer" "$(sed -n 2p out | tr -s ' ')" \
	"^${a:0:12} 20[-0-9: ]+ - a-tag, zz memfile 4.0 MiB [0-9.]+ (KiB|B) owner=me$"
like "its child" "$(sed -n 3p out | tr -s ' ')" "^${b:0:12} .* ${a:0:12} memfile 4.0 MiB, rootfs 2.0 MiB "
like "nobody's metadata moves the cursor" "$(sed -n 3p out)" 'esc=a\?\[31mb\?c$'
is "three lines" "$(wc -l <out)" 3
like "exact sizes" "$(lamina ls --bytes | sed -n 2p)" "memfile 4194304 "

ok "show" lamina show a-tag
like "calls new pages as commit does" "$(tr -s ' ' <out)" $'\nlamina.new 10\n'
like "id" "$(cat out)" "layer +$a"$'\n'
like "tags" "$(cat out)" "tag +a-tag"$'\n'"tag +zz"$'\n'
like "images" "$(tail -1 out | tr -s ' ')" '^memfile memfile 4.0 MiB 2 40.0 KiB$'
is "show --json" "$(lamina show a-tag --json | jq -c '[.layer, .parent, .tags, .images]')" \
	"[\"$a\",null,[\"a-tag\",\"zz\"],[{\"name\":\"memfile\",\"kind\":\"memfile\",\"size\":4194304,\"frames\":2,\"data_bytes\":40960}]]"
is "and new pages" "$(lamina show a-tag --json | jq -c '.attributes | [.["lamina.new"], has("lamina.fresh")]')" \
	'["10",false]'
is "show --quiet" "$(lamina show a-tag --quiet)" "$a"
done_testing
