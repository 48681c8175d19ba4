#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A live image is sealed and committed while somebody writes to it.
. "$(dirname "$0")/live-lib.sh"

lamina -q init
mkimage mem.raw 4000 0-1999:noise=1
id=$(commit -m mem.raw)
live_create x "$id"
mount_store store mnt || bail "cannot mount"
f=mnt/live/x/memfile

is "fold: nothing to do" "$(livectl fold mnt/live/x)" 0
is "seal, of one that nobody has open" "$(livectl seal mnt/live/x)" 2
is "no ioctl anywhere else" "$(livectl seal mnt/live) $(livectl seal "mnt/layers/$id")" \
	"ENOTTY ENOTTY"
chmod 755 "$T"
umount_store mnt
mount_store store mnt -o allow_other,mode=0444 || bail "cannot mount"
if has setpriv; then
	is "nobody else may" "$(setpriv --reuid 65534 --clear-groups "$(command -v livectl)" seal mnt/live/x)" EPERM
else
	skip "no setpriv"
fi
umount_store mnt
mount_store store mnt || bail "cannot mount"

writer count "$f" 64 ready stop >counted &
writer=$!
at_exit "kill $writer"
ok "somebody writes" within 20 test -e ready
previous=0
for round in 1 2 3 4; do
	upto=$(livectl seal mnt/live/x)
	layer=$(livectl commit store x "$upto")
	like "round $round: a layer" "$layer" '^[0-9a-f]{64}$'
	case $round in
	1 | 3) is "round $round: fold" "$(livectl fold mnt/live/x)" 0 ;;
	*) ;; # the daemon sees it by itself
	esac
	first=$(od -An -td8 -N8 "mnt/layers/$layer/memfile" | tr -d ' ')
	last=$(od -An -td8 -N8 -j $((63 * 4096)) "mnt/layers/$layer/memfile" | tr -d ' ')
	ok "round $round: one moment of it ($first, $last)" \
		test "$first" -eq "$last" -o "$first" -eq $((last + 1))
	ok "round $round: later than the last" test "$first" -gt "$previous"
	same "round $round: the rest is the layer's" \
		<(tail -c +$((64 * 4096 + 1)) mem.raw) <(tail -c +$((64 * 4096 + 1)) "mnt/layers/$layer/memfile")
	previous=$first
	gone() { [ ! -e "store/live/x/$((upto - 1))" ]; }
	ok "round $round: what was committed is let go of" within 20 gone
done
touch stop
wait "$writer"
count=$(cat counted)
for page in 0 63; do
	is "page $page" "$(od -An -td8 -N8 -j $((page * 4096)) "$f" | tr -d ' ')" "$count"
done
ok "closed" within 20 closed
cp "$f" copy
upto=$(livectl seal mnt/live/x)
layer=$(livectl commit store x "$upto")
same "the last layer is what was written" copy "mnt/layers/$layer/memfile"
same "and what the live image has" copy "$f"
like "which has nothing of its own" "$(livectl info store x)" $'sealed 0.*\nmemfile [0-9]+ 0 0$'
is "it stands on it" "$(blocks "$f")" "$(blocks "mnt/layers/$layer/memfile")"
livectl_like "again: there is nothing to commit" '^EALREADY' commit store x "$upto"
is "no errors" "$(counter errors) $(counter read_errors) $(counter write_errors)" "0 0 0"
done_testing
