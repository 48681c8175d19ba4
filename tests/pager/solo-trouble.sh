#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Pages that cannot be read: tried again, then the session's policy; never zeros.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/pager/solo-lib.sh"
requires userfaultfd root jq

mkimage mem.raw 1024 0-1023:data=1
start_solo 0 300

# Nothing is fetched ahead; the file is its own.
cut_session() { # ID [,FIELDS]
	cp mem.raw "$1.raw"
	session "$1" "$1.raw" ',"prefetch":"off"'"${2:-}"
}
guest_of() { # ID SCRIPT: in the background; its output is ID.out
	client -t 100 -f mem.raw -e "map auto 4M 0; handoff run/$1.sock; $2" >"$1.out" 2>&1 &
	guest_pid=$!
}
waits() { # ID
	is_fact "$1" '.waiting_pages > 0 and .counters.retries > 1' true
}

cut_session wait
guest_of wait "touch random len 1M; sleep 0.5; touch random threads 4; check"
within 20 grep -q 'ok touch' wait.out
truncate -s 1M wait.raw
ok "the file is cut off: the page is tried again" within 20 waits wait
sleep 1.5
ok "and again, beyond all patience, and the guest waits" kill -0 $guest_pid
is "the session serves" "$(fact wait .state)" serving
like "the log says where and what" "$(grep 'wait.raw' solo.log | head -1)" \
	"wait: address 0x[0-9a-f]+, offset [0-9]+ of '.*/wait.raw': .*: will be tried again"
dd if=mem.raw of=wait.raw bs=1M skip=1 seek=1 conv=notrunc status=none
ok "the file is whole again: every byte is right" wait $guest_pid
ok "and nobody waits" within 20 is_fact wait .state gone

cut_session poison ',"on_error":"poison"'
guest_of poison "touch random len 1M; sleep 0.5; expect bus 1M 4K; expect file 0 1M; expect bus 1028K 4K; sleep 1"
within 20 grep -q 'ok touch' poison.out
truncate -s 1M poison.raw
poisoned() { [ "$(grep -c 'ok expect' poison.out)" = 3 ]; }
ok "poison: who touches the page gets SIGBUS, others their bytes" within 20 poisoned
is "two pages are poisoned" "$(fact poison .counters.poisoned)" 2
is "and nobody waits for them" "$(fact poison .waiting_pages)" 0
like "the log says so" "$(grep poisoned solo.log | head -1)" "poisoned: whoever touches it gets SIGBUS"
wait $guest_pid

cut_session stop ',"on_error":"stop"'
guest_of stop "touch random len 1M; sleep 0.5; touch random threads 2; check"
within 20 grep -q 'ok touch' stop.out
truncate -s 1M stop.raw
ok "stop, without a keeper that could: it is said, and goes on as wait" \
	within 20 grep -q 'stop: cannot stop the guest' solo.log
dd if=mem.raw of=stop.raw bs=1M skip=1 seek=1 conv=notrunc status=none
ok "until the file is whole again" wait $guest_pid

cut_session gone
guest_of gone "touch random len 1M; sleep 0.5; touch seq off 1M"
within 20 grep -q 'ok touch' gone.out
truncate -s 1M gone.raw
ok "a guest that waits for a page" within 20 waits gone
kill -9 $guest_pid
ok "is killed: its session ends" within 20 is_fact gone .state gone

# --- another file in its place ---

others() { # how often the log says that there is one
	grep -c "other.raw' is another file now" solo.log
}

cut_session other
ln other.raw kept.raw
guest_of other "touch random len 1M; sleep 0.5; touch random threads 4; check"
within 20 grep -q 'ok touch' other.out
truncate -s 1M other.raw
ok "the guest waits" within 20 waits other
mkimage strange.raw 1024 0-1023:data=2
mv strange.raw other.raw
ok "another file of the same size is there: the log says so" within 20 grep -q "other: '.*/other.raw' is another file now" solo.log
sleep 1.2
ok "it is not taken: the guest waits" waits other
is "the log says it once" "$(others)" 1
cp mem.raw new.raw
mv new.raw other.raw
sleep 1.2
ok "nor is one with the same bytes" waits other
mv -f kept.raw other.raw
dd if=mem.raw of=other.raw bs=1M skip=1 seek=1 conv=notrunc status=none
ok "the file itself is there again, and whole: every byte is right" wait $guest_pid

quit_solo
is "the sanitizers are content" "$(grep -E 'Sanitizer|runtime error' solo.log)" ""
done_testing
