#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina diff: counts and ranges between any two layers.
. "$(dirname "$0")/../lib.sh"
requires jq
export LAMINA_STORE=$T/s
lamina init -q
mkimage a 1536 0-99:data=1 600-699:data=2
mkimage d 512 0-9:data=3
cp a b
mkimage b 1536 5-9:data=4 50:zero 511-512:data=5 699-700:data=6
lamina commit -q --memfile a --rootfs d --tag a >/dev/null
lamina commit -q --memfile b --parent a --image extra=d --tag b >/dev/null

ok "JSON" lamina diff a b --json
is "the layers" "$(jq -r '.a, .b' out)" "$(lamina show a -q; lamina show b -q)"
is "images of either" "$(jq -c '[.images[].image]' out)" '["extra","memfile","rootfs"]'
is "pages that differ" "$(jq -c '.images[1] | [.frames, .frames_differ, .pages, .pages_differ, .zero_in_a, .zero_in_b, .bytes_differ]' out)" \
	'[3,2,1536,10,3,1,40960]'
is "an image that one has differs from zeros" \
	"$(jq -c '.images[0] | [.size_a, .size_b, .pages_differ, .zero_in_a]' out)" '[0,2097152,10,10]'
is "one that is inherited does not differ" "$(jq '.images[2].pages_differ' out)" 0
like "text says the same" "$(lamina diff a b | sed -n 3p | tr -s ' ')" \
	'^memfile 6.0 MiB 6.0 MiB 3 2 1536 10 3 1 40.0 KiB$'

is "ranges" "$(lamina diff a b --ranges --image memfile)" "memfile 20480 20480
memfile 204800 4096
memfile 2093056 8192
memfile 2863104 8192"
is "as JSON" "$(lamina diff a b -r -i memfile --json | jq -c '.images[0].ranges')" \
	'[{"offset":20480,"length":20480},{"offset":204800,"length":4096},{"offset":2093056,"length":8192},{"offset":2863104,"length":8192}]'
is "the other way round they are the same" "$(lamina diff b a --ranges)" "$(lamina diff a b --ranges)"
is "a layer does not differ from itself" "$(lamina diff a a --json | jq '[.images[].pages_differ] | add')" 0

# Exactly what cmp finds, page by page.
cmp -l a b | awk '{print int(($1 - 1) / 4096)}' | sort -un >want
lamina diff a b --ranges --image memfile |
	awk '{for (p = $2 / 4096; p < ($2 + $3) / 4096; p++) print p}' >got
same "no page more or less than differs" want got

# Sizes: one ends within a page of the other's last frame.
head -c $((700 * 4096 + 100)) a >short
lamina commit -q --memfile short --tag short >/dev/null
is "the end of the longer counts" "$(lamina diff short a --json | jq -c '.images[0] | [.size_a, .size_b, .pages_differ]')" \
	'[2867300,6291456,0]'
head -c $((650 * 4096 + 100)) a >short
lamina commit -q --memfile short --tag short >/dev/null
is "up to its last byte" "$(lamina diff a short --ranges --image memfile)" "memfile 2662400 204800"

printf 'device state' >st
lamina commit -q --state st --parent a --tag st >/dev/null
is "no byte beyond the end of either" "$(lamina diff a st --ranges)" "state 0 12"

exits "an image that neither has" 1 lamina diff a b --image nosuch
like "is named" "$(cat err)" "neither layer has an image 'nosuch'"
done_testing
