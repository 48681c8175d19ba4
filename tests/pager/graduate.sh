#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Graduation with the whole pager: a real vCPU runs and verifies through its own, whatever is
# killed meanwhile, and the next diff stays small.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/pager/lib.sh"
requires lamina-pager curl jq userfaultfd root
seed=${SEED:-$RANDOM}
echo "# SEED=$seed"
mkimage mem.raw 2048 0-599:data=1 900-1999:data=2 2000-2047:fill=7
start_pager || bail "no pager"

guest_of() { # ID SCRIPT [FILE]: in the background; its output is ID.out
	client -t 200 -f mem.raw -e "map auto 8M 0; handoff run/$1.sock; $2" >"$1.out" 2>&1 &
	guest_pid=$!
	at_exit "kill -9 $guest_pid"
	within 20 grep -q '^ok handoff' "$1.out" && within 20 is_state "$1" serving
}
complete() { # ID [JSON]: in the background; its answer is ID.answer, its status ID.status
	curl -sS --max-time 120 --unix-socket "$sock" -o "$1.answer" -w '%{http_code}' -X POST \
		-H 'Content-Type: application/json' --data-binary "${2:-{\}}" \
		"http://pager/sessions/$1/complete" >"$1.status" 2>/dev/null &
	complete_pid=$!
}
completes() { # ID [JSON]
	complete "$@"
	wait $complete_pid && [ "$(cat "$1.status")" = 200 ] || { diag "$(cat "$1.answer")"; return 1; }
}

# --- workers, keepers, programs that go in the middle ---

slow='{"rate":4194304}'
for how in the_worker the_keeper both_in_turn takeover; do
	session $how mem.raw ',"prefetch":"off"'
	ok "$how: a guest" guest_of $how "touch random count 100
		sleep 6; churn 1 $seed threads 4; check; hangup 100; check"
	within 20 grep -q '^ok touch' $how.out
	complete $how '{"rate":1048576}'
	within 20 is_state $how completing
	case $how in
	the_worker) kill_worker ;;
	the_keeper) kill_keeper ;;
	both_in_turn) kill_keeper && kill_worker ;;
	takeover)
		lamina-pager --foreground --socket "$sock" --runtime-dir "$T/run" --takeover >pager2.log 2>&1 &
		at_exit "kill $!"
		within 20 grep -q 'took over' pager2.log
		within 20 answers
		;;
	esac
	wait $complete_pid
	if [ $how = the_keeper ]; then
		is "the worker goes on: it graduates" "$(cat $how.status)" 200
	else
		ok "it has not graduated" is_state $how serving
		ok "a retry works" completes $how
	fi
	ok "it has graduated" is_state $how graduated
	ok "every byte is right" wait $guest_pid || sed 's/^/# /' $how.out
done

# Once it is unregistered there is no way back: at whatever moment workers die, it ends well.
for ((i = 1; i <= ${KILLS:-12}; i++)); do
	session k$i mem.raw ',"prefetch":"off"'
	guest_of k$i "churn 1 $i threads 4; check; hangup 100; check" || fail "guest k$i"
	: >body		# of the last request: a session that has graduated may be gone at once
	until [ "$(jq -r .state body)" = graduated ]; do
		complete k$i
		worker=$(worker_pid)
		sleep 0.0$((RANDOM % 10))
		kill -9 "$worker"
		next_worker "$worker"
		wait $complete_pid
		request POST "/sessions/k$i/complete" '{}'
	done
	wait $guest_pid || { fail "kill $i"; sed 's/^/# /' k$i.out; }
done
pass "killed at random moments of it"

# --- a real vCPU ---

vcpu_of() { # ID FILE [OPTION...]
	session "$1" "$2" ',"prefetch":"off"' || return
	vcpu --socket "run/$1.sock" --source mem.raw --seed "$seed" --graduate --save "$1.raw" \
		"${@:3}" >"$1.out" 2>&1 &
	guest_pid=$!
	at_exit "kill -9 $guest_pid"
	within 20 is_state "$1" serving
}
if ! has kvm; then
	skip "no KVM" 15
	done_testing
fi
if ! vcpu_of first mem.raw --rounds 10; then
	status=0
	wait $guest_pid || status=$?
	[ $status != 77 ] || { skip "$(cat first.out)" 15; done_testing; }
	fail "a vCPU runs"
fi
ok "and graduates" completes first "$slow"
ok "and goes on, with every byte right" wait $guest_pid || sed 's/^/# /' first.out
echo "# $(grep -h dirty first.out)"

if ! has fuse; then
	skip "no FUSE" 12
	done_testing
fi
export LAMINA_STORE=$T/store
lamina -q init
id=$(lamina -q commit --memfile mem.raw)
mount_store store mnt || bail "cannot mount"
ok "from a layer" vcpu_of second "mnt/layers/$id/memfile" --calm --rounds 1
ok "it graduates" completes second "$slow"
ok "every byte is right" wait $guest_pid || sed 's/^/# /' second.out
is "graduation has made nothing dirty" "$(grep -m1 dirty second.out)" "ok dirty 0 pages of 2048"
dirty=$(sed -n 's/^ok dirty \([0-9]*\) pages.*/\1/p' second.out | tail -1)
removed=$(sed -n 's/.*, \([0-9]*\) removed$/\1/p' second.out)
child=$(lamina -q commit --memfile second.raw --parent "$id")
changed=$(lamina --json diff "$id" "$child" | jq '[.images[].pages_differ] | add')
echo "# $dirty dirty, $removed removed, $changed changed"
ok "the next diff is what it wrote, and removed" [ "$changed" -gt 0 -a "$changed" -le $((dirty + removed)) ]
ok "mapped again from its child" session third "mnt/layers/$child/memfile" ',"prefetch":"off"'
ok "restored: every byte is that of the snapshot" client -t 100 -f second.raw \
	-e "map auto 8M 0; handoff run/third.sock; touch random threads 4; check"

# --- the daemon of the layer dies in the middle ---

session fourth "mnt/layers/$id/memfile" ',"prefetch":"off"'
ok "a guest of a layer" guest_of fourth "touch random count 100; hangup 100; check"
complete fourth '{"rate":524288}'
within 20 is_state fourth completing
kill -9 "$fuse_pid"
umount -l mnt
wait $complete_pid
ok "the daemon is killed: it serves on" is_state fourth serving
is "the status" "$(cat fourth.status)" 503
like "says why" "$(jq -r .error fourth.answer)" "cannot be read"
mount_store store mnt
ok "mounted again: it graduates" completes fourth
ok "every byte is right" wait $guest_pid || sed 's/^/# /' fourth.out
done_testing
