#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lamina.conf: where it is found, what it says, what is wrong with it.
. "$(dirname "$0")/../lib.sh"
lamina init -q --store one
lamina init -q --store two
lamina init -q --store three
mkimage m 512 0:data=1
for s in one two three; do
	lamina commit -q --store $s --memfile m --tag in-$s >/dev/null
done

conf() {
	printf '%b' "$1" >conf
}
conf '[store]\npath = one\n'
is "the store of --config" "$(lamina tag -q --config conf)" in-one
is "of \$LAMINA_CONF" "$(LAMINA_CONF=conf lamina tag -q)" in-one
is "\$LAMINA_STORE goes before it" "$(LAMINA_STORE=two lamina tag -q --config conf)" in-two
is "--store before that" "$(LAMINA_STORE=two lamina tag -q --config conf --store three)" in-three
is "an empty \$LAMINA_STORE is none" "$(LAMINA_STORE='' lamina tag -q --config conf)" in-one

exits "a file that is not there" 1 lamina ls --config nosuch
is "is named" "$(cat err)" "lamina: cannot list layers: cannot open 'nosuch': No such file or directory"
exits "a directory" 1 lamina ls --config /etc
is "is called one" "$(cat err)" "lamina: cannot list layers: cannot read '/etc': it is a directory"
while IFS='|' read -r text reason; do
	conf "$text"
	exits "$text" 1 lamina ls --config conf --store one
	is "is refused" "$(cat err)" "lamina: cannot list layers: conf:$reason"
done <<'END'
[store]\npaht = x|2: unknown key 'paht' in section [store]
[stor]\npath = x|1: unknown section [stor]
[store]\npath = one\n[nosuch]\n|3: unknown section [nosuch]
[mount]\ncache = 1M\nchache = 2M|3: unknown key 'chache' in section [mount]
path = x|1: 'path' stands before any [section]
[guest]\ndrain = 1|1: section [guest] fits no guest: it is written [guest GLOB], without quotes, as in [guest web-*]
[gc]\n[guest "web"]\ndrain = 1|2: section [guest "web"] fits no guest: it is written [guest GLOB], without quotes, as in [guest web-*]
[pause web]\ndrain = 1|1: unknown section [pause web]
[gc]\nnonsense|2: neither '[section]' nor 'key = value'
END
conf '[gc]\nratio = 2\n'
exits "a ratio above 1" 1 lamina gc --config conf --store one
like "is refused" "$(cat err)" "ratio in lamina.conf: '2' is not above 0, at most 1"
conf '[gc]\nratio = 0.5\n[mount]\ncache = 32M\nreadahead = 1024\nallow_other = false\nuid = 0\ngid = 0\nmode = 0440\nthreads = 4\n[store]\npath = one\nlock_wait = 5s\n'
ok "all keys that there are" lamina gc --config conf
if [ -e "$buildroot/src/dist/lamina.conf" ]; then
	ok "the file that is installed" lamina ls --config "$buildroot/src/dist/lamina.conf" --store one
	sed 's/^#\([a-z_]* =\)/\1/' "$buildroot/src/dist/lamina.conf" >conf
	ok "and what it has in comments" lamina gc --config conf --store one
else
	skip "not built" 2
fi

# --- where it is looked for ---

# Whatever sysconfdir is, it is the same one everywhere.
default=$(lamina ls --help | grep -oE '/[^ ]*/lamina\.conf')
for program in lamina-fuse lamina-pager lamina-graduator; do
	if has $program; then
		like "$program --help names it" "$($program --help)" "else $default\)"
	fi
done
done_testing
