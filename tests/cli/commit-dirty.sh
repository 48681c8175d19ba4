#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina commit --dirty: ranges from the caller, from JSON that may be anything.
. "$(dirname "$0")/../lib.sh"
requires jq
export LAMINA_STORE=$T/s
lamina init -q
mkimage base 1536 0-199:data=1 600-799:data=2
lamina commit -q --memfile base --tag base >/dev/null
cp base now
mkimage now 1536 10:data=7 20-29:zero 1400:data=8

page=4096
cat >ranges.json <<END
[ {"offset": $((10 * page)), "length": $page},
  {"length": $((10 * page)), "offset": $((20 * page))},
  [$((1400 * page)), $page] ]
END
ok "ranges are committed" lamina commit --json --memfile now --dirty memfile=ranges.json \
	--parent base --tag now
is "nothing else is read" "$(jq .total.read_bytes out)" $((12 * page))
lamina export now --memfile now.out
same "it is what the guest has" now now.out

# What nobody names is the parent's, whatever the file holds there.
cp now lies
mkimage lies 1536 100:data=66
ok "what is not named" lamina commit -q --memfile lies --dirty memfile=ranges.json --parent base
is "is as in the parent" "$(cat out)" "$(lamina show now --json | jq -r .layer)"

ok "no ranges" lamina commit --json --memfile now --dirty memfile=<(echo '[]') --parent base
is "no change" "$(jq -c '[.frames_touched, .total.read_bytes]' out)" '[0,0]'
echo '[[40961, 1], [40961, 4095], [5734399, 90], [6291456, 4096]]' >odd.json
ok "ranges are widened to pages and cut at the end" lamina commit --json --memfile now \
	--dirty memfile=odd.json --parent base
is "two of them" "$(jq .total.read_bytes out)" $((3 * page))

# lamina diff prints what --dirty reads.
lamina diff base now --ranges --json --image memfile | jq '.images[0].ranges' >back.json
ok "ranges of lamina diff" lamina commit -q --memfile now --dirty memfile=back.json --parent base
is "make the same layer" "$(cat out)" "$(lamina show now --json | jq -r .layer)"

n=0
while IFS='|' read -r json reason; do
	n=$((n + 1))
	printf '%b' "$json" >"bad$n.json"
	exits "refused: $json" 1 lamina commit --memfile now --dirty "memfile=bad$n.json" --parent base
	is "it says where" "$(cat err)" "lamina: cannot commit: ranges 'bad$n.json': $reason"
done <<'END'
|line 1, column 1: expected '[': an array of ranges
null|line 1, column 1: expected '[': an array of ranges
{"offset": 1, "length": 2}|line 1, column 1: expected '[': an array of ranges
[|line 1, column 2: expected a range: {"offset": N, "length": N} or [N, N]
[[1, 2],]|line 1, column 9: expected a range: {"offset": N, "length": N} or [N, N]
[[1, 2]\n[3, 4]]|line 2, column 1: expected ',' or ']'
[[1, 2]|line 1, column 8: expected ',' or ']'
[[1, 2]] x|line 1, column 10: more text behind the array
[[1]]|line 1, column 4: expected ',' and a length
[[1, 2, 3]]|line 1, column 7: expected ']' after offset and length
[[-1, 2]]|line 1, column 3: expected a number of bytes, without a sign
[[1.5, 2]]|line 1, column 4: the number is not a whole number
[[1e3, 2]]|line 1, column 4: the number is not a whole number
[[01, 2]]|line 1, column 5: a number begins with 0
[["1", 2]]|line 1, column 3: expected a number of bytes, without a sign
[[18446744073709551616, 2]]|line 1, column 22: the number is too large
[[9223372036854775807, 1]]|line 1, column 26: the range ends beyond 2^63
[{}]|line 1, column 3: expected "offset" or "length"
[{"offset": 1}]|line 1, column 14: a range has "offset" and "length"
[{"offset": 1, "offset": 2}]|line 1, column 24: a second "offset"
[{"offset": 1, "size": 2}]|line 1, column 16: expected "offset" or "length"
[{"offset" 1}]|line 1, column 12: expected ':'
[[[[[[[[[[|line 1, column 3: expected a number of bytes, without a sign
END

ln -s nowhere gone.json
exits "a file that is not there" 1 lamina commit --memfile now --dirty memfile=gone.json --parent base
is "is named" "$(cat err)" \
	"lamina: cannot commit: cannot read ranges 'gone.json': No such file or directory"
truncate -s $(((64 << 20) + 1)) huge.json
exits "a file too large" 1 lamina commit --memfile now --dirty memfile=huge.json --parent base
like "is refused" "$(cat err)" "ranges 'huge.json': the file is larger than 64 MiB"
exits "no such image" 2 lamina commit --memfile now --dirty rootfs=odd.json --parent base
exits "no parent" 2 lamina commit --memfile now --dirty memfile=odd.json
exits "dirty and diff" 2 lamina commit --memfile now --diff --dirty memfile=odd.json --parent base
exits "dirty twice" 2 lamina commit --memfile now --dirty memfile=odd.json \
	--dirty memfile=odd.json --parent base
exits "no file" 2 lamina commit --memfile now --dirty memfile --parent base

# What the parent does not have is read, whatever the ranges say.
mkimage small 1000 0-999:data=1
printf tail >>small
cp small grown
head -c 300000 /dev/urandom >>grown
echo '[[8192,4096]]' >ranges.json
ok "a parent" lamina commit --memfile small --tag small
ok "an image that grew" lamina commit --memfile grown --dirty memfile=ranges.json --parent small \
	--tag grown
ok "is exported" lamina export grown --memfile grown.out
same "as a whole" grown.out grown

# As lamina-commit(1) says: frame 0 and 1 are not read, and 1 is zeros as a whole.
mkimage sparse 1536 0:data=1 1024:data=2
lamina commit -q --memfile sparse --tag sparse >/dev/null
cp sparse next
mkimage next 1536 1025:data=3
echo '[[4198400,4096]]' >ranges.json
ok "one page" lamina commit --memfile next --dirty memfile=ranges.json --parent sparse --dry-run --json
is "frames that are not read are the same, or zero as a whole" \
	"$(jq -c '.total | [.pages, .zero, .same, .new]' out)" '[1536,1022,513,1]'
ok "read as a whole" lamina commit --memfile next --parent sparse --dry-run --json
is "each zero page is zero" "$(jq -c '.total | [.pages, .zero, .same, .new]' out)" '[1536,1533,2,1]'
done_testing
