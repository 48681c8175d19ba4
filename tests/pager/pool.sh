# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Huge pages of one's own, for the tests that source this behind tests/lib.sh.
# Whoever tests with them locks the same directory (tests/unit/pager-uffd.c, too).

pool=/sys/kernel/mm/hugepages/hugepages-2048kB
pool_mine=0

# A pool of N pages of 2 MiB where nobody has any.
take_pool() { # N
	[ "$(id -u)" = 0 ] && [ -d $pool ] && has flock && exec {pool_lock}<$pool || return
	if flock -xw 60 "$pool_lock" && [ "$(cat $pool/nr_hugepages)" = 0 ] &&
		[ "$(cat $pool/nr_overcommit_hugepages)" = 0 ]; then
		pool_mine=1
		at_exit give_pool
		set_pool "$1"
	else
		exec {pool_lock}<&-
		return 1
	fi
}

set_pool() { # N
	echo "$1" >$pool/nr_hugepages
	[ "$(cat $pool/nr_hugepages)" = "$1" ]
}

# For the next; what a guest still has of it goes when that ends.
give_pool() {
	[ $pool_mine = 1 ] || return 0
	pool_mine=0
	echo 0 >$pool/nr_hugepages
	exec {pool_lock}<&-
}
