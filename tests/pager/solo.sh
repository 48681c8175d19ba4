#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Sessions and their guests: every byte in every order, removals, handoffs that are
# wrong, guests that die.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/pager/solo-lib.sh"
requires userfaultfd root jq

mkimage mem.raw 2048 0-599:data=1 900-1999:data=2 1999-2047:fill=7
truncate -s 3G big.raw
cat mem.raw >>big.raw
start_solo

# --- all bytes, in every order ---

for prefetch in off 64K 2M adaptive; do
	as=",\"prefetch\":\"$prefetch\""
	paged "every order, prefetch $prefetch" "map auto 8M 0; HAND; touch seq count 100
		touch reverse count 100; touch random count 500; touch stride 64K; check" "$as"
	paged "a memfd, prefetch $prefetch" "map auto 4M 0; map auto 4M 4M memfd; HAND
		touch random write count 300; syscall; check" "$as"
	paged "removals, prefetch $prefetch" "map auto 4M 0; map auto 4M 4M memfd; HAND
		touch random count 300; remove 1M 5M; expect zero 1M 5M; check; write 2M 64K; remove 2M 4K
		expect zero 2M 4K; check" "$as"
	paged "churn, prefetch $prefetch" "map auto 4M 0; map auto 4M 4M memfd; HAND; churn 1 3 threads 6
		check" "$as"
done
paged "threads with pages of their own" "map auto 8M 0; HAND; touch random write threads 4; check"
paged "threads that come for the same pages" "map auto 8M 0; HAND; touch random threads 8 shared
	touch random write threads 8 shared count 300; check"
paged "faults of the kernel" "map auto 8M 0; HAND; syscall; check"
paged "a hole in a memfd, and advice that keeps its bytes" "map auto 8M 0 memfd; HAND; touch seq len 1M
	punch 0 64K; expect zero 0 64K; drop 64K 64K; expect file 64K 64K; punch 2M 64K; drop 3M 64K; check"
mem=big.raw paged "regions in any order, one above 3 GiB" "map auto 4M 3G; map auto 4M 0; HAND
	touch random write threads 4; check"
paged "a region that goes" "map auto 4M 0; map auto 4M 4M; HAND; touch seq count 10; unmap 4M
	touch random len 4M; sleep 0.2"
paged "what is fetched ahead is there" "map auto 4M 0; HAND; touch seq count 1; sleep 1
	expect resident 0 2M; check" ',"prefetch":"2M"'
paged "nothing is fetched ahead" "map auto 4M 0; HAND; touch seq count 1; sleep 0.3
	expect resident 0 4K; expect absent 4K 2M; check" ',"prefetch":"off"'

# A kernel that does not tell what is cached of a tmpfs: the long way for every page.
if has mount; then
	mkdir tmpfs
	mount -t tmpfs none tmpfs
	at_exit "cd /; umount -l '$T/tmpfs'"
	cp mem.raw tmpfs/mem.raw
	mem=tmpfs/mem.raw paged "a memfile on tmpfs" "map auto 8M 0; HAND; touch random threads 8 shared
		churn 1 5 threads 4; check"
else
	skip "may not mount a tmpfs"
fi

# --- handoffs that are wrong ---

before=$(open_fds)
refused() { # NAME REASON SCRIPT: the session fails, and says why
	local id=h$((++refused_n))
	make_session "$id" mem.raw ',"handoff_timeout_ms":300'
	ok "$1" guest "map auto 1M 0; ${3//HAND/handoff run/$id.sock}; hangup"
	is "$1: failed" "$(fact "$id" .state)" failed
	like "$1: and says why" "$(fact "$id" .reason)" "$2"
	ok "$1: the socket is gone" test ! -e "run/$id.sock"
}
refused_n=0
refused "no descriptor" '^no descriptor came' "HAND nofd"
refused "two descriptors" '^more than one descriptor' "HAND twofds"
refused "no userfaultfd" '^the descriptor is not a userfaultfd' "HAND notuffd"
refused "a split message" '' "HAND split"
refused "the descriptor in the second half" '^no descriptor came' "HAND late"
refused "an empty message" 'hung up and sent nothing' "HAND empty"
refused "a silent peer" '^the hypervisor connected and sent nothing' "HAND silent"
refused "no JSON" '' "HAND json='hello'"
refused "no list" '' "HAND json='{}'"
refused "no regions" '' "HAND json='[]'"
refused "a field is missing" 'base_host_virt_addr' "HAND json='[{\"size\":1048576}]'"
refused "a region behind the memfile's end" '' \
	"HAND json='[{\"base_host_virt_addr\":@0,\"size\":1048576,\"offset\":8388608,\"page_size\":4096}]'"
ok "nothing is left open of them" within 20 has_fds "$before"
paged "and the pager goes on" "map auto 8M 0; HAND; touch random; check"

