#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina pause: no signal that can be caught leaves a guest paused, and Ctrl-Z waits until it runs.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/host/lib.sh"
. "$srcroot/tests/host/pause-lib.sh"
requires fuse root python3 jq

begin_guest || bail "no guest"

pause_slowly() { # until the guest is paused
	fc web trouble 'PUT /snapshot/create=slow:1500' >/dev/null
	lamina pause web --json >out 2>err &
	pauser=$!
	within 20 eval '[ "$(state)" = Paused ]'
}

# --- those that end a program ---

for name in QUIT USR1 RTMAX; do
	pause_slowly
	kill -s "$name" $pauser
	wait $pauser
	is "SIG$name is an interruption" "$?" $((128 + $(kill -l "$name")))
	is "SIG$name: the guest goes on" "$(state)" Running
	like "SIG$name: which is told" "$(cat err)" "guest 'web' goes on"
	is "SIG$name: JSON says that it was interrupted" "$(jq -c '[.interrupted, .error]' out)" \
		'[true,"interrupted, and no layer was made"]'
	like "SIG$name: as standard error does" "$(cat err)" \
		"lamina: pause: interrupted, and no layer was made"
done

# What the kernel says that a process catches, ignores or blocks, as a number of 64 bits.
mask() { echo $((0x$(sed -n "s/^$1:.//p" "/proc/$pauser/status"))); }

pause_slowly
kept=$(($(mask SigCgt) | $(mask SigIgn) | $(mask SigBlk)))
left=
for ((sig = 1; sig <= 64; sig++)); do
	case $(kill -l $sig) in
	ILL | TRAP | ABRT | BUS | FPE | KILL | SEGV | STOP | SYS) ;; # faults, and what nobody catches
	CHLD | CONT | URG | WINCH | 32 | 33) ;;                     # they end nothing; libc's own
	*) ((kept >> (sig - 1) & 1)) || left+="$(kill -l $sig) " ;;
	esac
done
is "no other signal ends or stops it while the guest is paused" "$left" ""
wait $pauser

pause_slowly
kill -s XFSZ $pauser
wait $pauser
is "SIGXFSZ ends nothing" "$? $(state) $(jq -r '.error, .interrupted' out | tr '\n' ' ')" "0 Running null false "

# Nothing is known yet of the guest, which may have been left paused.
fc web trouble 'GET /=slow:4000' >/dev/null
lamina pause web --json >out 2>err &
pauser=$!
within 20 eval '(($(mask SigCgt) >> ($(kill -l QUIT) - 1) & 1))'
kill -INT $pauser
wait $pauser
is "before the hypervisor has said how it is" "$?" 130
is "the guest is said to be no state" "$(jq -c '[.interrupted, .error, .state]' out)" \
	'[true,"interrupted, before it was known whether the guest runs","unknown"]'
like "nor by standard error" "$(cat err)" "interrupted, before it was known whether the guest runs"

# --- those that stop it ---

status() { sed -n 's/^State:.\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null; }

for name in TSTP TTIN; do
	set -m			# in a process group of its own, as at a terminal
	pause_slowly
	set +m
	kill -s "$name" -- -$pauser
	within 20 eval '[ "$(state)" = Running ]'
	is "SIG$name: the guest goes on" "$(state)" Running
	kill -CONT -- -$pauser
	wait $pauser
	within 20 eval '[ "$(status $pauser)" = "" ] || kill -CONT -- -$pauser'
	is "SIG$name: and the layer is made" "$(jq -r '.error, .state' out | tr '\n' ' ')" "null running "
done

flock -o s/lock sleep 60 &
holder=$!
at_exit "kill $holder"
set -m
lamina pause web --json >pause.out 2>pause.err &
pauser=$!
set +m
resumed() { fc web log bodies | grep -o '[^;]*"state": *"[A-Z][a-z]*"' | tail -1 | grep -q Resumed; }
within 20 resumed
kill -TSTP -- -$pauser
ok "while it commits, beside the guest, Ctrl-Z stops it" within 20 eval '[ "$(status $pauser)" = T ]'
kill "$holder"
kill -CONT -- -$pauser
within 20 eval '! kill -0 $pauser'
is "and it goes on" "$(jq -r '.error, .state' pause.out | tr '\n' ' ')" "null running "
done_testing
