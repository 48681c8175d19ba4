#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The guests that the pager is tested with: right with a pager that is right
# (bare --serve), and not to be fooled by one that is not.
. "$(dirname "$0")/../lib.sh"
requires userfaultfd root
# shellcheck source-path=SCRIPTDIR source=pool.sh
. "$srcroot/tests/pager/pool.sh"
PATH=$buildroot/tests/pager:$PATH

mkimage mem.raw 2048 0-599:data=1 900-1999:data=2 1999-2047:fill=7
mkimage other.raw 2048 0-2047:data=9
truncate -s 3G big.raw
cat mem.raw >>big.raw

serve() { # SOCKET SOURCE [OPTION...]
	bare --serve "$1" --source "$2" "${@:3}" 2>"$1.err" &
	at_exit "kill $!"
	within 20 test -S "$1"
}

guest() { # SCRIPT
	client -t 100 -f mem.raw -e "$1"
}

serve sock mem.raw
serve big big.raw

ok "every order, every byte" guest "map auto 8M 0; handoff sock; touch seq count 100; touch reverse count 100
	touch random count 500; touch stride 64K; check"
ok "threads with pages of their own" guest "map auto 8M 0; handoff sock; touch random write threads 4; check"
ok "threads that come for the same pages" guest "map auto 8M 0; handoff sock; touch random threads 8 shared
	touch random write threads 8 shared count 300; check"
ok "faults of the kernel" guest "map auto 8M 0; handoff sock; syscall; check"
ok "anonymous memory and a memfd" guest "map auto 4M 0; map auto 4M 4M memfd; handoff sock; check"
ok "regions in any order, one above 3 GiB" client -t 100 -f big.raw -e "map auto 4M 3G; map auto 4M 0
	handoff big; touch random write threads 4; check; expect written 3G 4K"
ok "removed pages are zero" guest "map auto 4M 0; map auto 4M 4M memfd; handoff sock; touch random count 500
	remove 1M 5M; expect zero 1M 5M; check; write 2M 64K; remove 2M 4K; expect zero 2M 4K; check"
ok "a hole in a memfd, and advice that keeps its bytes" guest "map auto 8M 0 memfd; handoff sock; touch seq len 1M
	punch 0 64K; expect zero 0 64K; drop 64K 64K; expect file 64K 64K; punch 2M 64K; drop 3M 64K; check"
ok "churn" guest "map auto 4M 0; map auto 4M 4M memfd; handoff sock; churn 1 3 threads 6; check"
ok "latencies are JSON" guest "map auto 8M 0; handoff sock; latency 100; check"
like "with p50, p99 and n" "$(grep p50 out)" '^\{"n":100,"p50_ns":[0-9]+,"p99_ns":[0-9]+,"max_ns":[0-9]+\}$'
ok "what is there can be asked" guest "map auto 4M 0; map auto 4M 4M memfd; handoff sock; expect absent 0 8M
	touch seq count 1; touch seq off 4M count 1; expect resident 0 4K; expect absent 4K 1M
	expect resident 4M 4K; expect absent 4100K 1M"

for how in nofd twofds notuffd split late empty; do
	ok "a bad handoff ($how), then a good one" guest "map auto 1M 0; handoff sock $how; sleep 0.1; close
		handoff sock; check"
done
ok "the server hangs up on bad JSON" guest "map auto 1M 0; handoff sock json='[{\"size\":4096}]'; hangup
	handoff sock json='[{\"base_host_virt_addr\":@0,\"size\":1048576,\"offset\":0,\"page_size\":4096}]'; check"

# What must be noticed.
exits "a wrong byte" 1 client -t 100 -f other.raw -e "map auto 1M 0; handoff sock; touch seq"
like "with address, offset, expected and got" "$(cat err)" \
	'wrong byte: address 0x[0-9a-f]+ offset 0x[0-9a-f]+ \(file\): expected 0x[0-9a-f]{2}, got 0x[0-9a-f]{2}'
exits "a page that is not zero" 1 guest "map auto 1M 0; handoff sock; expect zero 0 4K"
exits "a page that is not the file's" 1 guest "map auto 1M 0; handoff sock; write 0 4K 1; expect file 0 4K"
exits "no SIGBUS where one is expected" 1 guest "map auto 1M 0; handoff sock; expect bus 0 4K"
exits "a server that does not hang up" 1 guest "map auto 1M 0; handoff sock silent; hangup 0"
exits "a fault that nobody answers" 4 client -t 1 -e "map auto 1M 0; uffd; touch seq blind"
exits "a command that does not exist" 2 guest "dance"
serve forgetful mem.raw --forgetful
exits "a server that forgets what was removed" 1 guest "map auto 4M 0; handoff forgetful; churn 60 1"

virtual() { # NAME STATUS SOCKET [OPTION...]
	local got=0
	vcpu --socket "$3" --source mem.raw "${@:4}" >"$T/out" 2>"$T/err" || got=$?
	if [ $got = 77 ]; then
		skip "$(cat "$T/err")"
	else
		is "$1" "$got" "$2" || _show_output vcpu "${@:4}"
	fi
}
virtual "a real vCPU" 0 sock --rounds 5
virtual "a real vCPU and a server that forgets" 1 forgetful --rounds 50

ok "the least a fault can cost" bare -n 1000
ok "the same with a pread" bare -n 1000 --source mem.raw
ok "and the least that many can" bare --bulk $((8 << 20)) --threads 2

if take_pool 8; then
	ok "huge pages" guest "map auto 4M 0 huge; map auto 4M 4M huge memfd; handoff sock; touch random count 300 write
		remove 4K 4K; remove 0 2M; expect zero 0 2M; punch 6M 2M; syscall count 50; check"
	ok "churn on huge pages" guest "map auto 8M 0 huge; handoff sock; churn 1 2 threads 2; check"
	virtual "a real vCPU on huge pages" 0 sock --huge --rounds 5
	ok "the least a fault of a huge page can cost" bare --huge -n 4
else
	skip "no huge pages of our own" 4
fi
done_testing
