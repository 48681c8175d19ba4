#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Hypervisors that hand over what they have not got, and that do to their userfaultfd what
# they should not: their own guest is hurt, and nobody else.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/pager/lib.sh"
requires lamina-pager curl jq userfaultfd root
mkimage mem.raw 4096 0-1199:data=1 1800-3999:data=2 4000-4095:fill=7
start_pager || bail "no pager"

cpu_ticks() { # of the worker, so far
	awk '{print $14 + $15}' "/proc/$(worker_pid)/stat"
}

# Whether the worker is idle for two seconds: less than half of one on a processor.
is_idle() {
	local before
	before=$(cpu_ticks)
	sleep 2
	[ $(($(cpu_ticks) - before)) -lt $(($(getconf CLK_TCK) / 2)) ]
}

ended_with() { # ID STATE REASON
	local reason
	within 20 is_state "$1" "$2" || return
	reason=$(fact "$1" .reason)
	[[ $reason =~ $3 ]] || { echo "reason: $reason"; return 1; }
}

# --- a userfaultfd that blocks ---

ok "sessions" sessions b 12 mem.raw
for i in {1..12}; do
	guest_begin "b$i" mem.raw
	guest_does "b$i" "map auto 8M 0" "uffd blocking" "handoff run/b$i.sock" "touch seq count 1" "odd block" ||
		fail "guest $i"
done
ok "an honest guest is served" eval 'session good mem.raw &&
	client -t 60 -f mem.raw -e "map auto 8M 0; handoff run/good.sock; touch random threads 4; check"'
for i in {1..12}; do
	guest_does "b$i" "touch random count 50" "odd block" "remove 1M 64K" "touch random count 50" "odd block" || fail "guest $i goes on"
done
ok "another one, too" eval 'session good2 mem.raw &&
	client -t 60 -f mem.raw -e "map auto 8M 0; handoff run/good2.sock; touch random threads 4; check"'
ok "nobody is busy with that" is_idle
is "the log says it once a session" "$(grep -c ' b1: somebody takes O_NONBLOCK' pager.log)" 1
ok "the worker is killed" kill_worker
for i in {1..12}; do
	guest_does "b$i" check || fail "guest $i after that"
	guest_end "b$i"
	is "guest $i ends" $? 0
done

# --- faults that nobody here can answer ---

session f mem.raw
guest_begin f mem.raw
guest_does f "map auto 8M 0" "map auto 8M 8M memfd" "handoff run/f.sock" "touch seq off 1M count 4" "odd register"
is_left() { [ "$(fact f .counters.unanswered)" = "$1" ]; }
ok "memory that was not handed over: a fault is left" within 20 is_left 1
like "the log says where" "$(cat pager.log)" " f: a fault at address $(sed -n 's/^ok odd //p' f.out) cannot be answered: it is in no region"
guest_does f "odd protect 1M"
ok "so is one of write protection" within 20 is_left 2
guest_does f "odd minor 12M"
ok "and a minor one" within 20 is_left 3
is "the log has the first" "$(grep -c 'cannot be answered' pager.log)" 1
ok "nobody is busy with that" is_idle
ok "the guest is served" guest_does f "touch random off 2M len 4M threads 3" "remove 1M 64K" "expect zero 1028K 4K"
ok "the worker is killed" kill_worker
ok "the next one serves it, too" guest_does f "touch random off 6M len 2M"
request GET /metrics
ok "they are counted" awk '/^lamina_pager_unanswered_faults_total/ {n = $2} END {exit !(n >= 3)}' body
kill -9 "$guest_pid_f"
ok "the session ends, and says why" ended_with f gone "^the hypervisor ended$"

# --- regions that are not what the JSON says ---

# Where huge pages can be behind small ones: far below what the kernel chooses, and among the
# addresses that sanitizers leave to a program.
low=0x7e8000000000 high=0x7e8000200000 fault=0x7e8000400000

