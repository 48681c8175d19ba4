#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina export: the same bytes, sparse, in place of nothing.
. "$(dirname "$0")/../lib.sh"
requires jq
export LAMINA_STORE=$T/s
lamina init -q
mkimage m 5000 0-99:data=1 1000-1999:noise=2 4990-4999:data=3
head -c 123456 m >st
mkimage other 512 7:data=4
lamina commit -q --memfile m --state st --image 'disk-2=other' --tag t >/dev/null

ok "export" lamina export t --memfile m.out --state st.out --image disk-2=other.out --json
cp out export.json
same "memfile" m m.out
same "state, whose size is odd" st st.out
same "another disk" other other.out
is "figures" "$(jq -c '[.images[] | [.image, .path, .size, .data_bytes]]' export.json)" \
	'[["memfile","m.out",20480000,4546560],["state","st.out",123456,123456],["disk-2","other.out",2097152,4096]]'
is "holes stay holes" "$(($(stat -c '%b * 512' m.out) <= 1120 * 4096))" 1
is "nobody else may read it" "$(stat -c %a m.out)" 600
like "text" "$(lamina export t --memfile m2.out | tail -1 | tr -s ' ')" '^memfile 19.5 MiB 4.3 MiB m2.out$'
is "quiet" "$(lamina export t --memfile m3.out -q)" ""

echo mine >mine
exits "a file that exists" 1 lamina export t --memfile mine
is "is named" "$(cat err)" "lamina: cannot export: 'mine' exists (--force replaces it)"
is "and not touched" "$(cat mine)" mine
exits "nothing is written if one of them exists" 1 lamina export t --state new --memfile mine
is "not the other either" "$(ls -d new 2>/dev/null)" ""
ok "--force replaces it" lamina export t --memfile mine --force
same "by the image" m mine
mkdir dir
exits "but not a directory" 1 lamina export t --memfile dir --force
like "which is said" "$(cat err)" "'dir' exists and is not a regular file"
ln -s m.out link
exits "nor what a link points at" 1 lamina export t --memfile link --force
mkfifo pipe	# rather than a device of this machine: a test that fails would replace it
is "nor a special file" "$(lamina export t --memfile pipe --force 2>&1)" \
	"lamina: cannot export: 'pipe' exists and is not a regular file"
exits "no such directory" 1 lamina export t --memfile nosuch/m
like "is named" "$(cat err)" "cannot write 'nosuch/m': No such file or directory"
exits "no such image" 1 lamina export t --rootfs r
like "is named" "$(cat err)" "the layer has no image 'rootfs'"
exits "no image" 2 lamina export t
exits "no name" 2 lamina export t --image m.out
exits "no file" 2 lamina export t --image memfile=

if has mount; then
	mkdir small
	mount -t tmpfs -o size=1m none small
	at_exit "umount $T/small"
	exits "a full disk" 1 lamina export t --memfile small/m
	like "is said" "$(cat err)" "^lamina: cannot export: cannot write 'small/m': No space left on device$"
	is "and nothing is left there" "$(ls -A small)" ""
	ok "what fits still can be written" lamina export t --state small/st
else
	skip "may not mount" 4
fi

# In the middle of it, where it is stopped: SIGINT, and a file of that name
# that somebody else makes meanwhile.
is_stopped() {
	[ "$(awk '$1 == "State:" {print $2}' "/proc/$pid/status")" = T ]
}
stopped_at() { # CALL:N OUT: $pid is an export that stands still there
	LAMINA_FAULT=$1:stop lamina-fault export t --memfile "$2" >out 2>err &
	pid=$!
	within 20 is_stopped
}
goes_on() { # [SIGNAL]: the status is that of the export
	[ $# = 0 ] || kill "-$1" "$pid"
	kill -CONT "$pid"
	wait "$pid"
}
for at in ftruncate:1 pwrite:3; do # before its first byte, and behind some
	ok "an export at $at" stopped_at $at killed
	like "has a file that is not whole" "$(compgen -G 'killed*')" '^killed\.tmp\.[^ ]+$'
	exits "SIGINT" 130 goes_on INT
	is "is said" "$(cat err)" "lamina: export: interrupted"
	is "and leaves nothing" "$(compgen -G 'killed*')" ""
done
ok "an export" stopped_at pwrite:3 taken
echo theirs >taken
exits "a file that has appeared" 1 goes_on
like "is named" "$(cat err)" "cannot make 'taken': File exists"
is "and not replaced" "$(cat taken) $(compgen -G 'taken.*')" "theirs "
layer=$(lamina tag -q | head -1)
ok "one image to two files" lamina export "$layer" --memfile one --memfile two
same "both have it" one two
exits "one file for two images" 2 lamina export "$(lamina tag -q | head -1)" --memfile twice \
	--rootfs twice --force
like "is refused" "$(cat err)" "'twice' is given for two images"
done_testing