session twice mem.raw
like "an id in use" "$(ask '{"id":"twice","memfile":"'"$T"'/mem.raw"}')" "^error: session 'twice' exists"
like "a socket in use" "$(ask '{"id":"other","memfile":"'"$T"'/mem.raw","socket":"'"$T"'/run/twice.sock"}')" \
	"^error: cannot listen on "
is "whose session is not disturbed by that" "$(fact twice .state)" waiting
is "nor has it a peer" "$(fact twice .pid)" null
is "closed" "$(ask close twice)" closed
like "and forgotten" "$(ask show twice)" '^error: '
ok "its socket is gone" test ! -e run/twice.sock
like "no memfile" "$(ask '{"id":"x","memfile":"/nowhere"}')" "^error: cannot open '/nowhere'"

# Another user comes by a directory that all may search.
if command -v setpriv >/dev/null && pub=$(mktemp -d /tmp/lamina-solo.XXXXXX); then
	at_exit "rm -rf '$pub'"
	chmod 755 "$pub"
	is "a session for another user" "$(ask "{\"id\":\"uid\",\"memfile\":\"$T/mem.raw\",\"peer_uid\":12345,\"socket\":\"$pub/uid.sock\"}")" "ok $pub/uid.sock"
	cp "$(command -v client)" "$pub/client"
	ok "a wrong one is sent away" setpriv --reuid 12346 --clear-groups "$pub/client" -t 60 \
		-e "map auto 1M 0; uffd usermode; handoff $pub/uid.sock silent; hangup"
	is "and the session goes on waiting" "$(fact uid .state)" waiting
	like "the log says who it was" "$(grep 'may not hand over' solo.log)" 'uid: a process of user 12346'
	ok "who may is not" guest "map auto 1M 0; handoff $pub/uid.sock; check"
	ok "the session has ended" within 20 is_fact uid .state gone
else
	skip "no setpriv" 6
fi

# --- guests that die ---

before=$(open_fds)
session killed mem.raw
mkfifo in
client -t 100 -f mem.raw <in >killed.out 2>&1 &
victim=$!
exec 8>in
echo "map auto 8M 0; handoff run/killed.sock; touch random count 50; churn 60 1 threads 4" >&8
within 10 grep -q 'ok touch' killed.out
is "it serves" "$(fact killed .state)" serving
like "and cannot be closed" "$(ask close killed)" '^error: .* serves a guest that lives'
is "its pid is known" "$(fact killed .pid)" "$victim"
kill -9 $victim
exec 8>&-
ok "the guest is killed: the session has ended" within 20 is_fact killed .state gone
ok "with all its descriptors" within 20 has_fds "$before"
is "its page bytes are given back" "$(fact killed .waiting_pages)" 0

session closed mem.raw
ok "a hypervisor that closes the connection and lives is served on" guest \
	"map auto 4M 0; handoff run/closed.sock; touch seq count 10; close; sleep 0.5; touch random; check"
ok "until it ends" within 20 is_fact closed .state gone
paged "one that closes its userfaultfd, too" "map auto 4M 0; HAND; closefd; touch random; check"

# --- huge pages ---

if take_pool 8; then
	before=$(open_fds)
	paged "huge pages" "map auto 4M 0 huge; map auto 4M 4M huge memfd; HAND; touch random count 300 write
		remove 4K 4K; remove 0 2M; expect zero 0 2M; punch 6M 2M; syscall count 50; check"
	paged "churn on huge pages" "map auto 8M 0 huge; HAND; churn 1 2 threads 2; check"
	paged "all threads come for all huge pages" "map auto 8M 0 huge; HAND; touch random threads 8 shared; check"
	set_pool 4
	session exact mem.raw
	client -t 100 -f mem.raw -e "map auto 8M 0 huge; handoff run/exact.sock; touch random threads 8 shared
		touch random threads 8 shared; sleep 3; check" >exact.out 2>&1 &
	exact=$!
	touched() { [ "$(grep -c 'ok touch' exact.out)" = 2 ]; }
	ok "a pool that is just large enough" within 20 touched
	ok "nobody waits for a page that is there" within 20 is_fact exact .waiting_pages 0
	is "while its guest lives" "$(fact exact .state)" serving
	ok "every byte is right" wait $exact
	set_pool 1
	session empty mem.raw
	client -t 100 -f mem.raw -e "map auto 6M 0 huge; handoff run/empty.sock; touch seq threads 3; check" >empty.out 2>&1 &
	waits=$!
	ok "the pool is empty" within 20 is_fact empty '.waiting_pages > 0' true
	sleep 0.5
	ok "its guest waits" kill -0 $waits
	set_pool 4
	ok "it is filled again: every byte" wait $waits
	ok "nothing is left open" within 20 has_fds "$before"
	give_pool
else
	skip "huge pages: the pool is another's, or cannot be changed" 10
fi

quit_solo
is "the sanitizers are content" "$(grep -E 'Sanitizer|runtime error' solo.log)" ""
done_testing
