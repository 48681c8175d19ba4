#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina commit of what is not an ordinary image: each has an answer.
. "$(dirname "$0")/../lib.sh"
requires jq
export LAMINA_STORE=$T/s
lamina init -q

refused() { # NAME PATTERN ARGUMENT...
	local name=$1 pattern=$2
	shift 2
	exits "$name is refused" 1 lamina commit "$@"
	like "and the message says why" "$(cat err)" "^lamina: cannot commit: .*$pattern"
	is "in one line" "$(wc -l <err)" 1
	is "and nothing was committed" "$(lamina ls -q)" ""
}

mkdir dir
mkfifo fifo
mkimage m 600 0-9:data=1
refused "a directory" "'dir'.*directory" --memfile dir
refused "a fifo" "'fifo'" --memfile fifo
refused "a character device" "'/dev/zero'" --memfile /dev/zero
refused "a file that is not there" "'gone'.*No such file" --memfile gone
refused "one of two" "'gone'" --memfile m --rootfs gone
refused "a parent that is not there" "no layer" --memfile m --parent feedbeef
if [ "$(id -u)" != 0 ]; then
	chmod 0 m
	refused "a file that may not be read" "Permission denied" --memfile m
	chmod 600 m
fi

# Sizes.
committed() { # NAME FILE
	ok "$1 is committed" lamina commit --json --memfile "$2" --tag t
	rm -f back
	lamina export t --memfile back
	same "and comes back" "$2" back
}
: >empty
committed "an empty file" empty
printf x >one
committed "one byte" one
head -c 4095 m >short
committed "4095 bytes" short
head -c $((2 * 1024 * 1024 + 1)) m >odd
committed "two MiB and a byte" odd
printf '\0' >zero
committed "one zero byte" zero
is "which is zero" "$(lamina show t --json | jq '.images[0].data_bytes')" 0

truncate -s 1T sparse
mkimage sparse $((1 << 28)) 123456789:data=5
ok "a TiB of holes is committed" lamina commit --json --memfile sparse --tag sparse
is "with one page" "$(jq -c '.images[0] | [.pages, .new, .read_bytes]' out)" '[268435456,1,4096]'
ok "and its map can be drawn" lamina map sparse
like "in few lines" "$(wc -l <out)" '^[0-9]{1,2}$'
ok "and it is exported" lamina export sparse --memfile sparse.out
is "as large" "$(stat -c %s sparse.out)" $((1 << 40))
is "as sparse" "$(($(stat -c %b sparse.out) <= 64))" 1
same "with its page" <(tail -c +$((123456789 * 4096 + 1)) sparse | head -c 8192) \
	<(tail -c +$((123456789 * 4096 + 1)) sparse.out | head -c 8192)

# A block device is read like a file.
if has loop; then
	loop=$(losetup --show -fr m)
	at_exit "losetup -d $loop"
	ok "a block device" lamina commit -q --memfile "$loop"
	is "is the same as the file" "$(cat out)" "$(lamina commit -q --memfile m)"
else
	skip "no loop devices" 2
fi

# A file that changes while it is read.
mkimage busy 40000 0-39999:data=6
(while :; do printf x | dd of=busy conv=notrunc status=none; done) &
writer=$!
at_exit "kill $writer"
exits "a file that is written to meanwhile" 1 lamina commit --memfile busy
like "is refused" "$(cat err)" "'busy'.*changed"
kill "$writer"
done_testing
