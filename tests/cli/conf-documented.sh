#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina.conf(5), the lamina.conf that is installed and the programs agree on
# keys and defaults.
. "$(dirname "$0")/../lib.sh"

installed=$srcroot/src/dist/lamina.conf.in
page=$srcroot/man/lamina.conf.5

# What the installed file shows commented out, as "section.key value".
installed_defaults() {
	sed -n -e 's/^\[\(.*\)\]$/[\1]/p' -e 's/^#\([a-z_]*\) = \(.*\)$/\1 \2/p' "$installed" |
		awk '/^\[/ { section = substr($0, 2, length - 2); next } { print section "." $0 }' |
		sort
}

# What the page documents: keys from ".It Cm", the default from ".Pq" below it.
page_defaults() {
	awk '/^\.Ss \[/ { section = substr($2, 2, length($2) - 2) }
		/^\.Sh/ { section = "" }
		section == "" { next }
		/^\.It Cm/ { n = 0
			for (i = 3; i <= NF; i++) if ($i != ",") key[++n] = section "." $i
			for (i = 1; i <= n; i++) value[key[i]] = "" }
		/^\.Pq/ { for (i = 1; i <= n; i++) value[key[i]] = $NF }
		END { for (k in value) print k, value[k] }' "$page" | sort
}

value_of() { # SECTION.KEY
	page_defaults | sed -n "s/^$1 //p"
}

is "the page has the keys of the installed file" \
	"$(page_defaults | cut -d' ' -f1)" "$(installed_defaults | cut -d' ' -f1)"

# Depends on the machine or on configure: store.path and the owner.
depends='^(store\.path|mount\.uid|mount\.gid|pager\.(runtime_dir|socket|stop_command)|graduation\.(runtime_dir|metrics_socket)|pause\.(freeze|metrics_file)|reclaim\.order) '
is "and its defaults" "$(page_defaults | grep -vE "$depends")" \
	"$(installed_defaults | grep -vE "$depends")"

wait_help=$(lamina tag --help | tr -s ' \n' ' ')
like "lock_wait is what lamina waits" "$wait_help" "else $(value_of store.lock_wait)\)"
ratio_help=$(lamina gc --help | tr -s ' \n' ' ')
like "ratio is what gc takes" "$ratio_help" "else $(value_of gc.ratio)\)"
if command -v lamina-fuse >/dev/null; then
	mount_help=$(lamina-fuse --help | grep -E '^  [a-z]+=')
	for key in cache mode readahead threads; do
		like "$key is what lamina-fuse takes" "$(grep "^  $key=" <<<"$mount_help")" \
			"\($(value_of mount.$key)\)$"
	done
else
	skip "no lamina-fuse" 4
fi

# All of it, with the defaults written out, is accepted by whoever reads it.
sed -e 's/^#\([a-z_]* = \)/\1/' -e "s|@localstatedir@/lib/lamina|$T/store|" \
	-e "s|@[a-z]*@|$T|" "$installed" >all.conf
ok "a store is made where path says" lamina --config all.conf init
ok "it is there" test -e store/index.db
exits "lock_wait is understood" 1 lamina --config all.conf untag none
like "and only the tag is missed" "$(cat err)" "there is no tag 'none'"
ok "ratio is understood" lamina --config all.conf gc --repack
if command -v lamina-fuse >/dev/null; then
	mkdir mnt
	exits "lamina-fuse gets past it" 1 lamina-fuse --config all.conf -f absent mnt
	like "to the store" "$(cat err)" "no store in '?absent"
else
	skip "no lamina-fuse" 2
fi
done_testing
