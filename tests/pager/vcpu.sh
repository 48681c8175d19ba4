#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A real vCPU that reads, writes and gives pages back: every byte is right, from a plain file
# and a layer in the mount, at both page sizes, while workers are killed.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/pager/lib.sh"
requires lamina-pager curl jq userfaultfd root kvm
seed=${SEED:-$RANDOM}
echo "# SEED=$seed"
mkimage mem.raw 2048 0-599:data=1 900-1999:data=2 2000-2047:fill=7
start_pager || bail "no pager"

# Starts a vCPU whose memory is FILE's; what it says is in NAME.out.
vcpu_begin() { # NAME FILE [OPTION...]
	session "$1" "$2" || return
	vcpu --socket "run/$1.sock" --source mem.raw --seed "$seed" "${@:3}" >"$1.out" 2>&1 &
	pid=$!
	at_exit "kill -9 $pid"
}

vcpu_ends() { # NAME
	local status=0
	wait "$pid" || status=$?
	echo "# $(cat "$1.out")"
	return $status
}

vcpu_begin first mem.raw --rounds 1
vcpu_ends first
case $? in
77) skip_all "$(cat first.out)" ;;
0) pass "a vCPU" ;;
*) fail "a vCPU" ;;
esac

taken_over() { # NAME: null while a new worker is busy with it
	[ "$(fact "$1" '.counters.workers // 0')" -gt 1 ]
}

with_kills_once() { # NAME FILE [OPTION...]
	killed=0
	vcpu_begin "$@"
	within 20 is_state "$1" serving
	while kill -0 "$pid" 2>/dev/null && kill_worker; do
		killed=$((killed + 1))
	done
	vcpu_ends "$1" || return
	echo "# $killed workers were killed"
}

# A guest of which no worker was killed that had served it shows nothing: another one.
with_kills() { # NAME FILE [OPTION...]
	local try
	for try in "" 2 3; do
		with_kills_once "$1$try" "${@:2}" || return
		within 10 is_state "$1$try" gone || return	# whenever that was, it is remembered
		[ $killed -gt 0 ] && within 10 taken_over "$1$try" && return
		fact "$1$try" . | sed 's/^/# /'
		tail -n 20 pager.log | sed 's/^/# /'
	done
	return 1
}

ok "undisturbed" eval 'vcpu_begin plain mem.raw --rounds 10 && vcpu_ends plain'
ok "while workers are killed" with_kills killed mem.raw --rounds "${ROUNDS:-40}"
grep -h '^#' out
like "it gave pages back" "$(cat killed.out)" '[1-9][0-9]* removed'
ok "the pager has seen that" test "$(fact killed .counters.removes)" -gt 0

if has fuse; then
	export LAMINA_STORE=$T/store
	lamina -q init
	id=$(lamina -q commit --memfile mem.raw)
	mount_store store mnt || bail "cannot mount"
	ok "from a layer" eval 'vcpu_begin layer "mnt/layers/$id/memfile" --rounds 10 && vcpu_ends layer'
	ok "while workers are killed" with_kills layers "mnt/layers/$id/memfile" --rounds "${ROUNDS:-40}"
	grep -h '^#' out
else
	skip "no FUSE" 2
fi

if take_pool 4; then
	more=$((${ROUNDS:-40} * 10))	# of few faults each
	ok "of 2 MiB pages" with_kills huge mem.raw --huge --rounds $more
	grep -h '^#' out
	within 10 is_state huge gone
	if has fuse; then
		ok "from a layer" with_kills hugely "mnt/layers/$id/memfile" --huge --rounds $more
		grep -h '^#' out
	fi
	give_pool
else
	skip "no huge pages of our own" 2
fi
done_testing
