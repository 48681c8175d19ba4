#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# An index.db that came back from a backup costs no layer: writers refuse, recover mends.
. "$(dirname "$0")/../lib.sh"
requires jq
export LAMINA_STORE=$T/s
for i in 1 2 3 4; do mkimage "m$i" 600 0-99:data=$i; done
lamina init -q
lamina commit -q --memfile m1 --tag one >/dev/null
cp s/index.db old
lamina commit -q --memfile m2 --tag two >/dev/null
lamina commit -q --memfile m3 --tag three >/dev/null
rm -f s/index.db-*
cp old s/index.db

size=$(stat -c %s s/packs/00000001.pack)
for command in "commit --memfile m4 --tag four" "tag x one" "gc" "gc --repack --ratio 1"; do
	# shellcheck disable=SC2086
	exits "$command is refused" 3 lamina $command
	like "with the reason" "$(cat err)" "index.db is older than the packs.*2 layers.*lamina recover"
done
is "nothing was cut" "$(stat -c %s s/packs/00000001.pack)" "$size"
ok "what the index knows can be read" lamina export one --memfile out1
ok "recover" lamina recover
for i in one:m1 two:m2 three:m3; do
	ok "${i%:*} is there" lamina export "${i%:*}" --memfile back --force
	same "as it was" back "${i#*:}"
done
ok "and the store is written again" lamina commit --memfile m4 --tag four

# One commit is enough, though it looks like one that was killed at its end.
behind() { # COMMAND...
	cp s/index.db old
	"$@" >/dev/null
	rm -f s/index.db-*
	cp old s/index.db
	size=$(stat -c %s s/packs/*.pack)
}
mkimage m5 600 0-99:data=5
behind lamina commit -q --memfile m5 --tag five
for command in "commit --memfile m4 --tag six" "tag x one" "gc"; do
	# shellcheck disable=SC2086
	exits "$command is refused" 3 lamina $command
	like "with the reason" "$(cat err)" "index.db is older than the packs.*published last.*lamina recover"
done
is "nothing was cut" "$(stat -c %s s/packs/*.pack)" "$size"
exits "verify finds it, too" 3 lamina verify
like "and says so" "$(cat out err)" "index.db is older than the packs.*published last"
ok "recover" lamina recover
ok "nothing is left to be found" lamina verify
ok "brings back the one" lamina export five --memfile back --force
same "as it was" back m5
ok "and the store is written again" lamina tag five.again five
behind lamina tag last five
exits "nor is a tag cut" 3 lamina tag x one
ok "recover" lamina recover
ok "brings it back" lamina show last

# A note that says nothing is in nobody's way.
printf 'garbage' >s/published
ok "garbage" lamina tag y one
like "is written over" "$(cat s/published)" '^[0-9]{20} [0-9]{20}$'
rm s/published
ok "as is none" lamina tag z one

# The same across a gc that moved everything to another pack.
lamina rm -q --force one
cp s/index.db old
lamina gc --repack --ratio 1 -q >/dev/null
rm -f s/index.db-*
cp old s/index.db
exits "gc is refused" 3 lamina gc
like "with the reason" "$(cat err)" "it names pack 00000001, which is gone"
ok "recover" lamina recover
ok "brings back what the gc kept" lamina export four --memfile back --force
same "as it was" back m4
exits "and not what was removed" 1 lamina show one

# The index of another store: none of its numbers say anything about these packs.
lamina --store other init -q
mkimage m6 600 0-99:data=6
mkdir mnt
at_exit "umount -l $T/mnt 2>/dev/null"
lamina --store other commit -q --memfile m6 --tag six >/dev/null
for i in many few; do
	if [ $i = many ]; then
		for k in 1 2 3; do lamina --store other tag "t$k" six; done
	else
		lamina commit -q --memfile m6 --tag six >/dev/null
	fi
	rm -rf mixed
	cp -a s mixed
	rm -f mixed/index.db-*
	cp other/index.db mixed/
	before=$(cd mixed/packs && sha256sum -- *)
	for command in "commit --memfile m4" "tag x six" "gc" "gc --repack --ratio 1" "verify" \
		"ls" "show six" "log six" "stat" "export six --memfile nothing" "live ls"; do
		# shellcheck disable=SC2086
		exits "$command with the index of another store" 3 lamina --store mixed $command
		like "says that it is" "$(cat out err)" "index.db and the packs of '.*' are of different stores"
		is "and not that it is old" "$(cat out err | grep -c older)" 0
	done
	exits "nor is it mounted" 1 lamina --store mixed mount mnt
	like "for that" "$(cat err)" "index.db and the packs of '.*' are of different stores"
	ok "nothing is exported" test ! -e nothing
	is "nothing is mounted" "$(is_mounted mnt && echo yes)" ""
	is "no pack is touched" "$(cd mixed/packs && sha256sum -- *)" "$before"
	mv mixed/index.db mixed/wrong
	ok "without it, recover" lamina --store mixed recover
	ok "makes the right one" lamina --store mixed export four --memfile back --force
	same "with all its layers" back m4
done
done_testing
