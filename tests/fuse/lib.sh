# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# What the tests of the mount share, on top of ../lib.sh:
#
#	commit ARGUMENT...		commits a layer, prints its id
#	counter NAME			a number of mnt/.stats, as jq names it
#	probe_is NAME WANT ARGUMENT...	what probe (probe.c) prints
#	hold FILE LIKE HOW		starts `probe hold`; release ends it
#	release				prints what it found

. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
PATH=$buildroot/tests/fuse:$PATH
requires fuse root jq
export LAMINA_STORE=$T/store

commit() {
	lamina --quiet commit "$@"
}

counter() {
	jq -r ".$1" mnt/.stats
}

probe_is() {
	local name=$1 want=$2
	shift 2
	is "$name" "$(probe "$@" 2>&1)" "$want"
}

hold() {
	rm -f "$T/.held"	# what the last one said
	mkfifo "$T/.hold"
	probe hold "$@" <"$T/.hold" >"$T/.held" 2>&1 &
	hold_pid=$!
	exec 9>"$T/.hold"
	rm "$T/.hold"
	within 20 grep -q held "$T/.held" || { cat "$T/.held"; return 1; }
}

release() {
	echo >&9
	within 20 nobody_else "$hold_pid"
	sed 1d "$T/.held"
}

nobody_else() { # the process has ended (it may be a zombie)
	! grep -qs '^State:[[:space:]]*[^Z]' "/proc/$1/status"
}

unharmed=$'errors: none\ndiffer: none'
