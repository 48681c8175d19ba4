#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# --json: everything that prints data prints one JSON value, keys in order.
. "$(dirname "$0")/../lib.sh"
requires jq
lamina --json init --store s >init.json
export LAMINA_STORE=$T/s
mkimage m 1100 0-9:data=1
lamina --json commit --memfile m --tag a --meta 'note=quotes " and \ and ü' >commit.json
mkimage m 1100 5:data=2
lamina --json commit --memfile m --parent a --tag b >commit2.json

check() { # NAME COMMAND...
	local name=$1
	shift
	ok "$name" "$@"
	cp out value.json
	ok "$name: is valid" jq -es 'length == 1' value.json
}
for f in init commit commit2; do
	ok "$f: is valid" jq -es 'length == 1' $f.json
done
check ls lamina ls --json
is "texts come through" "$(lamina ls --json | jq -r '.[0].attributes.note')" 'quotes " and \ and ü'
check show lamina show a --json
check log lamina log b --json
check diff lamina diff a b --json
check "diff --ranges" lamina diff a b --json --ranges
check "diff of the same" lamina diff a a --json --ranges
check stat lamina stat --json
check "stat --layers" lamina stat --json --layers
check map lamina map b --json
check export lamina export b --json --memfile m.out
check "tag" lamina tag --json
check "tag TAG LAYER" lamina tag --json c b
check untag lamina untag --json c
printf 'lamina-trace 1 page-size 4096 size 4505600\n7 3\nend 3\n' >t
check "trace import" lamina trace import --json b t
check "trace ls" lamina trace ls --json
check "trace show" lamina trace show --json b
check "trace show --runs" lamina trace show --json --runs b
check "trace rm" lamina trace rm --json b resume
check "trace ls of none" lamina trace ls --json
check verify lamina verify --json
check "verify --deep" lamina verify --deep --json
check "prune --dry-run" lamina prune --json --keep-last 1 --dry-run
check prune lamina prune --json --keep-last 2
check "gc --dry-run" lamina gc --json --dry-run
check gc lamina gc --json --repack
check rm lamina rm --json --force a
check "show is what info says" lamina show b --json

# --- what fails ---

fails() { # STATUS COMMAND...: an object says why, and so does stderr
	local status=$1
	shift
	exits "fails: $*" "$status" "$@"
	is "... as stderr says" "$(jq -r 'select(length == 1) | .error' out)" \
		"$(sed 's/^lamina: [^:]*: //' err)"
}
fails 1 lamina show --json nosuch
fails 1 lamina ls --json --store nowhere
fails 1 lamina commit --json --memfile m --parent nosuch
fails 1 lamina --json diff a nosuch
fails 1 lamina guest show --json nosuch
fails 1 lamina pause --json nosuch
fails 1 lamina guest cont --json nosuch
fails 1 lamina resume --json nosuch --name x -H qemu -S x
fails 1 lamina guest provision --json --no-agent nowhere
fails 1 lamina measure-dirtying --json x --workload idle --svg nowhere/x
exits "a name that is no UTF-8" 1 lamina show --json $'no\xffne'
ok "is told all the same" jq -e '.error | test("no.+ne")' out
exits "wrong usage" 2 lamina ls --json more
is "prints nothing" "$(cat out)" ""
exits "a failure without --json" 1 lamina show nosuch
is "nothing either" "$(cat out)" ""

is "keys of commit stand in their order" "$(jq -r 'keys_unsorted | join(" ")' commit.json)" \
	"layer existed dry_run parent tag seconds bytes_stored frames_touched images total"
is "and of its images" "$(jq -r '.images[0] | keys_unsorted | join(" ")' commit.json)" \
	"name size pages zero same known new frames frames_touched read_bytes stored_bytes"
like "indented by two" "$(sed -n 2p commit.json)" '^  "layer": "'
done_testing
