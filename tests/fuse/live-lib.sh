# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# What the tests of live images share, on top of lib.sh:
#
#	writer_is NAME WANT ARGUMENT...		what writer (writer.c) prints
#	livectl_like NAME LIKE ARGUMENT...	what livectl (livectl.c) prints
#	live_create NAME LAYER|- [IMAGE=BYTES...]
#	blocks FILE				bytes that stat(2) says it occupies
#	kill_daemon MNT				kill -9, and unmounts
#	closed					no live image is open in the daemon

. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

writer_is() {
	local name=$1 want=$2
	shift 2
	is "$name" "$(writer "$@" 2>&1)" "$want"
}

livectl_like() {
	local name=$1 want=$2
	shift 2
	like "$name" "$(livectl "$@" 2>&1)" "$want"
}

live_create() {
	local answer
	answer=$(livectl create store "$@" 2>&1)
	[ "$answer" = ok ] || bail "cannot make a live image: $answer"
}

blocks() {
	echo $(($(stat -c %b "$1") * 512))
}

kill_daemon() {
	kill -9 "$fuse_pid"
	within 20 nobody_else "$fuse_pid"
	umount -l "$1"
}

closed() {
	[ "$(counter live)" = 0 ]
}
