#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina init: what it makes, what it says, what it refuses.
. "$(dirname "$0")/../lib.sh"
requires jq

ok "a store is made" lamina init --store s
like "it says how" "$(cat out)" "^made an empty store in 's': blake2b-256, zstd level 1, "
is "nobody else may look" "$(stat -c %a s)" 700
exits "not twice" 1 lamina init --store s
is "it says why" "$(cat err)" "lamina: cannot make a store: there is a store in 's' already"

mkdir full && touch full/mine
exits "not over files" 1 lamina init --store full
like "it names one of them" "$(cat err)" "'full' is not empty: it has 'mine'"
ok "directories are made" lamina init --store a/b/c --quiet
is "quietly" "$(cat out)" ""

ok "every parameter can be chosen" lamina init --store t --json --digest sha256 --codec zstd \
	--level 3 --chunk-pages 4 --chunk-pages rootfs=16
is "as JSON" "$(jq -c . out)" '{"store":"t","digest":"sha256","codec":"zstd","level":3,"chunk_pages":{"memfile":4,"rootfs":16,"other":4}}'
ok "no compression" lamina init --store u --codec none
mkimage m 600 0-599:data=1
ok "such a store works" lamina commit --store u --memfile m --tag t
ok "and gives back" lamina export --store u t --memfile m2
same "what it was given" m m2

# What --help says of the defaults is what they are.
defaults=$(lamina init --store d --json)
help=$(lamina init --help | tr -s ' \n' '  ')
like "the default digest" "$help" "$(jq -r .digest <<<"$defaults") \(default\)"
like "the default codec" "$help" "$(jq -r .codec <<<"$defaults") \(default\)"
like "the default level" "$help" "level, $(jq -r .level <<<"$defaults") \(default\)"
like "the default chunks" "$help" "default: $(jq -r '.chunk_pages | "memfile=\(.memfile), rootfs=\(.rootfs), other=\(.other)"' <<<"$defaults")"

while IFS='|' read -r arguments reason; do
	# shellcheck disable=SC2086
	exits "init $arguments" 2 lamina init --store x $arguments
	like "it says why" "$(head -1 err)" "^lamina: $reason"
	is "nothing was made" "$(ls -d x 2>/dev/null)" ""
done <<'END'
--digest md5|--digest: 'md5' is neither
--codec lz4|--codec: 'lz4' is neither
--level 0|--level: '0': zstd has levels 1 to 22
--level 23|--level: '23': zstd has levels 1 to 22
--level fast|--level: 'fast': zstd has levels
--codec none --level 1|--level: '1': none has no levels
--chunk-pages 0|--chunk-pages: '0': pages go from 1 to 16
--chunk-pages 17|--chunk-pages: '17': pages go from 1 to 16
--chunk-pages disk=4|--chunk-pages: 'disk=4': the kinds are
--chunk-pages =4|--chunk-pages: '=4': the kinds are
END
done_testing
