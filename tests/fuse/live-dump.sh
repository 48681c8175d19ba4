#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A process writes its memory into a live image while that memory is still brought from a layer, by
# the same daemon, and may not use much of it: nobody waits for himself.
. "$(dirname "$0")/live-lib.sh"

group=
memory_group() { # LIMIT: a memory cgroup, if we may make one
	local root
	root=$(awk '$3 == "cgroup" && $4 ~ /(^|,)memory(,|$)/ {print $2; exit}' /proc/self/mounts)
	if [ -n "$root" ]; then
		group=$root/lamina-test-$$
		mkdir "$group" && echo "$1" >"$group/memory.limit_in_bytes"
		return
	fi
	root=$(awk '$3 == "cgroup2" {print $2; exit}' /proc/self/mounts)
	[ -n "$root" ] || return
	group=$root/lamina-test-$$
	mkdir "$group" && echo "$1" >"$group/memory.max"
}

lamina -q init
mkimage mem.raw 40000 0-19999:noise=1 20000-39999:data=7
id=$(commit -m mem.raw)
live_create x - memfile=$((40000 * 4096))
live_create y "$id"

dump() { # NAME FILE HOW
	local pid
	(
		[ -z "$group" ] || echo "$BASHPID" >"$group/cgroup.procs"
		exec writer dump "mnt/layers/$id/memfile" "$2" "$3"
	) >dumped 2>&1 &
	pid=$!
	within 200 nobody_else $pid || { fail "$1: it ends"; return; }
	is "$1: written" "$(cat dumped)" ok
	same "$1: the same bytes" mem.raw "$2"
}

{ has plain && memory_group $((48 << 20)); } 2>/dev/null || group=
[ -n "$group" ] && at_exit "rmdir '$group'"
for threads in 10 2; do
	mount_store store mnt -o threads=$threads || bail "cannot mount"
	[ -n "$group" ] || skip "no memory cgroup, or a sanitizer"
	dump "$threads threads, into an empty one" mnt/live/x/memfile write
	dump "$threads threads, through a mapping" mnt/live/y/memfile shared
	dump "$threads threads, over its layer" mnt/live/y/memfile write
	dump "$threads threads, over what it has" mnt/live/x/memfile shared
	umount_store mnt
done
done_testing