refused() { # MAP JSON-MEMBERS SENTENCE
	session r mem.raw
	client -t 20 -f mem.raw -e "$1; handoff run/r.sock json='[{$2}]'; hangup" || return
	ended_with r failed "$3"
}
ok "an address beyond all" refused "map auto 8M 0" \
	'"base_host_virt_addr":140737488355328,"size":8388608,"offset":0,"page_size":4096' \
	"^region 0: no process has the addresses from 0x800000000000 to 0x800000800000 \\('base_host_virt_addr', 'size'\\)$"
ok "a second region there" refused "map auto 8M 0" \
	'"base_host_virt_addr":@0,"size":4194304,"offset":0,"page_size":4096},{"base_host_virt_addr":72057594037927936,"size":4194304,"offset":4194304,"page_size":4096' \
	"^region 1: no process has the addresses"
ok "huge pages where there are small ones" refused "map $low 8M 0" \
	'"base_host_virt_addr":@0,"size":8388608,"offset":0,"page_size":2097152' \
	"^region 0: 'page_size' is 2097152, but its memory has pages of 4096 bytes$"
if take_pool 4; then
	ok "small pages where there are huge ones" refused "map auto 8M 0 huge" \
		'"base_host_virt_addr":@0,"size":8388608,"offset":0,"page_size":4096' \
		"^region 0: 'page_size' is 4096, but its memory has pages of 2097152 bytes$"
	ok "in shared memory, too" refused "map auto 8M 0 huge memfd" \
		'"base_host_virt_addr":@0,"size":8388608,"offset":0,"page_size":4096' "pages of 2097152 bytes"
	session t mem.raw
	guest_begin t mem.raw
	guest_does t "map $low 2M 0" "map $high 6M 2M huge" \
		"handoff run/t.sock json='[{\"base_host_virt_addr\":@0,\"size\":8388608,\"offset\":0,\"page_size\":4096}]'" \
		"touch random len 2M count 50"
	echo "touch seq off 4M count 1" >&"$guest_fd_t"
	is_left_too() { [ "$(fact t .counters.unanswered)" = 1 ]; }
	ok "huge pages behind small ones: the fault is left" within 20 is_left_too
	like "and the log says why" "$(grep ' t: ' pager.log)" "$fault cannot be answered: its memory has pages of another size"
	kill -9 "$guest_pid_t"
	have_huge=1
else
	skip "no huge pages of our own" 4
fi

# --- hung up, unmapped, and alive ---

unmapped() { # NAME [FLAGS]
	session "$1" mem.raw
	guest_begin "$1" mem.raw
	guest_does "$1" "map auto 8M 0 ${2:-}" "map auto 8M 8M ${2:-}" "handoff run/$1.sock" "touch random count 2" || return
	guest_does "$1" close "unmap 0" || return
	sleep 0.5
	is_state "$1" serving || return
	guest_does "$1" "touch random off 8M len 8M count 2" "unmap 8M" closefd || return
	ended_with "$1" gone "^the hypervisor hung up, and has unmapped its memory$" || return
	guest_end "$1"
}
ok "a hypervisor that has unmapped its memory and lives" unmapped u
ok "shared memory" unmapped us memfd
if [ -n "${have_huge:-}" ]; then
	ok "huge pages" unmapped uh huge
	ok "shared huge pages" unmapped ush "huge memfd"
else
	skip "no huge pages of our own" 2
fi

# --- files that are none ---

mkfifo fifo
sentence() { # NAME BODY SENTENCE
	asks "$1" 422 POST /sessions "{\"id\":\"x\",\"memfile\":\"$T/mem.raw\",$2}"
	like "$1: says so" "$(error_text)" "$3"
}
for file in "$T/fifo" /dev/null /dev/zero "$T"; do
	sentence "$file as a trace" "\"trace\":\"$file\"" "^trace '$file' is not a regular file$"
	sentence "$file to hold" "\"hold\":[\"$file\"]" "^cannot hold '$file': it is not a regular file$"
done
sentence "a recording into a FIFO that nobody reads" "\"record\":\"$T/fifo\"" "^cannot record to '$T/fifo'"
session good3 mem.raw
ok "sessions are made, and served" client -t 60 -f mem.raw -e "map auto 8M 0; handoff run/good3.sock; touch random; check"
done_testing
