#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lib.sh and mkimage do what the other tests believe.
. "$(dirname "$0")/../lib.sh"

size() { stat -c %s "$1"; }
blocks() { stat -c %b "$1"; }

ok "an image" mkimage a 100 0-9:data=1 20:fill=7 30-31:noise=2
is "has its size" "$(size a)" 409600
[ "$(blocks a)" -lt 400 ] && pass "is sparse" || fail "is sparse"
mkimage b 100 0-9:data=1 20:fill=7 30-31:noise=2
same "is the same every time" a b
mkimage b 100 50-59:data=1 0-9:hole
same "a range can be put elsewhere" <(dd if=a bs=4096 count=10 2>/dev/null) \
	<(dd if=b bs=4096 skip=50 count=10 2>/dev/null)
ok "a hole is made" test "$(blocks b)" -lt 300
mkimage c 2+1 0-2:fill=1
is "a size inside a page" "$(size c)" 8193
exits "a bad range is refused" 2 mkimage c 2 1-0:zero
exits "a bad kind too" 2 mkimage c 2 0:what

sub() { # the rest of a test script: its output and status
	{ printf '. "%s/tests/lib.sh"\n' "$srcroot"; cat; } >sub.sh
	LAMINA_TEST_TMPDIR=$T LAMINA_SKIP_STATUS='' bash sub.sh >sub.out 2>&1
	sub_status=$?
}

sub <<<'same "no" /dev/zero /dev/null; is "same" 1 1; done_testing'
is "a failed check fails the script" "$sub_status" 1
like "and says so" "$(cat sub.out)" 'not ok 1 - no'
like "and where" "$(cat sub.out)" 'failed at sub.sh:2'
like "and counts on" "$(cat sub.out)" 'ok 2 - same'
sub <<<'requires no-such-program; pass x; done_testing'
is "a missing feature skips" "$sub_status" 77
like "aloud" "$(cat sub.out)" '1..0 # SKIP no no-such-program'
sub <<<'at_exit "echo first >>$_tmp/hooks"; at_exit "echo second >>$_tmp/hooks"; pwd; exit 3'
is "an exit status is kept" "$sub_status" 3
is "hooks run, the last first" "$(tr '\n' ' ' <hooks)" "second first "
is "and the directory is gone" "$(ls -d sub.[A-Za-z0-9]*/ 2>/dev/null)" ""
sleep 60 &
other=$!
at_exit "kill $other"
sub <<<"sleep 60 & echo \$! >../mine; at_exit \"kill -9 \$!\"
at_exit 'kill -9 $other'; (setsid sleep 60 & echo \$! >../theirs); at_exit 'kill -9 \$(cat \$_tmp/theirs)'; ok 1 true; done_testing"
ended() { ! kill -0 "$1" 2>/dev/null; }
ok "a hook ends what the test has started" within 10 ended "$(cat mine)"
ok "also what is no child of it" within 10 ended "$(cat theirs)"
ok "and nobody else who has the number" kill -0 "$other"
sub <<<'within 5 test -e ../flag && pass "seen"; done_testing' &
sleep 0.2; touch flag; wait $!
ok "within waits" grep -q '^ok 1 - seen' sub.out
done_testing
