#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What is installed names the paths that the programs use.
. "$(dirname "$0")/../lib.sh"
unset MAKEFLAGS MFLAGS MAKELEVEL
ok "make install-data" make -s -C "$buildroot" install-data DESTDIR="$T/root"
page() { # NAME
	find root -name "$1"
}
default() { # OPTION: of lamina --help
	lamina --help | tr -s '\n ' ' ' | grep -o -- "$1 [^)]*)" | grep -o '/[^ )]*' | tail -1
}
run=$(sed -n 's/^runstatedir = //p' "$buildroot/Makefile")
store=$(default '-s, --store')
conf=$(lamina-pager --help | sed -n 's/.*else \(\/.*\))/\1/p')
ok "lamina(1) names the store" grep -q "Pa $store$" "$(page lamina.1)"
ok "and the configuration" grep -q "Pa $conf$" "$(page lamina.1)"
ok "lamina-pager(8), too" grep -q "Pa $conf ," "$(page lamina-pager.8)"
like "as its help does" "$(lamina-pager --help)" "else $conf"
ok "lamina.conf(5) names the runtime directory" grep -q "Pq Pa $run/lamina$" "$(page lamina.conf.5)"
like "lamina-pager and lamina use it" "$(strings -a "$buildroot/src/lamina-pager" | grep "^$run/lamina")" .
is "no page is left over" "$(find root -name '*.tmp')" ""
unit=$(page 'lamina-pager@.service')
dir=$(sed -n 's/^RuntimeDirectory=//p' "$unit")
like "the unit's pager uses the directory that systemd makes" "$(grep ^ExecStart "$unit")" "--runtime-dir %t/$dir\$"
like "the timer's gc waits for a long commit" "$(grep ^ExecStart "$(page lamina-gc.service)")" " gc --wait [0-9]+h\$"
done_testing
