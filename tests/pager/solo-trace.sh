#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Recordings of what a guest touched, and their replay.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/pager/solo-lib.sh"
requires userfaultfd root jq

mkimage mem.raw 2048 0-599:data=1 900-1999:data=2 1999-2047:fill=7
start_solo

faults() { # NAME SCRIPT [,FIELDS]: how many faults that took, in $faults
	ran=s$((++paged_n))
	make_session "$ran" mem.raw "${3:-}"
	ok "$1" guest "${2//HAND/handoff run/$ran.sock}"
	faults=$(fact "$ran" .counters.faults)
}
trace=",\"trace\":\"$T/t1\""

faults "a guest is recorded" "map auto 8M 0; HAND; touch random count 400 seed 5; check" ",\"record\":\"$T/all\""
ok "the session has ended" within 20 is_fact "$ran" .state gone
is "each page is in it once" "$(awk '/^[0-9]/ {n += $2} END {print n}' all)" 2048
session part mem.raw ",\"record\":\"$T/t1\""
ok "another, of some pages" guest "map auto 8M 0; handoff run/part.sock; touch random count 400 seed 5"
within 20 is_fact part .state gone
is "its trace has these pages" "$(sed -n '$p' t1)" "end 400"
like "and says of what it is" "$(head -1 t1)" "^lamina-trace 1 page-size 4096 size 8388608$"
first=$(fact part .counters.faults)

faults "the trace is replayed" "map auto 8M 0; HAND; touch seq count 1; sleep 1; touch random count 400 seed 5" \
	"$trace,\"prefetch\":\"off\""
ok "faults are fewer ($faults instead of $first)" test "$faults" -lt 40
is "no more is installed than the trace has" "$(fact "$ran" '.counters.replayed <= 400')" true
faults "every byte is right with it" "map auto 8M 0; HAND; touch random threads 4; check" "$trace"
faults "removed before it comes" "map auto 8M 0; HAND; remove 0 8M; sleep 0.5; expect zero 0 8M; check" "$trace"
faults "and during it" "map auto 4M 0; map auto 4M 4M memfd; HAND; churn 1 9 threads 6; check" "$trace"
faults "regions of the half of it" "map auto 4M 4M; HAND; touch random; check" "$trace"

# A trace that is wrong: other pages, another memfile's, no trace.
{ head -1 t1; echo "600 300"; echo "end 300"; } >wrong
faults "a wrong trace" "map auto 8M 0; HAND; touch seq len 2M; check" ",\"trace\":\"$T/wrong\",\"prefetch\":\"off\""
sed '1s/8388608/4194304/; s/^[0-9].*/0 1/; $s/.*/end 1/' t1 | uniq >size
faults "a trace of another size" "map auto 8M 0; HAND; touch random; check" ",\"trace\":\"$T/size\""
ok "is left aside, and the log says so" grep -q "of a memfile of another size" solo.log
head -3 t1 >cut-short
like "a trace that is cut short is refused" \
	"$(ask "{\"id\":\"cut\",\"memfile\":\"$T/mem.raw\",\"trace\":\"$T/cut-short\"}")" "^error: .*cut"
like "no trace" "$(ask "{\"id\":\"no\",\"memfile\":\"$T/mem.raw\",\"trace\":\"$T/none\"}")" "^error: .*none"

# The trace that is replayed is the file that is recorded to.
cp t1 same
session idle mem.raw ",\"record\":\"$T/same\""
is "a session without a guest is closed" "$(ask close idle)" closed
ok "what was to be its recording is as it was" cmp t1 same
like "so is that of one that cannot be made" \
	"$(ask "{\"id\":\"no\",\"memfile\":\"$T/mem.raw\",\"record\":\"$T/same\",\"trace\":\"$T/none\"}")" "^error: .*none"
ok "as it was" cmp t1 same
faults "replayed and recorded" "map auto 8M 0; HAND; touch seq count 1; sleep 1; touch random count 400 seed 5" \
	",\"trace\":\"$T/same\",\"record\":\"$T/same\",\"prefetch\":\"off\""
ok "it was replayed" test "$faults" -lt 40
is "then it has what there were faults for" "$(sed -n '$p' same)" "end $(fact "$ran" .counters.demand)"
is "nothing is left beside it" "$(find . -maxdepth 1 -name '.*.recording')" ""

# A memfile that is cut under the replay: what can be read later is replayed later.
cp mem.raw whole.raw
session later whole.raw "$trace,\"prefetch\":\"off\""
client -t 100 -f mem.raw -e "map auto 8M 0; handoff run/later.sock; sleep 4; touch random count 400 seed 5" >later.out 2>&1 &
truncate -s 4K whole.raw
within 20 is_fact later .state serving
within 20 is_fact later '.counters.retries > 0' true
dd if=mem.raw of=whole.raw bs=4K skip=1 seek=1 conv=notrunc status=none
ok "a replay of what could not be read, every byte" wait $!
is "was tried again" "$(fact later '.counters.faults < 40')" true

# A recording is written while the guest lives, however long its handoff might have taken.
session slow mem.raw ",\"record\":\"$T/slow\",\"handoff_timeout_ms\":600000"
client -t 100 -f mem.raw -e "map auto 8M 0; handoff run/slow.sock; touch random count 400; sleep 30" >slow.out 2>&1 &
guest_pid=$!
has_400() { [ "$(tail -n 1 slow)" = "end 400" ]; }
ok "a recording has what was touched" within 20 has_400
kill -9 $guest_pid
ok "its session ends" within 20 is_fact slow .state gone

# A recording that cannot be written.
like "a recording where none can be" \
	"$(ask "{\"id\":\"dir\",\"memfile\":\"$T/mem.raw\",\"record\":\"$T/none/x\"}")" "^error: cannot record to '"
if [ -c /dev/full ]; then
	before=$(open_fds)
	faults "a full disk" "map auto 1M 0; HAND; touch random; check" ',"record":"/dev/full"'
	ok "costs the recording, not the guest; the log says so" within 20 grep -q "cannot write '/dev/full'" solo.log
	ok "and nothing is left open" within 20 has_fds "$before"
fi

quit_solo
is "the sanitizers are content" "$(grep -E 'Sanitizer|runtime error' solo.log)" ""
done_testing
