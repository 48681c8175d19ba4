#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A store that cannot be written: what is said is why.
. "$(dirname "$0")/../lib.sh"
requires root
mkimage m 512 0-9:data=1
lamina init -q --store s
lamina commit -q --store s --memfile m --tag t >/dev/null

if has mount; then
	mkdir ro
	mount --bind s ro
	at_exit "umount '$T/ro'"
	mount -o remount,bind,ro ro
	before=$(ls s)
	for command in ls "show t" log\ t stat "tag x t" "commit --memfile m"; do
		# shellcheck disable=SC2086
		exits "read-only: $command" 1 lamina --store ro $command
		like "is called so" "$(cat err)" \
			"^lamina: cannot [a-z ]*: store 'ro' is on a read-only file system, and even to read"
	done
	is "nothing was left behind" "$(ls s)" "$before"
else
	skip "may not mount" 13
fi

# Somebody else's store.
if has setpriv; then
	as_other() {
		setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
	}
	cp "$(realpath "$(command -v lamina)")" other
	chmod -R go+rX . && chmod go+x "$(dirname "$T")"
	if as_other ./other --version >/dev/null 2>&1; then
		exits "readable by all" 1 as_other ./other --store s ls
		like "is not enough" "$(cat err)" "^lamina: cannot list layers: even to read store 's' .*: Permission denied$"
		chmod 600 s/index.db
		exits "not readable" 1 as_other ./other --store s ls
		like "is not permitted" "$(cat err)" "Permission denied$"
		chmod 700 s
		exits "not to be entered" 1 as_other ./other --store s ls
		like "is not permitted" "$(cat err)" "Permission denied$"
	else
		skip "others cannot come here" 6
	fi
else
	skip "no setpriv(1)" 6
fi
exits "no store" 1 lamina --store nosuch ls
is "is called so" "$(cat err)" "lamina: cannot list layers: there is no store in 'nosuch'"
mv s/index.db .
exits "no index" 1 lamina --store s ls
like "is called so" "$(cat err)" "'s' has no index.db: 'lamina recover' makes it again"
done_testing
