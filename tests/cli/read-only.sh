#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A store that cannot be written: it is read all the same where the file system is why.
. "$(dirname "$0")/../lib.sh"
requires root
mkimage m 512 0-9:data=1
mkimage m2 512 0-9:data=1 20-29:data=2
lamina init -q --store s
one=$(lamina commit -q --store s --memfile m --tag t)

mount_ro() { # another mount of s, read-only
	mkdir -p ro
	mount --bind s ro && mount -o remount,bind,ro ro
}

readers() { # NAME STORE: all that only read, nothing is left behind
	local command before
	for command in "ls --json" "show t" "log t" "map t" "verify --deep -q"; do
		# shellcheck disable=SC2086
		lamina --store s $command >"want ${command%% *}"
	done
	[ "$2" != ro ] || rm -f s/leases/*
	before=$(ls -R "$2")
	for command in "ls --json" "show t" "log t" "map t" "verify --deep -q"; do
		# shellcheck disable=SC2086
		ok "$1: $command" lamina --store "$2" $command
		is "$1: as ever" "$(cat out)" "$(cat "want ${command%% *}")"
	done
	ok "$1: stat" lamina --store "$2" stat
	ok "$1: diff" lamina --store "$2" diff t t
	ok "$1: export" lamina --store "$2" export --force --memfile back t
	same "$1: the image" back m
	is "$1: nothing was left behind" "$(ls -R "$2")" "$before"
}

writers() { # STORE
	local command
	for command in "tag x t" "untag t" "rm t" "prune -o 0" "gc" "commit --memfile m" recover; do
		# shellcheck disable=SC2086
		exits "$command is refused" 1 lamina --store "$1" $command
		like "and why is said" "$(cat err)" \
			"^lamina: cannot [a-z ]*: store '$1' is on a read-only file system$"
	done
}

if has mount; then
	mount_ro
	at_exit "umount '$T/ro'"
	readers "nobody has it open" ro
	writers ro

	# Beside somebody who writes through another mount.
	if has fuse; then
		mount_store s rw-mnt
		readers "somebody has it open" ro
		umount_store rw-mnt
		within 10 test ! -e /proc/$fuse_pid
		readers "nobody any more" ro

		mount_store ro mnt
		same "lamina-fuse shows it" "mnt/layers/$one/memfile" m
		two=$(lamina commit -q --store s --memfile m2 --parent t)
		within 20 test -e "mnt/layers/$two"
		same "and what is committed meanwhile" "mnt/layers/$two/memfile" m2
		exec 3<"mnt/layers/$two/memfile"
		exits "a layer that is read through it" 4 lamina --store s rm "$two"
		like "is not removed" "$(cat err)" "is being read by pid $fuse_pid"
		exits "nor is the index replaced" 4 lamina --store s recover
		like "under it" "$(cat err)" "mounted by pid $fuse_pid"
		lamina --store s rm -q --force "$two"
		ok "by force it is" lamina --store s gc -q --repack --ratio 1
		ok "whoever has it open" cmp m2 - <&3
		exec 3<&-
		umount_store mnt
		within 10 test ! -e /proc/$fuse_pid
		ok "then gc frees it" lamina --store s gc -q
	else
		skip "no fuse" 39
	fi

	# While somebody writes, and gc moves things.
	(
		trap - EXIT
		for i in {1..12}; do
			mkimage w 512 "0-99:data=$i"
			lamina commit -q --store s --memfile w --tag w
			lamina gc -q --store s --repack --ratio 1
		done
		touch written
	) >/dev/null 2>&1 &
	bad=0
	until [ -e written ]; do
		{ lamina --store ro verify && lamina --store ro export --force --memfile back t &&
			cmp back m; } >bad.log 2>&1 || { bad=$((bad + 1)); diag "$(cat bad.log)"; }
	done
	wait $!
	is "what is read is whole at any time" "$bad" 0
	ok "the store is sound" lamina --store s verify --deep

	# Killed writers leave a log.
	n=$(count_faults change lamina-fault --store s commit --memfile m2 --tag k)
	bad=0
	for ((i = 1; i <= n; i += 2)); do
		mkimage w 512 "0-9:data=$((100 + i))"
		{ LAMINA_FAULT=change:$i:kill lamina-fault --store s commit --memfile w; } >/dev/null 2>&1
		lamina --store ro show t >out 2>err || { bad=$((bad + 1)); diag "$i: $(cat err)"; }
	done
	is "after each of $n steps of a killed commit it is read" "$bad" 0
	umount ro
	rmdir ro
else
	skip "may not mount" 71
fi

# A whole file system.
if has loop && has mkfs.ext4 && has mount; then
	truncate -s 32M disk
	mkfs.ext4 -q disk
	mkdir whole
	ok "a file system" mount -o loop disk whole
	at_exit "umount '$T/whole'"
	cp -r s whole/s
	umount whole
	ok "mounted read-only" mount -o loop,ro disk whole
	readers "another copy" whole/s
	writers whole/s
	umount whole
	ok "without leases and lock" mount -o loop disk whole
	rm -rf whole/s/lock whole/s/leases/*
	umount whole
	mount -o loop,ro disk whole
	readers "it is read, too" whole/s
	umount whole
else
	skip "no loop device" 47
fi

# Somebody else's store.
if has setpriv; then
	as_other() {
		setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
	}
	cp "$(realpath "$(command -v lamina)")" other
	chmod -R go+rX . && chmod go+x "$(dirname "$T")"
	if as_other ./other --version >/dev/null 2>&1; then
		exits "readable by all" 1 as_other ./other --store s ls
		like "is not enough" "$(cat err)" "^lamina: cannot list layers: even to read store 's' .*: Permission denied$"
		chmod 600 s/index.db
		exits "not readable" 1 as_other ./other --store s ls
		like "is not permitted" "$(cat err)" "Permission denied$"
		chmod 700 s
		exits "not to be entered" 1 as_other ./other --store s ls
		like "is not permitted" "$(cat err)" "Permission denied$"
	else
		skip "others cannot come here" 6
	fi
else
	skip "no setpriv(1)" 6
fi
exits "no store" 1 lamina --store nosuch ls
is "is called so" "$(cat err)" "lamina: cannot list layers: there is no store in 'nosuch'"
exits "lamina-fuse says" 1 lamina-fuse nosuch .
like "the same" "$(cat err)" "there is no store in 'nosuch'"
mv s/index.db .
exits "no index" 1 lamina --store s ls
like "is called so" "$(cat err)" "'s' has no index.db: 'lamina recover' makes it again"
done_testing
