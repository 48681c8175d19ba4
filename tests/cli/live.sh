#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina live, as far as it goes without a mount; tests/fuse/live-*.sh have the rest.
. "$(dirname "$0")/../lib.sh"
requires jq
export LAMINA_STORE=$T/s
lamina init -q
mkimage mem 1024 0-99:data=1
mkimage disk 2000 0-63:data=2 600:fill=7
a=$(lamina commit -q --memfile mem --rootfs disk --tag a)

show() { # NAME JQ
	lamina live show --json "$1" | jq -c "$2"
}
refused() { # DESCRIPTION STATUS SENTENCE ARGUMENT...
	local what=$1 status=$2 sentence=$3
	shift 3
	exits "$what" "$status" lamina live "$@"
	is "... and says why" "$(head -n 1 err)" "lamina: $sentence"
}

# --- create, ls, show ---

is "there are none" "$(lamina live ls)" ""
is "none as JSON" "$(lamina live ls --json | jq -c .)" '[]'
ok "one is made" lamina live create one --from a
is "quietly" "$(cat out)" ""
is "it is listed" "$(lamina live ls -q)" one
like "for people" "$(lamina live ls | tr -s ' ' | tail -n 1)" \
	"^one ${a:0:12} [0-9-]+ [0-9:]+ 2 11.8 MiB 0 B [0-9.]+ [KM]?i?B -$"
is "as JSON" "$(lamina live ls --json | jq -c '.[] | [.name, .layer, .sealed, .pid, (.images | length)]')" \
	"[\"one\",\"$a\",0,null,2]"
like "when it was made" "$(show one .created)" '^"20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-9:]{8}Z"$'
is "its images" "$(show one '[.images[] | [.name, .size, .layer_size, .growth, .written, .punched, .frames]]')" \
	'[["memfile",4194304,4194304,0,0,0,0],["rootfs",8192000,8192000,0,0,0,0]]'
ok "shown for people" lamina live show one
like "with its layer" "$(cat out)" "layer +$a"
is "it takes no room to speak of" "$(($(show one .disk) < 65536))" 1
ok "a larger one" lamina live create --size rootfs=16M --size memfile=4M --size new=1G two --from a --json
is "which prints it" "$(jq -c '[.name, [.images[] | [.name, .size, .growth]]]' out)" \
	'["two",[["memfile",4194304,0],["new",1073741824,1073741824],["rootfs",16777216,8585216]]]'
ok "one of nothing" lamina live create three --size memfile=0
is "stands on no layer" "$(show three '[.layer, .images[0].size]')" '[null,0]'
ok "one that is larger than any disk here" lamina live create huge --size rootfs=7T

refused "a name that is taken" 1 \
	"cannot create the live image: there is a live image 'one' already" create one --from a
refused "a name that is none" 2 "'.x' is no name for a live image" create .x --from a
refused "of what" 2 "say of what: --from LAYER, or --size IMAGE=SIZE" create four
refused "no layer" 1 "cannot create the live image: there is no layer or tag 'nix'" create four --from nix
refused "a size below the layer's" 1 \
	"cannot create the live image: image 'rootfs' of the layer has 8192000 bytes, a live image cannot begin with 4096" \
	create four --from a --size rootfs=4096
refused "a size that is none" 2 "--size: 'rootfs=x' is not IMAGE=SIZE, as in rootfs=8G" create four --size rootfs=x
refused "an image twice" 2 "--size: image 'a' is given twice" create four --size a=1 --size a=2
refused "a name of an image" 2 "--size: '.a' is no name for an image" create four --size .a=1
exits "beyond what can be" 1 lamina live create four --size rootfs=9T
like "is said" "$(cat err)" "8 TiB|too large|larger"
refused "show of what is not" 1 "cannot show the live image: there is no live image 'four'" show four
refused "no such verb" 2 "'list' is not create, ls, show, commit or rm" list
refused "too few operands" 2 "live show wants NAME" show
refused "too many" 2 "live show takes no more than NAME" show a b
refused "an option of another verb" 2 "live rm has no --tag" rm --tag x one

# --- the layer below ---

exits "a layer on which one stands" 4 lamina rm a
exits "cannot be removed" 4 lamina rm --force "$a"
like "which is said" "$(cat err)" "live image.* 'one'"
lamina untag a
lamina prune --keep-last 0 --json >out 2>err
ok "not by prune" lamina show "$a"
lamina tag a "$a"
ok "verify is content" lamina verify -q

# --- commit ---

ok "a commit of nothing written" lamina live commit one --tag b --json
b=$(jq -r .layer out)
is "is a child" "$(jq -c '[.parent, .tag, .live, .total.new, .total.read_bytes]' out)" "[\"$a\",\"b\",\"one\",0,0]"
unlike_id() { [ "$b" != "$a" ]; }
ok "of its own" unlike_id
is "with the same bytes" "$(lamina diff a b --json | jq '[.images[].pages_differ] | add')" 0
is "on which it stands now" "$(show one .layer)" "\"$b\""
ok "so the one below can go" lamina untag a
ok "it is not in use by 'one'" lamina live rm two
ok "nor by another" lamina rm "$a"
exits "but the new one" 4 lamina rm --force "$b"
ok "a dry run" lamina live commit one --dry-run --json
is "makes no layer" "$(jq -c .layer out)" null
is "and moves nothing" "$(show one .layer)" "\"$b\""
ok "an empty one" lamina live commit three -q
is "is a layer, too" "$(lamina show --json "$(cat out)" | jq -c '[.images[] | [.name, .size]]')" '[["memfile",0]]'
refused "a bad tag" 2 "--tag: '.x' is no name for a tag" commit one --tag .x
refused "of what is not" 1 "cannot commit the live image: there is no live image 'four'" commit four
ok "with more about it" lamina live commit one --meta guest=web-7
is "which is kept" "$(lamina show --json "$(show one .layer | jq -r .)" | jq -r .attributes.guest)" web-7

# --- one that is damaged ---

lamina live create hurt -S memfile=4096
lamina live create lost -S memfile=4096
printf damage | dd of=s/live/hurt/1/memfile conv=notrunc 2>/dev/null
mv s/live/lost/1 gone
exits "ls tells of it" 3 lamina live ls
is "beside the others" "$(sed 1d out | cut -d' ' -f1 | tr '\n' ' ')" "huge one three "
like "each of them" "$(cat err)" "cannot list live images: .*'hurt'"
like "by name" "$(cat err)" "cannot list live images: .*'lost'"
exits "as JSON, too" 3 lamina live ls --json
is "there are the others" "$(jq -c '[.[].name]' out)" '["huge","one","three"]'
ok "names are names" lamina live ls -q
is "of all" "$(tr '\n' ' ' <out)" "huge hurt lost one three "
exits "a commit of one" 3 lamina live commit lost
like "says why" "$(head -n 1 err)" "live image 'lost'.*delta 1 is missing"
ok "they can be removed" lamina live rm hurt lost

# --- rm ---

exits "one that is not" 1 lamina live rm nix
exits "nor does any other go then" 1 lamina live rm huge nix three --json
is "which is so" "$(lamina live ls -q | tr '\n' ' ')" "huge one three "
like "the JSON says why" "$(jq -r .error out)" "'nix'"
ok "the others go" lamina live rm huge three
ok "the last one" lamina live rm one --json
is "JSON" "$(jq -c . out)" '{"removed":["one"]}'
is "nothing is left" "$(ls -A "$LAMINA_STORE/live")" ""
ok "its layer can go" lamina rm --force "$b"
done_testing
