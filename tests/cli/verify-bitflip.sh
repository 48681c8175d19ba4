#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A flipped bit: export fails for that image, verify names it and exits 3.
. "$(dirname "$0")/../lib.sh"
requires jq
export LAMINA_STORE=$T/s
lamina init -q
mkimage a 1000 0-599:data=1
cp a b
mkimage b 1000 700-710:data=2
mkimage c 1000 0-9:data=3
a=$(lamina commit -q --memfile a --tag a)
b=$(lamina commit -q --memfile b --parent a --tag b)
c=$(lamina commit -q --memfile c --tag c)

flip() { # FILE OFFSET
	local byte
	byte=$(dd if="$1" bs=1 skip="$2" count=1 status=none | od -An -tu1)
	# shellcheck disable=SC2059
	printf "\\x$(printf %x $((byte ^ 16)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

for deep in "" --deep; do
	ok "a sound store: verify $deep" lamina verify $deep --json
	is "no faults" "$(jq -c '[.faults, .fault_count, .layers]' out)" '[[],0,3]'
done
like "text" "$(lamina verify)" "nothing is damaged$"

cp -r s sound
flip s/packs/00000001.pack 20000
exits "a flipped bit" 3 lamina verify
like "the place" "$(head -1 out)" "^damaged chunk 1:[0-9]+ in pack 00000001 at [0-9]+: "
is "the layers that it hurts" "$(grep -c "hurts layer $a" out) $(grep -c "hurts layer $b" out) $(grep -c "hurts layer $c" out)" "1 1 0"
like "how much was checked" "$(tail -2 out | head -1)" "1 damaged$"
is "the end" "$(tail -1 out)" "1 faults in 1 chunks, 2 layers hurt"
exits "JSON" 3 lamina verify --json
is "one fault" "$(jq -c '[.fault_count, (.faults | length), .faults[0].what, .faults[0].pack]' out)" '[1,1,"chunk",1]'
is "its layers" "$(jq -r '.faults[0].layers[]' out | sort)" "$(printf '%s\n' "$a" "$b" | sort)"
is "its place" "$(jq '.faults[0].offset <= 20000 and .faults[0].offset > 0' out)" true
exits "deep" 3 lamina verify --deep --json
is "finds it, too" "$(jq '.fault_count >= 1' out)" true
exits "quiet" 3 lamina verify -q
is "is quiet" "$(cat out)" ""

exits "export of what is hurt" 3 lamina export b --memfile b.out
like "names layer, image, page, chunk, pack" "$(cat err)" \
	"^lamina: cannot export: .*${b:0:12}.*memfile.*page.*chunk.*pack"
is "and writes nothing" "$(compgen -G 'b.out*')" ""
ok "others are whole" lamina export c --memfile c.out
same "byte by byte" c c.out

# In every kind of record: verify always finds it, and never dies.
size=$(stat -c %s sound/packs/00000001.pack)
missed=0
for i in $(seq 1 40); do
	rm -rf s && cp -r sound s
	flip s/packs/00000001.pack $((64 + (size - 65) * i / 40))
	lamina verify >out 2>err
	[ $? = 3 ] || { missed=$((missed + 1)); diag "bit at $((64 + (size - 65) * i / 40))"; }
done
is "40 bits all over the pack are found" "$missed" 0
rm -rf s && cp -r sound s
truncate -s -100 s/packs/00000001.pack
exits "a pack that is cut" 3 lamina verify
truncate -s 5000 s/packs/00000001.pack
exits "one of which little is left" 3 lamina verify
n=$(grep -c '^damaged ' out)
k=$(grep -oE '^damaged chunk [0-9]+:[0-9]+ ' out | sort -u | wc -l)
is "the end says how much is hurt" "$(tail -1 out)" "$n faults in $k chunks, 3 layers hurt"
is "every chunk has an address" "$(grep -cE '^damaged chunk [0-9]+ ' out)" 0
rm s/packs/00000001.pack
exits "a pack that is gone" 3 lamina verify
rm -rf s && cp -r sound s
flip s/packs/00000001.pack 3
exits "a pack that is not ours" 3 lamina verify
printf 'not a database' >s/index.db
exits "an index that is none" 1 lamina verify
like "is refused" "$(cat err)" "^lamina: cannot verify the store: .*index.db"
done_testing
