#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# kill -9 of lamina guest provision at changes: every file is the old one or the new one, the next
# run completes, and a revert leaves nothing.
. "$(dirname "$0")/../lib.sh"
. "$srcroot/tests/host/provision-lib.sh"
requires plain lamina-fault

tree() {
	(cd root && find . -path ./etc/lamina/provision.json -prune -o -printf '%p %y %m %l\n' | sort &&
		find . -type f ! -name provision.json -exec cksum {} + | sort)
}
# Each file is as in one of the trees; prints those that are not.
whole() { # TREE...
	(cd root && find . -type f ! -name provision.json ! -name '*.lamina-tmp' -exec cksum {} +) |
		while read -r line; do
			grep -qxF -- "$line" "$@" || echo "$line"
		done
}
run() { # ARGUMENT...
	lamina guest provision root "$@"
}

# From a root as START leaves it, `lamina guest provision root ARGUMENT...`, killed at every STEPth change.
every() { # DESCRIPTION STEP START ARGUMENT...
	local what=$1 by=$2 start=$3 n i wrong=
	shift 3
	"$start"
	tree >old
	n=$(count_faults change lamina-fault guest provision root "$@")
	tree >new
	for ((i = 1; i <= n; i += by)); do
		"$start"
		{ LAMINA_FAULT=change:$i:kill \
			lamina-fault guest provision root "$@" >out 2>err; } 2>killed
		wrong+=$(whole old new | sed "s/^/$i: /")
		run "$@" >out 2>err || wrong+="$i: the next run: $(cat err)"
		tree >now
		cmp -s now new || wrong+="$i: not completed: $(diff now new | head -5)"
		run --revert >out 2>err || wrong+="$i: the revert: $(cat err)"
		tree >now
		cmp -s now bare || wrong+="$i: not reverted: $(diff now bare | head -5)"
	done
	is "$what: killed at $n changes, by $by" "$wrong" ""
	ok "which are some" test "$n" -gt 20
}

new_program agent1
new_program agent2
echo more >>agent2
echo secret-of-the-guest >token
chmod 600 token
empty() {
	rm -rf root
	mkdir -p root/etc root/usr root/etc/default
	: >root/etc/default/grub
}
first() {
	empty
	run --agent agent1 --agent-token token >/dev/null 2>&1
}
empty
tree >bare
every "the first time" 1 empty --agent agent1 --agent-token token --init-on-free
every "with other options" 3 first --agent agent2 --journal 8M --init-on-free
every "a revert" 2 first --revert
done_testing
